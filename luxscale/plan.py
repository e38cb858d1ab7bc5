"""The plan of a run: which survey, model and catalogue, divided into regions; and the catalogue that it fills."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from luxscale import store
from luxscale.infer import catalog_layout, check_covariance, check_match, decorate, dtype_of, given_outputs
from luxscale.model import load_model
from luxscale.schema import CATALOG, LATENT, STAR, InputError, check_unique

FORMAT = "luxscale-catalog"
FORMAT_VERSION = 1

#: Value of the attribute ``complete`` until all arrays exist; then 0, and 1 when all regions are done.
_BEING_MADE = -1

#: Stars a region aims at: whole chunks, about 70 MB of an APOGEE survey's flux and errors.
REGION_STARS = 1024


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
    paths = [store.absolute(p) for p in (survey, model, catalog)]
    opened, loaded = store.open_survey(paths[0]), load_model(paths[1])
    outputs = given_outputs(loaded, given)
    if "label_value" not in (o.name for o in loaded.labels):
        raise InputError(f"{paths[1]}: the model predicts no 'label_value'; train one on stars that have labels")
    check_covariance(loaded, covariance)
    check_match(opened, outputs, paths[0])
    stars = opened[STAR].values
    check_unique(stars, paths[0])
    names = tuple(o.name for o in outputs)
    identity = {
        "survey": _checksum(opened[[v for o in outputs for v in o.spec.variables]], stars),
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
    digest.update(f"chunks of {store.star_chunk(survey)}".encode())
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
    if held is None or (held.get("format") == FORMAT and held.get("complete") == _BEING_MADE):
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
    status = np.asarray(store.array(store.open_group(plan.catalog, "r"), "status")[:])
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
        "complete": _BEING_MADE,
    }
    catalog.to_zarr(
        store.located(plan.catalog), mode="w", compute=False, encoding=encoding, consolidated=False, zarr_format=3
    )
    store.open_group(plan.catalog, "r+").attrs["complete"] = 0
