"""How chi2 is distributed among stars, and how it ought to be."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy import stats

from luxscale.plot.style import BAND, DATA, MODEL, POINT, TEXT, limits, new_axes, ticks
from luxscale.schema import InputError

#: Bins of a histogram at most.
BINS = 60


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
        A histogram of the central 99.8% of the stars, with a line at 1; the median, and how many stars lie outside.

    Raises
    ------
    InputError
        If no star has a value.
    """
    values = reduced.values[np.isfinite(reduced.values)]
    if not values.size:
        raise InputError("no star has a reduced chi2; give a catalogue of stars that are done")
    ax = ax or new_axes(3.8, 3.0)
    low, high = limits(np.append(values, 1.0), values.size > 1000)
    bins = np.linspace(low, high, int(np.clip(values.size**0.5, 12, BINS)) + 1)
    ax.hist(values, bins, density=True, color=POINT, alpha=0.35, label="stars")
    ax.axvline(1, color=DATA, lw=0.8, ls=":")
    if freedom is not None:
        x = np.linspace(low, high, 400)
        ax.plot(x, _density(x, freedom.values), color=MODEL, lw=1.4, label="by chance")
    if expected is not None:
        known = expected.values[np.isfinite(expected.values)]
        ax.hist(known, bins, density=True, histtype="step", color=MODEL, lw=1.4, label="expected")
    _write(ax, values, low, high)
    ax.set(xlim=(low, high), xlabel=r"reduced $\chi^2$", ylabel="density of stars")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(ticks())
    ax.legend(loc="upper right", fontsize=TEXT, frameon=False)
    return ax


def _density(x: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Return the density of chi2 / freedom, averaged over the degrees of freedom that stars have."""
    known = freedom[np.isfinite(freedom) & (freedom > 0)]
    some = np.quantile(known, np.linspace(0.005, 0.995, 100))[:, None]
    return np.asarray(np.mean(some * stats.chi2.pdf(some * x, some), axis=0))


def _write(ax: Axes, values: np.ndarray, low: float, high: float) -> None:
    outside = int(((values < low) | (values > high)).sum())
    lines = [f"n = {values.size:,}", f"median = {np.median(values):.3f}"] + [f"{outside:,} outside"] * (outside > 0)
    box = {"facecolor": "w", "edgecolor": BAND, "alpha": 0.75, "pad": 2, "lw": 0}
    ax.text(0.04, 0.96, "\n".join(lines), transform=ax.transAxes, va="top", fontsize=TEXT, bbox=box)
