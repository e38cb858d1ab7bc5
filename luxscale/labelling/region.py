"""The task of a run: label one region, from survey Zarr to catalogue Zarr.

The same call on a cluster, in a plain loop and by hand. Arrays are written first and ``status``
last, so a task that dies leaves its region pending. What cannot be read is labelled missing, and
flagged; what cannot be written stops the run.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.errors import InputError
from luxscale.labelling.plan import Plan, Region
from luxscale.model.file import load_model
from luxscale.model.inference import Inference
from luxscale.runs.executors import Clock, describe_error, name_worker
from luxscale.schema import flags
from luxscale.schema.status import DONE, UNREADABLE
from luxscale.store import chunks


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a task reports of its region.

    Parameters
    ----------
    region : int
    stars : int
    unreadable : tuple of (start, stop, reason)
        Stars whose data could not be read, by position.
    seconds : dict of str to float
        Time to ``read``, ``infer`` and ``write``.
    worker : str
        Host and process.
    """

    region: int
    stars: int
    unreadable: tuple[tuple[int, int, str], ...]
    seconds: dict[str, float]
    worker: str


def run_region(plan: Plan, region: Region) -> Outcome:
    """Label one region and write it.

    Nothing of the region counts as done until its ``status`` is written, which is last.

    Raises
    ------
    CannotWrite
    """
    clock = Clock()
    inference = _prepared(plan)
    pieces = list(_read(plan, region.start, region.stop))
    clock.mark("read")
    results, status, bad = [], [], []
    for start, stop, data in pieces:
        n = stop - start
        if isinstance(data, str):
            bad.append((start, stop, data))
            results.append(_missing(inference, n))
            status.append(np.full(n, UNREADABLE, np.uint8))
        else:
            results.append(inference.infer(data))
            status.append(np.full(n, DONE, np.uint8))
    del pieces
    clock.mark("infer")
    arrays = {r.name: np.concatenate([part[r.name] for part in results]) for r in inference.results}
    _write(plan, region, arrays, np.concatenate(status))
    clock.mark("write")
    return Outcome(
        region.index, region.stop - region.start, tuple(bad), clock.seconds, name_worker()
    )


def _read(
    plan: Plan, start: int, stop: int, *, again: bool = True
) -> Iterator[tuple[int, int, dict[str, np.ndarray] | str]]:
    """Yield the data of stars, as few pieces as can be: where something cannot be read, chunk by chunk, or why.

    A chunk that is not there is asked for twice: the survey may have been away, and be back.
    """
    survey = _opened(plan.survey, dict(plan.identity)["survey"])
    data: dict[str, np.ndarray] = {}
    name = ""
    try:
        for name in _prepared(plan).variables:
            data[name] = np.asarray(survey[name][start:stop].values)
        yield start, stop, data
    except Exception as error:  # codecs raise what they like
        if (
            isinstance(error, KeyError | FileNotFoundError)
            and store.read_attributes(plan.survey) is None
        ):
            raise FileNotFoundError(f"{plan.survey}: is not there for now") from error
        if store.is_outage(error):
            raise
        if stop - start > plan.chunk:
            for first in range(start, stop, plan.chunk):
                yield from _read(plan, first, min(first + plan.chunk, stop))
        elif again and isinstance(error, FileNotFoundError):
            yield from _read(plan, start, stop, again=False)
        else:
            yield start, stop, f"{name!r}: {describe_error(error)}"


def _missing(inference: Inference, n: int) -> dict[str, np.ndarray]:
    """Return what stands in a catalogue for stars whose data cannot be read: nothing, and a flag."""
    arrays = {}
    for result in inference.results:
        empty: Any = np.nan if result.dtype.kind == "f" else 0
        if result.name == "flags":
            empty = flags.BIT["unreadable"]
        arrays[result.name] = np.full((n, *result.shape), empty, result.dtype)
    return arrays


def _write(plan: Plan, region: Region, arrays: dict[str, np.ndarray], status: np.ndarray) -> None:
    """Write the results of a region, and its ``status`` last."""
    stars = slice(region.start, region.stop)
    with store.explain_writing(plan.catalog):
        group = _catalog(plan.catalog, plan.identity)
        _refuse_another(plan)
        for name, values in arrays.items():
            store.open_array(group, name)[stars] = values
        chunks.flush_chunks(group, list(arrays), region.start, region.stop)
        store.open_array(group, "status")[stars] = status


def _refuse_another(plan: Plan) -> None:
    """Refuse to write into a catalogue that was made anew, for another model say, while this task was under way."""
    held = store.open_group(plan.catalog, "r").attrs.get("identity")
    if held != dict(plan.identity):
        raise InputError(
            f"{plan.catalog}: is no longer the catalogue of this run; run the same command again"
        )


def _prepared(plan: Plan) -> Inference:
    """Return the inference that a plan asks for, prepared once a process."""
    return _load(plan.model, plan.given, plan.covariance, plan.fingerprint)


@functools.lru_cache(maxsize=1)
def _load(path: str, given: tuple[str, ...], covariance: bool, fingerprint: str) -> Inference:
    """Load a model once a process; a model is never sent with a task."""
    model = load_model(path)
    if model.fingerprint != fingerprint:
        raise InputError(
            f"{path}: the model changed while the run was under way; start a new catalogue"
        )
    return Inference.of(model, given, covariance=covariance)


@functools.lru_cache(maxsize=1)
def _opened(path: str, checksum: str) -> xr.Dataset:
    """Open a survey once a process (again if its checksum differs), without Dask: a region is one read."""
    return xr.open_zarr(
        chunks.open_strict(path), chunks=None, consolidated=False, create_default_indexes=False
    )


@functools.lru_cache(maxsize=1)
def _catalog(path: str, identity: tuple[tuple[str, str], ...]) -> Any:
    """Open a catalogue once a process: its arrays' metadata do not change while its identity does not."""
    return store.open_group(path, "r+")
