"""The plan of a run: which survey, model and catalogue, divided into regions."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.errors import InputError
from luxscale.model.file import from_dataset
from luxscale.model.infer import check_match
from luxscale.model.inference import check_covariance, pick_given
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output
from luxscale.runs.executors import VERSION
from luxscale.schema.blocks import check_region, round_to_chunks
from luxscale.schema.checks import check_unique
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.variables import STAR

#: Bytes of input that a region aims at, in whole chunks: 1,024 APOGEE spectra with their errors.
#: Small surveys are cut into regions enough to share out.
_REGION_BYTES, _LEAST_REGIONS = 75e6, 16


@dataclasses.dataclass(frozen=True)
class Region:
    """Stars ``start`` to ``stop`` of a survey."""

    index: int
    start: int
    stop: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to label, with what, into what: all that a task needs to know, as plain values.

    Parameters
    ----------
    survey, model, catalog : str
        Paths or URLs.
    given : tuple of str
        Outputs to infer from.
    covariance : bool
    n_stars, chunk, region_stars : int
        Stars in all, in a chunk of the catalogue, in a region.
    identity : tuple of (name, value)
        What a catalogue must agree on to be continued.
    version : str
        Of luxscale.
    replaces : str
        Catalogue whose place this one takes when it is complete; empty if none.
    """

    survey: str
    model: str
    catalog: str
    given: tuple[str, ...]
    covariance: bool
    n_stars: int
    chunk: int
    region_stars: int
    identity: tuple[tuple[str, str], ...]
    version: str = VERSION
    replaces: str = ""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model."""
        return dict(self.identity)["model"]

    def load_model(self) -> LuxModel:
        """Return the model; it is loaded once a process, and never sent with a task.

        Raises
        ------
        InputError
            If another model is there now.
        """
        return _load_model(self.model, self.fingerprint)

    def compute_checksum(self, n_stars: int) -> str:
        """Return the checksum that the survey had when it had so many stars, the first."""
        opened = store.open_survey(self.survey, check="structure", outputs=self.given, dask=False)
        specs = pick_outputs(opened, self.given, self.survey)
        variables = [v for spec in specs for v in spec.variables]
        first = opened[variables].isel({STAR: slice(n_stars)})
        return compute_checksum(first, opened[STAR].values[:n_stars])

    @property
    def regions(self) -> tuple[Region, ...]:
        """All regions, in order."""
        starts = range(0, self.n_stars, self.region_stars)
        return tuple(
            Region(i, a, min(a + self.region_stars, self.n_stars)) for i, a in enumerate(starts)
        )


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
    paths = [
        _take_path(path, name)
        for name, path in (("survey", survey), ("model", model), ("catalog", catalog))
    ]
    fingerprint = _read_fingerprint(paths[1])
    outputs = _choose_outputs(paths[1], fingerprint, given, covariance)
    opened = _open_survey(paths[0], [o.name for o in outputs])
    specs = check_match(opened, outputs, paths[0])
    stars = opened[STAR].values
    check_unique(stars, paths[0])
    given_names = tuple(o.name for o in outputs)
    inputs = opened[[v for spec in specs for v in spec.variables]]
    identity = {
        "survey": compute_checksum(inputs, stars),
        "model": str(fingerprint),
        "given": json.dumps(given_names),
        "covariance": json.dumps(covariance),
    }
    chunk = _get_stored_chunk(inputs)
    return Plan(
        survey=paths[0],
        model=paths[1],
        catalog=paths[2],
        given=given_names,
        covariance=covariance,
        n_stars=stars.size,
        chunk=chunk,
        region_stars=_round_region(region_stars, chunk, inputs),
        identity=tuple(identity.items()),
    )


def _choose_outputs(
    path: str, fingerprint: str | None, given: str | Sequence[str], covariance: bool
) -> tuple[Output, ...]:
    """Return the outputs of a model that labels are to be inferred from.

    Raises
    ------
    InputError
        If it lacks one of them, predicts no labels, or no covariances between those.
    """
    model = _load_model(path, fingerprint)
    outputs = pick_given(model, given)
    if "label_value" not in (o.name for o in model.labels):
        raise InputError(
            f"{path}: the model predicts no 'label_value'; train one on stars that have labels"
        )
    check_covariance(model, covariance)
    return outputs


def _round_region(asked: int | None, chunk: int, inputs: xr.Dataset) -> int:
    """Return the stars of a region, in whole chunks: as many as asked for, or as suit the inputs.

    Two tasks must never write into one chunk of the catalogue.
    """
    if asked is None:
        star_bytes = sum(v[:1].nbytes for v in inputs.data_vars.values())
        return choose_region_size(inputs.sizes[STAR], chunk, star_bytes)
    return round_to_chunks(check_region(asked), chunk)


def _take_path(path: str | Path, name: str) -> str:
    if not isinstance(path, str | os.PathLike):
        raise InputError(
            f"{name} is a {type(path).__name__}, not the path of a store; what is in memory is "
            "labelled by lux.infer(survey, model)"
        )
    return store.make_absolute(path)


def _open_model(path: str) -> xr.Dataset:
    return store.open_dataset(path, dask=False, kind="model")


def load_current_model(path: str) -> LuxModel:
    """Return the model that is at a path now; it is loaded once a process.

    Raises
    ------
    InputError
    """
    return _load_model(path, _read_fingerprint(path))


def _read_fingerprint(path: str) -> str | None:
    """Return what a model states, which is compared with its arrays when it is loaded.

    None where no store is, as loading then says.
    """
    attributes = (store.read_attributes(path) if store.is_store(path) else None) or {}
    stated: str | None = attributes.get("fingerprint")
    return stated


@functools.lru_cache(maxsize=1)
def _load_model(path: str, fingerprint: str | None) -> LuxModel:
    """Load a model once a process; its fingerprint tells it from another at the same path.

    Raises
    ------
    InputError
        If another model is there now.
    """
    opened = _open_model(path)
    if opened.attrs.get("fingerprint") != fingerprint:
        raise InputError(
            f"{path}: the model changed while the run was under way; start a new catalogue"
        )
    return from_dataset(opened, path)


def choose_region_size(n_stars: int, chunk: int, star_bytes: int) -> int:
    """Return the stars of a region: whole chunks, as many as hold the bytes that it aims at.

    Fewer in a small survey, so that there are regions enough to share out.
    """
    most_stars = min(_REGION_BYTES / star_bytes, n_stars / _LEAST_REGIONS)
    return round_to_chunks(most_stars, chunk)


def _open_survey(path: str, outputs: Sequence[str]) -> xr.Dataset:
    """Open a survey and check what is read of it.

    Chunks that cannot be read are left for the run to flag, which does the others.
    """
    survey = store.open_survey(path, check="structure", outputs=outputs, dask=False)
    try:
        store.check_contents(survey, path, sample=True, outputs=outputs)
    except InputError:
        raise
    except Exception as error:  # codecs raise what they like
        if store.is_outage(error):
            raise
    return survey


def _get_stored_chunk(survey: xr.Dataset) -> int:
    """Return the stars that a chunk of the survey has room for, be it the only one and not full."""
    room = []
    for variable in survey.data_vars.values():
        chunks = variable.encoding.get("preferred_chunks", {})
        room.append(chunks.get(STAR, 0))
    return max(store.get_star_chunk(survey), *room)


def compute_checksum(survey: xr.Dataset, stars: np.ndarray) -> str:
    """Return the SHA-256 of a survey's stars, grids and layout.

    Not of its flux, which is too large to read twice.
    """
    digest = hashlib.sha256("\n".join(map(str, stars.tolist())).encode())
    chunk = store.get_star_chunk(survey)
    digest.update(f"chunks of {chunk}".encode())
    for name, v in sorted(survey.data_vars.items()):
        own = store.get_first_chunk(v)
        if own and own != chunk:
            digest.update(f"{name} in chunks of {own}".encode())
    for name in sorted(map(str, survey.variables)):
        variable = survey.variables[name]
        digest.update(f"{name} {variable.dims} {variable.shape} {variable.dtype}".encode())
        if variable.dims == (name,) and name != STAR and variable.dtype.kind == "f":
            digest.update(np.ascontiguousarray(variable.values).data)
    return digest.hexdigest()
