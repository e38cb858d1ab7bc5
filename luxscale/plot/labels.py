"""Labels of many stars against trusted ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from luxscale.analysis.evaluate import match_labels, measure_pairs
from luxscale.analysis.label_arrays import label_units
from luxscale.analysis.tables import count_decimals, round_to
from luxscale.model.arguments import DatasetOrPath, take_catalog, take_survey
from luxscale.plot.abundances import draw_plane
from luxscale.plot.density import DENSE, draw_stars, share_scale
from luxscale.plot.kiel_diagram import add_kiel
from luxscale.plot.style import (
    add_color_bar,
    find_limits,
    format_axis_label,
    keep_finite,
    make_axes,
    make_figure,
    make_grid,
    set_minus,
    set_ticks,
    write_note,
)


def one_to_one(
    catalog: DatasetOrPath, truth: DatasetOrPath, label: str, ax: Axes | None = None
) -> Axes:
    """Draw an inferred label against the trusted one: a panel of figure 7.

    Parameters
    ----------
    catalog, truth : Dataset, str or Path
        Catalogue and survey, as in `luxscale.analysis.evaluate.compare`.
    label : str
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        With the 1:1 line, the statistics of `luxscale.analysis.evaluate.compare`, the mean error of
        the trusted label (where it has one), and a cross of the median errors. Above 2,000 stars it
        shows the density of all of them, on a logarithmic scale; its axes span the central 99.8% of
        both labels.

    Raises
    ------
    InputError
        If the label, or every star, is missing from one side.

    Examples
    --------
    >>> from luxscale import plot
    >>> ax = plot.one_to_one(catalog, survey, "teff")
    """
    call = "lux.plot.one_to_one(catalog, truth, label)"
    catalog = take_catalog(catalog, call)
    truth = take_survey(truth, call, name="truth")
    pairs = match_labels(catalog, truth, labels=[label])
    new = ax is None
    if ax is None:
        # a density has a colour bar at the right
        ax = make_axes(4.2 if _is_dense(pairs) else 3.6, 3.6)
    density = _draw_pairs(pairs, label, ax)
    if new and density is not None:
        add_color_bar(density, ax, "stars per bin")
    return ax


def _is_dense(pairs: xr.Dataset) -> bool:
    return int(np.max(np.sum(_find_known(pairs), axis=0))) > DENSE


def _find_known(pairs: xr.Dataset) -> np.ndarray:
    """Return which labels are known on both sides: (star, label)."""
    return np.isfinite(pairs["inferred"].values) & np.isfinite(pairs["truth"].values)


def _draw_pairs(pairs: xr.Dataset, label: str, ax: Axes) -> PolyCollection | None:
    """Draw one label of matched stars; return the density, if there is one, for a colour bar."""
    pairs = pairs.sel(label=[label])
    known = _find_known(pairs)[:, 0]
    inferred = pairs["inferred"].values[known, 0]
    truth = pairs["truth"].values[known, 0]
    span = find_limits(np.concatenate([inferred, truth]), inferred.size > DENSE)
    density = draw_stars(ax, truth, inferred, span, span)
    # a white edge lets the line be seen over a density
    edge = patheffects.withStroke(linewidth=2.2, foreground="w", alpha=0.7)
    ax.plot(
        span,
        span,
        color="k",
        lw=0.9,
        zorder=3,
        path_effects=[edge],
    )
    ax.set(xlim=span, ylim=span, box_aspect=1)
    _write_statistics(ax, pairs, known)
    _draw_errors(ax, pairs, known)
    set_ticks(ax)
    name = format_axis_label(label, str(pairs["label_units"].values[0]))
    ax.set(xlabel=f"{name_truth(pairs)} {name}", ylabel=f"Inferred {name}")
    return density


def name_truth(pairs: xr.Dataset) -> str:
    """Return how an axis calls the trusted labels of matched stars."""
    return "True" if pairs.attrs["truth_name"] == "label_true" else "Survey"


def _write_statistics(ax: Axes, pairs: xr.Dataset, known: np.ndarray) -> None:
    """Write the statistics of one label in the corners that the 1:1 line leaves."""
    upper, lower = _format_statistics(pairs)
    write_note(ax, 0.045, 0.97, upper, va="top", linespacing=1.25, zorder=4)
    write_note(ax, 0.955, 0.03, lower, ha="right", zorder=4)
    truth = pairs["truth"].values[known, 0]
    inferred = pairs["inferred"].values[known, 0]
    low, high = ax.get_xlim()
    below = np.minimum(truth, inferred) < low
    above = np.maximum(truth, inferred) > high
    outside = int(below.sum() + above.sum())
    if outside:
        write_note(ax, 0.955, 0.09, f"{outside:,} outside", ha="right", zorder=4)


def _draw_errors(ax: Axes, pairs: xr.Dataset, known: np.ndarray) -> None:
    """Draw a cross of the median errors of one label, at the lower right."""
    dx = _find_median(pairs["truth_err"].values[known, 0])
    dy = _find_median(pairs["inferred_err"].values[known, 0])
    low, high = ax.get_xlim()
    span = high - low
    x = high - 0.05 * span - dx
    y = low + 0.17 * span + dy
    # an error of 0 is not known: no bar
    ax.errorbar(
        x,
        y,
        yerr=dy or None,
        xerr=dx or None,
        color="k",
        lw=0.9,
        zorder=4,
    )


def _find_median(values: np.ndarray) -> float:
    """Return the median of the values that are known; 0 of none."""
    known = keep_finite(values)
    if not known.size:
        return 0.0
    return float(np.median(known))


def _format_statistics(pairs: xr.Dataset) -> tuple[str, str]:
    """Return the statistics of one label as text.

    Returns
    -------
    upper, lower : str
        Number of stars, scatter and the survey's error; and the median error.
    """
    stats = {name: value.item() for name, value in measure_pairs(pairs).data_vars.items()}
    known = _find_known(pairs)
    survey_err = 0.0
    if known.any():
        survey_err = float(np.mean(pairs["truth_err"].values[known]))
    places = count_decimals(stats["rmse"], stats["robust_scatter"], stats["median_err"])
    rows = {
        "bias": stats["bias"],
        "RMSE": stats["rmse"],
        "robust": stats["robust_scatter"],
    }
    if survey_err > 0:  # else the truth is exact, or nobody says how well it is known
        rows["survey err"] = survey_err
    rows["median err"] = stats["median_err"]
    lines = [f"{name} = {_format_number(value, places)}" for name, value in rows.items()]
    upper = [f"n = {stats['n_stars']:,}", *lines[:-1]]
    return "\n".join(upper), lines[-1]


def _format_number(value: float, places: int) -> str:
    """Return a rounded number as it is typeset; a lone dash, of an unknown one, stays."""
    number = round_to(value, places)
    if len(number) == 1:
        return number
    return set_minus(number)


def labels_figure(
    catalog: DatasetOrPath,
    truth: DatasetOrPath,
    labels: Sequence[str] | None = None,
    *,
    kiel: bool = True,
    plane: tuple[str, str] | None = None,
) -> Figure:
    """Draw labels against the trusted ones, and the Kiel diagram: figures 7 and 9.

    Parameters
    ----------
    catalog, truth : Dataset, str or Path
        As in `luxscale.analysis.evaluate.compare`.
    labels : sequence of str, optional
        Labels to draw, all that both have by default.
    kiel : bool
        Whether to draw the Kiel diagram; a catalogue without ``teff`` and ``logg`` has none.
    plane : (str, str), optional
        Two labels of the catalogue to draw in a further panel, across and up.

    Returns
    -------
    Figure
        Three panels per row, four where there are many; densities share one colour scale.

    Raises
    ------
    InputError
        If no star or no label is in common, or one that is named is missing.
    """
    call = "lux.plot.labels_figure(catalog, truth)"
    catalog = take_catalog(catalog, call)
    truth = take_survey(truth, call, name="truth")
    pairs = match_labels(catalog, truth, labels=labels)
    names = pairs["label"].values.tolist()
    have = label_units(catalog)
    kiel = kiel and "teff" in have and "logg" in have
    panels = len(names) + kiel + (plane is not None)
    columns = min(4 if panels > 9 else 3, panels)
    rows = -(-panels // columns)
    height = 2.9 * rows
    if _is_dense(pairs):
        height += 0.6  # the colour bar above all panels
    figure = make_figure(3.1 * columns, height)
    axes = make_grid(figure, panels, rows, columns)
    densities = [_draw_pairs(pairs, name, ax) for name, ax in zip(names, axes, strict=False)]
    if kiel:
        add_kiel(catalog, axes[len(names)])
    if plane:
        densities.append(draw_plane(catalog, *plane, axes[-1]))
    share_scale(densities, axes)
    return figure
