"""How chi2 is distributed among stars, and how it ought to be."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy import stats

from luxscale.plot.style import CENTRAL, DATA, MODEL, POINT, TEXT, new_axes, ticks
from luxscale.schema import InputError

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
    ax: Axes | None = None,
) -> Axes:
    """Draw the distribution of reduced chi2 among stars: figure 4.

    Parameters
    ----------
    reduced : DataArray, (star,)
        Of `luxscale.goodness.reduced_chi2`, or any other chi2 over a number; NaN is left out.
    freedom : DataArray, (star,), optional
        Degrees of freedom of each star, to draw the distribution that chi2 has by chance, if the model is right.
    expected : DataArray, (star,), optional
        Mean that each star's value should have, if that is not 1, to draw its distribution.
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        A histogram, of the central 99.8% of more than 1,000 stars, with a line at 1; the median, and how many stars lie
        outside. The scale is logarithmic where values span more than a factor of 5.

    Raises
    ------
    InputError
        If no star has a value.
    """
    values = reduced.values[np.isfinite(reduced.values)]
    if not values.size:
        raise InputError("no star has a reduced chi2; give a catalogue of stars that are done")
    ax = ax or new_axes(3.8, 3.0)
    bins, wide = _bins(values)
    ax.hist(values, bins.tolist(), weights=np.full(values.size, 1 / values.size), color=POINT, alpha=0.4, label="stars")
    ax.axvline(1, color=DATA, lw=0.8, ls=":")
    if freedom is not None:
        ax.stairs(_by_chance(bins, freedom.values), bins, color=MODEL, lw=1.3, label="by chance")
    if expected is not None:
        known = expected.values[np.isfinite(expected.values)]
        ax.stairs(np.histogram(known, bins)[0] / known.size, bins, color=MODEL, lw=1.3, label="expected")
    ax.set(xscale="log" if wide else "linear", xlim=(bins[0], bins[-1]))
    ax.set(xlabel=r"reduced $\chi^2$", ylabel="fraction of stars in a bin")
    ax.yaxis.set_major_locator(ticks())
    if not wide:
        ax.xaxis.set_major_locator(ticks())
    outside = int(((values < bins[0]) | (values > bins[-1])).sum())
    lines = [f"n = {values.size:,}", f"median = {np.median(values):.3f}"] + [f"{outside:,} outside"] * (outside > 0)
    ax.legend(
        loc="upper right", fontsize=TEXT, frameon=False, title="\n".join(lines), title_fontsize=TEXT, alignment="left"
    )
    return ax


def _bins(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return edges that hold 1 and the central stars, and whether they are equal on a logarithmic scale."""
    shown = np.append(values, 1.0)
    low, high = np.percentile(shown, CENTRAL) if values.size > CROWD else (shown.min(), shown.max())
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
