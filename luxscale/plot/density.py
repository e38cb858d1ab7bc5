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
    """Draw stars as points, or above 2,000 their density on a logarithmic scale, which is returned for a colour bar."""
    if x.size <= DENSE:
        ax.plot(
            x,
            y,
            ".",
            ms=float(np.clip(80 / max(x.size, 1) ** 0.5, 2, 6)),
            mew=0,
            alpha=0.6,
            color=POINT,
        )
        return None
    inside = (
        (x >= xlim[0]) & (x <= xlim[1]) & (y >= ylim[0]) & (y <= ylim[1])
    )  # hexbin stretches its grid to its stars
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


def share_scale(densities: Sequence[PolyCollection], axes: Sequence[Axes]) -> None:
    """Give densities one colour scale, and its bar above all panels."""
    if not densities:
        return
    norm = LogNorm(1, max(2.0, *(float(np.max(d.get_array())) for d in densities)))  # type: ignore[arg-type]
    for density in densities:
        density.set_norm(norm)
    add_color_bar(
        densities[0], list(axes), "stars per bin", location="top", shrink=0.4, aspect=40, pad=0.01
    )
