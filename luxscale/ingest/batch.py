"""The task of an ingest: read a batch of files and keep what they hold, until all are read and can be put in order.

The same call on a cluster, in a plain loop and by hand. What was read is marked as done last, so a
task that dies leaves its batch to be read again. A file that cannot be used costs itself alone: it
is put down with the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from luxscale import store
from luxscale.ingest.ledger import WHOLE_FILE, grid_of, session_files
from luxscale.ingest.part import Part
from luxscale.ingest.plan import Batch, Session
from luxscale.prepare import prepare
from luxscale.readers import BadFile, Spectra, get_format
from luxscale.readers.base import refuse_repeats
from luxscale.runs.executors import Clock, name_worker

#: Stars that are prepared together.
_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a task reports of its batch.

    Parameters
    ----------
    batch : int
    files, stars, refused : int
        Files read, stars kept, and files or stars that were not.
    seconds : dict of str to float
        Time to ``read``, ``prepare`` and ``write``.
    worker : str
        Host and process.
    """

    batch: int
    files: int
    stars: int
    refused: int
    seconds: dict[str, float]
    worker: str


def run_batch(session: Session, batch: Batch) -> Outcome:
    """Read a batch of files, prepare their spectra and write them, a chunk at a time.

    Raises
    ------
    CannotWrite
    """
    clock = Clock()
    with store.explain_writing(session.plan.survey):
        part = Part(session, batch)
    for block in _blocks(_read(session, batch, part), _BLOCK):
        clock.mark("read")
        _prepare(session, block, part)
        clock.mark("prepare")
        with store.explain_writing(session.plan.survey):
            part.flush(session.plan.chunk)
        clock.mark("write")
    clock.mark("read")
    with store.explain_writing(session.plan.survey):
        part.close(session.plan.chunk)
    clock.mark("write")
    return Outcome(
        batch.index,
        batch.stop - batch.start,
        part.stars,
        len(part.refused),
        clock.seconds,
        name_worker(),
    )


Loose = tuple[int, Spectra]  # number of a file, and some of its stars


def _read(session: Session, batch: Batch, part: Part) -> Iterator[Loose]:
    """Yield the spectra of the files, and put down those that cannot be read."""
    fmt, options = get_format(session.plan.format), dict(session.plan.options)
    for number, path in enumerate(session_files(session, batch.start, batch.stop), batch.start):
        stars: set[object] = set()
        try:
            for spectra in fmt.read(path, **options):
                refuse_repeats(spectra, stars)
                yield number, spectra
            if not stars:
                raise BadFile("holds no spectrum")
        except BadFile as error:
            part.refuse(number, WHOLE_FILE, str(error))
        except Exception as error:  # a damaged file may bring a reader to anything
            if store.is_outage(error) and not isinstance(error, PermissionError | KeyError):
                raise
            part.refuse(number, WHOLE_FILE, f"cannot be read: {_told(error)}")


def _told(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}")


def _blocks(loose: Iterator[Loose], size: int) -> Iterator[list[Loose]]:
    """Gather spectra until there are enough to be prepared together."""
    block: list[Loose] = []
    held = 0
    for item in loose:
        block.append(item)
        held += len(item[1].star)
        if held >= size:
            yield block
            block, held = [], 0
    if block:
        yield block


def _prepare(session: Session, block: Sequence[Loose], part: Part) -> None:
    """Clean spectra, bring them onto the survey's grid, take out the continuum, and keep those that are of use."""
    fmt = get_format(session.plan.format, dict(session.plan.options))
    recipe, grid = session.plan.recipe, grid_of(session.plan)
    for numbers, spectra in _alike(block):
        try:
            ready = prepare(spectra, fmt, recipe, grid)
        except BadFile as error:  # of all of them: they are alike in what it may be about
            for number in np.unique(numbers):
                part.refuse(int(number), WHOLE_FILE, str(error))
        else:
            part.add(numbers, spectra, ready)


def _alike(block: Sequence[Loose]) -> Iterator[tuple[np.ndarray, Spectra]]:
    """Yield spectra that stand on one grid together, with the numbers of their files: (star,)."""
    at = 0
    while at < len(block):
        first = block[at][1]
        end = at + 1
        while end < len(block) and _joins(first, block[end][1]):
            end += 1
        numbers = [np.full(len(s.star), n) for n, s in block[at:end]]
        yield np.concatenate(numbers), _stack([s for _, s in block[at:end]])
        at = end


_ARRAYS = ("flux", "ivar", "mask", "continuum", "velocity", "key")


def _joins(one: Spectra, other: Spectra) -> bool:
    """Whether spectra stand on one grid and have the same parts."""
    same = all((getattr(one, name) is None) == (getattr(other, name) is None) for name in _ARRAYS)
    return (
        same
        and one.columns.keys() == other.columns.keys()
        and np.array_equal(one.wavelength, other.wavelength)
    )


def _stack(spectra: Sequence[Spectra]) -> Spectra:
    first = spectra[0]
    if len(spectra) == 1:
        return first
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(s, name) for s in spectra])
        for name in ("star", *_ARRAYS)
        if getattr(first, name) is not None
    }
    columns = {name: np.concatenate([s.columns[name] for s in spectra]) for name in first.columns}
    return Spectra(wavelength=first.wavelength, columns=columns, **joined)
