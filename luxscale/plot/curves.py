"""Numbers against settings: precision against S/N, and cross-validation against the number of latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
    find_label_rows,
    format_axis_label,
    make_panels,
    make_ticks,
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
    rows = find_label_rows(binned[dim].values.tolist(), labels)
    units = (
        binned[f"{dim}_units"].values
        if f"{dim}_units" in binned.coords
        else [""] * binned.sizes[dim]
    )
    new = axes is None
    axes = make_panels(axes, len(rows), 3, (2.4, 1.8))
    q = binned["quantile"].values
    low, middle, high = (int(np.argmin(v)) for v in (q, np.abs(q - 0.5), -q))
    x = binned["snr_bin"].values
    for ax, row in zip(axes, rows, strict=True):
        draws, noise, posterior = (
            table.sel(kind=k).values[:, row] for k in ("draws", "noise", "posterior")
        )
        band = f"draws of noise, {100 * q[low]:g}-{100 * q[high]:g}% of stars"
        ax.fill_between(x, draws[:, low], draws[:, high], color=POINT, alpha=0.25, lw=0, label=band)
        ax.plot(x, draws[:, middle], "o", color=POINT, ms=3.5, label="draws of noise, median")
        ax.plot(x, noise[:, middle], color=MODEL, lw=1.4, label="formula")
        ax.plot(
            x, posterior[:, middle], "--", color=DATA, lw=1, label="formula, with scatter and prior"
        )
        ax.set(
            ylabel=r"$\sigma$ " + format_axis_label(str(binned[dim].values[row]), str(units[row])),
            xlabel="S/N",
        )
        ax.set_ylim(0, None)
        ax.yaxis.set_major_locator(make_ticks())
        ax.xaxis.set_major_locator(make_ticks())
    if new:
        add_legend_above(axes, 2)
    return axes


def crossval(
    scores: xr.Dataset,
    choice: tuple[Any, ...] | None = None,
    score: str | Sequence[str] = ("label_chi2", "spectrum_chi2"),
    axes: Any = None,
    *,
    omega: bool = False,
) -> np.ndarray:
    """Draw how the settings of a cross-validation scored, against the number of latents: figure 14.

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
    given, new = scores["given"].values.tolist(), axes is None
    axes = _grid(axes, len(names), len(given))
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


def _grid(axes: Any, rows: int, columns: int) -> np.ndarray:
    if axes is not None:
        if np.size(axes) != rows * columns:
            raise InputError(f"{np.size(axes)} axes for {rows} scores; give {columns} for each")
        return np.reshape(axes, (rows, columns))
    made = Figure((7.2, 0.5 + 2.3 * rows), layout="constrained").subplots(
        rows, columns, sharex=True, squeeze=False
    )
    for ax in made.flat:
        style_axes(ax)
    return made


def _draw_scores(
    ax: Axes, folds: xr.DataArray, choice: tuple[Any, ...] | None, omega: bool
) -> None:
    """Draw one score (latent_dim, prior, fold): folds as points, medians as lines."""
    p, priors = folds["latent_dim"].values, folds["prior"].values.tolist()
    folds = folds.transpose("prior", "latent_dim", "fold")
    middle = folds.median("fold", skipna=False).values
    for i, prior in enumerate(priors):
        color, marker = CYCLE[i % len(CYCLE)], "osD^vP"[i % 6]
        ax.plot(
            np.repeat(p, folds.sizes["fold"]),
            folds.values[i].ravel(),
            marker,
            color=color,
            ms=3,
            alpha=0.45,
            mew=0,
        )
        name, under = f"Ω = {prior**-0.5:g}" if omega else f"prior {prior:g}", len(priors) - 1 - i
        ax.plot(
            p,
            middle[i],
            marker=marker,
            color=color,
            lw=1.2 + 0.8 * under,
            ms=4.5 + 1.2 * under,
            label=name,
        )
    if choice and choice[0] in p and choice[1] in priors:
        at = middle[priors.index(choice[1]), p.tolist().index(choice[0])]
        ax.plot(
            choice[0], at, "o", mfc="none", mec="k", ms=11, mew=1, label=f"chosen, P={choice[0]}"
        )
    ax.set_xscale("log", base=2)
    ax.xaxis.set(
        major_locator=FixedLocator(p.tolist()),
        major_formatter=ScalarFormatter(),
        minor_locator=FixedLocator([]),
    )
    known = folds.values[np.isfinite(folds.values) & (folds.values > 0)]
    if known.size and known.max() > WIDE * known.min():
        ax.set_yscale("log")
        ax.yaxis.set(major_locator=LogLocator(numticks=6), minor_formatter=NullFormatter())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.get_offset_text().set_fontsize(TEXT)
