"""The task of a run: label one region, from survey Zarr to catalogue Zarr.

The call is the same on a cluster, in a plain loop and by hand. Arrays are written first and
``status`` last, so a task that dies leaves its region pending. Stars that cannot be read have
missing labels and a flag; a catalogue that cannot be written stops the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from luxscale import store
from luxscale.labelling.catalogue import Catalogue
from luxscale.labelling.plan import Plan, Region, load_current_model
from luxscale.model.blocks import BLOCK
from luxscale.model.inference import Inference
from luxscale.runs.executors import Clock, describe_error, name_worker
from luxscale.schema import flags
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.status import DONE, UNREADABLE
from luxscale.schema.variables import STAR
from luxscale.store.rows import Rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a task reports of its region.

    Parameters
    ----------
    region : int
    stars : int
    unreadable : tuple of (start, stop, reason)
        Stars whose data could not be read, by position.
    seconds : dict of str to float
        Time to ``read``, ``infer`` and ``write``; what was read ahead counts while it is waited
        for.
    worker : str
        Host and process.
    fell_back : int
        Stars for which the fast way to labels was not good enough, so that they took the exact one.
    """

    region: int
    stars: int
    unreadable: tuple[tuple[int, int, str], ...]
    seconds: dict[str, float]
    worker: str
    fell_back: int = 0


#: Stars from start to stop: their data by variable, or why they cannot be read.
_Piece = tuple[int, int, dict[str, np.ndarray] | str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workplace:
    """What a process keeps open to label regions of a plan.

    Parameters
    ----------
    plan : Plan
    survey : Rows
    catalogue : Catalogue
    reader : ThreadPoolExecutor
        Reads ahead.
    """

    plan: Plan
    survey: Rows
    catalogue: Catalogue
    reader: ThreadPoolExecutor = dataclasses.field(
        default_factory=functools.partial(ThreadPoolExecutor, 1)
    )


@functools.lru_cache(maxsize=1)
def open_workplace(plan: Plan) -> Workplace:
    """Open the survey and the catalogue of a plan, once a process."""
    return Workplace(plan=plan, survey=Rows(plan.survey), catalogue=Catalogue(plan))


def warm_up(survey: str, model: str, given: tuple[str, ...], covariance: bool) -> None:
    """Load what the first region would wait for: label some stars, before there is a plan.

    Parameters
    ----------
    survey, model : str
        Paths or URLs.
    given : tuple of str
    covariance : bool
    """
    with contextlib.suppress(Exception):  # whatever is wrong, the plan will say it
        loaded = load_current_model(store.make_absolute(model))
        inference = Inference.of(loaded, given, covariance=covariance)
        opened = store.open_dataset(survey, dask=False)
        inference = inference.reading(pick_outputs(opened, given, survey))
        rows, some = Rows(survey), min(BLOCK, opened.sizes[STAR])
        inference.infer({name: rows.read(name, 0, some) for name in inference.variables})


def read_ahead(plan: Plan, region: Region) -> Future[list[_Piece]]:
    """Begin to read a region, in the background; what comes of it is for `run_region`."""
    place = open_workplace(plan)
    return place.reader.submit(_read_region, place, region)


def run_region(plan: Plan, region: Region, ahead: Future[list[_Piece]] | None = None) -> Outcome:
    """Label one region and write it.

    Nothing of the region counts as done until its ``status`` is written, which is last.

    Parameters
    ----------
    plan : Plan
    region : Region
    ahead : Future, optional
        What `read_ahead` began; without it, the region is read now.

    Raises
    ------
    CannotWrite
    """
    clock = Clock()
    place = open_workplace(plan)
    inference = place.catalogue.inference
    pieces = _read_region(place, region) if ahead is None else ahead.result()
    clock.mark("read")
    results, status, unreadable = [], [], []
    fell_back = 0
    for start, stop, data in pieces:
        n = stop - start
        if isinstance(data, str):
            unreadable.append((start, stop, data))
            results.append(_make_unreadable(inference, n))
            status.append(np.full(n, UNREADABLE, np.uint8))
        else:
            found, count = inference.infer_and_count(data)
            results.append(found)
            fell_back += count
            status.append(np.full(n, DONE, np.uint8))
    del pieces
    clock.mark("infer")
    arrays = {r.name: np.concatenate([part[r.name] for part in results]) for r in inference.results}
    place.catalogue.write_region(region, arrays, np.concatenate(status))
    clock.mark("write")
    return Outcome(
        region=region.index,
        stars=region.stop - region.start,
        unreadable=tuple(unreadable),
        seconds=clock.seconds,
        worker=name_worker(),
        fell_back=fell_back,
    )


def _read_region(place: Workplace, region: Region) -> list[_Piece]:
    return list(_read_pieces(place, region.start, region.stop))


def _read_pieces(
    place: Workplace, start: int, stop: int, *, again: bool = True
) -> Iterator[_Piece]:
    """Yield pieces of the stars ``start`` to ``stop``: their data, or why it cannot be read.

    All stars are one piece. Only where they cannot be read together, each chunk of the survey is
    read for itself. One that is not there is asked for twice: the survey may have been away, and be
    back.
    """
    plan = place.plan
    data: dict[str, np.ndarray] = {}
    name = ""
    try:
        for name in place.catalogue.input_names:
            data[name] = place.survey.read(name, start, stop)
        yield start, stop, data
    except Exception as error:  # codecs raise what they like
        missing = isinstance(error, KeyError | FileNotFoundError)
        if missing and store.read_attributes(plan.survey) is None:
            raise FileNotFoundError(f"{plan.survey}: is not there for now") from error
        if store.is_outage(error):
            raise
        if stop - start > plan.chunk:
            for first in range(start, stop, plan.chunk):
                yield from _read_pieces(place, first, min(first + plan.chunk, stop))
        elif again and isinstance(error, FileNotFoundError):
            yield from _read_pieces(place, start, stop, again=False)
        else:
            yield start, stop, f"{name!r}: {describe_error(error)}"


def _make_unreadable(inference: Inference, n: int) -> dict[str, np.ndarray]:
    """Return the results of stars that cannot be read: missing values, and a flag."""
    arrays = {}
    for result in inference.results:
        missing: Any = np.nan if result.dtype.kind == "f" else 0
        if result.name == "flags":
            missing = flags.BIT["unreadable"]
        arrays[result.name] = np.full((n, *result.shape), missing, result.dtype)
    return arrays
