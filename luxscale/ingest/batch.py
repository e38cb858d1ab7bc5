"""The task of an ingest: read a batch of files and keep what they hold, until all are read.

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
from luxscale.ingest.ledger import WHOLE_FILE, get_grid, read_files
from luxscale.ingest.part import Part
from luxscale.ingest.paths import restore_path
from luxscale.ingest.plan import Batch, Session
from luxscale.prepare import prepare
from luxscale.readers import BadFile, Spectra, get_format
from luxscale.readers.base import find_nameless, take_stars
from luxscale.runs.executors import Clock, name_worker

#: Stars that are prepared together.
_BLOCK = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
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
    survey, chunk = session.plan.survey, session.plan.chunk
    with store.explain_writing(survey):
        part = Part(session, batch)
    for block in _gather_blocks(_read_files(session, batch, part), _BLOCK):
        clock.mark("read")
        _prepare_block(session, block, part)
        clock.mark("prepare")
        with store.explain_writing(survey):
            part.flush(chunk)
        clock.mark("write")
    clock.mark("read")
    with store.explain_writing(survey):
        part.close(chunk)
    clock.mark("write")
    return Outcome(
        batch=batch.index,
        files=batch.stop - batch.start,
        stars=part.stars,
        refused=len(part.refused),
        seconds=clock.seconds,
        worker=name_worker(),
    )


Loose = tuple[int, Spectra]  # number of a file, and some of its stars


def _read_files(session: Session, batch: Batch, part: Part) -> Iterator[Loose]:
    """Yield the spectra of the files, and put down those that cannot be read."""
    fmt, options = get_format(session.plan.format), dict(session.plan.options)
    paths = read_files(session, batch.start, batch.stop)
    for number, path in enumerate(paths, batch.start):
        n_stars = 0
        try:
            for spectra in fmt.read(restore_path(path), **options):
                named = _refuse_nameless(spectra, n_stars, number, part)
                n_stars += len(spectra.star)
                if len(named.star):
                    yield number, named
            if not n_stars:
                raise BadFile("holds no spectrum")
        except BadFile as error:
            part.refuse(number, WHOLE_FILE, str(error))
        except Exception as error:  # a damaged file may bring a reader to anything
            if store.is_outage(error) and not isinstance(error, PermissionError | KeyError):
                raise
            part.refuse(number, WHOLE_FILE, f"cannot be read: {_describe_damage(error)}")


def _refuse_nameless(spectra: Spectra, first: int, number: int, part: Part) -> Spectra:
    """Return the stars that have an identifier, and put down the others by their rows."""
    nameless = find_nameless(spectra.star)
    if not nameless.any():
        return spectra
    for row in np.flatnonzero(nameless):
        part.refuse(number, f"row {first + row}", "no identifier: the file leaves it blank")
    return take_stars(spectra, ~nameless)


def _describe_damage(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}")


def _gather_blocks(loose: Iterator[Loose], size: int) -> Iterator[list[Loose]]:
    """Gather spectra until there are enough to be prepared together."""
    block: list[Loose] = []
    n_stars = 0
    for number, spectra in loose:
        block.append((number, spectra))
        n_stars += len(spectra.star)
        if n_stars >= size:
            yield block
            block, n_stars = [], 0
    if block:
        yield block


def _prepare_block(session: Session, block: Sequence[Loose], part: Part) -> None:
    """Prepare spectra for the survey's grid, and keep those that are of use."""
    fmt = get_format(session.plan.format, dict(session.plan.options))
    grid = get_grid(session.plan)
    for numbers, spectra in _group_alike(block):
        try:
            ready = prepare(spectra, fmt, session.plan.recipe, grid)
        except BadFile as error:  # of all of them: they are alike in what it may be about
            for number in np.unique(numbers):
                part.refuse(int(number), WHOLE_FILE, str(error))
        else:
            part.add(numbers, spectra, ready)


def _group_alike(block: Sequence[Loose]) -> Iterator[tuple[np.ndarray, Spectra]]:
    """Yield spectra that stand on one grid together, with the numbers of their files: (star,)."""
    start = 0
    while start < len(block):
        _, first = block[start]
        stop = start + 1
        while stop < len(block) and _is_alike(first, block[stop][1]):
            stop += 1
        alike = block[start:stop]
        numbers = [np.full(len(spectra.star), number) for number, spectra in alike]
        yield np.concatenate(numbers), _stack_spectra([spectra for _, spectra in alike])
        start = stop


_ARRAYS = ("flux", "ivar", "mask", "continuum", "velocity", "key")


def _is_alike(one: Spectra, other: Spectra) -> bool:
    """Whether spectra stand on one grid and have the same parts."""
    for name in _ARRAYS:
        if (getattr(one, name) is None) != (getattr(other, name) is None):
            return False
    if one.columns.keys() != other.columns.keys():
        return False
    return np.array_equal(one.wavelength, other.wavelength)


def _stack_spectra(spectra: Sequence[Spectra]) -> Spectra:
    first = spectra[0]
    if len(spectra) == 1:
        return first
    joined: dict[str, Any] = {}
    for name in ("star", *_ARRAYS):
        if getattr(first, name) is not None:
            joined[name] = np.concatenate([getattr(part, name) for part in spectra])
    columns = {}
    for name in first.columns:
        columns[name] = np.concatenate([part.columns[name] for part in spectra])
    return Spectra(wavelength=first.wavelength, columns=columns, **joined)
