"""``python -m luxscale``: the command line."""

import sys


def run() -> None:
    """Run the command that was given, and end this process."""
    try:
        _run_command()
    except KeyboardInterrupt:  # before the command line, which says more, was loaded
        print("stopped; run the same command again", file=sys.stderr)
        sys.exit(130)


def _run_command() -> None:
    # here, for Ctrl-C may come meanwhile
    from luxscale.cli import main
    from luxscale.cli.interrupt import leave_on_interrupt

    try:
        main(prog_name="luxscale")
    except SystemExit as end:
        leave_on_interrupt(int(end.code or 0))
        raise


if __name__ == "__main__":
    run()
