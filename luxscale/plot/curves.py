"""Precision of labels against S/N, and cross-validation against the number of latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from luxscale.errors import InputError
from luxscale.plot.style import (
    CYCLE,
    DATA,
    MODEL,
    POINT,
    TEXT,
    TITLE,
    add_legend_above,
    check_axes,
    find_label_rows,
    format_axis_label,
    make_figure,
    make_panels,
    set_ticks,
    style_axes,
)

#: Scores that span more than this factor are drawn on a logarithmic axis.
WIDE = 20

_SCORES = {
    "label_chi2": r"$\chi^2$ per label",
    "spectrum_chi2": r"$\chi^2$ per pixel",
    "total_chi2": r"$\chi^2$ of a fold, spectra and labels",
}


def precision(
    binned: xr.Dataset, labels: Sequence[str] | None = None, axes: Any = None
) -> np.ndarray:
    """Draw the precision of labels against S/N, from draws of noise and by formula: figure 10.

    Parameters
    ----------
    binned : Dataset
        From `luxscale.analysis.precision.precision_by_snr`.
    labels : sequence of str, optional
        All by default.
    axes : array of Axes, (label,), optional
        New by default.

    Returns
    -------
    array of Axes, (label,)
        A band from the lowest to the highest quantile of the stars by draws of noise, points at
        their median (the quantile nearest to it); the median of the same by formula, a line; and
        that of the formal error, which counts the model's scatter and the prior too, a dashed line.
        Bins without stars break them.

    Raises
    ------
    InputError
        If a label is missing, or ``axes`` has the wrong size.

    Examples
    --------
    >>> from luxscale import plot
    >>> from luxscale.analysis import precision
    >>> stars = precision.draw_precision(survey.isel(star=slice(0, 100)), model, n_draws=2)
    >>> axes = plot.precision(precision.precision_by_snr(stars, [30, 40, 60, 80]))
    """
    table = binned["precision"]
    dim = str(table.dims[2])
    names = binned[dim].values
    rows = find_label_rows(names.tolist(), labels)
    units = [""] * names.size
    if f"{dim}_units" in binned.coords:
        units = binned[f"{dim}_units"].values.tolist()
    new = axes is None
    axes = make_panels(axes, len(rows), 3, (2.4, 1.8))
    for ax, row in zip(axes, rows, strict=True):
        _draw_precision(ax, table.isel({dim: row}))
        name = format_axis_label(str(names[row]), str(units[row]))
        ax.set(xlabel="S/N", ylabel=rf"$\sigma$ {name}")
        ax.set_ylim(0, None)
        set_ticks(ax)
    if new:
        add_legend_above(axes, 2)
    return axes


def _draw_precision(ax: Axes, table: xr.DataArray) -> None:
    """Draw the precision of one label (kind, snr_bin, quantile) against S/N."""
    q = table["quantile"].values
    low, middle, high = np.argmin(q), np.argmin(np.abs(q - 0.5)), np.argmax(q)
    x = table["snr_bin"].values
    draws = table.sel(kind="draws").values
    noise = table.sel(kind="noise").values
    posterior = table.sel(kind="posterior").values
    band = f"draws of noise, {100 * q[low]:g}-{100 * q[high]:g}% of stars"
    ax.fill_between(
        x,
        draws[:, low],
        draws[:, high],
        color=POINT,
        alpha=0.25,
        lw=0,
        label=band,
    )
    ax.plot(x, draws[:, middle], "o", color=POINT, ms=3.5, label="draws of noise, median")
    ax.plot(x, noise[:, middle], color=MODEL, lw=1.4, label="formula")
    whole = "formula, with scatter and prior"
    ax.plot(x, posterior[:, middle], "--", color=DATA, lw=1, label=whole)


def crossval(
    scores: xr.Dataset,
    choice: tuple[Any, ...] | None = None,
    score: str | Sequence[str] = ("label_chi2", "spectrum_chi2"),
    axes: Any = None,
    *,
    omega: bool = False,
) -> np.ndarray:
    """Draw how the settings of a cross-validation scored against the number of latents: figure 14.

    Parameters
    ----------
    scores : Dataset
        From `luxscale.crossval.scores`.
    choice : Choice, optional
        From `luxscale.crossval.choose`: the setting to mark.
    score : str or sequence of str
        Scores to draw, each in a row of panels: ``"label_chi2"``, ``"spectrum_chi2"`` or
        ``"total_chi2"``, the paper's.
    axes : array of Axes, (score, given), optional
        New by default.
    omega : bool
        Whether to name priors as the paper does, by the standard deviation of the weights, 1 /
        sqrt(prior).

    Returns
    -------
    array of Axes, (score, given)
        At the left with latents from spectra, at the right from labels: every fold, and a line
        through the medians of settings that are done, for each prior: the first thickest, so that
        lines show that lie on each other.

    Raises
    ------
    InputError
        If there is no such score, or ``axes`` has the wrong size.
    """
    names = [score] if isinstance(score, str) else list(score)
    for name in names:
        if name not in _SCORES:
            raise InputError(f"{name!r} is no score to draw; take {', '.join(_SCORES)}")
    given = scores["given"].values.tolist()
    new = axes is None
    axes = _make_grid(axes, len(names), len(given))
    for row, name in zip(axes, names, strict=True):
        for ax, side in zip(row, given, strict=True):
            _draw_scores(ax, scores[name].sel(given=side), choice, omega)
        row[0].set_ylabel(_SCORES[name])
    for ax, side in zip(axes[0], given, strict=True):
        ax.set_title(f"latents from {side}", fontsize=TITLE)
    for ax in axes[-1]:
        ax.set_xlabel("Number of latents P")
    if new and (scores.sizes["prior"] > 1 or choice):
        add_legend_above(axes, 5)
    return axes


def _make_grid(axes: Any, rows: int, columns: int) -> np.ndarray:
    """Return axes (score, given): those given, or new ones."""
    if axes is not None:
        check_axes(axes, rows * columns, f" for {rows} scores; give {columns} for each")
        return np.reshape(axes, (rows, columns))
    figure = make_figure(7.2, 0.5 + 2.3 * rows)
    made = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for ax in made.flat:
        style_axes(ax)
    return made


def _draw_scores(
    ax: Axes, folds: xr.DataArray, choice: tuple[Any, ...] | None, omega: bool
) -> None:
    """Draw one score (latent_dim, prior, fold): folds as points, medians as lines."""
    folds = folds.transpose("prior", "latent_dim", "fold")
    p = folds["latent_dim"].values
    priors = folds["prior"].values.tolist()
    middle = folds.median("fold", skipna=False).values
    for i, prior in enumerate(priors):
        name = f"Ω = {prior**-0.5:g}" if omega else f"prior {prior:g}"
        look: dict[str, Any] = {"marker": "osD^vP"[i % 6], "color": CYCLE[i % len(CYCLE)]}
        each = np.repeat(p, folds.sizes["fold"])
        ax.plot(
            each,
            folds.values[i].ravel(),
            ls="",
            ms=3,
            alpha=0.45,
            mew=0,
            **look,
        )
        # the first line is the thickest, so that those under others show
        under = len(priors) - 1 - i
        ax.plot(
            p,
            middle[i],
            lw=1.2 + 0.8 * under,
            ms=4.5 + 1.2 * under,
            label=name,
            **look,
        )
    if choice and choice[0] in p and choice[1] in priors:
        at = middle[priors.index(choice[1]), p.tolist().index(choice[0])]
        name = f"chosen, P={choice[0]}"
        ax.plot(
            choice[0],
            at,
            "o",
            mfc="none",
            mec="k",
            ms=11,
            mew=1,
            label=name,
        )
    _scale_axes(ax, p, folds.values)


def _scale_axes(ax: Axes, p: np.ndarray, scores: np.ndarray) -> None:
    """Tick every number of latents, and scale scores that span a wide range logarithmically."""
    ax.set_xscale("log", base=2)
    ax.xaxis.set(
        major_locator=FixedLocator(p.tolist()),
        major_formatter=ScalarFormatter(),
        minor_locator=FixedLocator([]),
    )
    known = scores[np.isfinite(scores) & (scores > 0)]
    if known.size and known.max() > WIDE * known.min():
        ax.set_yscale("log")
        ax.yaxis.set(major_locator=LogLocator(numticks=6), minor_formatter=NullFormatter())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.get_offset_text().set_fontsize(TEXT)
