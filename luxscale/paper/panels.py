"""Figures of many panels of one kind."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from luxscale import plot
from luxscale.plot.style import style

#: Size of a panel, inches.
WIDTH, HEIGHT = 2.7, 2.6


def panels(n: int, columns: int, figure: FigureBase | None = None) -> list[Axes]:
    """Return so many axes in rows, on a new figure by default."""
    rows = -(-n // columns)
    figure = figure or Figure((WIDTH * columns, HEIGHT * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(n)]
    for ax in axes:
        style(ax)
    return axes


def one_to_ones(
    catalog: xr.Dataset, truth: xr.Dataset, labels: Sequence[str], columns: int, figure: FigureBase | None = None
) -> list[Axes]:
    """Draw each label against the trusted one."""
    axes = panels(len(labels), columns, figure)
    for label, ax in zip(labels, axes, strict=True):
        plot.one_to_one(catalog, truth, label, ax)
    return axes
