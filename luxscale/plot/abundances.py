"""Abundances of many stars against metallicity, and what several methods say of the same stars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from luxscale.analysis.evaluate import label_units, require_variables
from luxscale.plot.density import DENSE, draw_stars, share_scale
from luxscale.plot.kiel_diagram import add_kiel, choose_hue, draw_kiel
from luxscale.plot.style import (
    TITLE,
    add_color_bar,
    find_label_rows,
    find_limits,
    format_axis_label,
    make_axes,
    make_ticks,
    style_axes,
)
from luxscale.schema.status import find_done

#: What abundances are drawn against, the first that a catalogue has.
METALLICITY = ("fe_h", "m_h")

#: Above this many stars those outside these percentiles do not stretch the axes that catalogues
#: share.
CROWD, MOST = 500, (0.5, 99.5)


def abundances(catalog: xr.Dataset, y: str, x: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw one label against another, by default an abundance against metallicity.

    Parameters
    ----------
    catalog : Dataset
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
    new = ax is None
    ax = ax or make_axes(4.2 if find_done(catalog).sum() > DENSE else 3.6, 3.4)
    density = draw_plane(catalog, x or choose_metallicity(catalog), y, ax)
    if new and density is not None:
        add_color_bar(density, ax, "stars per bin")
    return ax


def choose_metallicity(catalog: xr.Dataset) -> str:
    """Return the label that abundances are drawn against."""
    return next((name for name in METALLICITY if name in label_units(catalog)), METALLICITY[0])


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
    return tuple(values[np.isfinite(values).all(1)].T)


def draw_plane(
    catalog: xr.Dataset,
    x: str,
    y: str,
    ax: Axes,
    within: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> PolyCollection | None:
    """Draw one label against another within some limits; return the density, if there is one, for a colour bar."""
    across, up = read_labels(catalog, x, y)
    central = across.size > DENSE
    xlim, ylim = within or (find_limits(across, central), find_limits(up, central))
    density = draw_stars(ax, across, up, xlim, ylim)
    units = label_units(catalog)
    ax.set(
        xlim=xlim,
        ylim=ylim,
        xlabel=format_axis_label(x, units[x]),
        ylabel=format_axis_label(y, units[y]),
        box_aspect=1,
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(make_ticks())
    return density


def abundances_figure(
    catalog: xr.Dataset, labels: Sequence[str] | None = None, x: str | None = None
) -> Figure:
    """Draw the Kiel diagram and every abundance against metallicity: figure 15.

    Parameters
    ----------
    catalog : Dataset
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
    require_variables(catalog, ["label_value"], "catalogue")
    units = label_units(catalog)
    x = x or choose_metallicity(catalog)
    wanted = (
        [k for k, unit in units.items() if unit == "dex" and k not in ("logg", x)]
        if labels is None
        else labels
    )
    with_kiel = "teff" in units and "logg" in units
    panels = len(wanted) + with_kiel
    across = min(panels, min((4, 5, 3), key=lambda n: -panels % n))  # few empty places
    down = -(-panels // across)
    figure = Figure(
        (2.6 * across, 2.4 * down + 0.6 * (find_done(catalog).sum() > DENSE)), layout="constrained"
    )
    axes = [figure.add_subplot(down, across, i + 1) for i in range(panels)]
    for ax in axes:
        style_axes(ax)
    if with_kiel:
        add_kiel(catalog, axes[0])
    drawn = [
        draw_plane(catalog, x, name, ax) for name, ax in zip(wanted, axes[with_kiel:], strict=True)
    ]
    share_scale([d for d in drawn if d is not None], axes)
    return figure


def diagrams(catalogs: Mapping[str, xr.Dataset], plane: tuple[str, str]) -> Figure:
    """Draw the Kiel diagrams of several catalogues, and under them a plane of abundances, on the same axes: figure 8.

    Parameters
    ----------
    catalogs : mapping of str to Dataset
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
    figure = Figure((2.8 * len(catalogs) + 0.9, 5.9), layout="constrained")
    axes = figure.subplots(2, len(catalogs), squeeze=False)
    shown = list(catalogs.values())
    span = {name: _span(shown, name) for name in ("teff", "logg", *plane)}
    hue = choose_hue(shown[0], METALLICITY[0])
    for ax in axes.flat:
        style_axes(ax)
    stars = [draw_kiel(c, ax, "teff", "logg", hue) for c, ax in zip(shown, axes[0], strict=True)]
    within = (span[plane[0]], span[plane[1]])
    planes = [draw_plane(c, *plane, ax, within) for c, ax in zip(shown, axes[1], strict=True)]
    for name, ax in zip(catalogs, axes[0], strict=True):
        ax.set(xlim=span["teff"][::-1], ylim=span["logg"][::-1])
        ax.set_title(name, fontsize=TITLE)
        ax.xaxis.set_major_locator(make_ticks(3))  # neighbours' last and first would touch
    for row in axes:
        for ax in row[1:]:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
    _bars(axes, stars, planes, format_axis_label(hue, label_units(shown[0])[hue]) if hue else "")
    return figure


def _span(catalogs: Sequence[xr.Dataset], label: str) -> tuple[float, float]:
    """Return limits that hold the central stars of all catalogues."""
    known = [read_labels(c, label)[0] for c in catalogs]
    each = [find_limits(np.percentile(v, MOST) if v.size > CROWD else v, False) for v in known]
    return min(low for low, _ in each), max(high for _, high in each)


def _bars(
    axes: np.ndarray, stars: Sequence, planes: Sequence[PolyCollection | None], hue: str
) -> None:
    """Give each row one scale of colours, and its bar at the right."""
    if hue:
        bounds = stars[0].get_clim()
        for s in stars:
            s.set_clim(*bounds)
        add_color_bar(stars[0], list(axes[0]), hue, extend="both")
    drawn = [p for p in planes if p is not None]
    if drawn:
        top = max(2.0, *(float(np.max(d.get_array())) for d in drawn))  # type: ignore[arg-type]
        for d in drawn:
            d.set_clim(1, top)
        add_color_bar(drawn[0], list(axes[1]), "stars per bin")
