"""How the settings of a cross-validation scored, fold by fold, and the command to go on with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import xarray as xr

from luxscale.analysis.evaluate import STATISTICS, measure_pairs
from luxscale.analysis.label_arrays import LABEL
from luxscale.crossval.axes import (
    PRIOR,
    RECIPE,
    Axes,
    Setting,
)
from luxscale.crossval.choice import Choice, find_axes, find_labels
from luxscale.crossval.frame import get_error_name
from luxscale.crossval.grid import Grid
from luxscale.schema.variables import STAR
from luxscale.training.methods import LABEL_CLIP


def scores(results: xr.Dataset) -> xr.Dataset:
    """Score every fold of every setting on the stars that it was not trained on.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it.

    Returns
    -------
    Dataset
        On the axes of the grid, such as (latent_dim, prior), and (fold,): ``spectrum_chi2`` per
        pixel, ``label_chi2`` per label and ``total_chi2``, the sum of equation A1 (given,); and of
        the labels predicted from spectra the statistics of `luxscale.analysis.evaluate.compare`,
        ``label_bias`` to ``label_pull`` (label,), in their units. NaN where a task is not done. The
        paper's figure 14 is ``scores(results)["total_chi2"].median("fold")``.
    """
    results = results.compute(scheduler="synchronous")
    names = [name for name, _ in find_axes(results)]
    fold = results["star_fold"].values
    made = []
    for k in range(results.sizes["fold"]):
        stars = results.isel({STAR: fold == k})
        made.append(_score_fold(stars))
    joined = xr.concat(
        made, "fold", data_vars="all", coords="minimal", compat="override", join="override"
    )
    joined = joined.where(results["status"] == 1)
    return joined.transpose(*names, "fold", ...).assign_attrs(
        title="scores on stars left out of training"
    )


def _score_fold(stars: xr.Dataset) -> xr.Dataset:
    """Score every setting on the stars of one fold."""
    total = {k: stars[k].sum(STAR) for k in ("spectrum_chi2", "label_chi2", "n_pixels", "n_labels")}
    made = xr.Dataset(
        {
            "spectrum_chi2": total["spectrum_chi2"] / total["n_pixels"],
            "label_chi2": total["label_chi2"] / total["n_labels"],
            "total_chi2": total["spectrum_chi2"] + total["label_chi2"],
        }
    )
    axes = find_axes(stars)
    for name in find_labels(stars):
        table = _tabulate(stars, axes, name)
        made = made.merge(
            table.rename({k: f"{name.removesuffix('_value')}_{k}" for k in STATISTICS})
        )
    return made


def _tabulate(stars: xr.Dataset, axes: Axes, output: str, chosen: Setting = ()) -> xr.Dataset:
    """Return `label_scores` of every setting on the axes that are left to choose on."""
    if not axes:
        return label_scores(stars, dict(chosen), output)
    (name, values), *others = axes
    parts = [_tabulate(stars, tuple(others), output, (*chosen, (name, v))) for v in values]
    return xr.concat(parts, stars[name], join="override")


def label_scores(
    results: xr.Dataset, setting: Mapping[str, Any], output: str = "label_value"
) -> xr.Dataset:
    """Compare labels predicted out of fold at one setting with the survey's, over all stars.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it.
    setting : mapping
        Value on each axis, such as ``{"latent_dim": 24, "prior": 1.0}``.
    output : str
        Which labels, by name.

    Returns
    -------
    Dataset
        As `luxscale.analysis.evaluate.compare` does. Errors are formal: a fold measures no misfit,
        so pulls exceed 1 where the model does not follow the labels.
    """
    chosen = results.sel(dict(setting))
    error = get_error_name(output)
    trusted = results[f"trusted_{output}"]
    dim = str(trusted.dims[1])
    arrays = {
        "inferred": chosen[output],
        "inferred_err": chosen[error],
        "truth": trusted,
        "truth_err": results[f"trusted_{error}"],
    }
    pairs = {name: ((STAR, LABEL), array.values) for name, array in arrays.items()}
    units: Any = [""] * results.sizes[dim]
    if f"{dim}_units" in results.coords:
        units = results[f"{dim}_units"].values
    coords = {LABEL: results[dim].values, "label_units": (LABEL, units)}
    attributes = {"truth_name": f"trusted_{output}"}
    measured = measure_pairs(xr.Dataset(pairs, coords, attributes))
    if dim == LABEL:
        return measured
    return measured.rename({LABEL: dim, "label_units": f"{dim}_units"})


def suggest_command(grid: Grid, choice: Choice) -> str:
    """Return the command that trains the chosen setting on the same stars."""
    words = [f"luxscale train {shlex.quote(grid.survey)}"]
    words += _name_recipe(grid, choice.setting)
    # all of them, too: the survey may grow
    options = grid.selection.options or [("--stars", f"0:{grid.n_stars}")]
    words += [f"{option} {shlex.quote(text)}" for option, text in options]
    if grid.label_clip != LABEL_CLIP:
        words.append(f"--label-clip {grid.label_clip:g}")
    for name in grid.outputs:
        words.append(f"--output {name}")
    words.append("--out model.zarr")
    return " ".join(words)


def _name_recipe(grid: Grid, setting: Setting) -> list[str]:
    """Return the options of ``luxscale train`` that say what to train."""
    values = dict(setting)
    if set(values) == {RECIPE} and not grid.settings:
        return [f"--recipe {values[RECIPE]}"]
    recipe = grid.find_recipe(setting)
    words = [f"--method {recipe.method}", f"--latent-dim {recipe.latent_dim}"]
    if PRIOR in values:
        words.append(f"--prior {values[PRIOR]:g}")
    for name, value in recipe.settings.items():
        option = name.replace("_", "-")
        text = f"{value:g}" if isinstance(value, float) else str(value)
        words.append(f"--{option} {text}")
    return words
