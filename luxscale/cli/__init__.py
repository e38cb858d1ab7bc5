"""The command line: results on standard output, progress on standard error, exit 0, 1 (failed) or 2 (usage)."""

from luxscale.cli import draw, export, fit, ingest, label, look, make, report  # noqa: F401 - each adds its commands
from luxscale.cli.base import main

__all__ = ["main"]
