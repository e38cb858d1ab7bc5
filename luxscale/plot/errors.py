"""Errors of labels against S/N."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from luxscale.analysis.bins import assign_bins, make_bins
from luxscale.analysis.label_arrays import LABEL, label_units
from luxscale.analysis.stats import robust_scatter
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, take_catalog
from luxscale.plot.given import take_of_stars
from luxscale.plot.style import (
    MODEL,
    POINT,
    add_legend_above,
    format_axis_label,
    keep_finite,
    make_panels,
    set_ticks,
)
from luxscale.schema.variables import STAR


def errors_by_snr(
    catalog: DatasetOrPath,
    snr: np.ndarray,
    pairs: xr.Dataset | None = None,
    axes: Any = None,
    *,
    bins: int = 8,
) -> np.ndarray:
    """Draw the errors of labels against S/N, and what trusted labels say they should be.

    Parameters
    ----------
    catalog : Dataset, str or Path
        With ``label_err`` (star, label), in memory.
    snr : array, (star,)
        Of the stars in their order, or a DataArray that names them, in any.
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
    catalog = take_catalog(catalog, "lux.plot.errors_by_snr(catalog, snr)")
    snr = take_of_stars("snr", snr, catalog, "S/N of each star")
    sizes = {np.size(snr), catalog.sizes[STAR]}
    if pairs is not None:
        sizes.add(pairs.sizes[STAR])
    if len(sizes) > 1:
        raise InputError(
            "S/N, catalogue and pairs differ in their number of stars; give those of the same stars"
        )
    edges = make_bins(snr, bins)
    at = assign_bins(snr, edges)
    members = [at == i for i in range(edges.size - 1)]
    x = np.array([find_median(snr[inside]) for inside in members])
    new = axes is None
    units = label_units(catalog)
    axes = make_panels(axes, len(units), 4, (1.9, 1.6))
    for j, (ax, (name, unit)) in enumerate(zip(axes, units.items(), strict=True)):
        errors = catalog["label_err"].values[:, j]
        draw_band(ax, x, [errors[inside] for inside in members])
        if pairs is not None and name in pairs[LABEL].values:
            _draw_scatter(ax, x, pairs.sel(label=name), members)
        ax.set(xlabel="S/N", ylabel=rf"$\sigma$ {format_axis_label(name, unit)}")
        ax.set_ylim(0, 1.12 * find_greatest(ax))
        set_ticks(ax, 4)
    if new:
        add_legend_above(axes, 3)
    return axes


def _draw_scatter(
    ax: Axes, x: np.ndarray, pairs: xr.Dataset, members: Sequence[np.ndarray]
) -> None:
    """Draw the robust scatter of inferred - truth in each bin, of one label of matched stars."""
    off = (pairs["inferred"] - pairs["truth"]).values
    scatter = [robust_scatter(keep_finite(off[inside])) for inside in members]
    ax.plot(
        x,
        scatter,
        "o",
        color=MODEL,
        ms=3.5,
        label="robust scatter against trusted labels",
    )


def find_median(values: np.ndarray) -> float:
    """Return the median of some values, NaN of none."""
    if not values.size:
        return np.nan
    return float(np.median(values))


def find_greatest(ax: Axes) -> float:
    """Return the largest value that is drawn, 1 of none: the frame cuts no band, line or point."""
    top = float(ax.dataLim.y1)
    if np.isfinite(top) and top > 0:
        return top
    return 1.0


def draw_band(ax: Axes, x: np.ndarray, values: Sequence[np.ndarray], what: str = "error") -> None:
    """Draw the central 68% and the median of values in each bin, a gap where none is known."""
    rows = np.full((len(values), 3), np.nan)
    for row, each in zip(rows, values, strict=True):
        known = keep_finite(each)
        if known.size:
            row[:] = np.percentile(known, (16, 50, 84))
    low, middle, high = rows.T
    ax.fill_between(
        x,
        low,
        high,
        color=POINT,
        alpha=0.25,
        lw=0,
        label=f"{what}, 16-84% of stars",
    )
    ax.plot(x, middle, color=POINT, lw=1.3, label=f"{what}, median")
