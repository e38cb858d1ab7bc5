"""Whether errors are right: histograms of (inferred - truth) / error, label by label and by S/N."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from luxscale.analysis.evaluate import LABEL
from luxscale.analysis.stats import robust_scatter
from luxscale.errors import InputError
from luxscale.plot.style import BAND, DATA, MODEL, TEXT, TITLE, format_label, style_axes
from luxscale.schema.variables import STAR

#: Pulls beyond so many errors are counted in the outermost bins.
REACH = 5.0

_EDGES = np.linspace(-REACH, REACH, 41)


def make_snr_bins(snr: np.ndarray, n: int = 4) -> np.ndarray:
    """Return the edges of bins of S/N with about as many stars each: (bin + 1,), ascending.

    Parameters
    ----------
    snr : array, (star,)
        What is not finite is left out.
    n : int
        Bins, fewer where stars share their S/N.

    Raises
    ------
    InputError
        If no S/N is finite.
    """
    known = snr[np.isfinite(snr)]
    if not known.size:
        raise InputError("no S/N is finite; give stars with a known 'snr'")
    edges = np.unique(np.quantile(known, np.linspace(0, 1, n + 1)))
    return edges if edges.size > 1 else np.array([edges[0], np.nextafter(edges[0], np.inf)])


def assign_bins(snr: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin of each star, -1 where it is in none; the last holds its upper edge: (star,) int."""
    at = np.searchsorted(edges, snr, side="right") - 1
    at = np.where(snr == edges[-1], edges.size - 2, at)
    return np.where(np.isfinite(snr) & (at >= 0) & (at < edges.size - 1), at, -1)


def pulls(
    pairs: xr.Dataset, snr: np.ndarray | None = None, axes: Any = None, *, bins: int = 4
) -> np.ndarray:
    """Draw histograms of (inferred - truth) / error over the unit Gaussian that they follow if the errors are right.

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
        A row a label, at the left all stars. Histograms have area 1; their first and last bins hold
        what lies beyond. Each panel says the median and the robust scatter of its pulls, 0 and 1 if
        errors are right.

    Raises
    ------
    InputError
        If ``axes`` has the wrong size, or no S/N is known.
    """
    everyone = np.ones(pairs.sizes[STAR], bool)
    columns = [("all stars", everyone)]
    if snr is not None:
        edges = make_snr_bins(snr, bins)
        at = assign_bins(snr, edges)
        columns += [
            (f"S/N {a:.3g} to {b:.3g}", at == i)
            for i, (a, b) in enumerate(itertools.pairwise(edges))
        ]
    sigma = np.hypot(pairs["inferred_err"].values, pairs["truth_err"].values)
    pull = (pairs["inferred"].values - pairs["truth"].values) / np.where(sigma > 0, sigma, np.nan)
    axes = _grid(axes, pairs.sizes[LABEL], len(columns))
    for row, name, values in zip(axes, pairs[LABEL].values.tolist(), pull.T, strict=True):
        for ax, (_, inside) in zip(row, columns, strict=True):
            _draw(ax, values[inside & np.isfinite(values)])
        row[0].set_ylabel(
            format_label(str(name)), fontsize=TITLE, rotation=0, ha="right", va="center", labelpad=6
        )
    for ax, (title, _) in zip(axes[0], columns, strict=True):
        ax.set_title(title, fontsize=TITLE)
    for ax in axes[-1]:
        ax.set_xlabel(r"$\Delta / \sigma$", fontsize=TITLE)
    return axes


def _draw(ax: Axes, pull: np.ndarray) -> None:
    x = np.linspace(-REACH, REACH, 201)
    counts = np.histogram(np.clip(pull, -REACH, REACH), _EDGES)[0]
    if pull.size:
        ax.stairs(counts / (pull.size * np.diff(_EDGES)), _EDGES, fill=True, color=BAND)
        ax.stairs(counts / (pull.size * np.diff(_EDGES)), _EDGES, color=DATA, lw=0.7)
        said = f"{np.median(pull):+z.2f}\n{robust_scatter(pull):.2f}".replace("-", "\N{MINUS SIGN}")
        ax.text(
            0.97,
            0.93,
            said,
            transform=ax.transAxes,
            ha="right",
            va="top",
            fontsize=TEXT,
            linespacing=1.3,
        )
    else:
        ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center", va="center", fontsize=TEXT)
    ax.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=MODEL, lw=1.2)
    ax.set(
        xlim=(-REACH, REACH),
        ylim=(0, max(0.55, 1.1 * ax.get_ylim()[1] / 1.05)),
        yticks=[],
        xticks=[-3, 0, 3],
    )


def _grid(axes: Any, rows: int, columns: int) -> np.ndarray:
    if axes is not None:
        if np.size(axes) != rows * columns:
            raise InputError(f"{np.size(axes)} axes for {rows} labels; give {columns} for each")
        return np.reshape(axes, (rows, columns))
    figure = Figure(
        (0.9 + 1.55 * columns + (0.9 if columns == 1 else 0), 0.7 + 0.95 * rows),
        layout="constrained",
    )
    figure.get_layout_engine().set(h_pad=0.02, w_pad=0.03)  # type: ignore[union-attr, call-arg]
    made = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for ax in made.flat:
        style_axes(ax)
        ax.tick_params(labelbottom=ax in made[-1])
    return made
