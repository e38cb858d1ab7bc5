"""The scatter of stars that were observed more than once, over their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from luxscale.analysis.label_arrays import LABEL
from luxscale.errors import InputError
from luxscale.plot.given import require_result
from luxscale.plot.style import (
    MODEL,
    POINT,
    TITLE,
    add_legend_above,
    format_axis_label,
    format_label,
    make_panels,
    set_ticks,
)

#: How axes name the columns by which visits are put into bins.
_NAMES = {"snr": "S/N"}


def repeats(measured: xr.Dataset, over: str = "snr", axes: Any = None) -> np.ndarray:
    """Draw the scatter between visits over their errors, in bins of S/N or another quantity.

    Parameters
    ----------
    measured : Dataset
        From `luxscale.measure_repeats`.
    over : str
        A quantity of its bins.
    axes : array of Axes, (label,), optional
        New by default.

    Returns
    -------
    array of Axes, (label,)
        The ratio in each bin with its standard error, over the errors of the catalogue and, where
        they were measured, over formal errors; and a line at 1.

    Raises
    ------
    InputError
        If there are no bins of the quantity, or ``axes`` has the wrong size.

    Examples
    --------
    >>> import luxscale as lux
    >>> visits = catalog.assign(object=("star", [i // 2 for i in range(catalog.sizes["star"])]))
    >>> axes = lux.plot.repeats(lux.measure_repeats(visits, "object"), "teff")
    """
    require_result(measured, ("ratio", "ratio_err", "quantity"), "luxscale.measure_repeats")
    quantities = measured["quantity"].values.tolist()
    if over not in quantities[1:]:
        there = ", ".join(dict.fromkeys(quantities[1:])) or "none"
        raise InputError(
            f"there are no bins of {over!r}, but of: {there}; name one of them, or measure with "
            f"over=[{over!r}]"
        )
    bins = measured.isel(bin=np.flatnonzero(measured["quantity"].values == over))
    names = bins[LABEL].values.tolist()
    new = axes is None
    axes = make_panels(axes, len(names), 4, (1.9, 1.6))
    for ax, name in zip(axes, names, strict=True):
        _draw_ratios(ax, bins.sel({LABEL: name}))
        ax.set_title(format_label(str(name)), fontsize=TITLE)
        ax.set(xlabel=_NAMES.get(over) or format_axis_label(over, ""), ylabel="scatter / error")
        set_ticks(ax, 4)
    if new:
        add_legend_above(axes, 2)
    return axes


def _draw_ratios(ax: Axes, bins: xr.Dataset) -> None:
    """Draw the ratios of one label, at the middle of each bin."""
    x = (bins["least"].values + bins["greatest"].values) / 2
    kinds = {"ratio": ("o", POINT, "error"), "formal_ratio": ("s", MODEL, "formal error")}
    for name, (marker, color, text) in kinds.items():
        if name in bins:
            y, err = bins[name].values, bins[f"{name}_err"].values
            ax.errorbar(
                x, y, err, fmt=marker, color=color, ms=3.5, lw=0.9, label=f"over the {text}"
            )
    ax.axhline(1, color="k", lw=0.9)
    top = np.nanmax([1.0, *(bins[n].values.max(initial=0) for n in kinds if n in bins)])
    ax.set_ylim(0, 1.3 * top)
