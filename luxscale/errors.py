"""Exceptions of the package: what was wrong, and what to do."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used: the message names the file and variable, and says what to do."""


class RunError(RuntimeError):
    """A run that ended before all was done; the message says what is left and how to go on."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in long work; the message says what is done, and how to go on."""


class CannotWrite(RunError):
    """A store cannot be written: a run has to end until the cause is mended."""
