"""How well spectra are fitted: residuals by wavelength."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from luxscale.errors import InputError
from luxscale.plot.style import MODEL, POINT, TEXT, format_grid_name, style_axes

#: Running medians are of so many stretches of the spectrum.
STRETCHES = 150


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
        Top to bottom chi2 per star, mean and scatter: every pixel, and in front the median of its
        stretch of the spectrum. Dashed lines where a model that is right would be: 1, 0 and 1.

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
            0 if name == "mean" else 1,
            color=MODEL,
            lw=0.9,
            ls="--",
            zorder=3,
            label="if model and errors are right",
        )
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, (0.2, 99.8)) if known.size else (0.0, 1.0)
        low, high = (
            min(low, -0.1 if name == "mean" else 0.8),
            max(high, 0.1 if name == "mean" else 1.2),
        )
        ax.set(ylabel=text, ylim=(low - 0.08 * (high - low), high + 0.08 * (high - low)))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    axes[-1].set(xlim=(grid.values[0], grid.values[-1]), xlabel=format_grid_name(grid))
    axes[0].legend(
        loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=TEXT, ncols=3, frameon=False
    )
    return axes


def _medians(x: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle and the median of stretches of a spectrum: (stretch,) each, NaN where nothing is known."""
    parts = np.array_split(np.arange(x.size), min(STRETCHES, x.size))
    known = [values[p][np.isfinite(values[p])] for p in parts]
    return np.array([x[p].mean() for p in parts]), np.array(
        [np.median(v) if v.size else np.nan for v in known]
    )


def _three(axes: Any) -> np.ndarray:
    if axes is not None:
        if np.size(axes) != 3:
            raise InputError(f"{np.size(axes)} axes; give three: for chi2, mean and scatter")
        return np.ravel(axes)
    figure = Figure((7.6, 5.2), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02)  # type: ignore[union-attr, call-arg]
    made = figure.subplots(3, sharex=True)
    for ax in made:
        style_axes(ax)
    figure.align_ylabels(made)
    return np.asarray(made)
