"""The grid of a spectrum: which output has one, and which of its pixels a figure shows."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from luxscale.errors import InputError


def check_spectrum(name: str, is_spectrum: bool) -> None:
    """Raise an error if an output is not a spectrum.

    Raises
    ------
    InputError
        If it is not.
    """
    if not is_spectrum:
        raise InputError(f"output {name!r} has names, not a grid; draw a spectrum, such as 'flux'")


def find_pixels(x: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """Return which pixels lie in a stretch of the grid, its ends included: (wavelength,) bool.

    Raises
    ------
    InputError
        If none does.
    """
    inside = (x >= span[0]) & (x <= span[1])
    if not inside.any():
        raise InputError(f"no pixel lies in {span}; the grid is {x[0]:g} to {x[-1]:g}")
    return inside


def set_grid_limits(ax: Axes, x: np.ndarray) -> None:
    """Let an axis reach from the first pixel to the last; one pixel alone gets a width of 1."""
    last = x[-1] if x.size > 1 else x[0] + 1
    ax.set_xlim(x[0], last)
