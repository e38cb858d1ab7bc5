"""The command line: results on standard output, progress on standard error.

Imports stop, chunked, export, paper, report, guide and what they stand on.

It exits with 0, with 1 where it failed, and with 2 where it was called wrongly. Importing it loads
no other part of the package, nor any command: that is loaded when it is called, and imports what it
needs when it runs.
"""

import importlib

from luxscale.cli.base import main

__all__ = ["load_commands", "main"]

#: Modules, each of which adds its commands as it loads.
_COMMANDS = (
    "calibrate",
    "crossval",
    "draw",
    "export",
    "fit",
    "formats",
    "guide",
    "ingest",
    "intervals",
    "label",
    "look",
    "make",
    "paper",
    "repeats",
    "report",
    "validate",
)


def load_commands() -> None:
    """Load all commands."""
    for name in _COMMANDS:
        importlib.import_module(f"{__name__}.{name}")
