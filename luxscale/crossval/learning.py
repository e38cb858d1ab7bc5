"""The learning curve: how labels of stars left out get better with the number of training stars.

Folds are those of the comparison. A share of the other stars is trained on, chosen by a hash of
their identifiers, so that each share holds all smaller ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.label_arrays import LABEL
from luxscale.analysis.tables import count_decimals, fold_rows, round_to
from luxscale.crossval.axes import SHARE
from luxscale.crossval.choice import find_axes, find_labels
from luxscale.crossval.frame import get_error_name
from luxscale.errors import InputError
from luxscale.schema.sampling import draw_stars
from luxscale.schema.variables import STAR

#: Shares of the training stars that a learning curve has unless others are asked for.
SHARES = (0.125, 0.25, 0.5, 1.0)

_LEGEND = (
    "RMSE of stars left out, by the number of training stars; excess: over that with all, with one "
    "standard error of paired stars",
    "doubled: what twice as many stars would change, by the slope between the two greatest numbers",
)


def take_share(stars: np.ndarray, share: float) -> np.ndarray:
    """Return which of the stars make a share of them, whatever their order: bool, (star,)."""
    taken = np.zeros(stars.size, bool)
    taken[draw_stars(stars, count_share(stars.size, share))] = True
    return taken


def count_share(n_stars: int, share: float) -> int:
    """Return how many stars a share of them has."""
    return max(round(share * n_stars), 1)


def measure_learning_curve(results: xr.Dataset, setting: Mapping[str, Any]) -> xr.Dataset:
    """Return the RMSE of labels of stars left out against the number of training stars.

    With e_n the squared error of a label of star n, its RMSE is r = sqrt(mean e). The error of ln r
    is the standard error of the mean of e_n / (2 r^2); that of the difference between two shares is
    of the same of e_n / (2 r^2) - e_n' / (2 r'^2), for the same stars are left out. It does not
    hold by how much another choice of training stars would change the curve.

    Parameters
    ----------
    results : Dataset
        As `cross_validate` returns and keeps it, with several ``shares``.
    setting : mapping
        Value on each other axis, such as that of `choose`.

    Returns
    -------
    Dataset
        ``n_stars`` (share,), the mean number of training stars; ``rmse``, ``rmse_err`` (share,
        label) in the label's unit; ``excess``, ``excess_err`` (share, label), RMSE over that with
        all stars, less 1; ``gain``, ``gain_err`` (label,), by what fraction twice as many stars
        would change the RMSE, by the slope d ln r / d ln n between the two largest shares.

    Raises
    ------
    InputError
        If there is only one share, or one that is not done.
    """
    results = results.compute(scheduler="synchronous")
    shares = dict(find_axes(results)).get(SHARE, ())
    if len(shares) < 2:
        raise InputError(
            "a learning curve needs several shares of the training stars; cross-validate with "
            "shares=[0.25, 0.5, 1] (--learning-curve)"
        )
    chosen = results.sel(dict(setting))
    if not (chosen["status"] == 1).all():
        raise InputError(
            "the learning curve is not done; run the cross-validation again to finish it"
        )
    parts = [_measure_output(chosen, name, shares) for name in find_labels(chosen)]
    curve = xr.concat(parts, LABEL) if len(parts) > 1 else parts[0]
    fold = results["star_fold"].values
    others = [int((fold != k).sum()) for k in range(results.sizes["fold"])]
    counts = [np.mean([count_share(n, share) for n in others]) for share in shares]
    curve["n_stars"] = (SHARE, np.round(counts).astype(int))
    return curve.assign_attrs(title="labels of stars left out against the number of training stars")


def _measure_output(chosen: xr.Dataset, output: str, shares: tuple[float, ...]) -> xr.Dataset:
    """Return the curve of the labels of one output."""
    trusted = chosen[f"trusted_{output}"]
    dim = str(trusted.dims[1])
    square, known = _square_differences(chosen, output, dim)
    count = np.maximum(known.sum(axis=0), 1)
    mean = square.sum(axis=1) / count
    # of ln r, by star: its mean over the stars is 1/2 everywhere
    divisor = 2 * np.where(mean > 0, mean, 1)
    influence = square / divisor[:, None]
    rmse = np.sqrt(mean)
    error = _measure_error(influence, known)
    # over the RMSE of all stars
    excess = rmse / rmse[-1]
    excess_err = excess * _measure_error(influence - influence[-1], known)
    # by the last two shares, of which a power law is continued to twice the stars
    times = math.log(shares[-1] / shares[-2])
    slope = np.log(rmse[-1] / rmse[-2]) / times
    slope_err = _measure_error(influence[-1] - influence[-2], known) / times
    factor = 2.0**slope
    units: Any = [""] * trusted.sizes[dim]
    if f"{dim}_units" in chosen.coords:
        units = chosen[f"{dim}_units"].values
    by_share = (SHARE, LABEL)
    return xr.Dataset(
        {
            "rmse": (by_share, rmse),
            "rmse_err": (by_share, rmse * error),
            "excess": (by_share, excess - 1),
            "excess_err": (by_share, excess_err),
            "gain": (LABEL, factor - 1),
            "gain_err": (LABEL, factor * math.log(2) * slope_err),
        },
        {
            SHARE: list(shares),
            LABEL: trusted[dim].values,
            "label_units": (LABEL, units),
        },
    )


def _square_differences(chosen: xr.Dataset, output: str, dim: str) -> tuple[np.ndarray, np.ndarray]:
    """Return squares of inferred less trusted labels, 0 where not known, and which are known.

    Known are those of stars that each share knows: (share, star, label) and (star, label).
    """
    trusted = chosen[f"trusted_{output}"].values
    trusted_err = chosen[f"trusted_{get_error_name(output)}"].values
    inferred = chosen[output].transpose(SHARE, STAR, dim).values
    n_pixels = chosen["n_pixels"].transpose(SHARE, STAR).values
    square = (inferred - trusted) ** 2
    has_pixels = np.asarray((n_pixels > 0).all(axis=0))
    is_finite = np.isfinite(square).all(axis=0)
    known = np.isfinite(trusted_err) & has_pixels[:, None] & is_finite
    return np.where(known, square, 0), known


def _measure_error(influence: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean over the stars that are known: (..., label)."""
    count = known.sum(axis=0)
    at_least_one = np.maximum(count, 1)
    total = np.where(known, influence, 0).sum(axis=-2, keepdims=True)
    mean = total / at_least_one
    away = np.where(known, influence - mean, 0)
    squares = (away**2).sum(axis=-2)
    variance = squares / np.maximum(count - 1, 1)
    found: np.ndarray = np.sqrt(variance / at_least_one)
    return found


def list_curve(curve: xr.Dataset) -> list[dict[str, Any]]:
    """Return a learning curve as dicts that JSON can hold, one a share.

    Parameters
    ----------
    curve : Dataset
        From `measure_learning_curve`.

    Returns
    -------
    list of dict
    """
    labels = [str(label) for label in curve[LABEL].values.tolist()]
    records = []
    for i, share in enumerate(curve[SHARE].values.tolist()):
        record: dict[str, Any] = {"share": share, "n_stars": int(curve["n_stars"][i])}
        for name in ("rmse", "rmse_err", "excess", "excess_err"):
            record[name] = dict(zip(labels, curve[name].values[i].tolist(), strict=True))
        records.append(record)
    return records


def format_curve(curve: xr.Dataset) -> str:
    """Return a learning curve as aligned text, a label a line, and what its headings mean.

    Parameters
    ----------
    curve : Dataset
        From `measure_learning_curve`.

    Returns
    -------
    str
    """
    counts = [f"{int(n):,} stars" for n in curve["n_stars"].values]
    heads = [text for count in counts[:-1] for text in (count, "excess")]
    rows = [["label", "unit", *heads, counts[-1], "doubled"]]
    units = curve["label_units"].values.tolist()
    for k, label in enumerate(curve[LABEL].values.tolist()):
        rmse = curve["rmse"].values[:, k].tolist()
        places = count_decimals(min(rmse))
        row = [str(label), str(units[k])]
        *of_shares, of_all = [round_to(value, places) for value in rmse]
        for i, text in enumerate(of_shares):
            excess = _format_percent(curve, "excess", (i, k))
            row += [text, excess]
        gain = _format_percent(curve, "gain", k)
        rows.append([*row, of_all, gain])
    groups = [2] * len(counts)
    table = fold_rows(rows, groups, repeated=2)
    return "\n".join([table, "", *_LEGEND])


def _format_percent(curve: xr.Dataset, name: str, at: Any) -> str:
    value = 100 * float(curve[name].values[at])
    error = 100 * float(curve[f"{name}_err"].values[at])
    return f"{value:+.1f} +- {error:.1f}%"


def advise_on_stars(curve: xr.Dataset) -> str:
    """Return what twice as many training stars would bring, in one line.

    Parameters
    ----------
    curve : Dataset
        From `measure_learning_curve`.

    Returns
    -------
    str
    """
    few, many = (int(n) for n in curve["n_stars"].values[-2:])
    gains = []
    for k, label in enumerate(curve[LABEL].values.tolist()):
        gains.append(f"{label} {_format_percent(curve, 'gain', k)}")
    better = (curve["gain"] < -2 * curve["gain_err"]).values
    verdict = "would help" if better.any() else "would help little"
    return (
        f"twice the {many:,} training stars {verdict}: RMSE of {', '.join(gains)}, by the slope "
        f"between {few:,} and {many:,} stars"
    )
