"""The command line: results on standard output, progress on standard error, exit 0, 1 (failed) or 2 (usage)."""

from luxscale.cli import (  # noqa: F401 - each adds its commands
    draw,
    export,
    fit,
    guide,
    ingest,
    label,
    look,
    make,
    paper,
    report,
)
from luxscale.cli.base import main

__all__ = ["main"]
