"""Latents reduced to two dimensions, coloured by labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from luxscale.analysis.evaluate import label_units, require_variables
from luxscale.errors import InputError
from luxscale.plot.style import (
    GRADIENT,
    TEXT,
    find_label_rows,
    find_limits,
    format_axis_label,
    make_ticks,
    style_axes,
)
from luxscale.schema.variables import STAR


def latents(
    embedding: xr.DataArray,
    catalog: xr.Dataset,
    labels: Sequence[str] | None = None,
    figure: FigureBase | None = None,
) -> np.ndarray:
    """Draw stars where an embedding puts their latents, a panel for each label as colour: figure 19.

    Parameters
    ----------
    embedding : DataArray, (star, component)
        Two coordinates of each star of the catalogue, in its order, e.g. from
        `luxscale.paper.latents.embed`. If ``component`` has coordinates, they name the axes.
    catalog : Dataset
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
    require_variables(catalog, ["label_value"], "catalogue")
    rows = find_label_rows(catalog["label"].values.tolist(), labels)
    if embedding.shape != (catalog.sizes[STAR], 2):
        raise InputError(
            f"the embedding has shape {embedding.shape}; give two coordinates for each of the "
            f"{catalog.sizes[STAR]} stars"
        )
    columns = min(3, len(rows))
    down = -(-len(rows) // columns)
    figure = figure or Figure((2.6 * columns, 2.4 * down), layout="constrained")
    axes = np.array([figure.add_subplot(down, columns, i + 1) for i in range(len(rows))])
    _name_axes(axes, embedding, columns)
    units, x = label_units(catalog), embedding.values
    for ax, row in zip(axes, rows, strict=True):
        style_axes(ax)
        name = str(catalog["label"].values[row])
        _draw(ax, x, catalog["label_value"].values[:, row], format_axis_label(name, units[name]))
    return axes


def _name_axes(axes: np.ndarray, embedding: xr.DataArray, columns: int) -> None:
    """Name the axes of panels at the left, and of those that have none below."""
    if "component" not in embedding.coords:
        return
    across, up = map(str, embedding["component"].values)
    for ax in axes[::columns]:
        ax.set_ylabel(up, fontsize=TEXT)
    for ax in axes[-columns:]:
        ax.set_xlabel(across, fontsize=TEXT)


def _draw(ax: Axes, x: np.ndarray, value: np.ndarray, text: str) -> None:
    known = np.isfinite(value)
    size = float(np.clip(6000 / max(len(x), 1), 0.8, 14))
    ax.scatter(x[~known, 0], x[~known, 1], c="0.7", s=size, linewidths=0, rasterized=True)
    stars = ax.scatter(
        x[known, 0],
        x[known, 1],
        c=value[known],
        s=size,
        linewidths=0,
        cmap=GRADIENT,
        rasterized=True,
    )
    stars.set_clim(*(np.percentile(value[known], (2, 98)) if known.any() else (0, 1)))
    ax.set(xlim=find_limits(x[:, 0], False), ylim=find_limits(x[:, 1], False), xticks=[], yticks=[])
    bar = ax.figure.colorbar(stars, ax=ax, extend="both", ticks=make_ticks(), aspect=16, pad=0.02)
    bar.ax.tick_params(labelsize=TEXT)
    ax.set_title(text, fontsize=TEXT + 1)
