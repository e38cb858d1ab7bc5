"""Clusters: stars of one composition, so that their labels should agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from luxscale.analysis.evaluate import (
    count_decimals,
    label_units,
    match_labels,
    require_variables,
    round_to,
)
from luxscale.analysis.stats import robust_scatter
from luxscale.errors import InputError
from luxscale.plot.style import (
    CYCLE,
    POINT,
    TEXT,
    find_label_rows,
    find_limits,
    format_axis_label,
    format_label,
    make_axes,
    make_ticks,
)

MARKERS = "osD^vPX<>"


def clusters(
    catalog: xr.Dataset, truth: xr.Dataset, cluster: np.ndarray, label: str, ax: Axes | None = None
) -> Axes:
    """Draw an inferred label of the stars of clusters against the trusted one: figure 11.

    Parameters
    ----------
    catalog, truth : Dataset
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
    pairs = match_labels(catalog, truth, labels=[label])
    inferred, true = pairs["inferred"].values[:, 0], pairs["truth"].values[:, 0]
    _check(cluster, inferred.size)
    ax = ax or make_axes(3.6, 3.6)
    ax.plot(true, inferred, ".", ms=4, mew=0, alpha=0.5, color="0.45")
    numbers = np.unique(cluster)
    x, y, scatter = np.array([_middle(true, inferred, cluster == k) for k in numbers]).T
    ax.errorbar(x, y, scatter, fmt="o", ms=5, color=POINT, lw=1.2, capsize=2, zorder=3)
    _square(ax, *find_limits(_known(np.concatenate([true, inferred])), False))
    name = format_axis_label(label, str(pairs["label_units"].values[0]))
    side = "True" if pairs.attrs["truth_name"] == "label_true" else "Survey"
    ax.set(xlabel=f"{side} {name}", ylabel=f"Inferred {name}")
    _note(ax, f"{numbers.size} clusters, {inferred.size:,} stars", y - x, scatter)
    return ax


def _square(ax: Axes, low: float, high: float) -> None:
    """Give both axes these limits, and draw the 1:1 line."""
    ax.plot([low, high], [low, high], "k", lw=0.9)
    ax.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
    _tick(ax)


def _tick(ax: Axes) -> None:
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(make_ticks())


def _middle(true: np.ndarray, inferred: np.ndarray, at: np.ndarray) -> tuple[float, float, float]:
    return (
        float(np.nanmedian(true[at])),
        float(np.nanmedian(inferred[at])),
        robust_scatter(_known(inferred[at])),
    )


def _known(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _note(ax: Axes, heading: str, off: np.ndarray, scatter: np.ndarray) -> None:
    """Write how far clusters are off, and how far their stars scatter."""
    offset, within = float(np.sqrt(np.nanmean(off**2))), float(np.nanmedian(scatter))
    places = count_decimals(offset, within)
    lines = [
        heading,
        f"RMS offset = {round_to(offset, places)}",
        f"scatter within = {round_to(within, places)}",
    ]
    box = {"facecolor": "w", "edgecolor": "none", "alpha": 0.75, "pad": 1}
    text = ax.text(
        0.045,
        0.97,
        "\n".join(lines),
        transform=ax.transAxes,
        va="top",
        fontsize=TEXT,
        bbox=box,
        zorder=4,
    )
    text.set_linespacing(1.25)


def cluster_scatter(
    catalog: xr.Dataset, cluster: np.ndarray, labels: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draw the scatter of labels within each cluster against their errors: whether these are honest.

    Parameters
    ----------
    catalog : Dataset
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
    require_variables(catalog, ("label_value", "label_err"), "catalogue")
    rows = find_label_rows(catalog["label"].values.tolist(), labels)
    _check(cluster, catalog.sizes["star"])
    ax = ax or make_axes(3.6, 3.6)
    at, most = [cluster == k for k in np.unique(cluster)], 0.0
    for i, (label, row) in enumerate(zip(labels, rows, strict=True)):
        value, err = (catalog[v].values[:, row] for v in ("label_value", "label_err"))
        x, y = np.array([(np.nanmedian(err[k]), robust_scatter(_known(value[k]))) for k in at]).T
        text = f"{format_label(label)}, median ratio {np.median(y / x):.2f}"
        ax.plot(x, y, MARKERS[i % len(MARKERS)], ms=5, color=CYCLE[i % len(CYCLE)], label=text)
        most = max(most, float(x.max()), float(y.max()))
    _square(ax, 0, 1.3 * most)
    unit = label_units(catalog)[labels[0]]
    ax.set(
        xlabel=f"Median error in the catalogue [{unit}]",
        ylabel=f"Scatter within a cluster [{unit}]",
    )
    ax.legend(fontsize=TEXT, loc="upper left", framealpha=0.8, edgecolor="none", handletextpad=0.1)
    return ax


def kiel_groups(
    catalog: xr.Dataset, group: np.ndarray, ax: Axes | None = None, *, title: str = ""
) -> Axes:
    """Draw the Kiel diagram of stars in a few groups, each of its own colour and marker.

    Parameters
    ----------
    catalog : Dataset
        With ``label_value`` (star, label), among the labels ``teff`` and ``logg``.
    group : array, (star,)
        What each star belongs to, e.g. the number of its cluster.
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
    require_variables(catalog, ("label_value",), "catalogue")
    rows = find_label_rows(catalog["label"].values.tolist(), ("teff", "logg"))
    _check(group, catalog.sizes["star"])
    ax = ax or make_axes(3.6, 3.6)
    x, y = catalog["label_value"].values[:, rows].T
    for i, k in enumerate(np.unique(group).tolist()):
        at = group == k
        marker, color = MARKERS[i % len(MARKERS)], CYCLE[i % len(CYCLE)]
        ax.plot(x[at], y[at], marker, ms=3, mew=0, alpha=0.7, color=color, label=str(k))
    units = label_units(catalog)
    ax.set(
        xlim=find_limits(_known(x), False)[::-1],
        ylim=find_limits(_known(y), False)[::-1],
        box_aspect=1,
    )
    ax.set(
        xlabel=f"Inferred {format_axis_label('teff', units['teff'])}",
        ylabel=f"Inferred {format_axis_label('logg', units['logg'])}",
    )
    columns = 2 if len(ax.lines) > 4 else 1
    ax.legend(
        title=title,
        title_fontsize=TEXT,
        fontsize=TEXT,
        frameon=False,
        ncols=columns,
        markerscale=1.6,
        handletextpad=0,
        columnspacing=0.5,
    )
    _tick(ax)
    return ax


def _check(group: np.ndarray, stars: int) -> None:
    if np.shape(group) != (stars,):
        raise InputError(
            f"groups have shape {np.shape(group)}; give one for each of the {stars} stars"
        )
