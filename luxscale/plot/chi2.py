"""How chi2 is distributed among stars, and how it ought to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from scipy import stats

from luxscale.errors import InputError
from luxscale.plot.style import CENTRAL, DATA, MODEL, POINT, TEXT, make_axes, make_ticks

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
        Of `luxscale.analysis.goodness.reduced_chi2`, or any other chi2 over a number; NaN is left out.
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
    values = reduced.values[np.isfinite(reduced.values)]
    if not values.size:
        raise InputError("no star has a reduced chi2; give a catalogue of stars that are done")
    limit = limit if limit is not None and np.isfinite(limit) else None
    ax = ax or make_axes(3.8 if limit is None else 5.2, 3.0)
    bins, wide = _bins(values, limit)
    ax.hist(
        values,
        bins.tolist(),
        weights=np.full(values.size, 1 / values.size),
        color=POINT,
        alpha=0.4,
        label="stars",
    )
    ax.axvline(1, color=DATA, lw=0.8, ls=":")
    if freedom is not None:
        ax.stairs(_by_chance(bins, freedom.values), bins, color=MODEL, lw=1.3, label="by chance")
    if expected is not None:
        known = expected.values[np.isfinite(expected.values)]
        ax.stairs(
            np.histogram(known, bins)[0] / known.size, bins, color=MODEL, lw=1.3, label="expected"
        )
    if limit is not None:
        ax.axvline(limit, color=MODEL, lw=1.3, ls="--", label="limit of bad_fit")
    ax.set(xscale="log" if wide else "linear", xlim=(bins[0], bins[-1]))
    ax.set(
        xlabel=r"reduced $\chi^2$",
        ylabel="fraction of stars in a bin",
        yscale="linear" if limit is None else "log",
    )
    if limit is None:
        ax.yaxis.set_major_locator(make_ticks())
    if wide:
        _few_ticks(ax, bins[-1] / bins[0])
    else:
        ax.xaxis.set_major_locator(make_ticks())
    outside = int(((values < bins[0]) | (values > bins[-1])).sum())
    lines = [
        f"n = {values.size:,}",
        f"mean = {np.mean(values):.3f}",
        f"median = {np.median(values):.3f}",
    ]
    lines += [f"{outside:,} outside"] * (outside > 0)
    options: dict[str, Any] = {"loc": "upper right"}
    if limit is not None:  # its line is at the right, where the legend would be
        options = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
    options |= {"title": "\n".join(lines), "title_fontsize": TEXT, "fontsize": TEXT}
    ax.legend(frameon=False, alignment="left", **options)
    return ax


def _bins(values: np.ndarray, limit: float | None) -> tuple[np.ndarray, bool]:
    """Return edges that hold 1, the limit and the central stars, and whether they are equal on a logarithmic scale."""
    low, high = np.percentile(values, CENTRAL if values.size > CROWD else (0, 100))
    low, high = min(low, 1.0), max(high, 1.0, limit or 1.0)
    n = int(np.clip(values.size**0.5, 12, BINS)) + 1
    if low > 0 and high > WIDE * low:
        return np.geomspace(0.9 * low, 1.1 * high, n), True
    margin = 0.05 * (high - low) or 0.05
    return np.linspace(low - margin, high + margin, n), False


def _by_chance(bins: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Return the chance of chi2 / freedom to fall in each bin, averaged over the degrees of freedom that stars have."""
    known = freedom[np.isfinite(freedom) & (freedom > 0)]
    some = np.quantile(known, np.linspace(0.005, 0.995, 100))[:, None]
    return np.diff(np.mean(stats.chi2.cdf(some * bins, some), axis=0))


def _few_ticks(ax: Axes, factor: float) -> None:
    """Write numbers, not powers, and so many that they stand apart."""
    few = {5: (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), 20: (1, 2, 3, 5, 7), 200: (1, 2, 5)}
    subs: tuple[float, ...] = next((marks for most, marks in few.items() if factor < most), (1,))
    ax.xaxis.set_major_locator(LogLocator(subs=subs))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
