"""The production run: one task a region, from survey Zarr to catalogue Zarr.

A region is a run of whole chunks (see `luxscale.plan`). Its task reads it, infers, writes the arrays and, last, its ``status``; regions
with any ``status`` 0 are pending, so a run that was interrupted goes on where it was. The same `run_region` works by
hand, in a plain loop, and on a Dask cluster.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale import flags, store
from luxscale.infer import catalog_layout, flatten, given_outputs, ivars_of
from luxscale.kernel import Task, infer_arrays, on_accelerator, task
from luxscale.model import LuxModel, load_model
from luxscale.plan import Plan, Region, make_plan, pending, prepare
from luxscale.progress import Progress
from luxscale.schema import InputError, OutputSpec


class RunError(RuntimeError):
    """A run that ended with regions that could not be done; the message names them and how to retry."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """How a run ended.

    Parameters
    ----------
    catalog : str
    n_stars : int
        Stars in the catalogue, all done.
    n_run : int
        Stars that this run did; the others were done before.
    seconds : float
    flags : dict of str to int
        Stars with each flag.
    """

    catalog: str
    n_stars: int
    n_run: int
    seconds: float
    flags: dict[str, int]


def label_survey(
    survey: str | Path,
    model: str | Path,
    catalog: str | Path,
    *,
    client: Any = None,
    given: str | Sequence[str] = "flux",
    covariance: bool = False,
    region_stars: int | None = None,
    progress: bool = True,
) -> Summary:
    """Label every star of a survey, region by region, into a catalogue; called again, it resumes.

    Parameters
    ----------
    survey, model, catalog : str or Path
        Zarr stores. The catalogue is made, or continued if it is of the same survey, model and settings.
    client : distributed.Client, optional
        Cluster to run on; without one, regions are done one after another in this process.
    given : str or sequence of str
        Outputs to infer from.
    covariance : bool
        Whether to write ``label_cov``.
    region_stars : int, optional
        Stars a task, a multiple of the survey's chunk; whole chunks of about 1,024 stars if not given.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    Summary

    Raises
    ------
    InputError
        Before any work, if survey and model do not fit, or the catalogue's path holds something else.
    RunError
        If regions could not be done; all others are.

    Notes
    -----
    A survey counts as the same if its stars, grids and the layout of the given outputs are; its flux is not read twice
    to find out. Remove the catalogue after correcting a survey in place.
    """
    plan = make_plan(survey, model, catalog, given=given, covariance=covariance, region_stars=region_stars)
    return complete(plan, prepare(plan), client=client, progress=progress)


def complete(plan: Plan, todo: Sequence[Region], *, client: Any = None, progress: bool = True) -> Summary:
    """Do what is pending of a plan, and finalise its catalogue.

    Raises
    ------
    RunError
    """
    started = time.monotonic()
    run(plan, todo, client=client, progress=progress)
    counts = finalise(plan)
    return Summary(plan.catalog, plan.n_stars, sum(r.stop - r.start for r in todo), time.monotonic() - started, counts)


def run(plan: Plan, regions: Sequence[Region], *, client: Any = None, progress: bool = True) -> None:
    """Do regions, on a cluster or one after another.

    Raises
    ------
    RunError
        Names the regions that could not be done; all others are.
    """
    failed: dict[int, BaseException] = {}
    done, started = 0, time.monotonic()
    with Progress("labelling", sum(r.stop - r.start for r in regions), unit="stars", enabled=progress) as shown:
        for region, error in _in_process(plan, regions) if client is None else _on_cluster(plan, regions, client):
            if error is None:
                done += region.stop - region.start
            else:
                failed[region.index] = error
            shown.update(done, f"{done / (time.monotonic() - started):,.0f} stars/s")
    if failed:
        first = min(failed)
        listed = ", ".join(map(str, sorted(failed)[:10])) + (" ..." if len(failed) > 10 else "")
        raise RunError(
            f"{plan.catalog}: {len(failed)} of {len(regions)} regions could not be done ({listed}); region {first}: "
            f"{type(failed[first]).__name__}: {failed[first]}. The others are done; mend the cause and run the same "
            f"command again, or look at one alone with --region {first}"
        ) from failed[first]


def _in_process(plan: Plan, regions: Sequence[Region]) -> Iterator[tuple[Region, BaseException | None]]:
    for region in regions:
        try:
            run_region(plan, region)
        except Exception as error:
            yield region, error
        else:
            yield region, None


def _on_cluster(plan: Plan, regions: Sequence[Region], client: Any) -> Iterator[tuple[Region, BaseException | None]]:
    from distributed import as_completed

    futures = client.map(run_region, [plan] * len(regions), list(regions), pure=False, retries=2)
    by_key = {f.key: r for f, r in zip(futures, regions, strict=True)}
    for future in as_completed(futures):
        yield by_key[future.key], future.exception()
        future.release()


def run_region(plan: Plan, region: Region) -> int:
    """Label one region and write it; returns the number of its stars.

    Nothing of the region counts as done until its ``status`` is written, which is last.
    """
    work, specs, model = _prepared(plan.model, plan.given, dict(plan.identity)["model"])
    stars = slice(region.start, region.stop)
    survey = _opened(plan.survey, dict(plan.identity)["survey"])
    data = [np.asarray(survey[v][stars].values) for s in specs for v in s.variables]
    inferred = infer_arrays(work, data[0::2], ivars_of(specs, data), covariance=plan.covariance)
    group = store.open_group(plan.catalog, "r+")
    for name, array in zip(catalog_layout(model, plan.covariance)[0], flatten(inferred), strict=True):
        store.array(group, name)[stars] = array
    store.array(group, "status")[stars] = np.ones(region.stop - region.start, np.uint8)
    return region.stop - region.start


@functools.lru_cache(maxsize=1)
def _prepared(path: str, given: tuple[str, ...], fingerprint: str) -> tuple[Task, tuple[OutputSpec, ...], LuxModel]:
    """Load a model once a process; a model is never sent with a task."""
    model = load_model(path)
    if model.fingerprint != fingerprint:
        raise InputError(f"{path}: the model changed while the run was under way; start a new catalogue")
    outputs = given_outputs(model, given)
    work = task(model, outputs)
    return dataclasses.replace(work, designs=on_accelerator(work.designs)), tuple(o.spec for o in outputs), model


@functools.lru_cache(maxsize=1)
def _opened(path: str, checksum: str) -> xr.Dataset:
    """Open a survey once a process (again if its checksum differs), without Dask: a region is one read."""
    return xr.open_zarr(store.located(path), chunks=None, consolidated=False, create_default_indexes=False)


def finalise(plan: Plan) -> dict[str, int]:
    """Check that all regions are done, and record the counts of flags in the catalogue.

    Raises
    ------
    RunError
        If regions are pending.
    """
    left = pending(plan)
    if left:
        raise RunError(
            f"{plan.catalog}: {len(left)} regions are pending, first {left[0].index}; run the same command again"
        )
    group = store.open_group(plan.catalog, "r+")
    counts = flags.count(np.asarray(store.array(group, "flags")[:]))
    group.attrs.update({"complete": 1, "flag_counts": counts})
    return counts
