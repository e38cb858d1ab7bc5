"""The command line: results on standard output, progress on standard error.

Imports stop, chunked, export, paper, report, guide and what they stand on.

It exits with 0, with 1 where it failed, and with 2 where it was called wrongly. Importing it loads
no other part of the package, nor any command: that is loaded when it is called, and imports what it
needs when it runs.
"""

from luxscale.cli.base import main

__all__ = ["load_commands", "main"]


def load_commands() -> None:
    """Load all commands."""
    from luxscale.cli import (  # noqa: F401 - each adds its commands
        calibrate,
        crossval,
        draw,
        export,
        fit,
        formats,
        guide,
        ingest,
        intervals,
        label,
        look,
        make,
        paper,
        repeats,
        report,
        validate,
    )
