"""How the settings of a cross-validation scored: fold by fold, the choice between them, tables."""

from __future__ import annotations

import dataclasses
import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.evaluate import LABEL, STATISTICS, measure_pairs
from luxscale.analysis.tables import round_to
from luxscale.crossval.axes import (
    PRIOR,
    RECIPE,
    Axes,
    Setting,
    format_value,
    list_settings,
    name_axis,
)
from luxscale.crossval.frame import get_error_name
from luxscale.crossval.grid import GIVEN, Grid
from luxscale.errors import InputError
from luxscale.schema.variables import STAR


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The setting to go on with, the one with the best score, and how both scored.

    Parameters
    ----------
    setting, best : tuple of (name, value)
        On each axis of the grid.
    score, best_score : float
        Means over folds.
    """

    setting: Setting
    score: float
    best: Setting
    best_score: float

    def to_record(self) -> dict[str, Any]:
        """Return it as a dict that JSON can hold."""
        return {
            **dict(self.setting),
            "score": self.score,
            "best": [value for _, value in self.best],
            "best_score": self.best_score,
        }


def find_axes(results: xr.Dataset) -> Axes:
    """Return the axes of the grid of results or of scores, in their order."""
    dims = [str(dim) for dim in results["label_chi2"].dims]
    others = ("fold", "given", STAR)
    return tuple((dim, tuple(results[dim].values.tolist())) for dim in dims if dim not in others)


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
    for name in _find_labels(stars):
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


def _find_labels(results: xr.Dataset) -> list[str]:
    """Return the outputs that count as labels: those with trusted values and errors."""
    names = [str(v) for v in results.data_vars]
    trusted = [name.removeprefix("trusted_") for name in names if name.startswith("trusted_")]
    found = []
    for name in trusted:
        error = get_error_name(name)
        if error != name and error in trusted:
            found.append(name)
    return found


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


def choose(results: xr.Dataset, *, score: str = "label_chi2") -> Choice:
    """Choose the simplest setting that scores as well as any, by the rule of one standard error.

    Every fold is scored by every setting, so settings differ by the mean over folds of the
    difference of their scores, known to the standard deviation of the difference over the square
    root of the number of folds. Of the settings that are worse than the best by no more than that,
    those of the simplest recipe, of them those with the smallest P, and so on along the axes of the
    grid are taken, and with the prior that is best of them.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it; settings with all folds done count.
    score : str
        Score of `scores` that is to be small, given spectra: ``"label_chi2"``, ``"spectrum_chi2"``
        or ``"total_chi2"``. The last two count the fitted scatter of pixels as error, and so let a
        model with too few latents pass.

    Returns
    -------
    Choice

    Raises
    ------
    InputError
        If there is no such score, or no setting is done.
    """
    table = scores(results)
    if score not in table or LABEL in table[score].dims:
        raise InputError(
            f"{score!r} is no score to choose by; take label_chi2, spectrum_chi2 or total_chi2"
        )
    axes = find_axes(results)
    folds = table[score].sel(given="spectra").transpose(*dict(axes), "fold").values
    values = folds.reshape(-1, folds.shape[-1])
    is_done = np.isfinite(values).all(axis=1)
    settings = [s for s, done in zip(list_settings(axes), is_done, strict=True) if done]
    values = values[is_done]
    if not settings:
        raise InputError(
            "no setting has all its folds done; run the cross-validation again to finish it"
        )
    mean = values.mean(axis=1)
    best = int(np.argmin(mean))
    worse = values - values[best]
    # one standard error of the mean difference from the best, over folds
    error = worse.std(axis=1, ddof=1) / math.sqrt(values.shape[1])
    equal = np.flatnonzero(worse.mean(axis=1) <= error)
    chosen = min(equal, key=lambda i: (_measure_size(settings[i], axes), mean[i]))
    return Choice(
        setting=settings[chosen],
        score=float(mean[chosen]),
        best=settings[best],
        best_score=float(mean[best]),
    )


def _measure_size(setting: Setting, axes: Axes) -> tuple[int, ...]:
    """Return where a setting stands on each axis, the simplest first; no prior is simpler."""
    known = dict(axes)
    return tuple(known[name].index(value) for name, value in setting if name != PRIOR)


def suggest_command(grid: Grid, choice: Choice) -> str:
    """Return the command that trains the chosen setting on the same stars."""
    start, stop = grid.span
    words = [f"luxscale train {shlex.quote(grid.survey)}"]
    words += _name_recipe(grid, choice.setting)
    words.append(f"--stars {start}:{stop}")
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


def to_records(results: xr.Dataset) -> list[dict[str, Any]]:
    """Return medians over the folds of `scores` as dicts, one per setting, that JSON can hold.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it.

    Returns
    -------
    list of dict
        Keys of the axes, such as ``latent_dim`` and ``prior``, ``seconds``, scores such as
        ``label_chi2_given_spectra``, and ``label_rmse`` by label; None where a setting is not done.
    """
    # of some of the folds the median would not compare: NaN if any is missing
    middle = scores(results).median("fold", skipna=False)
    seconds = results["seconds"].median("fold").compute()
    records = []
    for setting in list_settings(find_axes(results)):
        chosen = dict(setting)
        at = middle.sel(chosen)
        record = chosen | {"seconds": _to_json(seconds.sel(chosen))}
        for name in ("spectrum_chi2", "label_chi2", "total_chi2"):
            for given in GIVEN:
                record[f"{name}_given_{given}"] = _to_json(at[name].sel(given=given))
        if "label_rmse" in at:
            rmse = at["label_rmse"]
            labels = rmse["label"].values.tolist()
            record["label_rmse"] = {str(k): _to_json(rmse.sel(label=k)) for k in labels}
        records.append(record)
    return records


def _to_json(value: xr.DataArray) -> float | None:
    """Return a number as JSON can hold it: None for NaN."""
    return float(value) if np.isfinite(value) else None


_COLUMNS = {
    "spectrum|spectrum": ("spectrum_chi2_given_spectra", 4),
    "labels|spectrum": ("label_chi2_given_spectra", 4),
    "spectrum|labels": ("spectrum_chi2_given_labels", 4),
    "labels|labels": ("label_chi2_given_labels", 4),
    "s/task": ("seconds", 1),
}


def format_table(records: Sequence[Mapping[str, Any]], choice: Choice | None = None) -> str:
    """Return `to_records` as aligned text: chi2 per value of what, given what.

    ``*`` marks the chosen setting.

    Parameters
    ----------
    records : sequence of dict
        From `to_records`.
    choice : Choice, optional
        From `choose`.

    Returns
    -------
    str
    """
    axes = list(itertools.takewhile(lambda key: key != "seconds", records[0]))
    rows = [["", *map(name_axis, axes), *_COLUMNS]]
    for record in records:
        setting = tuple((name, record[name]) for name in axes)
        mark = "*" if choice and setting == choice.setting else ""
        values = [format_value(value) for _, value in setting]
        rows.append([mark, *values, *(round_to(record[k], n) for k, n in _COLUMNS.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows
    )
