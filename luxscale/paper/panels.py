"""Figures of many panels of one kind."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from luxscale.plot.style import style_axes

#: Size of a panel, inches.
WIDTH, HEIGHT = 2.7, 2.6


def make_panels(n: int, columns: int, *, more: int = 0) -> tuple[Figure, list[Axes]]:
    """Return a new figure of ``n`` panels in columns.

    Below them are ``more`` panels that each take a whole row. Axes are in order.
    """
    above = -(-n // columns)
    rows = above + more
    size = (WIDTH * columns, HEIGHT * rows)
    figure = Figure(size, layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    cells = [grid[divmod(i, columns)] for i in range(n)]
    cells += [grid[row, :] for row in range(above, rows)]
    axes = [figure.add_subplot(cell) for cell in cells]
    for ax in axes:
        style_axes(ax)
    return figure, axes
