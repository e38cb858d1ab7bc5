"""How the settings of a cross-validation scored: fold by fold, the choice between them, tables."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from luxscale.analysis.evaluate import LABEL, STATISTICS, measure_pairs
from luxscale.analysis.tables import round_to
from luxscale.crossval.grid import GIVEN, SETTING, Grid, get_error_name
from luxscale.errors import InputError
from luxscale.schema.variables import STAR


class Choice(NamedTuple):
    """The setting to go on with, the one with the best score, and how both scored.

    Scores are means over folds.
    """

    latent_dim: int
    prior: float
    score: float
    best: tuple[int, float]
    best_score: float


def scores(results: xr.Dataset) -> xr.Dataset:
    """Score every fold of every setting on the stars that it was not trained on.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it.

    Returns
    -------
    Dataset
        On (latent_dim, prior, fold): ``spectrum_chi2`` per pixel, ``label_chi2`` per label and
        ``total_chi2``, the sum of equation A1 (given,); and of the labels predicted from spectra
        the statistics of `luxscale.analysis.evaluate.compare`, ``label_bias`` to ``label_pull``
        (label,), in their units. NaN where a task is not done. The paper's figure 14 is
        ``scores(results)["total_chi2"].median("fold")``.
    """
    results = results.compute(scheduler="synchronous")
    fold = results["star_fold"].values
    made = []
    for k in range(results.sizes["fold"]):
        stars = results.isel({STAR: fold == k})
        made.append(_score_fold(stars))
    joined = xr.concat(
        made, "fold", data_vars="all", coords="minimal", compat="override", join="override"
    )
    joined = joined.where(results["status"] == 1)
    return joined.transpose(*SETTING, "fold", ...).assign_attrs(
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
    for name in _find_labels(stars):
        settings = [
            [label_scores(stars, p, x, name) for x in stars["prior"].values]
            for p in stars["latent_dim"].values
        ]
        rows = [xr.concat(row, stars["prior"], join="override") for row in settings]
        table = xr.concat(rows, stars["latent_dim"], join="override")
        made = made.merge(
            table.rename({k: f"{name.removesuffix('_value')}_{k}" for k in STATISTICS})
        )
    return made


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
    results: xr.Dataset, latent_dim: int, prior: float, output: str = "label_value"
) -> xr.Dataset:
    """Compare labels predicted out of fold at one setting with the survey's, over all stars.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it.
    latent_dim : int
    prior : float
        One of the settings.
    output : str
        Which labels, by name.

    Returns
    -------
    Dataset
        As `luxscale.analysis.evaluate.compare` does. Errors are formal: a fold measures no misfit,
        so pulls exceed 1 where the model does not follow the labels.
    """
    chosen = results.sel(latent_dim=latent_dim, prior=prior)
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
    """Choose the fewest latents that score as well as any, by the rule of one standard error.

    Every fold is scored by every setting, so settings differ by the mean over folds of the
    difference of their scores, known to the standard deviation of the difference over the square
    root of the number of folds. Of the settings that are worse than the best by no more than that,
    those with the smallest P are taken, and the best of them is chosen.

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
    from_spectra = table[score].sel(given="spectra")
    folds = from_spectra.stack(setting=SETTING).transpose("setting", "fold")
    is_done = np.isfinite(folds.values).all(axis=1)
    folds = folds.isel(setting=is_done)
    if not folds.sizes["setting"]:
        raise InputError(
            "no setting has all its folds done; run the cross-validation again to finish it"
        )
    values = folds.values
    settings = [(int(p), float(x)) for p, x in folds["setting"].values.tolist()]
    mean = values.mean(axis=1)
    best = int(np.argmin(mean))
    worse = values - values[best]
    # one standard error of the mean difference from the best, over folds
    error = worse.std(axis=1, ddof=1) / math.sqrt(values.shape[1])
    equal = np.flatnonzero(worse.mean(axis=1) <= error)
    chosen = min(equal, key=lambda i: (settings[i][0], mean[i]))
    latent_dim, prior = settings[chosen]
    return Choice(
        latent_dim=latent_dim,
        prior=prior,
        score=float(mean[chosen]),
        best=settings[best],
        best_score=float(mean[best]),
    )


def suggest_command(grid: Grid, choice: Choice) -> str:
    """Return the command that trains the chosen setting on the same stars."""
    start, stop = grid.span
    words = [
        f"luxscale train {shlex.quote(grid.survey)}",
        f"--method {grid.method}",
        f"--latent-dim {choice.latent_dim}",
        f"--prior {choice.prior:g}",
        f"--stars {start}:{stop}",
    ]
    if grid.trains_with_prior:
        words.append(f"--latent-precision {choice.prior:g}")
    for name, value in grid.settings:
        option = name.replace("_", "-")
        words.append(f"--{option} {value}")
    for name in grid.outputs:
        words.append(f"--output {name}")
    words.append("--out model.zarr")
    return " ".join(words)


def to_records(results: xr.Dataset) -> list[dict[str, Any]]:
    """Return medians over the folds of `scores` as dicts, one a setting, that JSON can hold.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it.

    Returns
    -------
    list of dict
        Keys ``latent_dim``, ``prior``, ``seconds``, scores such as ``label_chi2_given_spectra``,
        and ``label_rmse`` by label; None where a setting is not done.
    """
    # of some of the folds the median would not compare: NaN if any is missing
    middle = scores(results).median("fold", skipna=False)
    seconds = results["seconds"].median("fold").compute()
    records = []
    for p in middle["latent_dim"].values.tolist():
        for prior in middle["prior"].values.tolist():
            at = middle.sel(latent_dim=p, prior=prior)
            record = {
                "latent_dim": p,
                "prior": prior,
                "seconds": _to_json(seconds.sel(latent_dim=p, prior=prior)),
            }
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
    rows = [["", "P", "prior", *_COLUMNS]]
    for r in records:
        mark = "*" if choice and (r["latent_dim"], r["prior"]) == choice[:2] else ""
        rows.append(
            [
                mark,
                str(r["latent_dim"]),
                f"{r['prior']:g}",
                *(round_to(r[k], n) for k, n in _COLUMNS.values()),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows
    )
