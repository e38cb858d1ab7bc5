"""The Kiel diagram: log g against effective temperature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.patches import Rectangle

from luxscale.analysis.label_arrays import label_units, require_variables
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, take_catalog
from luxscale.plot.density import DENSE
from luxscale.plot.style import (
    GRADIENT,
    POINT,
    TEXT,
    add_color_bar,
    choose_marker_size,
    find_color_limits,
    find_limits,
    format_axis_label,
    make_axes,
    make_ticks,
    set_ticks,
)
from luxscale.schema.status import find_done
from luxscale.schema.variables import STAR

#: At most this many stars are drawn.
MOST_POINTS = 50_000


def kiel(
    catalog: DatasetOrPath,
    ax: Axes | None = None,
    teff: str = "teff",
    logg: str = "logg",
    color: str = "fe_h",
) -> Axes:
    """Draw the Kiel diagram of a catalogue, log g against temperature, both decreasing: figure 8.

    Parameters
    ----------
    catalog : Dataset, str or Path
        With ``label_value`` (star, label). Where it has a ``status``, only stars that are done are
        drawn.
    ax : Axes, optional
        New by default.
    teff, logg : str
        Names of the labels.
    color : str
        Label that colours the stars; without it ``m_h``, without that none.

    Returns
    -------
    Axes
        Above 50,000 stars it shows a random sample of so many, the same every time.

    Raises
    ------
    InputError
        If the catalogue lacks one of the two labels.

    Examples
    --------
    >>> from luxscale import plot
    >>> ax = plot.kiel(catalog)
    >>> ax.figure.savefig("kiel.png")
    """
    catalog = take_catalog(catalog, "lux.plot.kiel(catalog)")
    hue = choose_hue(catalog, color)
    if ax is None:
        ax = make_axes(4.2 if hue else 3.6, 3.6)
    stars = draw_kiel(catalog, ax, teff, logg, hue)
    if hue:
        name = format_axis_label(hue, label_units(catalog)[hue])
        add_color_bar(stars, ax, name, extend="both")
    return ax


def choose_hue(catalog: xr.Dataset, color: str) -> str | None:
    """Return the label that colours a Kiel diagram: the one asked for, or metallicity."""
    require_variables(catalog, ["label_value"], "catalogue")
    units = label_units(catalog)
    return next((name for name in (color, "fe_h", "m_h") if name in units), None)


def draw_kiel(
    catalog: xr.Dataset, ax: Axes, teff: str, logg: str, hue: str | None
) -> PathCollection:
    """Draw a Kiel diagram; return its stars, for a colour bar."""
    units = label_units(catalog)
    for name in (teff, logg):
        if name not in units:
            raise InputError(
                f"catalogue: no label {name!r} for a Kiel diagram; it has {', '.join(units)}"
            )
    x, y, value = _draw_sample(catalog, [teff, logg, hue or teff])
    crowded = x.size > DENSE
    stars = ax.scatter(
        x,
        y,
        c=value if hue else POINT,
        s=choose_marker_size(x.size),
        linewidths=0,
        rasterized=crowded,
    )
    if hue:
        stars.set(cmap=GRADIENT, clim=find_color_limits(value))
    ax.set(
        xlim=find_limits(x, crowded)[::-1],
        ylim=find_limits(y, crowded)[::-1],
        xlabel=format_axis_label(teff, units[teff]),
        ylabel=format_axis_label(logg, units[logg]),
        box_aspect=1,
    )
    set_ticks(ax, 6)
    return stars


def _draw_sample(catalog: xr.Dataset, labels: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Return known labels of done stars, at most `MOST_POINTS`, in a fixed random order."""
    done = np.flatnonzero(find_done(catalog))
    at = np.random.default_rng(0).permutation(done)[:MOST_POINTS]
    have = list(label_units(catalog))
    table = catalog["label_value"].drop_vars([STAR, "label"])
    table = table.isel(label=[have.index(name) for name in labels])
    # read in the order of the store, then put into the random one
    values = table.isel({STAR: np.sort(at)}).values
    values = values[np.argsort(np.argsort(at))]
    complete = np.isfinite(values).all(axis=1)
    return tuple(values[complete].T)


def add_kiel(catalog: xr.Dataset, ax: Axes) -> None:
    """Draw a Kiel diagram as large as its neighbours.

    Its colour bar lies in the empty corner of hot supergiants.
    """
    hue = choose_hue(catalog, "fe_h")
    stars = draw_kiel(catalog, ax, "teff", "logg", hue)
    if hue is None:
        return
    background = Rectangle(
        (0.02, 0.76),
        0.52,
        0.22,
        transform=ax.transAxes,
        color="w",
        alpha=0.75,
        lw=0,
        zorder=2,
    )
    ax.add_patch(background)
    inset = ax.inset_axes((0.07, 0.91, 0.42, 0.04))
    bar = ax.figure.colorbar(
        stars,
        cax=inset,
        orientation="horizontal",
        extend="both",
        ticks=make_ticks(3),
    )
    name = format_axis_label(hue, label_units(catalog)[hue])
    bar.set_label(name, fontsize=TEXT, labelpad=1)
    inset.tick_params(labelsize=TEXT, pad=2)
