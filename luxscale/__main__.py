"""``python -m luxscale``: the command line."""

from luxscale.cli import main

if __name__ == "__main__":
    main(prog_name="luxscale")
