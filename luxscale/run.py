"""The production run: a plan of regions, one task a region, from survey Zarr to catalogue Zarr.

A region is a run of whole chunks. Its task reads it, infers, writes the arrays and, last, its ``status``; regions
with any ``status`` 0 are pending, so a run that was interrupted goes on where it was. The same `run_region` works by
hand, in a plain loop, and on a Dask cluster.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from luxscale import flags, store
from luxscale.infer import (
    Design,
    Head,
    catalog_layout,
    check_match,
    decorate,
    design,
    dtype_of,
    flatten,
    given_outputs,
    head,
    infer_arrays,
    ivars_of,
    limits_of,
)
from luxscale.model import LuxModel, load_model
from luxscale.progress import Progress
from luxscale.schema import CATALOG, LATENT, STAR, InputError, OutputSpec, check_unique

FORMAT = "luxscale-catalog"
FORMAT_VERSION = 1

#: Stars a region aims at: whole chunks, about 70 MB of an APOGEE survey's flux and errors.
REGION_STARS = 1024


class RunError(RuntimeError):
    """A run that ended with regions that could not be done; the message names them and how to retry."""


@dataclasses.dataclass(frozen=True)
class Region:
    """Stars ``start`` to ``stop`` of a survey."""

    index: int
    start: int
    stop: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to label, with what, into what: all that a task needs to know, as plain values.

    Parameters
    ----------
    survey, model, catalog : str
        Paths or URLs.
    given : tuple of str
        Outputs to infer from.
    covariance : bool
    n_stars, region_stars : int
    identity : tuple of (name, value)
        What a catalogue must agree on to be continued.
    """

    survey: str
    model: str
    catalog: str
    given: tuple[str, ...]
    covariance: bool
    n_stars: int
    region_stars: int
    identity: tuple[tuple[str, str], ...]

    @property
    def regions(self) -> tuple[Region, ...]:
        """All regions, in order."""
        starts = range(0, self.n_stars, self.region_stars)
        return tuple(Region(i, a, min(a + self.region_stars, self.n_stars)) for i, a in enumerate(starts))


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
    """
    started = time.monotonic()
    plan = make_plan(survey, model, catalog, given=given, covariance=covariance, region_stars=region_stars)
    todo = prepare(plan)
    run(plan, todo, client=client, progress=progress)
    counts = finalise(plan)
    return Summary(plan.catalog, plan.n_stars, sum(r.stop - r.start for r in todo), time.monotonic() - started, counts)


def make_plan(
    survey: str | Path,
    model: str | Path,
    catalog: str | Path,
    *,
    given: str | Sequence[str] = "flux",
    covariance: bool = False,
    region_stars: int | None = None,
) -> Plan:
    """Check that survey and model fit, and divide the survey into regions.

    Raises
    ------
    InputError
    """
    paths = [str(p) if "://" in str(p) else str(Path(p).absolute()) for p in (survey, model, catalog)]
    opened, loaded = store.open_survey(paths[0]), load_model(paths[1])
    outputs = given_outputs(loaded, given)
    check_match(opened, outputs, paths[0])
    stars = opened[STAR].values
    check_unique(stars, paths[0])
    names = tuple(o.name for o in outputs)
    identity = {
        "survey": _checksum(opened, stars),
        "model": loaded.fingerprint,
        "given": json.dumps(names),
        "covariance": json.dumps(covariance),
    }
    chunk = store.star_chunk(opened)
    region_stars = chunk * max(1, REGION_STARS // chunk) if region_stars is None else region_stars
    if region_stars < 1 or region_stars % chunk:
        raise InputError(
            f"region_stars={region_stars} is not a multiple of the {chunk} stars in a chunk of {paths[0]}, so two "
            f"tasks would write one chunk; choose e.g. {chunk * max(1, round(region_stars / chunk))}"
        )
    return Plan(paths[0], paths[1], paths[2], names, covariance, stars.size, region_stars, tuple(identity.items()))


def _checksum(survey: xr.Dataset, stars: np.ndarray) -> str:
    """SHA-256 of a survey's stars, grids and layout; not of its flux, which is too large to read twice."""
    digest = hashlib.sha256("\n".join(map(str, stars.tolist())).encode())
    for name in sorted(map(str, survey.variables)):
        variable = survey.variables[name]
        digest.update(f"{name} {variable.dims} {variable.shape} {variable.dtype}".encode())
        if variable.dims == (name,) and name != STAR and variable.dtype.kind == "f":
            digest.update(np.ascontiguousarray(variable.values).data)
    return digest.hexdigest()


def prepare(plan: Plan) -> tuple[Region, ...]:
    """Make the catalogue, or check that it may be continued; return the regions that are pending.

    Raises
    ------
    InputError
        If something else is there, or a catalogue of another survey, model or setting.
    """
    held = store.attributes(plan.catalog)
    if held is None:
        _create(plan)
        return plan.regions
    if held.get("format") != FORMAT:
        raise InputError(
            f"{plan.catalog}: holds {held.get('format', 'another Zarr store')!r}, not a catalogue; choose another path"
        )
    changed = [name for name, value in plan.identity if held["identity"].get(name) != value]
    if changed:
        raise InputError(
            f"{plan.catalog}: a catalogue made with another {' and '.join(changed)}; choose another path, or "
            "remove it and start again"
        )
    return pending(plan)


def pending(plan: Plan) -> tuple[Region, ...]:
    """Return the regions of which any star is not done."""
    status = np.asarray(zarr.open_array(plan.catalog, path="status", mode="r")[:])
    return tuple(r for r in plan.regions if not status[r.start : r.stop].all())


def _create(plan: Plan) -> None:
    """Write a catalogue's metadata, coordinates and identity: all but the regions."""
    model, survey = load_model(plan.model), store.open_dataset(plan.survey)
    names, dims = catalog_layout(model, plan.covariance)
    sizes = {STAR: plan.n_stars, LATENT: model.latent_dim}
    sizes |= {d: len(o.coord) for o in model.labels for d in (o.spec.dim, f"{o.spec.dim}_other")}
    chunk = store.star_chunk(survey)
    variables, encoding = {}, {}
    for name, on in [*zip(names, dims, strict=True), ("status", (STAR,))]:
        dtype = np.dtype(np.uint8) if name == "status" else dtype_of(name)
        shape = tuple(sizes[d] for d in on)
        chunks = (min(chunk, plan.n_stars), *shape[1:])
        variables[name] = (on, da.zeros(shape, dtype=dtype, chunks=chunks))
        encoding[name] = {"chunks": chunks, **({"_FillValue": np.nan} if dtype.kind == "f" else {})}
    stars = survey[STAR].values
    stars = stars if stars.dtype.kind in "iu" else stars.astype(object)
    catalog = decorate(xr.Dataset(variables, {STAR: stars}), model)
    catalog["status"].attrs = {
        "long_name": next(v.doc for v in CATALOG if v.name == "status"),
        "flag_values": [0, 1],
        "flag_meanings": "not_done done",
    }
    catalog.attrs |= {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "identity": dict(plan.identity),
        "complete": 0,
    }
    catalog.to_zarr(plan.catalog, mode="w", compute=False, encoding=encoding, consolidated=False, zarr_format=3)


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
    designs, heads, specs, model = _prepared(plan.model, plan.given, dict(plan.identity)["model"])
    stars = slice(region.start, region.stop)
    survey = _opened(plan.survey)
    data = [np.asarray(survey[v][stars].values) for s in specs for v in s.variables]
    inferred = infer_arrays(
        designs, data[0::2], ivars_of(specs, data), heads, covariance=plan.covariance, limits=limits_of(model)
    )
    group = zarr.open_group(plan.catalog, mode="r+")
    for name, array in zip(catalog_layout(model, plan.covariance)[0], flatten(inferred), strict=True):
        _array(group, name)[stars] = array
    _array(group, "status")[stars] = np.ones(region.stop - region.start, np.uint8)
    return region.stop - region.start


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


@functools.lru_cache(maxsize=1)
def _prepared(
    path: str, given: tuple[str, ...], fingerprint: str
) -> tuple[tuple[Design, ...], tuple[Head, ...], tuple[OutputSpec, ...], LuxModel]:
    """Load a model once a process; a model is never sent with a task."""
    model = load_model(path)
    if model.fingerprint != fingerprint:
        raise InputError(f"{path}: the model changed while the run was under way; start a new catalogue")
    outputs = given_outputs(model, given)
    return (
        tuple(design(o) for o in outputs),
        tuple(head(o) for o in model.labels),
        tuple(o.spec for o in outputs),
        model,
    )


@functools.lru_cache(maxsize=1)
def _opened(path: str) -> xr.Dataset:
    """Open a survey once a process, without Dask: a region is one read."""
    return xr.open_zarr(path, chunks=None, consolidated=False, create_default_indexes=False)


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
    group = zarr.open_group(plan.catalog, mode="r+")
    counts = flags.count(np.asarray(_array(group, "flags")[:]))
    group.attrs.update({"complete": 1, "flag_counts": counts})
    return counts
