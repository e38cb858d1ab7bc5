"""Bands over spectra: where the lines of an element lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from luxscale.errors import InputError
from luxscale.plot.style import CYCLE, DATA, TEXT


def mark_windows(
    ax: Axes,
    windows: Sequence[tuple[float, float]],
    name: str = "",
    color: str = CYCLE[2],
    level: float = 1.0,
) -> None:
    """Shade stretches of a spectrum, those that the axes show.

    Parameters
    ----------
    ax : Axes
        With wavelength across, and its limits set.
    windows : sequence of (least, greatest)
        In the unit of the axis.
    name : str
        What is written over the first of them.
    color : color
    level : float
        How high the shade reaches, as a fraction of the axes.

    Raises
    ------
    InputError
        If there are no axes, or a window is no pair of numbers.
    """
    if not isinstance(ax, Axes):
        raise InputError(f"ax is a {type(ax).__name__}; give the axes of a spectrum")
    windows = _take_windows(windows)
    low, high = sorted(ax.get_xlim())
    seen = []
    for least, greatest in windows:
        if greatest > low and least < high:
            seen.append((max(least, low), min(greatest, high)))
    for least, greatest in seen:
        ax.axvspan(
            least,
            greatest,
            0,
            level,
            color=color,
            alpha=0.22,
            lw=0,
            zorder=0,
        )
    if seen and name:
        middle = (seen[0][0] + seen[0][1]) / 2
        ax.annotate(
            name,
            (middle, 0.95),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            fontsize=TEXT,
            color=DATA,
            zorder=4,
        )


def _take_windows(windows: Any) -> list[tuple[float, float]]:
    advice = "give pairs of wavelengths, such as [(15110, 15112)]"
    if not isinstance(windows, np.ndarray | list | tuple):
        raise InputError(f"windows is a {type(windows).__name__}; {advice}")
    try:
        pairs = np.array(windows, float).reshape(len(windows), 2)
    except (TypeError, ValueError):
        raise InputError(f"windows are {windows!r}; {advice}") from None
    return [(float(least), float(greatest)) for least, greatest in pairs]
