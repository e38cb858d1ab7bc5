"""Progress on standard error: a live line on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    advises : bool, optional
        Whether advice is printed; by default, if it is enabled.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        *,
        unit: str = "",
        enabled: bool = True,
        advises: bool | None = None,
    ) -> None:
        self._what = what
        self._advises = enabled if advises is None else advises
        self._total = total
        self._unit = unit
        self._enabled = enabled
        self._stage = ""
        self._done = 0
        self._note = ""
        self._started = self._spoke = time.monotonic()
        self._rich: RichProgress | None = None

    def __enter__(self) -> Progress:
        # a program without standard error has None in its place
        if self._enabled and sys.stderr is not None and sys.stderr.isatty():
            self._rich = _make_live_line(is_counted=bool(self._total))
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
            seconds = time.monotonic() - self._started
            self.say(f"done in {seconds:.1f} s")

    def stage(self, name: str) -> None:
        """Begin a named part of the work."""
        self._stage = name
        # a note is of the stage before
        self.update(self._done)

    def update(self, done: int, note: str = "") -> None:
        """Say how many steps are done, and anything worth knowing."""
        self._done = done
        self._note = note
        if self._rich:
            title = ", ".join(filter(None, (self._what, self._stage)))
            self._rich.update(self._task, description=title, completed=done, note=note)
            return
        silence = time.monotonic() - self._spoke
        if self._enabled and silence > _EVERY:
            self.say(self._describe())

    def _describe(self) -> str:
        """Return stage, count and note, as far as there are any."""
        count = ""
        if self._total:
            count = f"{self._done} of {self._total} {self._unit}".strip()
        return ", ".join(filter(None, (self._stage, count, self._note)))

    def report(self, iteration: int, most: int, objective: float) -> None:
        """Say how an iteration of training, of at most so many, ended."""
        number = iteration + 1
        self.update(
            number,
            f"iteration {number} of at most {most}, log-likelihood per star {objective:.2f} "
            "(grows, then settles)",
        )

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._enabled:
            self._print(text)

    def advise(self, text: str) -> None:
        """Print what may make results wrong, also where no progress is shown."""
        if self._advises:
            self._print(text)

    def _print(self, text: str) -> None:
        if sys.stderr is not None:
            self._spoke = time.monotonic()
            print(f"{self._what}: {text}", file=sys.stderr, flush=True)


def _make_live_line(*, is_counted: bool) -> RichProgress:
    """Return a line that changes in place, with a bar where steps are counted."""
    from rich import progress as rich  # here, for where there is no terminal it is not needed
    from rich.console import Console

    count: list[rich.ProgressColumn] = [rich.SpinnerColumn()]
    if is_counted:
        count = [rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn()]
    return rich.Progress(
        rich.TextColumn("{task.description}"),
        *count,
        rich.TextColumn("{task.fields[note]}"),
        rich.TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
