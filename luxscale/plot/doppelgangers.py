"""Spectra of two stars that are alike in most labels: figure 5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from luxscale.analysis.evaluate import label_units, round_to
from luxscale.errors import InputError
from luxscale.model.lux import LuxModel
from luxscale.model.predict import predict
from luxscale.plot.style import (
    CYCLE,
    DATA,
    TEXT,
    TITLE,
    find_label_rows,
    find_limits,
    format_grid_name,
    format_label,
    make_axes,
    make_ticks,
)
from luxscale.plot.windows import mark_windows
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.stars import find_stars
from luxscale.schema.variables import STAR


def doppelgangers(
    survey: xr.Dataset,
    catalog: xr.Dataset,
    model: LuxModel,
    pair: Sequence[Any],
    label: str,
    span: tuple[float, float],
    *,
    windows: Sequence[tuple[float, float]] = (),
    output: str = "flux",
    ax: Axes | None = None,
) -> Axes:
    """Draw a stretch of the spectra of two stars over each other, as the model has them, and the data: figure 5.

    Parameters
    ----------
    survey, catalog : Dataset
        The data, and the catalogue whose ``latent`` were inferred from them by the model.
    model : LuxModel
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
    if len(pair) != 2:
        raise InputError(f"{len(pair)} stars; give two that resemble each other")
    (spec,) = pick_outputs(survey, output, "survey")
    (column,) = find_label_rows(list(label_units(catalog)), [label])
    x = survey[spec.dim].values
    inside = (x >= span[0]) & (x <= span[1])
    if not inside.any():
        raise InputError(f"no pixel lies in {span}; the grid is {x[0]:g} to {x[-1]:g}")
    data = survey[list(spec.variables)].isel({STAR: find_stars(survey, pair, "survey")}).compute()
    known = catalog.isel({STAR: find_stars(catalog, pair, "catalogue")}).compute()
    decoded = predict(known, model, output).values[:, inside]
    values, noise = (data[v].values for v in spec.variables)
    seen = np.where(spec.ivar(values, noise) > 0, values, np.nan)[:, inside]
    new = ax is None
    ax = ax or make_axes(4.2, 2.6)
    for i, (color, dashes) in enumerate(zip(CYCLE, ("-", "--"), strict=False)):
        value = float(known["label_value"].values[i, column])
        ax.plot(x[inside], seen[i], ".", color=color, ms=5, mew=0, alpha=0.6)
        name = f"{format_label(label)} = {round_to(value, 2)}".replace("-", "\N{MINUS SIGN}")
        ax.plot(x[inside], decoded[i], dashes, color=color, lw=1.1, label=name)
    shown = np.concatenate(
        [decoded.ravel(), np.nanpercentile(seen, (1, 99)) if np.isfinite(seen).any() else []]
    )
    low, high = find_limits(shown[np.isfinite(shown)], False)
    ax.set(
        xlim=(x[inside][0], x[inside][-1]),
        ylim=(low - 0.1 * (high - low), high + 0.25 * (high - low)),
    )
    mark_windows(ax, windows)
    ax.set_xlabel(format_grid_name(survey[spec.dim]), fontsize=TITLE)
    ax.xaxis.set_major_locator(make_ticks(4))
    ax.yaxis.set_major_locator(MaxNLocator(3))
    handles = (
        ax.get_legend_handles_labels()[0]
        + [Line2D([], [], marker=".", ls="", color=DATA, label="data")] * new
    )
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
    return ax
