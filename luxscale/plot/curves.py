"""Precision of labels against S/N, and cross-validation against the number of latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import axes as plt
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

from luxscale.crossval import Choice, describe_setting, find_axes
from luxscale.crossval.axes import (
    PRIOR,
    Axes,
    Setting,
    describe_axis,
    format_value,
    list_settings,
    name_axis,
)
from luxscale.errors import InputError
from luxscale.plot.given import require_result
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

#: Of the lines of a plot, in turn.
_MARKERS = "osD^vP"

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
    require_result(binned, ["precision"], "luxscale.analysis.precision.precision_by_snr")
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


def _draw_precision(ax: plt.Axes, table: xr.DataArray) -> None:
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
    choice: Choice | None = None,
    score: str | Sequence[str] = ("label_chi2", "spectrum_chi2"),
    axes: Any = None,
    *,
    omega: bool = False,
) -> np.ndarray:
    """Draw how the settings of a cross-validation scored: figure 14.

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
        through the medians of settings that are done, against the first of the grid's axes that has
        several values, the number of latents or a recipe, for each prior or other setting: the
        first thickest, so that lines show that lie on each other.

    Raises
    ------
    InputError
        If there is no such score, or ``axes`` has the wrong size.
    """
    names = [score] if isinstance(score, str) else list(score)
    for name in names:
        if name not in _SCORES:
            raise InputError(f"{name!r} is no score to draw; take {', '.join(_SCORES)}")
    require_result(scores, ["given", *names], "luxscale.crossval.scores")
    given = scores["given"].values.tolist()
    new = axes is None
    axes = _make_grid(axes, len(names), len(given))
    for row, name in zip(axes, names, strict=True):
        for ax, side in zip(row, given, strict=True):
            _draw_scores(ax, scores[name].sel(given=side), _order_axes(scores), choice, omega)
        row[0].set_ylabel(_SCORES[name])
    for ax, side in zip(axes[0], given, strict=True):
        ax.set_title(f"latents from {side}", fontsize=TITLE)
    (across, _), *others = _order_axes(scores)
    for ax in axes[-1]:
        ax.set_xlabel(describe_axis(across))
    if new and (choice or len(list_settings(tuple(others))) > 1):
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


def _order_axes(scores: xr.Dataset) -> Axes:
    """Return the axes of a grid, that to draw against first."""
    axes = find_axes(scores)
    several = [axis for axis in axes if len(axis[1]) > 1 and axis[0] != PRIOR]
    first = (several or axes)[0]
    return (first, *(axis for axis in axes if axis != first))


def _draw_scores(
    ax: plt.Axes, folds: xr.DataArray, axes: Axes, choice: Choice | None, omega: bool
) -> None:
    """Draw one score (..., fold): folds as points, medians as lines."""
    (across, values), *others = axes
    x = _place(values)
    lines = list_settings(tuple(others))
    folds = folds.transpose(*(name for name, _ in others), across, "fold")
    table = folds.values.reshape(len(lines), len(x), -1)
    middle = np.median(table, axis=2)
    for i, setting in enumerate(lines):
        look: dict[str, Any] = {
            "marker": _MARKERS[i % len(_MARKERS)],
            "color": CYCLE[i % len(CYCLE)],
        }
        each = np.repeat(x, table.shape[2])
        ax.plot(each, table[i].ravel(), ls="", ms=3, alpha=0.45, mew=0, **look)
        # the first line is the thickest, so that those under others show
        under = len(lines) - 1 - i
        width = 1.2 + 0.8 * under
        size = 4.5 + 1.2 * under
        name = _name_line(setting, others, omega)
        ax.plot(x, middle[i], lw=width, ms=size, label=name, **look)
    if choice:
        chosen = dict(choice.setting)
        value = chosen.pop(across)
        line = tuple((name, chosen[name]) for name, _ in others)
        column = values.index(value)
        at = middle[lines.index(line), column]
        name = f"chosen, {describe_setting(((across, value),))}"
        ax.plot(x[column], at, "o", label=name, mfc="none", mec="k", ms=11, mew=1)
    _scale_axes(ax, x, values, table)


def _place(values: Sequence[Any]) -> np.ndarray:
    """Return where the values of an axis stand: names, and numbers with 0, side by side."""
    numbers = all(not isinstance(value, str) and value > 0 for value in values)
    return np.array(values, float) if numbers else np.arange(1.0, len(values) + 1)


def _name_line(setting: Setting, axes: Sequence[tuple[str, Any]], omega: bool) -> str:
    """Return what tells a line from the others: the settings that vary."""
    words = []
    for (name, value), (_, values) in zip(setting, axes, strict=True):
        if name == PRIOR:
            words.append(f"Ω = {value**-0.5:g}" if omega else f"prior {value:g}")
        elif len(values) > 1:
            words.append(f"{name_axis(name)} {format_value(value)}")
    return ", ".join(words)


def _scale_axes(ax: plt.Axes, x: np.ndarray, values: Sequence[Any], scores: np.ndarray) -> None:
    """Tick every value across, and scale scores that span a wide range logarithmically."""
    if x.tolist() == list(values):
        ax.set_xscale("log", base=2)
    else:
        ax.set_xlim(0.5, len(x) + 0.5)
    ax.xaxis.set(
        major_locator=FixedLocator(x.tolist()),
        major_formatter=FixedFormatter(list(map(format_value, values))),
        minor_locator=FixedLocator([]),
    )
    known = scores[np.isfinite(scores) & (scores > 0)]
    if known.size and known.max() > WIDE * known.min():
        ax.set_yscale("log")
        ax.yaxis.set(major_locator=LogLocator(numticks=6), minor_formatter=NullFormatter())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.get_offset_text().set_fontsize(TEXT)
