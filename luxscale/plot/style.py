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
from matplotlib.figure import Figure, FigureBase
from matplotlib.text import Text
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

    Raises
    ------
    InputError
        If it is no name.

    Examples
    --------
    >>> from luxscale.plot import format_label
    >>> format_label("mg_fe"), format_label("vsini")
    ('[Mg/Fe]', 'vsini')
    """
    if not isinstance(label, str):
        raise InputError(f"label is a {type(label).__name__}; give its name, such as 'fe_h'")
    if label in _PRETTY:
        return _PRETTY[label]
    ratio = _RATIO.fullmatch(label)
    if ratio is None:
        return label
    above, below = (_format_element(part) for part in ratio.groups())
    return f"[{above}/{below}]"


def _format_element(name: str) -> str:
    return r"$\alpha$" if name == "alpha" else name.capitalize()


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
    name = format_label(label)
    if label == "logg" or not unit:
        return name
    return f"{name} [{_UNITS.get(unit, unit)}]"


def style_axes(ax: Axes) -> None:
    """Make new axes legible in print; axes that a caller brings keep their own style."""
    ax.tick_params(
        labelsize=TEXT,
        direction="in",
        top=True,
        right=True,
    )
    for text in (ax.xaxis.label, ax.yaxis.label, ax.title):
        text.set_fontsize(TITLE)


def make_ticks(most: int = 5) -> MaxNLocator:
    """Return a locator of round ticks, so many at most."""
    return MaxNLocator(most, steps=[1, 2, 5, 10])


def set_ticks(ax: Axes, most: int = 5) -> None:
    """Give both axes round ticks, so many at most."""
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(make_ticks(most))


def write_note(ax: Axes, x: float, y: float, text: str, **options: Any) -> Text:
    """Write small text at a place of the panel, from 0 to 1, over what is drawn there."""
    box = {"facecolor": "w", "edgecolor": "none", "alpha": 0.75, "pad": 1}
    return ax.text(
        x,
        y,
        text,
        transform=ax.transAxes,
        fontsize=TEXT,
        bbox=box,
        **options,
    )


def check_axes(axes: Any, needed: int, message: str) -> None:
    """Raise an error if axes are not as many as needed.

    Parameters
    ----------
    axes : array of Axes
    needed : int
    message : str
        What follows the number of axes that are given.

    Raises
    ------
    InputError
        If there are more or fewer.
    """
    if np.size(axes) != needed:
        raise InputError(f"{np.size(axes)} axes{message}")


def make_figure(width: float, height: float, **pads: float) -> Figure:
    """Return a new figure, sizes and the space around its panels in inches."""
    figure = Figure((width, height), layout="constrained")
    if pads:
        figure.get_layout_engine().set(**pads)  # type: ignore[union-attr]
    return figure


def make_axes(width: float, height: float) -> Axes:
    """Return the axes of a new figure, in inches."""
    ax = Figure((width, height), layout="constrained").add_subplot()
    style_axes(ax)
    return ax


def make_panels(axes: Any, n: int, most: int, size: tuple[float, float]) -> np.ndarray:
    """Return axes for ``n`` labels: those given, or new ones.

    Parameters
    ----------
    axes : array of Axes, (label,), optional
    n : int
    most : int
        Panels in a row.
    size : (width, height)
        Of a new panel, in inches.

    Raises
    ------
    InputError
        If others are given than are needed.
    """
    if axes is not None:
        check_axes(axes, n, f" for {n} labels; give one for each")
        return np.ravel(axes)
    columns, rows = min(most, n), -(-n // most)
    # the legend above needs 3.6 inches of width and 0.7 of height
    width = max(size[0] * columns, 3.6)
    height = 0.7 + size[1] * rows
    return make_grid(make_figure(width, height), n, rows, columns)


def make_grid(figure: FigureBase, n: int, rows: int, columns: int) -> np.ndarray:
    """Return the first ``n`` axes of a grid of panels on a figure: (n,)."""
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(n)]
    for ax in axes:
        style_axes(ax)
    return np.array(axes)


def add_legend_above(axes: np.ndarray, columns: int) -> None:
    """Put the legend of the panel that shows most above all panels, as it fits into none."""
    legends = [ax.get_legend_handles_labels() for ax in axes.flat]
    handles, names = max(legends, key=lambda legend: len(legend[0]))
    figure = axes.flat[0].get_figure(root=True)
    if figure.get_figwidth() <= 4:
        columns = 1
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=columns,
        fontsize=TEXT,
        frameon=False,
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
    percentiles = CENTRAL if central else (0, 100)
    low, high = np.percentile(values, percentiles)
    # equal values have no range: a margin of their own size, or of 1 about zero
    margin = 0.06 * (high - low) or 0.05 * abs(low) or 1
    return float(low - margin), float(high + margin)


def find_color_limits(values: np.ndarray) -> tuple[float, float]:
    """Return the range of the central 96% of values, for a scale of colours."""
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (2, 98))
    return low, high


def choose_marker_size(n: int) -> float:
    """Return the area of a marker, in square points, that suits so many stars."""
    return float(np.clip(6000 / max(n, 1), 0.8, 14))


def format_grid_name(grid: xr.DataArray) -> str:
    """Return a grid's name with its medium and unit, for an axis."""
    name = str(grid.name)
    if name.startswith("wavelength"):
        name = "Wavelength"
    medium = grid.attrs.get("medium")
    if medium:
        name += f" in {medium}"
    unit = grid.attrs.get("units", "")
    if unit:
        name += f" [{_UNITS.get(unit, unit)}]"
    return name


def format_output_name(name: str) -> str:
    """Return how an axis writes the name of an output: ``flux`` becomes Flux."""
    return name.replace("_", " ").capitalize()


def set_minus(number: str) -> str:
    """Return a number with a typeset minus sign."""
    return number.replace("-", "\N{MINUS SIGN}")


def keep_finite(values: np.ndarray) -> np.ndarray:
    """Return the values that are known: (known,)."""
    return values[np.isfinite(values)]


def find_label_rows(have: Sequence[Any], labels: Sequence[str] | None) -> list[int]:
    """Return the positions of labels, of all if none are named.

    Raises
    ------
    InputError
        If there is no such label.
    """
    names = list(map(str, have))
    if labels is None:
        return list(range(len(names)))
    wanted = [labels] if isinstance(labels, str) else list(labels)
    for name in wanted:
        if not isinstance(name, str):
            raise InputError(f"a label is a {type(name).__name__}; there are {', '.join(names)}")
        if name not in names:
            raise InputError(f"no label {name!r}; there are {', '.join(names)}")
    return [names.index(name) for name in wanted]
