"""The table of a cross-validation, for people and programs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.label_arrays import LABEL
from luxscale.analysis.tables import count_decimals, fold_rows, round_to
from luxscale.crossval.axes import format_value, list_settings, name_axis
from luxscale.crossval.choice import (
    Choice,
    compare_with,
    find_axes,
    find_labels,
    list_done,
    measure_losses,
    take_all_stars,
)
from luxscale.crossval.grid import GIVEN
from luxscale.crossval.score import label_scores, scores

_LEGEND = (
    "loss: mean over stars left out of ln(1 + (error / scale)^2) of labels given the spectrum, of "
    "a scale that all settings share",
    "excess: loss less that of the best, with one standard error of paired stars",
    "RMSE of each label on stars left out, in its unit; pull: robust scatter of error / formal "
    "error, of spectra and training labels; what is above 1 training adds to errors, as misfit",
    "s/task: seconds that a fold takes, median",
)


def to_records(results: xr.Dataset) -> list[dict[str, Any]]:
    """Return how every setting scored as dicts that JSON can hold.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it; where there are several shares, that of all stars
        counts.

    Returns
    -------
    list of dict
        Keys of the axes, such as ``latent_dim`` and ``prior``; ``seconds``, median over folds;
        ``label_loss``, ``excess`` over the best and its standard error ``excess_err``, see
        `choose`; ``label_rmse`` and ``label_pull`` by label, over the stars of all folds; and
        medians over folds of `scores` such as ``label_chi2_given_spectra``. None where a setting is
        not done.
    """
    results = take_all_stars(results).compute(scheduler="synchronous")
    # of some of the folds the median would not compare: NaN if any is missing
    middle = scores(results).median("fold", skipna=False)
    seconds = results["seconds"].median("fold")
    is_done = list_done(results)
    loss, excess, error = _compare_all(results, is_done)
    records = []
    for i, setting in enumerate(list_settings(find_axes(results))):
        chosen = dict(setting)
        record = chosen | {
            "seconds": _to_json(seconds.sel(chosen)),
            "label_loss": _to_json(loss[i]),
            "excess": _to_json(excess[i]),
            "excess_err": _to_json(error[i]),
        }
        for name in ("spectrum_chi2", "label_chi2", "total_chi2"):
            for given in GIVEN:
                record[f"{name}_given_{given}"] = _to_json(
                    middle[name].sel({**chosen, "given": given})
                )
        record |= _measure_labels(results, chosen, bool(is_done[i]))
        records.append(record)
    return records


def _compare_all(
    results: xr.Dataset, is_done: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the loss of each setting, its excess over the best, and the error of that."""
    loss = measure_losses(results)
    mean = np.full(is_done.size, np.nan)
    excess, error = mean.copy(), mean.copy()
    if is_done.any():
        done = loss[is_done]
        mean[is_done] = done.mean(axis=1)
        best = int(np.argmin(mean[is_done]))
        excess[is_done] = mean[is_done] - mean[is_done][best]
        error[is_done] = compare_with(done, best)
    return mean, excess, error


def _measure_labels(results: xr.Dataset, chosen: dict[str, Any], is_done: bool) -> dict[str, Any]:
    """Return RMSE and pull by label, over the stars of all folds."""
    rmse: dict[str, float | None] = {}
    pull: dict[str, float | None] = {}
    for output in find_labels(results):
        dim = str(results[f"trusted_{output}"].dims[1])
        names = [str(name) for name in results[dim].values.tolist()]
        if not is_done:
            rmse |= dict.fromkeys(names)
            pull |= dict.fromkeys(names)
            continue
        measured = label_scores(results, chosen, output).rename({dim: LABEL})
        rmse |= dict(zip(names, map(_to_json, measured["rmse"].values), strict=True))
        pull |= dict(zip(names, map(_to_json, measured["pull"].values), strict=True))
    return {"label_rmse": rmse, "label_pull": pull}


def _to_json(value: Any) -> float | None:
    """Return a number as JSON can hold it: None for NaN."""
    return float(value) if np.isfinite(value) else None


def format_table(records: Sequence[Mapping[str, Any]], choice: Choice | None = None) -> str:
    """Return `to_records` as aligned text, with what its headings mean below.

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
    labels = list(records[0]["label_rmse"])
    places = {label: _count_places(records, label) for label in labels}
    heads = [f"{what} {label}" for label in labels for what in ("RMSE", "pull")]
    rows = [["", *map(name_axis, axes), "loss", "excess", *heads, "s/task"]]
    for record in records:
        setting = tuple((name, record[name]) for name in axes)
        mark = "*" if choice and setting == choice.setting else ""
        values = [format_value(value) for _, value in setting]
        loss = round_to(record["label_loss"], 3)
        excess = round_to(record["excess"], 3)
        excess_err = round_to(record["excess_err"], 3)
        row = [mark, *values, loss, f"{excess} +- {excess_err}"]
        for label in labels:
            rmse = record["label_rmse"][label]
            pull = record["label_pull"][label]
            row += [round_to(rmse, places[label]), round_to(pull, 2)]
        row.append(round_to(record["seconds"], 1))
        rows.append(row)
    groups = [1, 1, *[2] * len(labels), 1]
    table = fold_rows(rows, groups, repeated=1 + len(axes))
    return "\n".join([table, "", *_LEGEND])


def _count_places(records: Sequence[Mapping[str, Any]], label: str) -> int:
    return max(count_decimals(record["label_rmse"][label]) for record in records)


def describe_gain(records: Sequence[Mapping[str, Any]], choice: Choice) -> str:
    """Return what the best setting would gain over the chosen one, in RMSE of each label.

    Empty where the chosen setting is the best.
    """
    if choice.setting == choice.best:
        return ""
    chosen = _find_record(records, choice.setting)["label_rmse"]
    best = _find_record(records, choice.best)["label_rmse"]
    return ", ".join(_list_gains(chosen, best))


def _list_gains(
    chosen: Mapping[str, float | None], best: Mapping[str, float | None]
) -> Iterator[str]:
    for label, rmse in chosen.items():
        other = best[label]
        if rmse and other is not None:
            percent = 100 * (other / rmse - 1)
            places = count_decimals(rmse)
            before, after = round_to(rmse, places), round_to(other, places)
            yield f"{label} {before} to {after} ({percent:+.1f}%)"


def _find_record(
    records: Sequence[Mapping[str, Any]], setting: Sequence[tuple[str, Any]]
) -> Mapping[str, Any]:
    return next(r for r in records if all(r[name] == value for name, value in setting))
