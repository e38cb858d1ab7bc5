"""Figures of many panels of one kind."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from luxscale.plot.style import style_axes

#: Size of a panel, inches.
WIDTH, HEIGHT = 2.7, 2.6


def make_panels(n: int, columns: int, *, more: int = 0) -> tuple[Figure, list[Axes]]:
    """Return a new figure of so many panels, and ``more`` panels below them that each take a whole row, in order."""
    rows = -(-n // columns) + more
    figure = Figure((WIDTH * columns, HEIGHT * rows), layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    axes = [figure.add_subplot(grid[divmod(i, columns)]) for i in range(n)]
    axes += [figure.add_subplot(grid[rows - more + i, :]) for i in range(more)]
    for ax in axes:
        style_axes(ax)
    return figure, axes
