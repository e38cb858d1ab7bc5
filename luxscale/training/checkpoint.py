"""The model of the last complete iteration, kept where a training may be interrupted."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from luxscale import store
from luxscale.errors import InputError, Interrupted
from luxscale.model.file import FORMAT
from luxscale.model.lux import LuxModel
from luxscale.progress import Progress
from luxscale.training.data import Trained

#: Seconds between two writings, for the case that nothing can be written at the end.
_EVERY = 60.0

#: What a model's settings say of the training that it was kept of: the iterations that it did, of
#: those that it was asked for.
INTERRUPTED = "interrupted_after"


def claim_checkpoint(path: str | Path | None) -> None:
    """Refuse to write a checkpoint, if there is to be one, over anything but another.

    Raises
    ------
    InputError
    """
    if path is None:
        return
    attributes = store.read_attributes(path) or {}
    is_model = attributes.get("format") == FORMAT
    if is_model and INTERRUPTED not in json.loads(attributes["settings"]):
        raise InputError(
            f"{path}: the model of a finished training is there; choose another path for the "
            "checkpoint"
        )
    store.claim_place(path, FORMAT, overwrite=True)


class Checkpoint:
    """Keeps the last iteration of a training: in memory, on disk now and then, and at Ctrl-C.

    Parameters
    ----------
    path : str or Path, optional
        Where the model is written; nothing is without.
    make_model : callable
        Turns what was trained, and what is to be put on record, into a model.
    shown : Progress
    first : int
        Iterations that were done before this training.
    goes_on : bool
        Whether training can go on from the model.
    """

    def __init__(
        self,
        path: str | Path | None,
        make_model: Callable[..., LuxModel],
        shown: Progress,
        *,
        first: int = 0,
        goes_on: bool = True,
    ) -> None:
        self._path = path
        self._first = first
        self._goes_on = goes_on
        self._make_model = make_model
        self._shown = shown
        self._written = time.monotonic()
        self._last: tuple[int, int, Callable[[], Trained]] | None = None

    def __call__(
        self, iteration: int, most: int, objective: float, take: Callable[[], Trained]
    ) -> None:
        """Show an iteration that has ended, and keep it."""
        self._shown.report(iteration, most, objective)
        self._last = (iteration + 1, most, take)
        if self._path is not None and time.monotonic() - self._written > _EVERY:
            self._write()

    def tell(self, text: str) -> None:
        """Show how far work has come that is no iteration."""
        done = self._last[0] if self._last else 0
        self._shown.update(done, text)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._shown.say(text)

    def _write(self) -> None:
        """Write the model of the last iteration, if there are both a place and an iteration."""
        if self._path is None or self._last is None:
            return
        done, _, take = self._last
        model = self._make_model(take(), **{INTERRUPTED: done - self._first})
        with store.explain_writing(self._path):
            model.save(self._path, overwrite=True)
        self._written = time.monotonic()

    @contextlib.contextmanager
    def keep_on_interrupt(self) -> Iterator[None]:
        """Write the last iteration where Ctrl-C ends the training.

        Raises
        ------
        Interrupted
        """
        try:
            yield
        except KeyboardInterrupt:
            self._write()
            raise Interrupted(self._describe_stop()) from None

    def _describe_stop(self) -> str:
        """Return what a training that is interrupted says."""
        if self._last is None:
            return "stopped before the first iteration had ended; run the same command again"
        done, most, _ = self._last
        stopped = f"stopped after iteration {done} of at most {most}"
        if self._path is None:
            return f"{stopped}; nothing is kept, as it is with --checkpoint (checkpoint=)"
        kept = f"{stopped}; its model is in {self._path}"
        if not self._goes_on:
            return kept
        return f"{kept}, and training goes on from it with --initial {self._path} (initial=)"
