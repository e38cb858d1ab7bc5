"""What a model has learnt, along the spectrum: derivative spectra, and which pixels inform which label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from luxscale.analysis import interpret
from luxscale.errors import InputError
from luxscale.model.lux import LuxModel, Output, coordinates
from luxscale.plot.style import (
    BAND,
    DATA,
    POINT,
    TEXT,
    TITLE,
    add_color_bar,
    find_label_rows,
    find_limits,
    format_axis_label,
    format_grid_name,
    format_label,
    style_axes,
)

#: Most columns of a map; neighbouring pixels beyond that are summed.
COLUMNS = 400

SHARES = "cividis"


def derivative_spectra(
    model: LuxModel,
    labels: Sequence[str] | None = None,
    span: tuple[float, float] | None = None,
    axes: Any = None,
    *,
    output: str = "flux",
    of: str = "label_value",
    ivar: Any = None,
    latent: Any = None,
) -> np.ndarray:
    """Draw how each label changes with the flux in each pixel, under the model's spectrum: figure 6.

    Parameters
    ----------
    model : LuxModel
    labels : sequence of str, optional
        Labels to draw, from top to bottom; all by default.
    span : pair of float, optional
        First and last wavelength, in the grid's units; all by default.
    axes : array of Axes, (1 + label,), optional
        For the spectrum and for each label; new by default.
    output, of : str
        The spectrum, and the output that holds the labels.
    ivar, latent
        As in `luxscale.analysis.interpret.derivatives`. With the inverse variances of a typical star noisy
        pixels count less, and the derivatives are those of what `luxscale.infer` returns.

    Returns
    -------
    array of Axes, (1 + label,)
        The spectrum at ``latent`` (the average star), and d label / d flux in the label's units.
        Pixels that take no part in the model break the lines.

    Raises
    ------
    InputError
        If a label or output is missing, no pixel lies in ``span``, or ``axes`` has the wrong size.

    Examples
    --------
    >>> from luxscale import plot
    >>> axes = plot.derivative_spectra(model, ["teff", "mg_fe"], (15_110, 15_160))
    >>> axes[0].figure.savefig("derivatives.png")
    """
    grid, spectrum, inside = _spectrum(model[output], span, latent)
    label = model[of]
    rows = find_label_rows(label.coord, labels)
    gain = interpret.derivatives(model, of, output, ivar=ivar, latent=latent).values[rows]
    axes = _rows(axes, len(rows))
    _draw_spectrum(axes[0], model[output], grid, spectrum, inside)
    for ax, row, i in zip(axes[1:], gain, rows, strict=True):
        reach = 1.15 * float(np.nanmax(np.abs(row[inside]), initial=0)) or 1.0
        ax.axhline(0, color=BAND, lw=0.8)
        ax.step(grid.values, row, where="mid", color=POINT, lw=0.8)
        ax.set(ylim=(-reach, reach))
        ax.yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
        name = format_axis_label(str(label.coord[i]), label.units[i])
        ax.text(1.012, 0.5, name, transform=ax.transAxes, va="center", fontsize=TITLE)
    axes[-1].set_xlabel(format_grid_name(grid))
    return axes


def information(
    model: LuxModel,
    ivar: Any,
    labels: Sequence[str] | None = None,
    span: tuple[float, float] | None = None,
    axes: Any = None,
    *,
    output: str = "flux",
    of: str = "label_value",
    latent: Any = None,
) -> np.ndarray:
    """Draw which pixels inform which label, as a map under the model's spectrum.

    Parameters
    ----------
    model : LuxModel
    ivar : float or array, (wavelength,)
        Inverse variances of a typical star's spectrum, e.g. `luxscale.analysis.precision.ivar_at_snr`.
    labels, span
        As in `derivative_spectra`.
    axes : array of Axes, (2,), optional
        For the spectrum and for the map; new by default.
    output, of, latent
        As in `derivative_spectra`.

    Returns
    -------
    array of Axes, (2,)
        The spectrum; and for each label, a row of the shares of `luxscale.analysis.interpret.information`,
        relative to the largest of the row, on a scale of square roots. Above 400 pixels neighbours
        are summed. At the right: how much of the label's variance all pixels that are drawn remove.

    Raises
    ------
    InputError
        As `derivative_spectra` and `luxscale.analysis.interpret.information`.

    Examples
    --------
    >>> from luxscale import plot
    >>> axes = plot.information(model, survey.flux_ivar.isel(star=0).compute())
    """
    grid, spectrum, inside = _spectrum(model[output], span, latent)
    shares = interpret.information(model, ivar, of, output, latent=latent)
    chosen = find_label_rows(model[of].coord, labels)
    names = [format_label(str(model[of].coord[i])) for i in chosen]
    new = axes is None
    axes = _two(len(names)) if new else np.ravel(axes)
    if axes.size != 2:
        raise InputError(f"{axes.size} axes; give two: for the spectrum and for the map")
    _draw_spectrum(axes[0], model[output], grid, spectrum, inside)
    edges, columns = _columns(grid.values, shares.values[chosen], inside)
    largest = columns.max(1, keepdims=True)
    relative = columns / np.where(largest > 0, largest, 1)
    rows = np.arange(len(names) + 1)
    drawn = axes[1].pcolormesh(
        edges, rows, relative, cmap=SHARES, norm=PowerNorm(0.5, 0, 1), rasterized=True
    )
    axes[1].hlines(rows[1:-1], edges[0], edges[-1], color="w", lw=1)
    axes[1].set(ylim=(len(names), 0), xlabel=format_grid_name(grid))
    axes[1].set_yticks(rows[:-1] + 0.5, names, fontsize=TITLE)
    axes[1].tick_params(axis="y", length=0)
    for row, total in enumerate(columns.sum(1)):
        place = axes[1].get_yaxis_transform()
        axes[1].text(
            1.01, row + 0.5, f"{100 * total:.0f}%", transform=place, va="center", fontsize=TEXT
        )
    if new:
        text = "share of the label's variance, relative to its largest"
        add_color_bar(drawn, list(axes), text, location="bottom", shrink=0.5, aspect=30)
    return axes


def _spectrum(
    output: Output, span: tuple[float, float] | None, latent: Any
) -> tuple[xr.DataArray, np.ndarray, np.ndarray]:
    """Return the grid, the spectrum at the latents of one star, NaN where unused, and which pixels to draw."""
    if not output.is_spectrum:
        raise InputError(
            f"output {output.name!r} has names, not a grid; draw a spectrum, such as 'flux'"
        )
    z = np.zeros(output.map.latent_dim) if latent is None else np.asarray(latent, float)
    spectrum = np.where(output.used, np.asarray(output.map(z[None])[0], float), np.nan)
    grid = xr.Dataset(coords=coordinates(output))[output.spec.dim]
    low, high = span or (-np.inf, np.inf)
    inside = (grid.values >= low) & (grid.values <= high)
    if not inside.any():
        raise InputError(
            f"no pixel lies in {span}; the grid is {grid.values[0]:g} to {grid.values[-1]:g}"
        )
    return grid, spectrum, inside


def _draw_spectrum(
    ax: Axes, output: Output, grid: xr.DataArray, spectrum: np.ndarray, inside: np.ndarray
) -> None:
    ax.step(grid.values, spectrum, where="mid", color=DATA, lw=0.8)
    drawn, x = spectrum[inside], grid.values[inside]
    ax.set(
        ylim=find_limits(drawn[np.isfinite(drawn)], False),
        ylabel=output.name.replace("_", " ").capitalize(),
    )
    ax.set_xlim(x[0], x[-1] if x.size > 1 else x[0] + 1)
    ax.yaxis.set_major_locator(MaxNLocator(3))


def _columns(x: np.ndarray, table: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum neighbouring pixels into columns: their edges (column + 1,), and the sums (label, column)."""
    x, table = x[inside], np.nan_to_num(table[:, inside])
    starts = np.arange(0, x.size, -(-x.size // COLUMNS))
    middle = (x[1:] + x[:-1]) / 2
    if x.size > 1:
        bounds = np.concatenate([[1.5 * x[0] - 0.5 * x[1]], middle, [1.5 * x[-1] - 0.5 * x[-2]]])
    else:
        bounds = np.array([x[0] - 0.5, x[0] + 0.5])
    return bounds[[*starts, x.size]], np.add.reduceat(table, starts, axis=1)


def _rows(axes: Any, n: int) -> np.ndarray:
    """Return axes one above the other: one for the spectrum, ``n`` for labels."""
    if axes is not None:
        if np.size(axes) != n + 1:
            raise InputError(
                f"{np.size(axes)} axes for {n} labels; give one for the spectrum and one for "
                "each label"
            )
        return np.ravel(axes)
    figure = Figure((7.2, 1.7 + 0.75 * n), layout="constrained")
    made = figure.subplots(
        n + 1, sharex=True, gridspec_kw={"height_ratios": [1.3, *[1] * n], "hspace": 0}
    )
    figure.supylabel("d label / d flux", fontsize=TITLE)
    return _tidied(figure, made)


def _two(n: int) -> np.ndarray:
    """Return axes one above the other: for the spectrum, and for a map of ``n`` rows."""
    figure = Figure((7.2, 2.1 + 0.25 * n), layout="constrained")
    return _tidied(
        figure, figure.subplots(2, sharex=True, gridspec_kw={"height_ratios": [1, 0.2 + 0.25 * n]})
    )


def _tidied(figure: Figure, axes: np.ndarray) -> np.ndarray:
    figure.get_layout_engine().set(h_pad=0.02)  # type: ignore[union-attr, call-arg]
    for ax in axes:
        style_axes(ax)
        ax.tick_params(labelbottom=ax is axes[-1])
    return axes
