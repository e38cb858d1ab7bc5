"""Errors of labels against S/N."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from luxscale.analysis.evaluate import LABEL, label_units
from luxscale.analysis.stats import robust_scatter
from luxscale.errors import InputError
from luxscale.plot.pulls import assign_bins, make_snr_bins
from luxscale.plot.style import (
    MODEL,
    POINT,
    add_legend_above,
    format_axis_label,
    make_panels,
    make_ticks,
)
from luxscale.schema.variables import STAR


def errors_by_snr(
    catalog: xr.Dataset,
    snr: np.ndarray,
    pairs: xr.Dataset | None = None,
    axes: Any = None,
    *,
    bins: int = 8,
) -> np.ndarray:
    """Draw the errors of labels against S/N, and what trusted labels say they should be.

    Parameters
    ----------
    catalog : Dataset
        With ``label_err`` (star, label), in memory.
    snr : array, (star,)
    pairs : Dataset, optional
        From `luxscale.analysis.evaluate.match_labels`, of the same stars.
    axes : array of Axes, (label,), optional
        New by default.
    bins : int
        Bins of S/N, with about as many stars each.

    Returns
    -------
    array of Axes, (label,)
        The median error in bins of S/N, a line, with a band from the 16th to the 84th percentile;
        with ``pairs`` points at the robust scatter of inferred - truth, which holds the errors of
        both.

    Raises
    ------
    InputError
        If the S/N of no star is known, the stars are not as many, or ``axes`` has the wrong size.
    """
    if snr.size != catalog.sizes[STAR] or (pairs is not None and snr.size != pairs.sizes[STAR]):
        raise InputError(
            "S/N, catalogue and pairs differ in their number of stars; give those of the same stars"
        )
    edges = make_snr_bins(snr, bins)
    at = assign_bins(snr, edges)
    new, units = axes is None, label_units(catalog)
    axes = make_panels(axes, len(units), 4, (1.9, 1.6))
    x = np.array(
        [np.median(snr[at == i]) if (at == i).any() else np.nan for i in range(edges.size - 1)]
    )
    compared = [] if pairs is None else pairs[LABEL].values.tolist()
    for ax, (j, (name, unit)) in zip(axes, enumerate(units.items()), strict=True):
        band = np.array(
            [_band(catalog["label_err"].values[at == i, j]) for i in range(edges.size - 1)]
        )
        ax.fill_between(
            x, band[:, 0], band[:, 2], color=POINT, alpha=0.25, lw=0, label="error, 16-84% of stars"
        )
        ax.plot(x, band[:, 1], color=POINT, lw=1.3, label="error, median")
        if pairs is not None and name in compared:
            k = compared.index(name)
            d = (pairs["inferred"] - pairs["truth"]).values[:, k]
            scatter = [robust_scatter(d[(at == i) & np.isfinite(d)]) for i in range(edges.size - 1)]
            ax.plot(
                x, scatter, "o", color=MODEL, ms=3.5, label="robust scatter against trusted labels"
            )
        ax.set(ylabel=r"$\sigma$ " + format_axis_label(name, unit), xlabel="S/N")
        ax.set_ylim(0, 1.12 * _greatest(ax))
        ax.yaxis.set_major_locator(make_ticks(4))
        ax.xaxis.set_major_locator(make_ticks(4))
    if new:
        add_legend_above(axes, 3)
    return axes


def _greatest(ax: Axes) -> float:
    """Return the largest value of bands, lines and points, so that none is cut at the frame; 1 of none."""
    top = float(ax.dataLim.y1)
    return top if np.isfinite(top) and top > 0 else 1.0


def _band(errors: np.ndarray) -> np.ndarray:
    known = errors[np.isfinite(errors)]
    return np.percentile(known, (16, 50, 84)) if known.size else np.full(3, np.nan)
