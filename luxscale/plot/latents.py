"""Latents reduced to two dimensions, coloured by labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from luxscale.analysis.label_arrays import label_units, require_variables
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, take_catalog
from luxscale.plot.given import require_array
from luxscale.plot.style import (
    GRADIENT,
    TEXT,
    choose_marker_size,
    find_color_limits,
    find_label_rows,
    find_limits,
    format_axis_label,
    make_figure,
    make_grid,
    make_ticks,
)
from luxscale.schema.variables import STAR


def latents(
    embedding: xr.DataArray,
    catalog: DatasetOrPath,
    labels: Sequence[str] | None = None,
    figure: FigureBase | None = None,
) -> np.ndarray:
    """Draw stars where an embedding puts them, a panel for each label as colour: figure 19.

    Parameters
    ----------
    embedding : DataArray, (star, component)
        Two coordinates of each star of the catalogue, in its order, e.g. from
        ``luxscale.paper.latents.embed``. If ``component`` has coordinates, they name the axes.
    catalog : Dataset, str or Path
        With ``label_value`` (star, label).
    labels : sequence of str, optional
        All by default.
    figure : Figure or SubFigure, optional
        To draw on; new by default.

    Returns
    -------
    array of Axes, (label,)
        Colours span the central 96% of each label; stars without it are grey.

    Raises
    ------
    InputError
        If a label is missing, or the embedding is not one of these stars.
    """
    catalog = take_catalog(catalog, "lux.plot.latents(embedding, catalog)")
    require_variables(catalog, ["label_value"], "catalogue")
    rows = find_label_rows(catalog["label"].values.tolist(), labels)
    require_array("embedding", embedding, "two coordinates of each star")
    if embedding.shape != (catalog.sizes[STAR], 2):
        raise InputError(
            f"the embedding has shape {embedding.shape}; give two coordinates for each of the "
            f"{catalog.sizes[STAR]} stars"
        )
    columns = min(3, len(rows))
    down = -(-len(rows) // columns)
    if figure is None:
        figure = make_figure(2.6 * columns, 2.4 * down)
    axes = make_grid(figure, len(rows), down, columns)
    _name_axes(axes, embedding, columns)
    units = label_units(catalog)
    for ax, row in zip(axes, rows, strict=True):
        name = str(catalog["label"].values[row])
        value = catalog["label_value"].values[:, row]
        _draw_stars(ax, embedding.values, value, format_axis_label(name, units[name]))
    return axes


def _name_axes(axes: np.ndarray, embedding: xr.DataArray, columns: int) -> None:
    """Name the axes of panels at the left, and of those that have none below."""
    if "component" not in embedding.coords:
        return
    across, up = map(str, embedding["component"].values)
    for ax in axes[::columns]:
        ax.set_ylabel(up)
    for ax in axes[-columns:]:
        ax.set_xlabel(across)


def _draw_stars(ax: Axes, x: np.ndarray, value: np.ndarray, title: str) -> None:
    """Draw stars (star, 2), coloured by a label, those without it grey."""
    known = np.isfinite(value)
    look: dict[str, Any] = {"s": choose_marker_size(len(x)), "linewidths": 0, "rasterized": True}
    ax.scatter(x[~known, 0], x[~known, 1], c="0.7", **look)
    stars = ax.scatter(x[known, 0], x[known, 1], c=value[known], cmap=GRADIENT, **look)
    stars.set_clim(*find_color_limits(value[known]))
    ax.set(
        xlim=find_limits(x[:, 0], False),
        ylim=find_limits(x[:, 1], False),
        xticks=[],
        yticks=[],
    )
    bar = ax.figure.colorbar(
        stars,
        ax=ax,
        extend="both",
        ticks=make_ticks(),
        aspect=16,
        pad=0.02,
    )
    bar.ax.tick_params(labelsize=TEXT)
    ax.set_title(title, fontsize=TEXT + 1)
