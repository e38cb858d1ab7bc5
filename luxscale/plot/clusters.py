"""Clusters: stars of one composition, so that their labels should agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from luxscale.analysis.evaluate import match_labels
from luxscale.analysis.label_arrays import label_units, require_variables
from luxscale.analysis.stats import reduce_or_nan, robust_scatter
from luxscale.analysis.tables import count_decimals, round_to
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, take_catalog, take_survey
from luxscale.plot.given import take_of_stars
from luxscale.plot.labels import name_truth
from luxscale.plot.style import (
    CYCLE,
    POINT,
    TEXT,
    find_label_rows,
    find_limits,
    format_axis_label,
    format_label,
    keep_finite,
    make_axes,
    set_ticks,
    write_note,
)

MARKERS = "osD^vPX<>"


def clusters(
    catalog: DatasetOrPath,
    truth: DatasetOrPath,
    cluster: np.ndarray,
    label: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw an inferred label of the stars of clusters against the trusted one: figure 11.

    Parameters
    ----------
    catalog, truth : Dataset, str or Path
        As in `luxscale.analysis.evaluate.compare`, with the same stars in the same order.
    cluster : array, (star,)
        Which cluster each star is of.
    label : str
        A label that is the same in all stars of a cluster.
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        Stars as dots, clusters as medians with the robust scatter of their stars, and the 1:1 line.

    Raises
    ------
    InputError
        If the label is missing, or ``cluster`` has the wrong length.
    """
    call = "lux.plot.clusters(catalog, truth, cluster, label)"
    catalog = take_catalog(catalog, call)
    truth = take_survey(truth, call, name="truth")
    pairs = match_labels(catalog, truth, labels=[label])
    inferred = pairs["inferred"].values[:, 0]
    true = pairs["truth"].values[:, 0]
    _check_groups(cluster, inferred.size)
    ax = ax or make_axes(3.6, 3.6)
    ax.plot(
        true,
        inferred,
        ".",
        ms=4,
        mew=0,
        alpha=0.5,
        color="0.45",
    )
    members = [cluster == number for number in np.unique(cluster)]
    x, y, scatter = np.array([_measure_cluster(true[at], inferred[at]) for at in members]).T
    ax.errorbar(
        x,
        y,
        scatter,
        fmt="o",
        ms=5,
        color=POINT,
        lw=1.2,
        capsize=2,
        zorder=3,
    )
    every = np.concatenate([true, inferred])
    _draw_one_to_one(ax, find_limits(keep_finite(every), False))
    name = format_axis_label(label, str(pairs["label_units"].values[0]))
    ax.set(xlabel=f"{name_truth(pairs)} {name}", ylabel=f"Inferred {name}")
    heading = f"{len(members)} clusters, {inferred.size:,} stars"
    _write_summary(ax, heading, y - x, scatter)
    return ax


def _draw_one_to_one(ax: Axes, span: tuple[float, float]) -> None:
    """Give both axes these limits, and draw the 1:1 line."""
    ax.plot(span, span, "k", lw=0.9)
    ax.set(xlim=span, ylim=span, box_aspect=1)
    set_ticks(ax)


def _measure_cluster(true: np.ndarray, inferred: np.ndarray) -> tuple[float, float, float]:
    """Return the medians of a cluster's stars, and the robust scatter of what is inferred."""
    scatter = robust_scatter(keep_finite(inferred))
    return float(np.nanmedian(true)), float(np.nanmedian(inferred)), scatter


def _write_summary(ax: Axes, heading: str, off: np.ndarray, scatter: np.ndarray) -> None:
    """Write how far clusters are off, and how far their stars scatter."""
    offset = float(np.sqrt(np.nanmean(off**2)))
    within = reduce_or_nan(np.median, keep_finite(scatter))
    places = count_decimals(offset, within)
    lines = [
        heading,
        f"RMS offset = {round_to(offset, places)}",
        f"scatter within = {round_to(within, places)}",
    ]
    write_note(ax, 0.045, 0.97, "\n".join(lines), va="top", zorder=4, linespacing=1.25)


def cluster_scatter(
    catalog: DatasetOrPath, cluster: np.ndarray, labels: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draw the scatter of labels within each cluster against their errors: are these honest.

    Parameters
    ----------
    catalog : Dataset, str or Path
        With ``label_value`` and ``label_err`` (star, label).
    cluster : array, (star,)
    labels : sequence of str
        Labels of one unit that are the same in all stars of a cluster.
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        A point for each cluster and label, and the line where scatter is error. An error is the
        catalogue's: formal error and misfit.

    Raises
    ------
    InputError
        If a label is missing, or ``cluster`` has the wrong length.
    """
    catalog = take_catalog(catalog, "lux.plot.cluster_scatter(catalog, cluster, labels)")
    require_variables(catalog, ("label_value", "label_err"), "catalogue")
    rows = find_label_rows(catalog["label"].values.tolist(), labels)
    _check_groups(cluster, catalog.sizes["star"])
    ax = ax or make_axes(3.6, 3.6)
    members = [cluster == number for number in np.unique(cluster)]
    most = 0.0
    for i, (label, row) in enumerate(zip(labels, rows, strict=True)):
        value = catalog["label_value"].values[:, row]
        err = catalog["label_err"].values[:, row]
        x = np.array([np.nanmedian(err[at]) for at in members])
        y = np.array([robust_scatter(keep_finite(value[at])) for at in members])
        marker, color = _choose_marker(i)
        ratio = reduce_or_nan(np.median, keep_finite(y / x))  # a star alone does not scatter
        text = f"{format_label(label)}, median ratio {round_to(ratio, 2)}"
        ax.plot(x, y, marker, ms=5, color=color, label=text)
        most = np.max(keep_finite(np.append(x, y)), initial=most)
    _draw_one_to_one(ax, (0, 1.3 * most))
    unit = label_units(catalog)[labels[0]]
    ax.set(
        xlabel=f"Median error in the catalogue [{unit}]",
        ylabel=f"Scatter within a cluster [{unit}]",
    )
    ax.legend(
        fontsize=TEXT,
        loc="upper left",
        framealpha=0.8,
        edgecolor="none",
        handletextpad=0.1,
    )
    return ax


def _choose_marker(i: int) -> tuple[str, str]:
    """Return the marker and the colour of a series by its number."""
    return MARKERS[i % len(MARKERS)], CYCLE[i % len(CYCLE)]


def kiel_groups(
    catalog: DatasetOrPath, group: np.ndarray, ax: Axes | None = None, *, title: str = ""
) -> Axes:
    """Draw the Kiel diagram of stars in a few groups, each of its own colour and marker.

    Parameters
    ----------
    catalog : Dataset, str or Path
        With ``label_value`` (star, label), among the labels ``teff`` and ``logg``.
    group : array, (star,)
        What each star belongs to, e.g. the number of its cluster. Of the stars in their order, or a
        DataArray that names them, in any.
    ax : Axes, optional
        New by default.
    title : str
        Above the legend: what the groups are.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If a label is missing, or ``group`` has the wrong length.
    """
    catalog = take_catalog(catalog, "lux.plot.kiel_groups(catalog, group)")
    require_variables(catalog, ("label_value",), "catalogue")
    rows = find_label_rows(catalog["label"].values.tolist(), ("teff", "logg"))
    group = take_of_stars("group", group, catalog, "the group of each star")
    _check_groups(group, catalog.sizes["star"])
    ax = ax or make_axes(3.6, 3.6)
    x, y = catalog["label_value"].values[:, rows].T
    names = np.unique(group).tolist()
    for i, name in enumerate(names):
        at = group == name
        marker, color = _choose_marker(i)
        ax.plot(
            x[at],
            y[at],
            marker,
            ms=3,
            mew=0,
            alpha=0.7,
            color=color,
            label=str(name),
        )
    units = label_units(catalog)
    ax.set(
        xlim=find_limits(keep_finite(x), False)[::-1],
        ylim=find_limits(keep_finite(y), False)[::-1],
        xlabel=f"Inferred {format_axis_label('teff', units['teff'])}",
        ylabel=f"Inferred {format_axis_label('logg', units['logg'])}",
        box_aspect=1,
    )
    ax.legend(
        title=title,
        title_fontsize=TEXT,
        fontsize=TEXT,
        frameon=False,
        ncols=2 if len(names) > 4 else 1,
        markerscale=1.6,
        handletextpad=0,
        columnspacing=0.5,
    )
    set_ticks(ax)
    return ax


def _check_groups(group: np.ndarray, stars: int) -> None:
    if np.shape(group) != (stars,):
        raise InputError(
            f"groups have shape {np.shape(group)}; give one for each of the {stars} stars"
        )
