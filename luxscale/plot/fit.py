"""How well spectra are fitted: residuals by wavelength."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from luxscale.plot.given import require_result
from luxscale.plot.style import (
    MODEL,
    POINT,
    TEXT,
    check_axes,
    format_grid_name,
    keep_finite,
    make_figure,
    style_axes,
)

#: Running medians are of so many stretches of the spectrum.
STRETCHES = 150

#: For each panel its name, the value where a model that is right would be, and how far the axis
#: reaches from that at least.
_PANELS = {
    "chi2": (r"$\chi^2$ per star", 1.0, 0.2),
    "mean": (r"mean of $\Delta / \sigma$", 0.0, 0.1),
    "scatter": (r"scatter of $\Delta / \sigma$", 1.0, 0.2),
}


def fit_by_pixel(table: xr.Dataset, axes: Any = None) -> np.ndarray:
    """Draw how spectra are fitted pixel by pixel.

    Parameters
    ----------
    table : Dataset
        ``chi2``, ``mean`` and ``scatter`` (wavelength,), of residuals over the noise that the model
        expects.
    axes : array of Axes, (3,), optional
        New by default.

    Returns
    -------
    array of Axes, (3,)
        Top to bottom chi2 per star, mean and scatter: every pixel, and in front the median of its
        stretch of the spectrum. Dashed lines where a model that is right would be: 1, 0 and 1.

    Raises
    ------
    InputError
        If ``axes`` has the wrong size.
    """
    require_result(table, _PANELS, "luxscale.report.measure.measure_fit")
    grid = table[table["chi2"].dims[0]]
    axes = _make_axes(axes)
    for ax, (name, (text, right, reach)) in zip(axes, _PANELS.items(), strict=True):
        values = table[name].values
        ax.plot(grid.values, values, color="0.6", lw=0.5, label="pixel")
        middle, median = _find_medians(grid.values, values)
        ax.plot(middle, median, color=POINT, lw=1.2, label="median of a stretch")
        ideal = "if model and errors are right"
        ax.axhline(
            right,
            color=MODEL,
            lw=0.9,
            ls="--",
            zorder=3,
            label=ideal,
        )
        ax.set(ylabel=text, ylim=_find_limits(values, right - reach, right + reach))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    axes[-1].set(xlim=(grid.values[0], grid.values[-1]), xlabel=format_grid_name(grid))
    axes[0].legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        fontsize=TEXT,
        ncols=3,
        frameon=False,
    )
    return axes


def _find_limits(values: np.ndarray, least: float, greatest: float) -> tuple[float, float]:
    """Return limits that hold all but the wildest pixels, and at least these two values."""
    known = keep_finite(values)
    low, high = np.percentile(known, (0.2, 99.8)) if known.size else (0.0, 1.0)
    low = min(low, least)
    high = max(high, greatest)
    margin = 0.08 * (high - low)
    return low - margin, high + margin


def _find_medians(x: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle and the median of stretches of a spectrum: (stretch,) each.

    The median is NaN where no pixel is known.
    """
    parts = np.array_split(np.arange(x.size), min(STRETCHES, x.size))
    middle = np.array([x[part].mean() for part in parts])
    median = np.full(len(parts), np.nan)
    for i, part in enumerate(parts):
        known = keep_finite(values[part])
        if known.size:
            median[i] = np.median(known)
    return middle, median


def _make_axes(axes: Any) -> np.ndarray:
    """Return axes for chi2, mean and scatter: those given, or new ones."""
    if axes is not None:
        check_axes(axes, 3, "; give three: for chi2, mean and scatter")
        return np.ravel(axes)
    figure = make_figure(7.6, 5.2, h_pad=0.02)
    made = figure.subplots(3, sharex=True)
    for ax in made:
        style_axes(ax)
    figure.align_ylabels(made)
    return np.asarray(made)
