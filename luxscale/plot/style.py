"""How figures look: colours, sizes, names of labels, axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from luxscale.errors import InputError

#: Stars outside these percentiles do not stretch the axes of a density.
CENTRAL = (0.1, 99.9)

DENSITY = "viridis"
#: Dark to gold: the light end of plasma vanishes on white.
GRADIENT = ListedColormap(colormaps["plasma"](np.linspace(0, 0.88, 256)))
DATA, BAND, MODEL, POINT, BAD = "0.25", "0.8", "#d55e00", "#0072b2", "#56b4e9"
#: For series without a meaning of their own: Okabe and Ito's, which stay apart for any kind of
#: sight.
CYCLE = (POINT, MODEL, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
TEXT, TITLE = 8, 9

_PRETTY = {
    "teff": r"$T_{\rm eff}$",
    "logg": r"$\log g$",
    "a_k": "$A_K$",
    "a_v": "$A_V$",
    "ebv": "$E(B-V)$",
    "vmacro": r"$v_{\rm macro}$",
}
_RATIO = re.compile(r"([a-z]{1,2}|alpha)_(h|m|fe)")
_UNITS = {"Angstrom": "Å", "angstrom": "Å", "AA": "Å", "um": "µm"}


def format_label(label: str) -> str:
    """Return how papers write a label: ``fe_h`` becomes [Fe/H]; unknown names stay as they are.

    Parameters
    ----------
    label : str

    Returns
    -------
    str
        With mathematics in TeX, as Matplotlib takes it.

    Examples
    --------
    >>> from luxscale.plot import format_label
    >>> format_label("mg_fe"), format_label("vsini")
    ('[Mg/Fe]', 'vsini')
    """
    ratio = _RATIO.fullmatch(label)
    if label in _PRETTY or not ratio:
        return _PRETTY.get(label, label)
    above, below = (
        r"$\alpha$" if part == "alpha" else part.capitalize() for part in ratio.groups()
    )
    return f"[{above}/{below}]"


def format_axis_label(label: str, unit: str) -> str:
    """Return a label with its unit, for an axis; log g and numbers go without.

    Parameters
    ----------
    label, unit : str

    Returns
    -------
    str

    Examples
    --------
    >>> from luxscale.plot import format_axis_label
    >>> format_axis_label("mg_fe", "dex")
    '[Mg/Fe] [dex]'
    """
    return format_label(label) + (
        "" if label == "logg" or not unit else f" [{_UNITS.get(unit, unit)}]"
    )


def style_axes(ax: Axes) -> None:
    """Make new axes legible in print; axes that a caller brings keep their own style."""
    ax.tick_params(labelsize=TEXT, direction="in", top=True, right=True)
    for text in (ax.xaxis.label, ax.yaxis.label, ax.title):
        text.set_fontsize(TITLE)


def make_ticks(most: int = 5) -> MaxNLocator:
    """Return round ticks, so many at most."""
    return MaxNLocator(most, steps=[1, 2, 5, 10])


def make_axes(width: float, height: float) -> Axes:
    """Return the axes of a new figure, in inches."""
    ax = Figure((width, height), layout="constrained").add_subplot()
    style_axes(ax)
    return ax


def make_panels(axes: Any, n: int, most: int, size: tuple[float, float]) -> np.ndarray:
    """Return axes for ``n`` labels, those given or new ones: ``most`` a row, each of this width and height in inches.

    Raises
    ------
    InputError
        If others are given than are needed.
    """
    if axes is not None:
        if np.size(axes) != n:
            raise InputError(f"{np.size(axes)} axes for {n} labels; give one for each")
        return np.ravel(axes)
    columns, rows = min(most, n), -(-n // most)
    figure = Figure((max(size[0] * columns, 3.6), 0.7 + size[1] * rows), layout="constrained")
    made = [figure.add_subplot(rows, columns, i + 1) for i in range(n)]
    for ax in made:
        style_axes(ax)
    return np.array(made)


def add_legend_above(axes: np.ndarray, columns: int) -> None:
    """Put one legend above all panels, that of the panel that shows most: it does not fit into one."""
    handles, names = max(
        (ax.get_legend_handles_labels() for ax in axes.flat), key=lambda found: len(found[0])
    )
    figure = axes.flat[0].get_figure(root=True)
    columns = columns if figure.get_figwidth() > 4 else 1
    figure.legend(
        handles, names, loc="outside upper center", ncols=columns, fontsize=TEXT, frameon=False
    )


def add_color_bar(mappable: Any, ax: Any, text: str, **options: Any) -> None:
    """Add a legible colour bar beside some axes."""
    figure = np.ravel(ax)[0].figure
    bar = figure.colorbar(mappable, ax=ax, **options)
    bar.set_label(text, fontsize=TITLE)
    bar.ax.tick_params(labelsize=TEXT)


def find_limits(values: np.ndarray, central: bool) -> tuple[float, float]:
    """Return the range of values, or of the central ones, with a margin."""
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, CENTRAL if central else (0, 100))
    margin = 0.06 * (high - low) or 0.05 * abs(low) or 1
    return float(low - margin), float(high + margin)


def format_grid_name(grid: xr.DataArray) -> str:
    """Return a grid's name with its medium and unit, for an axis."""
    unit, medium = grid.attrs.get("units", ""), grid.attrs.get("medium")
    name = "Wavelength" if str(grid.name).startswith("wavelength") else str(grid.name)
    return (
        name
        + (f" in {medium}" if medium else "")
        + (f" [{_UNITS.get(unit, unit)}]" if unit else "")
    )


def find_label_rows(have: Sequence[Any], labels: Sequence[str] | None) -> list[int]:
    """Return the positions of labels, of all if none are named.

    Raises
    ------
    InputError
        If there is no such label.
    """
    names = list(map(str, have))
    wanted = names if labels is None else [labels] if isinstance(labels, str) else list(labels)
    for name in wanted:
        if name not in names:
            raise InputError(f"no label {name!r}; there are {', '.join(names)}")
    return [names.index(name) for name in wanted]
