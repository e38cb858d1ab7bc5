"""What is to be trained on, checked before anything is written: a plan of regions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.chunked.passes import count_columns
from luxscale.chunked.plan import Plan, cut_regions
from luxscale.errors import InputError
from luxscale.labelling.plan import compute_checksum
from luxscale.runs.executors import VERSION
from luxscale.schema.blocks import check_region, round_to_chunks
from luxscale.schema.checks import check_unique
from luxscale.schema.outputs import OutputSpec, Role, pick_outputs
from luxscale.schema.selection import Selection, take_rows
from luxscale.schema.variables import STAR
from luxscale.store import chunks
from luxscale.training.load import check_number
from luxscale.training.recipes import find_recipe
from luxscale.training.request import Request
from luxscale.training.select import check_sizes, find_labelled, refuse_catalog

#: Bytes of input that a region aims at, and how many times the bytes of its sums, which are written
#: for each; fewer in a small survey, so that there are regions to share out.
_REGION_BYTES, _TIMES_SUMS, _LEAST_REGIONS = 75e6, 6, 8

#: The recipe whose sums over stars add, and its method.
_RECIPE, _METHOD = "linear", "marginal"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A survey that is ready to be trained on.

    Parameters
    ----------
    plan : Plan
    request : Request
    rows : array of int, (star,)
        Positions of the training stars.
    stars : Dataset
        The training stars, lazy.
    left_out : dict of str to int
        What of the survey takes no part.
    n_selected : int
        Stars, with those that have no label.
    """

    plan: Plan
    request: Request
    rows: np.ndarray
    stars: xr.Dataset
    left_out: dict[str, int]
    n_selected: int


def check_recipe(recipe: str | None, method: str | None) -> None:
    """Refuse a recipe or method of which no sums over stars add.

    Raises
    ------
    InputError
    """
    for name, asked, can in (("recipe", recipe, _RECIPE), ("method", method, _METHOD)):
        if asked not in (None, can):
            raise InputError(
                f"{name} {asked!r} is trained in memory only, chunk by chunk is {name} {can!r}; "
                f"train {asked!r} on a sample of the stars, --stars random:20000 without --chunked "
                "(lux.train), or the linear one on all"
            )


def prepare(
    survey: str, folder: str, request: Request, selection: Selection, region_stars: int | None
) -> Prepared:
    """Check what is asked for, and divide the training stars into regions.

    Parameters
    ----------
    survey : str
    folder : str
        Of the training.
    request : Request
    selection : Selection
        Stars to train on.
    region_stars : int, optional

    Raises
    ------
    InputError
    """
    where = request.where
    opened = store.open_survey(survey, check="structure", outputs=request.outputs)
    refuse_catalog(opened, where)
    specs = pick_outputs(opened, request.outputs, where)
    labels = [s for s in specs if s.role is Role.LABELS]
    if not labels or len(labels) == len(specs):
        raise InputError(
            f"{where}: training over chunks needs labels and spectra, and its outputs are "
            f"{', '.join(s.name for s in specs)}; name both, join labels (luxscale ingest "
            "--labels), or train in memory"
        )
    selected = selection.find_rows(opened, where)
    known, left_out = find_labelled(take_rows(opened, selected), labels, where)
    rows = selected[known]
    stars = take_rows(opened, rows)
    check_number(rows.size, where)
    check_unique(stars[STAR].values, where)
    sizes = tuple(int(opened.sizes[s.dim]) for s in specs)
    request = _choose_size(request, specs, sizes, rows.size)
    assert request.latent_dim is not None
    check_sizes(rows.size, sum(sizes), request.latent_dim, request.folds, where)
    variables = [v for s in specs for v in s.variables]
    chunk = _get_chunk(survey, variables)
    if region_stars is None:
        region_stars = _choose_region_size(opened, specs, sizes, request.latent_dim, rows.size)
    plan = Plan(
        survey=survey,
        folder=folder,
        where=where,
        outputs=specs,
        sizes=sizes,
        latent_dim=request.latent_dim,
        n_stars=rows.size,
        chunk=chunk,
        bounds=cut_regions(rows, chunk, round_to_chunks(check_region(region_stars), chunk)),
        identity=(),
    )
    identity = _identify(opened[variables], survey, request, selection, rows, plan)
    return Prepared(
        plan=dataclasses.replace(plan, identity=tuple(identity.items())),
        request=request,
        rows=rows,
        stars=stars,
        left_out=left_out,
        n_selected=selected.size,
    )


def _choose_size(
    request: Request, specs: Sequence[OutputSpec], sizes: Sequence[int], n_stars: int
) -> Request:
    """Return a request with the latents of the linear recipe, unless it says how many."""
    if request.latent_dim is not None:
        return request
    counts = dict.fromkeys(Role, 0)
    for spec, size in zip(specs, sizes, strict=True):
        counts[spec.role] += size
    recipe = find_recipe(_RECIPE, n_stars, counts[Role.LABELS], counts[Role.SPECTRUM])
    return dataclasses.replace(request, latent_dim=recipe.latent_dim)


def _choose_region_size(
    opened: xr.Dataset,
    specs: Sequence[OutputSpec],
    sizes: Sequence[int],
    latent_dim: int,
    n_stars: int,
) -> int:
    variables = [v for s in specs for v in s.variables]
    star_bytes = sum(opened[v][:1].nbytes for v in variables)
    most = max(_REGION_BYTES, _TIMES_SUMS * count_sum_bytes(sizes, latent_dim)) / star_bytes
    return max(int(min(most, n_stars / _LEAST_REGIONS)), 1)


def count_sum_bytes(sizes: Sequence[int], latent_dim: int) -> int:
    """Return the bytes of the sums of the regression, float32."""
    return 4 * sum(sizes) * count_columns(latent_dim)


def _get_chunk(survey: str, variables: Sequence[str]) -> int:
    """Return the stars of a stored chunk, the largest of all that is read."""
    group = store.open_group(survey, "r")
    return max(chunks.get_chunk_rows(store.open_array(group, v)) for v in variables)


def _identify(
    opened: xr.Dataset,
    survey: str,
    request: Request,
    selection: Selection,
    rows: np.ndarray,
    plan: Plan,
) -> dict[str, str]:
    """Return what a folder must agree on to be continued."""
    group = store.open_group(survey, "r")
    marks = hashlib.sha256()
    for name in map(str, opened.data_vars):
        marks.update(chunks.read_marks(group, name, 0, opened.sizes[STAR]).tobytes())
    settings: Mapping[str, Any] = {
        **request.settings,
        "latent_dim": request.latent_dim,
        "folds": request.folds,
        "prior": request.prior,
        "seed": request.seed,
        "label_clip": request.label_clip,
        "windows": request.windows,
    }
    return {
        "version": VERSION,
        "survey": compute_checksum(opened, opened[STAR].values),
        "data": marks.hexdigest(),
        "outputs": json.dumps([spec.name for spec in plan.outputs]),
        "stars": selection.text,
        "rows": hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest(),
        **{name: json.dumps(value, default=str) for name, value in settings.items()},
        "regions": json.dumps(plan.bounds),
    }
