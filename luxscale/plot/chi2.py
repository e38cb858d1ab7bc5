"""How chi2 is distributed among stars, and how it ought to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from scipy import stats

from luxscale.errors import InputError
from luxscale.plot.given import require_array
from luxscale.plot.style import (
    CENTRAL,
    DATA,
    MODEL,
    POINT,
    TEXT,
    keep_finite,
    make_axes,
    make_ticks,
)

#: Bins of a histogram at most.
BINS = 60

#: Above this many stars those outside the central 99.8% do not stretch the axis.
CROWD = 1000

#: Values that span more than this factor are drawn on a logarithmic axis.
WIDE = 5


def chi2(
    reduced: xr.DataArray,
    *,
    freedom: xr.DataArray | None = None,
    expected: xr.DataArray | None = None,
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the distribution of reduced chi2 among stars: figure 4.

    Parameters
    ----------
    reduced : DataArray, (star,)
        Of `luxscale.analysis.goodness.reduced_chi2`, or any other chi2 over a number; NaN is left
        out.
    freedom : DataArray, (star,), optional
        Degrees of freedom of each star, to draw the distribution that chi2 has by chance, if the
        model is right.
    expected : DataArray, (star,), optional
        Mean that each star's value should have, if that is not 1, to draw its distribution.
    limit : float, optional
        Beyond which stars are flagged ``bad_fit``: the axis holds it, and the scale of stars is
        logarithmic, to show the few beyond. None if not finite.
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        A histogram, of the central 99.8% of more than 1,000 stars, with a line at 1; mean, median,
        and how many stars lie outside, with ``limit`` at the right of the frame. The scale is
        logarithmic where values span more than a factor of 5.

    Raises
    ------
    InputError
        If no star has a value.
    """
    require_array("reduced", reduced, "chi2 of each star, as luxscale.analysis.goodness has it")
    values = keep_finite(np.asarray(reduced))
    if not values.size:
        raise InputError("no star has a reduced chi2; give a catalogue of stars that are done")
    if limit is not None and not np.isfinite(limit):
        limit = None
    if ax is None:
        ax = make_axes(3.8 if limit is None else 5.2, 3.0)
    bins, wide = _choose_bins(values, limit)
    each = np.full(values.size, 1 / values.size)
    ax.hist(
        values,
        bins.tolist(),
        weights=each,
        color=POINT,
        alpha=0.4,
        label="stars",
    )
    ax.axvline(1, color=DATA, lw=0.8, ls=":")
    if freedom is not None:
        shares = _predict_by_chance(bins, freedom.values)
        ax.stairs(shares, bins, color=MODEL, lw=1.3, label="by chance")
    if expected is not None:
        known = keep_finite(expected.values)
        shares = np.histogram(known, bins)[0] / known.size
        ax.stairs(shares, bins, color=MODEL, lw=1.3, label="expected")
    if limit is not None:
        ax.axvline(
            limit,
            color=MODEL,
            lw=1.3,
            ls="--",
            label="limit of bad_fit",
        )
    _scale_axes(ax, bins, wide, limit)
    _add_legend(ax, values, bins, limit)
    return ax


def _scale_axes(ax: Axes, bins: np.ndarray, wide: bool, limit: float | None) -> None:
    """Name both axes, and choose their scales and ticks."""
    ax.set(
        xlabel=r"reduced $\chi^2$",
        xscale="log" if wide else "linear",
        xlim=(bins[0], bins[-1]),
        ylabel="fraction of stars in a bin",
        yscale="linear" if limit is None else "log",
    )
    if limit is None:
        ax.yaxis.set_major_locator(make_ticks())
    if wide:
        _set_log_ticks(ax, bins[-1] / bins[0])
    else:
        ax.xaxis.set_major_locator(make_ticks())


def _add_legend(ax: Axes, values: np.ndarray, bins: np.ndarray, limit: float | None) -> None:
    """Add a legend with the statistics of the stars as its title."""
    lines = [
        f"n = {values.size:,}",
        f"mean = {np.mean(values):.3f}",
        f"median = {np.median(values):.3f}",
    ]
    outside = int(((values < bins[0]) | (values > bins[-1])).sum())
    if outside:
        lines.append(f"{outside:,} outside")
    place: dict[str, Any] = {"loc": "upper right"}
    if limit is not None:
        # its line is at the right, where the legend would be
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
    ax.legend(
        title="\n".join(lines),
        title_fontsize=TEXT,
        fontsize=TEXT,
        frameon=False,
        alignment="left",
        **place,
    )


def _choose_bins(values: np.ndarray, limit: float | None) -> tuple[np.ndarray, bool]:
    """Return edges that hold 1, the limit and the central stars.

    Returns
    -------
    edges : array, (bin + 1,)
    wide : bool
        Whether they are equal on a logarithmic scale.
    """
    central = values.size > CROWD
    low, high = np.percentile(values, CENTRAL if central else (0, 100))
    low = min(low, 1.0)
    high = max(high, 1.0, limit or 1.0)
    n = int(np.clip(values.size**0.5, 12, BINS))
    if low > 0 and high > WIDE * low:
        edges = np.geomspace(0.9 * low, 1.1 * high, n + 1)
        return edges, True
    margin = 0.05 * (high - low) or 0.05
    edges = np.linspace(low - margin, high + margin, n + 1)
    return edges, False


def _predict_by_chance(bins: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Return the chance of chi2 / freedom to fall in each bin, averaged over stars: (bin,)."""
    known = freedom[np.isfinite(freedom) & (freedom > 0)]
    # a hundred quantiles stand for the degrees of freedom of all stars
    some = np.quantile(known, np.linspace(0.005, 0.995, 100))[:, None]
    below = stats.chi2.cdf(some * bins, some)
    return np.diff(np.mean(below, axis=0))


def _set_log_ticks(ax: Axes, factor: float) -> None:
    """Write numbers, not powers, and so many that they stand apart."""
    few: dict[int, tuple[float, ...]] = {
        5: (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
        20: (1, 2, 3, 5, 7),
        200: (1, 2, 5),
    }
    subs = next((marks for most, marks in few.items() if factor < most), (1,))
    ax.xaxis.set_major_locator(LogLocator(subs=subs))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
