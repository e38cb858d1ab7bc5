"""Many stars in a plane: as points while they are few, as a density beyond that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm

from luxscale.plot.style import DENSITY, POINT, add_color_bar

#: Above this many stars a comparison is drawn as a density.
DENSE = 2000


def draw_stars(
    ax: Axes, x: np.ndarray, y: np.ndarray, xlim: tuple[float, float], ylim: tuple[float, float]
) -> PolyCollection | None:
    """Draw stars as points, or above 2,000 their density on a logarithmic scale.

    Returns
    -------
    PolyCollection or None
        The density, for a colour bar; None of points.
    """
    if x.size <= DENSE:
        size = np.clip(80 / max(x.size, 1) ** 0.5, 2, 6)
        ax.plot(
            x,
            y,
            ".",
            ms=float(size),
            mew=0,
            alpha=0.6,
            color=POINT,
        )
        return None
    # hexbin stretches its grid to its stars: only those inside keep it to the limits
    within_x = (x >= xlim[0]) & (x <= xlim[1])
    within_y = (y >= ylim[0]) & (y <= ylim[1])
    inside = within_x & within_y
    bins = int(np.clip(x.size**0.5 / 1.6, 40, 90))
    # bins are 1.7 times taller than the rows are apart, hence fewer of them upwards
    return ax.hexbin(
        x[inside],
        y[inside],
        gridsize=(bins, int(bins / 1.73)),
        extent=(*xlim, *ylim),
        mincnt=1,
        norm=LogNorm(),
        cmap=DENSITY,
        linewidths=0.1,
    )


def share_scale(densities: Sequence[PolyCollection | None], axes: np.ndarray) -> None:
    """Give densities, those that are not None, one colour scale, and its bar above all panels."""
    drawn = [density for density in densities if density is not None]
    if not drawn:
        return
    norm = LogNorm(1, find_highest(drawn))
    for density in drawn:
        density.set_norm(norm)
    add_color_bar(
        drawn[0],
        list(axes),
        "stars per bin",
        location="top",
        shrink=0.4,
        aspect=40,
        pad=0.01,
    )


def find_highest(densities: Sequence[PolyCollection]) -> float:
    """Return the number of stars in the fullest bin of all densities, 2 at least."""
    counts = [np.max(density.get_array()) for density in densities]  # type: ignore[arg-type]
    return max(2.0, *map(float, counts))
