"""Abundances of many stars against metallicity, and what several methods say of the same stars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure

from luxscale.analysis.label_arrays import label_units, require_variables
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, take_catalog
from luxscale.plot.density import DENSE, draw_stars, find_highest, share_scale
from luxscale.plot.kiel_diagram import add_kiel, choose_hue, draw_kiel
from luxscale.plot.style import (
    TITLE,
    add_color_bar,
    find_label_rows,
    find_limits,
    format_axis_label,
    make_axes,
    make_figure,
    make_grid,
    make_ticks,
    set_ticks,
    style_axes,
)
from luxscale.schema.status import find_done

#: What abundances are drawn against, the first that a catalogue has.
METALLICITY = ("fe_h", "m_h")

#: Above this many stars those outside these percentiles do not stretch the axes that catalogues
#: share.
CROWD, MOST = 500, (0.5, 99.5)


def abundances(
    catalog: DatasetOrPath, y: str, x: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw one label against another, by default an abundance against metallicity.

    Parameters
    ----------
    catalog : Dataset, str or Path
        With ``label_value`` (star, label). Where it has a ``status``, only stars that are done are
        drawn.
    y : str
        Label to draw.
    x : str, optional
        Label to draw it against; ``fe_h`` by default, without that ``m_h``.
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        Above 2,000 stars it shows their density, on a logarithmic scale; its axes span the central
        99.8%.

    Raises
    ------
    InputError
        If the catalogue lacks one of the two labels.
    """
    catalog = take_catalog(catalog, "lux.plot.abundances(catalog, y)")
    new = ax is None
    if ax is None:
        # a density has a colour bar at the right
        dense = find_done(catalog).sum() > DENSE
        ax = make_axes(4.2 if dense else 3.6, 3.4)
    density = draw_plane(catalog, x or choose_metallicity(catalog), y, ax)
    if new and density is not None:
        add_color_bar(density, ax, "stars per bin")
    return ax


def choose_metallicity(catalog: xr.Dataset) -> str:
    """Return the label that abundances are drawn against."""
    units = label_units(catalog)
    return next((name for name in METALLICITY if name in units), METALLICITY[0])


def read_labels(catalog: xr.Dataset, *labels: str) -> tuple[np.ndarray, ...]:
    """Return labels of the stars that are done and have all of them known.

    Raises
    ------
    InputError
        If there is no such label.
    """
    require_variables(catalog, ["label_value"], "catalogue")
    rows = find_label_rows(list(label_units(catalog)), labels)
    values = catalog["label_value"].values[find_done(catalog)][:, rows]
    complete = np.isfinite(values).all(axis=1)
    return tuple(values[complete].T)


def draw_plane(
    catalog: xr.Dataset,
    x: str,
    y: str,
    ax: Axes,
    within: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> PolyCollection | None:
    """Draw one label against another within some limits.

    Parameters
    ----------
    catalog : Dataset
    x, y : str
        Labels to draw across and up.
    ax : Axes
    within : (xlim, ylim), optional
        Limits of the axes; those of the stars by default.

    Returns
    -------
    PolyCollection or None
        The density, if there is one, for a colour bar.
    """
    across, up = read_labels(catalog, x, y)
    if within is None:
        central = across.size > DENSE
        within = find_limits(across, central), find_limits(up, central)
    xlim, ylim = within
    density = draw_stars(ax, across, up, xlim, ylim)
    units = label_units(catalog)
    ax.set(
        xlim=xlim,
        ylim=ylim,
        xlabel=format_axis_label(x, units[x]),
        ylabel=format_axis_label(y, units[y]),
        box_aspect=1,
    )
    set_ticks(ax)
    return density


def abundances_figure(
    catalog: DatasetOrPath, labels: Sequence[str] | None = None, x: str | None = None
) -> Figure:
    """Draw the Kiel diagram and every abundance against metallicity: figure 15.

    Parameters
    ----------
    catalog : Dataset, str or Path
        With ``label_value`` (star, label).
    labels : sequence of str, optional
        Abundances to draw; by default all labels in dex but log g and metallicity.
    x : str, optional
        Label to draw them against; ``fe_h`` by default, without that ``m_h``.

    Returns
    -------
    Figure
        Densities share one colour scale. Without ``teff`` and ``logg`` in the catalogue there is no
        Kiel diagram.

    Raises
    ------
    InputError
        If a label is missing.
    """
    catalog = take_catalog(catalog, "lux.plot.abundances_figure(catalog)")
    require_variables(catalog, ["label_value"], "catalogue")
    units = label_units(catalog)
    x = x or choose_metallicity(catalog)
    if labels is None:
        labels = [k for k, unit in units.items() if unit == "dex" and k not in ("logg", x)]
    with_kiel = "teff" in units and "logg" in units
    axes = _make_axes(len(labels) + with_kiel, dense=bool(find_done(catalog).sum() > DENSE))
    if with_kiel:
        add_kiel(catalog, axes[0])
    panels = zip(labels, axes[with_kiel:], strict=True)
    share_scale([draw_plane(catalog, x, name, ax) for name, ax in panels], axes)
    return axes[0].get_figure()


def _make_axes(n: int, dense: bool) -> np.ndarray:
    """Return the axes of ``n`` panels on a new figure, in rows with few empty places."""
    columns = min(n, min((4, 5, 3), key=lambda most: -n % most))
    rows = -(-n // columns)
    height = 2.4 * rows
    if dense:
        height += 0.6  # the colour bar above all panels
    return make_grid(make_figure(2.6 * columns, height), n, rows, columns)


def diagrams(catalogs: Mapping[str, DatasetOrPath], plane: tuple[str, str]) -> Figure:
    """Draw the Kiel diagrams of several catalogues, and under them a plane of abundances: figure 8.

    Parameters
    ----------
    catalogs : mapping of str to Dataset, str or Path
        By the name that stands above: what different methods, or a survey, say of the same stars.
    plane : (str, str)
        Labels to draw across and up, e.g. ``("fe_h", "mg_fe")``.

    Returns
    -------
    Figure
        A column for each catalogue. Stars are coloured by metallicity in the Kiel diagrams; the
        planes share one scale. Axes hold the central 99% of each catalogue of more than 500 stars.

    Raises
    ------
    InputError
        If a catalogue lacks a label.
    """
    call = "lux.plot.diagrams(catalogs, plane)"
    if not isinstance(catalogs, Mapping) or not catalogs:
        raise InputError(
            f"catalogs is a {type(catalogs).__name__}; give a dict, name -> catalogue, with one or "
            f"more of them: {call}"
        )
    opened = {name: take_catalog(catalog, call) for name, catalog in catalogs.items()}
    figure = make_figure(2.8 * len(opened) + 0.9, 5.9)
    axes = figure.subplots(2, len(opened), squeeze=False)
    for ax in axes.flat:
        style_axes(ax)
    shown = list(opened.values())
    span = {name: _find_span(shown, name) for name in ("teff", "logg", *plane)}
    hue = choose_hue(shown[0], METALLICITY[0])
    across, up = plane
    within = span[across], span[up]
    stars, densities = [], []
    for (name, catalog), top, bottom in zip(opened.items(), *axes, strict=True):
        stars.append(draw_kiel(catalog, top, "teff", "logg", hue))
        top.set(xlim=span["teff"][::-1], ylim=span["logg"][::-1])
        top.set_title(name, fontsize=TITLE)
        # with more ticks the last of a panel and the first of its neighbour would touch
        top.xaxis.set_major_locator(make_ticks(3))
        densities.append(draw_plane(catalog, across, up, bottom, within))
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
        ax.tick_params(labelleft=False)
    if hue:
        name = format_axis_label(hue, label_units(shown[0])[hue])
        _share_hue(stars, axes[0], name)
    _share_density(densities, axes[1])
    return figure


def _find_span(catalogs: Sequence[xr.Dataset], label: str) -> tuple[float, float]:
    """Return limits that hold the central stars of all catalogues."""
    each = []
    for catalog in catalogs:
        (known,) = read_labels(catalog, label)
        if known.size > CROWD:
            known = np.percentile(known, MOST)
        each.append(find_limits(known, False))
    lows, highs = zip(*each, strict=True)
    return min(lows), max(highs)


def _share_hue(stars: Sequence[PathCollection], axes: np.ndarray, name: str) -> None:
    """Give the Kiel diagrams of a row the colours of the first, and its bar at the right."""
    bounds = stars[0].get_clim()
    for points in stars:
        points.set_clim(*bounds)
    add_color_bar(stars[0], list(axes), name, extend="both")


def _share_density(densities: Sequence[PolyCollection | None], axes: np.ndarray) -> None:
    """Give the densities of a row one scale of colours, and its bar at the right."""
    drawn = [density for density in densities if density is not None]
    if not drawn:
        return
    top = find_highest(drawn)
    for density in drawn:
        density.set_clim(1, top)
    add_color_bar(drawn[0], list(axes), "stars per bin")
