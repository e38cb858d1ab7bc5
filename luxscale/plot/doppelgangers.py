"""Spectra of two stars that are alike in most labels: figure 5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from luxscale.analysis.label_arrays import label_units
from luxscale.analysis.tables import round_to
from luxscale.errors import InputError
from luxscale.model.arguments import (
    DatasetOrPath,
    ModelOrPath,
    take_catalog,
    take_model,
    take_survey,
)
from luxscale.model.predict import predict
from luxscale.plot.grid import find_pixels
from luxscale.plot.spectrum import load_stars, read_spectra
from luxscale.plot.style import (
    CYCLE,
    DATA,
    TEXT,
    TITLE,
    find_label_rows,
    find_limits,
    format_grid_name,
    format_label,
    keep_finite,
    make_axes,
    make_ticks,
    set_minus,
)
from luxscale.plot.windows import mark_windows
from luxscale.schema.outputs import pick_outputs


def doppelgangers(
    survey: DatasetOrPath,
    catalog: DatasetOrPath,
    model: ModelOrPath,
    pair: Sequence[Any],
    label: str,
    span: tuple[float, float],
    *,
    windows: Sequence[tuple[float, float]] = (),
    output: str = "flux",
    ax: Axes | None = None,
) -> Axes:
    """Draw a stretch of the spectra of two stars over each other, model and data: figure 5.

    Parameters
    ----------
    survey, catalog : Dataset, str or Path
        The data, and the catalogue whose ``latent`` were inferred from them by the model.
    model : LuxModel, str or Path
    pair : (identifier, identifier)
    label : str
        Label in which they differ: the legend has its values.
    span : (least, greatest)
        In the unit of the grid.
    windows : sequence of (least, greatest), optional
        Stretches to shade: where lines of the label lie.
    output : str
        The spectrum, by name.
    ax : Axes, optional
        New by default.

    Returns
    -------
    Axes
        The model's spectra as lines, solid and dashed, the data as points. The legend of new axes
        names these too.

    Raises
    ------
    InputError
        If a star, label or output is missing, ``pair`` is none, or no pixel lies in ``span``.
    """
    call = "lux.plot.doppelgangers(survey, catalog, model, pair, ...)"
    survey = take_survey(survey, call, output)
    catalog = take_catalog(catalog, call)
    model = take_model(model, call)
    if len(pair) != 2:
        raise InputError(f"{len(pair)} stars; give two that resemble each other")
    (spec,) = pick_outputs(survey, output, "survey")
    (column,) = find_label_rows(list(label_units(catalog)), [label])
    x = survey[spec.dim].values
    inside = find_pixels(x, span)
    x = x[inside]
    data = load_stars(survey[list(spec.variables)], pair, "survey")
    values, ivar = read_spectra(data, spec)
    seen = np.where(ivar > 0, values, np.nan)[:, inside]
    known = load_stars(catalog, pair, "catalogue")
    decoded = predict(known, model, output).values[:, inside]
    new = ax is None
    ax = ax or make_axes(4.2, 2.6)
    for i, (color, dashes) in enumerate(zip(CYCLE, ("-", "--"), strict=False)):
        ax.plot(x, seen[i], ".", color=color, ms=5, mew=0, alpha=0.6)
        value = float(known["label_value"].values[i, column])
        name = f"{format_label(label)} = {round_to(value, 2)}"
        ax.plot(x, decoded[i], dashes, color=color, lw=1.1, label=set_minus(name))
    ax.set(xlim=(x[0], x[-1]), ylim=_find_limits(seen, decoded))
    mark_windows(ax, windows)
    ax.set_xlabel(format_grid_name(survey[spec.dim]), fontsize=TITLE)
    ax.xaxis.set_major_locator(make_ticks(4))
    ax.yaxis.set_major_locator(MaxNLocator(3))
    _add_legend(ax, with_data=new)
    return ax


def _find_limits(seen: np.ndarray, decoded: np.ndarray) -> tuple[float, float]:
    """Return limits that hold the model, all data but the wildest, and the legend above them."""
    shown = [keep_finite(decoded)]
    if np.isfinite(seen).any():
        shown.append(np.nanpercentile(seen, (1, 99)))
    low, high = find_limits(np.concatenate(shown), False)
    span = high - low
    return low - 0.1 * span, high + 0.25 * span


def _add_legend(ax: Axes, with_data: bool) -> None:
    """Add the legend of the two stars, and of the data if they are to be named."""
    handles, _ = ax.get_legend_handles_labels()
    if with_data:
        handles.append(Line2D([], [], marker=".", ls="", color=DATA, label="data"))
    ax.legend(
        handles=handles,
        loc="upper center",
        fontsize=TEXT,
        ncols=3,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.4,
        handletextpad=0.4,
        columnspacing=0.7,
    )
