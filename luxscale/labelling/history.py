"""Which run labelled which stars of a catalogue: a partition of its stars, in its group ``run``.

It is written when a run begins, of the stars that it is to do: what is stopped is done by a later
run, and then belongs to that.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr

from luxscale import store
from luxscale.labelling.plan import Plan, Region

#: Group of a catalogue, and its attribute: a dict for each run.
_GROUP, _RUNS = f"{store.RUN}/history", "runs"


def record_run(group: zarr.Group, plan: Plan, pending: Sequence[Region]) -> None:
    """Write down that a run which begins now does the stars of these regions.

    Runs of which no star is left are forgotten.

    Parameters
    ----------
    group : Group
        Of the catalogue.
    plan : Plan
    pending : sequence of Region
    """
    history = group.require_group(_GROUP)
    runs: Any = history.attrs.get(_RUNS, [])
    taken = _merge([[region.start, region.stop] for region in pending])
    kept: list[Any] = [{**run, "stars": _subtract(run["stars"], taken)} for run in runs]
    now = datetime.datetime.now(datetime.UTC)
    begun: dict[str, Any] = {
        "started": now.isoformat(timespec="seconds").removesuffix("+00:00") + "Z",
        "version": plan.version,
        "model": plan.fingerprint,
        "stars": taken,
    }
    left = [run for run in kept if run["stars"]]
    history.attrs[_RUNS] = [*left, begun]


def read_runs(group: zarr.Group) -> list[dict[str, Any]]:
    """Return the runs that labelled a catalogue, in their order.

    Returns
    -------
    list of dict
        ``started`` (UTC), ``version`` of luxscale, ``model`` (fingerprint) and ``stars``, a list of
        [start, stop]. Empty for a catalogue of an older luxscale, which kept no history.
    """
    if _GROUP not in group:
        return []
    found: Any = group[_GROUP].attrs.get(_RUNS, [])
    return list(found)


def count_runs(runs: Sequence[dict[str, Any]], done: np.ndarray) -> list[dict[str, Any]]:
    """Count the stars of each run that are done.

    Parameters
    ----------
    runs : sequence of dict
        From `read_runs`.
    done : array, (star,), bool

    Returns
    -------
    list of dict
        ``started``, ``version``, ``model``, ``stars`` (int) and ``where``, spans of stars as
        "START:STOP"; the last for those of which nothing is known, if there are any.
    """
    before = np.concatenate([[0], np.cumsum(done)])
    counted = []
    for run in runs:
        spans = [(start, min(stop, done.size)) for start, stop in run["stars"]]
        stars = sum(int(before[stop] - before[start]) for start, stop in spans if start < stop)
        where = [f"{start}:{stop}" for start, stop in spans]
        counted.append({**run, "stars": stars, "where": where})
    unknown = int(before[-1]) - sum(run["stars"] for run in counted)
    if unknown:
        counted.append({"stars": unknown})
    return counted


def _merge(spans: Sequence[list[int]]) -> list[list[int]]:
    """Return spans in order, with those that touch made one."""
    merged: list[list[int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(stop, merged[-1][1])
        else:
            merged.append([start, stop])
    return merged


def _subtract(spans: Sequence[list[int]], taken: Sequence[list[int]]) -> list[list[int]]:
    """Return what is left of spans without others; both are in order and apart."""
    left = []
    following = list(taken)
    for start, stop in spans:
        while following and following[0][1] <= start:
            following.pop(0)
        for first, last in following:
            if first >= stop:
                break
            if start < first:
                left.append([start, first])
            start = max(start, last)
        if start < stop:
            left.append([start, stop])
    return left
