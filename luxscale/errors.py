"""Exceptions of the package: what was wrong, and what to do."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used: the message names the file and variable, and says what to do."""


class NoUsableFile(InputError):
    """Survey files of which none could be used, so that nothing is written.

    Parameters
    ----------
    message : str
    quarantined : list of (path, star, reason)
        All that was refused; ``star`` is "" for a whole file.
    """

    def __init__(self, message: str, quarantined: list[tuple[str, str, str]]) -> None:
        super().__init__(message)
        self.quarantined = quarantined

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (*self.args, self.quarantined)


class RunError(RuntimeError):
    """A run that ended before all was done; the message says what is left and how to go on."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in long work; the message says what is done, and how to go on."""


class CannotWrite(RunError):
    """A store cannot be written: a run has to end until the cause is mended."""
