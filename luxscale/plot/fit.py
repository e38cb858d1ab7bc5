"""How well spectra are fitted: chi2 of stars, and residuals by wavelength."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from luxscale.plot.style import BAND, DATA, MODEL, POINT, TEXT, grid_name, new_axes, style
from luxscale.schema import InputError

#: Running medians are of so many stretches of the spectrum.
STRETCHES = 150

#: Percentiles that a histogram of chi2 spans at least.
_CENTRAL = (0.01, 99.99)


def chi2_histogram(ratio: np.ndarray, limit: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw how chi2 per pixel is distributed among stars, both axes logarithmic.

    Parameters
    ----------
    ratio : array, (star,)
        Chi2 over the number of pixels; what is not finite or not positive is left out.
    limit : float, optional
        Beyond which stars are flagged ``bad_fit``, for a line.
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        The outermost bins hold what lies beyond them.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    known = ratio[np.isfinite(ratio) & (ratio > 0)]
    if not known.size:
        raise InputError("no star has a finite chi2 and pixels; there is nothing to draw")
    ax = ax or new_axes(5.4, 3.0)
    low, high = (float(v) for v in np.percentile(known, _CENTRAL))
    high = max(high, 1.2 * limit if limit is not None and np.isfinite(limit) else 0)
    edges = np.geomspace(low / 1.05, high * 1.05, 61)
    counts = np.histogram(np.clip(known, edges[0], edges[-1]), edges)[0]
    ax.stairs(counts, edges, fill=True, color=BAND)
    ax.stairs(counts, edges, color=DATA, lw=0.8)
    middle = float(np.median(known))
    ax.axvline(middle, color=POINT, lw=1.3, label=f"median, {middle:.3g}")
    if limit is not None and np.isfinite(limit):
        ax.axvline(limit, color=MODEL, lw=1.3, ls="--", label=f"limit of the flag bad_fit, {limit:.3g}")
    ax.set(xscale="log", yscale="log", xlabel=r"$\chi^2$ / number of pixels", ylabel="Stars", xlim=edges[[0, -1]])
    ax.set_ylim(0.7, None)
    _few_ticks(ax, edges[-1] / edges[0])
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=TEXT, ncols=2, frameon=False)
    return ax


def _few_ticks(ax: Axes, factor: float) -> None:
    """Write numbers, not powers, and so many that they stand apart."""
    few = {5: (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), 20: (1, 2, 3, 5, 7), 200: (1, 2, 5)}
    subs: tuple[float, ...] = next((marks for most, marks in few.items() if factor < most), (1,))
    ax.xaxis.set_major_locator(LogLocator(subs=subs))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def fit_by_pixel(table: xr.Dataset, axes: Any = None) -> np.ndarray:
    """Draw how spectra are fitted pixel by pixel.

    Parameters
    ----------
    table : Dataset
        ``chi2``, ``mean`` and ``scatter`` (wavelength,), of residuals over the noise that the model expects.
    axes : array of Axes, (3,), optional
        New by default.

    Returns
    -------
    array of Axes, (3,)
        Top to bottom chi2 per star, mean and scatter: every pixel, and in front the median of its stretch of the
        spectrum. Dashed lines where a model that is right would be: 1, 0 and 1.

    Raises
    ------
    InputError
        If ``axes`` has the wrong size.
    """
    grid = table[table["chi2"].dims[0]]
    names = {
        "chi2": r"$\chi^2$ per star",
        "mean": r"mean of $\Delta / \sigma$",
        "scatter": r"scatter of $\Delta / \sigma$",
    }
    axes = _three(axes)
    for ax, (name, text) in zip(axes, names.items(), strict=True):
        values = table[name].values
        ax.plot(grid.values, values, color="0.6", lw=0.5, label="pixel")
        ax.plot(*_medians(grid.values, values), color=POINT, lw=1.2, label="median of a stretch")
        ax.axhline(
            0 if name == "mean" else 1, color=MODEL, lw=0.9, ls="--", zorder=3, label="if model and errors are right"
        )
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, (0.2, 99.8)) if known.size else (0.0, 1.0)
        low, high = min(low, -0.1 if name == "mean" else 0.8), max(high, 0.1 if name == "mean" else 1.2)
        ax.set(ylabel=text, ylim=(low - 0.08 * (high - low), high + 0.08 * (high - low)))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    axes[-1].set(xlim=(grid.values[0], grid.values[-1]), xlabel=grid_name(grid))
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=TEXT, ncols=3, frameon=False)
    return axes


def _medians(x: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle and the median of stretches of a spectrum: (stretch,) each, NaN where nothing is known."""
    parts = np.array_split(np.arange(x.size), min(STRETCHES, x.size))
    known = [values[p][np.isfinite(values[p])] for p in parts]
    return np.array([x[p].mean() for p in parts]), np.array([np.median(v) if v.size else np.nan for v in known])


def _three(axes: Any) -> np.ndarray:
    if axes is not None:
        if np.size(axes) != 3:
            raise InputError(f"{np.size(axes)} axes; give three: for chi2, mean and scatter")
        return np.ravel(axes)
    figure = Figure((7.6, 5.2), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02)  # type: ignore[union-attr, call-arg]
    made = figure.subplots(3, sharex=True)
    for ax in made:
        style(ax)
    figure.align_ylabels(made)
    return np.asarray(made)
