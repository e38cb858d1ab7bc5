"""Labels of one catalogue against those of another."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from luxscale.analysis.changes import compare_catalogs, match_catalogs
from luxscale.analysis.tables import count_decimals, round_to
from luxscale.model.arguments import DatasetOrPath
from luxscale.plot.density import DENSE, draw_stars, share_scale
from luxscale.plot.style import (
    find_limits,
    format_axis_label,
    make_figure,
    make_grid,
    set_minus,
    set_ticks,
    write_note,
)


def changes(old: DatasetOrPath, new: DatasetOrPath) -> Figure:
    """Draw by how much labels differ between two catalogues of the same stars, against the old.

    Parameters
    ----------
    old, new : Dataset, str or Path
        As in `luxscale.analysis.changes.compare_catalogs`.

    Returns
    -------
    Figure
        A panel for each label that both have; above 2,000 stars with the density of all of them,
        spanning the central 99.8%.

    Raises
    ------
    InputError
        As `luxscale.analysis.changes.compare_catalogs`.

    Examples
    --------
    >>> from luxscale import plot
    >>> figure = plot.changes(catalog, catalog.isel(star=slice(0, 100)))
    """
    pairs, _ = match_catalogs(old, new)
    measured = compare_catalogs(old, new).labels
    names = pairs["label"].values.tolist()
    columns = min(4 if len(names) > 9 else 3, len(names))
    rows = -(-len(names) // columns)
    height = 2.9 * rows
    if pairs.sizes["star"] > DENSE:
        height += 0.6  # the colour bar above all panels
    figure = make_figure(3.1 * columns, height)
    axes = make_grid(figure, len(names), rows, columns)
    densities = []
    for name, ax in zip(names, axes, strict=True):
        densities.append(_draw_change(pairs.sel(label=name), measured.sel(label=name), ax))
    share_scale(densities, axes)
    return figure


def _draw_change(pairs: xr.Dataset, measured: xr.Dataset, ax: Axes) -> PolyCollection | None:
    """Draw the change of one label; return the density, if there is one."""
    old, new = pairs["old"].values, pairs["new"].values
    known = np.isfinite(old) & np.isfinite(new)
    old, change = old[known], (new - old)[known]
    is_dense = old.size > DENSE
    # with the line of no change within it
    height = find_limits(np.append(change, 0.0), is_dense)
    width = find_limits(old, is_dense)
    density = draw_stars(ax, old, change, width, height)
    ax.axhline(0, color="k", lw=0.9, zorder=3)
    ax.set(xlim=width, ylim=height, box_aspect=1)
    median, scatter = (float(measured[n]) for n in ("median_difference", "robust_scatter"))
    places = count_decimals(scatter, median)
    lines = [
        f"n = {old.size:,}",
        f"median = {set_minus(round_to(median, places))}",
        f"robust = {round_to(scatter, places)}",
    ]
    write_note(ax, 0.045, 0.97, "\n".join(lines), va="top", linespacing=1.25, zorder=4)
    set_ticks(ax)
    name = format_axis_label(str(pairs["label"].values), str(pairs["label_units"].values))
    ax.set(xlabel=f"Old {name}", ylabel=f"New - old {name}")
    return density
