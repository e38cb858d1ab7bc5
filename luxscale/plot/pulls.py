"""Whether errors are right: histograms of (inferred - truth) / error, label by label and by S/N."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from luxscale.analysis.bins import assign_bins, make_bins
from luxscale.analysis.label_arrays import LABEL
from luxscale.analysis.stats import robust_scatter
from luxscale.analysis.tables import round_to
from luxscale.plot.given import require_result
from luxscale.plot.style import (
    BAND,
    DATA,
    MODEL,
    TEXT,
    TITLE,
    check_axes,
    format_label,
    keep_finite,
    make_figure,
    set_minus,
    style_axes,
)
from luxscale.schema.variables import STAR

#: Pulls beyond so many errors are counted in the outermost bins.
REACH = 5.0

_EDGES = np.linspace(-REACH, REACH, 41)


def pulls(
    pairs: xr.Dataset, snr: np.ndarray | None = None, axes: Any = None, *, bins: int = 4
) -> np.ndarray:
    """Draw histograms of (inferred - truth) / error over the unit Gaussian of right errors.

    Parameters
    ----------
    pairs : Dataset
        From `luxscale.analysis.evaluate.match_labels`. The error is that of both sides, added in
        quadrature.
    snr : array, (star,), optional
        S/N of its stars, for a column of panels a bin of it beside that of all stars.
    axes : array of Axes, (label, 1 + bin), optional
        New by default.
    bins : int
        Bins of S/N, with about as many stars each.

    Returns
    -------
    array of Axes, (label, 1 + bin)
        One row per label, at the left all stars. Histograms have area 1; their first and last bins
        hold what lies beyond. Each panel says the median and the robust scatter of its pulls, 0 and
        1 if errors are right.

    Raises
    ------
    InputError
        If ``axes`` has the wrong size, or no S/N is known.
    """
    names = ("inferred", "inferred_err", "truth", "truth_err")
    require_result(pairs, names, "luxscale.analysis.evaluate.match_labels")
    titles = ["all stars"]
    members = [np.ones(pairs.sizes[STAR], bool)]
    if snr is not None:
        edges = make_bins(snr, bins)
        at = assign_bins(snr, edges)
        titles += [f"S/N {low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)]
        members += [at == i for i in range(edges.size - 1)]
    sigma = np.hypot(pairs["inferred_err"].values, pairs["truth_err"].values)
    off = pairs["inferred"].values - pairs["truth"].values
    pull = off / np.where(sigma > 0, sigma, np.nan)
    axes = _make_grid(axes, pairs.sizes[LABEL], len(members))
    for row, name, values in zip(axes, pairs[LABEL].values.tolist(), pull.T, strict=True):
        for ax, inside in zip(row, members, strict=True):
            _draw_panel(ax, keep_finite(values[inside]))
        row[0].set_ylabel(
            format_label(str(name)),
            fontsize=TITLE,
            rotation=0,
            ha="right",
            va="center",
            labelpad=6,
        )
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=TITLE)
    for ax in axes[-1]:
        ax.set_xlabel(r"$\Delta / \sigma$", fontsize=TITLE)
    return axes


def _draw_panel(ax: Axes, pull: np.ndarray) -> None:
    """Draw the histogram of the pulls (star,) of one label, and the unit Gaussian over it."""
    if pull.size:
        counts, _ = np.histogram(np.clip(pull, -REACH, REACH), _EDGES)
        density = counts / (pull.size * np.diff(_EDGES))
        ax.stairs(density, _EDGES, fill=True, color=BAND)
        ax.stairs(density, _EDGES, color=DATA, lw=0.7)
        scatter = round_to(robust_scatter(pull), 2)
        text = f"{set_minus(f'{np.median(pull):+z.2f}')}\n{scatter}"
        look: dict[str, Any] = {"ha": "right", "va": "top", "linespacing": 1.3}
        ax.text(0.97, 0.93, text, transform=ax.transAxes, fontsize=TEXT, **look)
    else:
        ax.text(
            0.5,
            0.5,
            "none",
            transform=ax.transAxes,
            ha="center",
            va="center",
            fontsize=TEXT,
        )
    x = np.linspace(-REACH, REACH, 201)
    gaussian = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    ax.plot(x, gaussian, color=MODEL, lw=1.2)
    # Matplotlib leaves 5% above the highest bin; the text needs 10%
    top = max(0.55, 1.1 * ax.get_ylim()[1] / 1.05)
    ax.set(
        xlim=(-REACH, REACH),
        ylim=(0, top),
        yticks=[],
        xticks=[-3, 0, 3],
    )


def _make_grid(axes: Any, rows: int, columns: int) -> np.ndarray:
    """Return axes (label, 1 + bin): those given, or new ones."""
    if axes is not None:
        check_axes(axes, rows * columns, f" for {rows} labels; give {columns} for each")
        return np.reshape(axes, (rows, columns))
    width = 0.9 + 1.55 * columns
    if columns == 1:
        width += 0.9
    figure = make_figure(width, 0.7 + 0.95 * rows, h_pad=0.02, w_pad=0.03)
    made = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for ax in made.flat:
        style_axes(ax)
        ax.tick_params(labelbottom=ax in made[-1])
    return made
