"""Labels of many stars against trusted ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from luxscale.analysis.evaluate import (
    count_decimals,
    label_units,
    match_labels,
    measure_pairs,
    round_to,
)
from luxscale.plot.abundances import draw_plane
from luxscale.plot.density import DENSE, draw_stars, share_scale
from luxscale.plot.kiel_diagram import add_kiel
from luxscale.plot.style import (
    TEXT,
    add_color_bar,
    find_limits,
    format_axis_label,
    make_axes,
    make_ticks,
    style_axes,
)


def one_to_one(catalog: xr.Dataset, truth: xr.Dataset, label: str, ax: Axes | None = None) -> Axes:
    """Draw an inferred label against the trusted one: a panel of figure 7.

    Parameters
    ----------
    catalog, truth : Dataset
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
    pairs = match_labels(catalog, truth, labels=[label])
    new = ax is None
    ax = ax or make_axes(4.2 if _dense(pairs) else 3.6, 3.6)
    density = _draw_pairs(pairs, label, ax)
    if new and density is not None:
        add_color_bar(density, ax, "stars per bin")
    return ax


def _dense(pairs: xr.Dataset) -> bool:
    known = np.isfinite(pairs["inferred"].values) & np.isfinite(pairs["truth"].values)
    return int(np.max(np.sum(known, axis=0))) > DENSE


def _draw_pairs(pairs: xr.Dataset, label: str, ax: Axes) -> PolyCollection | None:
    """Draw one label of matched stars; return the density, if there is one, for a colour bar."""
    pairs = pairs.sel(label=[label])
    inferred, truth = pairs["inferred"].values[:, 0], pairs["truth"].values[:, 0]
    known = np.isfinite(inferred) & np.isfinite(truth)
    low, high = find_limits(
        np.concatenate([inferred[known], truth[known]]), int(known.sum()) > DENSE
    )
    density = draw_stars(ax, truth[known], inferred[known], (low, high), (low, high))
    ax.plot(
        [low, high],
        [low, high],
        color="k",
        lw=0.9,
        zorder=3,
        path_effects=[patheffects.withStroke(linewidth=2.2, foreground="w", alpha=0.7)],
    )
    ax.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
    _annotate(ax, pairs, known)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(make_ticks())
    name = format_axis_label(label, str(pairs["label_units"].values[0]))
    ax.set_xlabel(f"{'True' if pairs.attrs['truth_name'] == 'label_true' else 'Survey'} {name}")
    ax.set_ylabel(f"Inferred {name}")
    return density


def _annotate(ax: Axes, pairs: xr.Dataset, known: np.ndarray) -> None:
    """Write the statistics in the corners that the 1:1 line leaves, and draw a cross of the median errors."""
    upper, lower = _summary(pairs)
    truth, inferred = (pairs[v].values[:, 0] for v in ("truth", "inferred"))
    box = {"facecolor": "w", "edgecolor": "none", "alpha": 0.75, "pad": 1}
    ax.text(
        0.045,
        0.97,
        upper,
        transform=ax.transAxes,
        va="top",
        fontsize=TEXT,
        linespacing=1.25,
        zorder=4,
        bbox=box,
    )
    ax.text(
        0.955, 0.03, lower, transform=ax.transAxes, ha="right", fontsize=TEXT, zorder=4, bbox=box
    )
    low, high = ax.get_xlim()
    hidden = int(
        (np.minimum(truth, inferred)[known] < low).sum()
        + (np.maximum(truth, inferred)[known] > high).sum()
    )
    if hidden:
        ax.text(
            0.955,
            0.09,
            f"{hidden:,} outside",
            transform=ax.transAxes,
            ha="right",
            fontsize=TEXT,
            zorder=4,
            bbox=box,
        )
    dx, dy = (_median(pairs[v].values[known, 0]) for v in ("truth_err", "inferred_err"))
    x, y = high - 0.05 * (high - low) - dx, low + 0.17 * (high - low) + dy
    ax.errorbar(x, y, dy or None, dx or None, color="k", lw=0.9, zorder=4)


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else 0.0


def _summary(pairs: xr.Dataset) -> tuple[str, str]:
    """Return the statistics of one label as text: number, scatter and the survey's error; and the median error."""
    stats = {name: value.item() for name, value in measure_pairs(pairs).data_vars.items()}
    known = np.isfinite(pairs["inferred"].values) & np.isfinite(pairs["truth"].values)
    stats["truth_err"] = float(np.mean(pairs["truth_err"].values[known])) if known.any() else 0.0
    places = count_decimals(stats["rmse"], stats["robust_scatter"], stats["median_err"])
    figures = {
        "bias": "bias",
        "RMSE": "rmse",
        "robust": "robust_scatter",
        "survey err": "truth_err",
    }
    if not stats["truth_err"] > 0:  # the truth is exact, or nobody says how well it is known
        del figures["survey err"]
    lines = [f"{text} = {_minus(round_to(stats[name], places))}" for text, name in figures.items()]
    median = f"median err = {_minus(round_to(stats['median_err'], places))}"
    return "\n".join([f"n = {stats['n_stars']:,}", *lines]), median


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}") if len(number) > 1 else number


def labels_figure(
    catalog: xr.Dataset,
    truth: xr.Dataset,
    labels: Sequence[str] | None = None,
    *,
    kiel: bool = True,
    plane: tuple[str, str] | None = None,
) -> Figure:
    """Draw labels against the trusted ones, and the Kiel diagram: a catalogue at a glance, figures 7 and 9.

    Parameters
    ----------
    catalog, truth : Dataset
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
        Three panels a row, four where there are many; densities share one colour scale.

    Raises
    ------
    InputError
        If no star or no label is in common, or one that is named is missing.
    """
    pairs = match_labels(catalog, truth, labels=labels)
    names, have = pairs["label"].values.tolist(), label_units(catalog)
    kiel = kiel and "teff" in have and "logg" in have
    panels = len(names) + kiel + (plane is not None)
    columns = min(4 if panels > 9 else 3, panels)
    rows = -(-panels // columns)
    figure = Figure((3.1 * columns, 2.9 * rows + 0.6 * _dense(pairs)), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for ax in axes:
        style_axes(ax)
    densities = [_draw_pairs(pairs, label, ax) for label, ax in zip(names, axes, strict=False)]
    if kiel:
        add_kiel(catalog, axes[len(names)])
    if plane:
        densities.append(draw_plane(catalog, *plane, axes[-1]))
    share_scale([d for d in densities if d is not None], axes)
    return figure
