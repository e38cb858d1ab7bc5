"""The learning curve: RMSE of labels of stars left out against the number of training stars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import axes as plt
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from luxscale.analysis.label_arrays import LABEL
from luxscale.plot.given import require_result
from luxscale.plot.style import (
    DATA,
    MODEL,
    add_legend_above,
    find_label_rows,
    format_axis_label,
    make_panels,
)


def learning_curve(
    curve: xr.Dataset, labels: Sequence[str] | None = None, axes: Any = None
) -> np.ndarray:
    """Draw the RMSE of labels of stars left out against the number of training stars.

    Parameters
    ----------
    curve : Dataset
        From `luxscale.crossval.measure_learning_curve`.
    labels : sequence of str, optional
        All by default.
    axes : array of Axes, (label,), optional
        New by default.

    Returns
    -------
    array of Axes, (label,)
        Both axes logarithmic: the RMSE with its standard error, and dashed what twice as many stars
        would bring by the slope between the two largest numbers of stars.

    Raises
    ------
    InputError
        If there is no such label, or ``axes`` has the wrong size.
    """
    require_result(curve, ["n_stars", "rmse"], "luxscale.crossval.measure_learning_curve")
    rows = find_label_rows(curve[LABEL].values.tolist(), labels)
    new = axes is None
    axes = make_panels(axes, len(rows), 4, (2.0, 1.8))
    for ax, row in zip(axes, rows, strict=True):
        _draw_label(ax, curve.isel({LABEL: row}))
    if new:
        add_legend_above(axes, 2)
    return axes


def _draw_label(ax: plt.Axes, curve: xr.Dataset) -> None:
    """Draw the curve of one label."""
    stars = curve["n_stars"].values.astype(float)
    rmse = curve["rmse"].values
    ax.errorbar(
        stars, rmse, curve["rmse_err"].values, fmt="o-", ms=4, lw=1.2, color=DATA, label="measured"
    )
    twice = np.array([stars[-1], 2 * stars[-1]])
    ahead = rmse[-1] * np.array([1, 1 + float(curve["gain"])])
    spread = rmse[-1] * float(curve["gain_err"]) * np.array([0, 1])
    ax.errorbar(twice, ahead, spread, fmt="--", lw=1.2, color=MODEL, label="by the slope")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(FixedLocator(stars.tolist()))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{n:,.0f}" for n in stars]))
    _place_ticks(ax, np.concatenate([rmse, ahead]))
    ax.set_xlabel("training stars")
    name = format_axis_label(str(curve[LABEL].values), str(curve["label_units"].values))
    ax.set_ylabel(f"RMSE of {name}")


def _place_ticks(ax: plt.Axes, values: np.ndarray) -> None:
    """Put three ticks from the least value to the greatest: there may be no power of ten."""
    ticks = np.geomspace(values.min(), values.max(), 3)
    ax.yaxis.set_major_locator(FixedLocator(ticks.tolist()))
    ax.yaxis.set_major_formatter(FixedFormatter([f"{float(f'{tick:.3g}'):g}" for tick in ticks]))
    ax.yaxis.set_minor_locator(NullLocator())
