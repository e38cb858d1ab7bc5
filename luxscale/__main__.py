"""``python -m luxscale``: the command line."""

from luxscale.cli import main
from luxscale.cli.interrupt import leave_on_interrupt


def run() -> None:
    """Run the command that was given, and end this process."""
    try:
        main(prog_name="luxscale")
    except SystemExit as end:
        leave_on_interrupt(int(end.code or 0))
        raise


if __name__ == "__main__":
    run()
