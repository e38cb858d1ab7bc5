"""Progress on standard error: a live line on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

#: Seconds between plain lines.
_EVERY = 5.0


class Progress:
    """Shows how far a piece of work has come.

    Parameters
    ----------
    what : str
        Name of the work.
    total : int, optional
        Number of steps, if known.
    unit : str
        What a step is.
    enabled : bool
    """

    def __init__(
        self, what: str, total: int | None = None, *, unit: str = "", enabled: bool = True
    ) -> None:
        self._what, self._total, self._unit, self._enabled = what, total, unit, enabled
        self._stage, self._done, self._note = "", 0, ""
        self._started = self._spoke = time.monotonic()
        self._rich: RichProgress | None = None

    def __enter__(self) -> Progress:
        if self._enabled and sys.stderr.isatty():
            count = (
                [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
                if self._total
                else [SpinnerColumn()]
            )
            self._rich = RichProgress(
                TextColumn("{task.description}"),
                *count,
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._rich.start()
            self._task = self._rich.add_task(self._what, total=self._total, note="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rich:
            self._rich.stop()
        if self._enabled and kind is None:
            self.say(f"done in {time.monotonic() - self._started:.1f} s")

    def stage(self, name: str) -> None:
        """Begin a named part of the work."""
        self._stage = name
        self.update(self._done, self._note)

    def update(self, done: int, note: str = "") -> None:
        """Say how many steps are done, and anything worth knowing."""
        self._done, self._note = done, note
        title = f"{self._what}, {self._stage}" if self._stage else self._what
        if self._rich:
            self._rich.update(self._task, description=title, completed=done, note=note)
        elif self._enabled and time.monotonic() - self._spoke > _EVERY:
            count = f"{done} of {self._total} {self._unit}".strip() if self._total else ""
            self.say(", ".join(x for x in (self._stage, count, note) if x))

    def report(self, method: str, iteration: int, objective: float) -> None:
        """Say how an iteration of training ended."""
        self.update(
            iteration + 1, f"{method} iteration {iteration + 1}, objective per star {objective:.3f}"
        )

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._enabled:
            self._spoke = time.monotonic()
            print(f"{self._what}: {text}", file=sys.stderr, flush=True)
