"""What a model has learnt: derivative spectra, and which pixels inform which label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from luxscale.analysis import interpret
from luxscale.model.arguments import ModelOrPath, take_model
from luxscale.model.output import Output, coordinates
from luxscale.plot.grid import check_spectrum, find_pixels, set_grid_limits
from luxscale.plot.style import (
    BAND,
    DATA,
    POINT,
    TEXT,
    TITLE,
    add_color_bar,
    check_axes,
    find_label_rows,
    find_limits,
    format_axis_label,
    format_grid_name,
    format_label,
    format_output_name,
    keep_finite,
    make_figure,
    style_axes,
)

#: Most columns of a map; neighbouring pixels beyond that are summed.
COLUMNS = 400

SHARES = "cividis"


def derivative_spectra(
    model: ModelOrPath,
    labels: Sequence[str] | None = None,
    span: tuple[float, float] | None = None,
    axes: Any = None,
    *,
    output: str = "flux",
    of: str = "label_value",
    ivar: Any = None,
    latent: Any = None,
) -> np.ndarray:
    """Draw how each label changes with the flux in each pixel: figure 6.

    Parameters
    ----------
    model : LuxModel, str or Path
    labels : sequence of str, optional
        Labels to draw, from top to bottom; all by default.
    span : pair of float, optional
        First and last wavelength, in the grid's units; all by default.
    axes : array of Axes, (1 + label,), optional
        For the spectrum and for each label; new by default.
    output, of : str
        The spectrum, and the output that holds the labels.
    ivar, latent
        As in `luxscale.analysis.interpret.derivatives`. With the inverse variances of a typical
        star noisy pixels count less, and the derivatives are those of what `luxscale.infer`
        returns.

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
    model = take_model(model, "lux.plot.derivative_spectra(model)")
    spectrum = _predict_spectrum(model[output], latent)
    inside = _choose_pixels(spectrum, span)
    label = model[of]
    rows = find_label_rows(label.coord, labels)
    gain = interpret.derivatives(model, of, output, ivar=ivar, latent=latent).values
    axes = _make_rows(axes, len(rows))
    _draw_spectrum(axes[0], spectrum, inside)
    grid = spectrum[spectrum.dims[0]]
    for ax, i in zip(axes[1:], rows, strict=True):
        ax.axhline(0, color=BAND, lw=0.8)
        ax.step(grid.values, gain[i], where="mid", color=POINT, lw=0.8)
        highest = float(np.nanmax(np.abs(gain[i, inside]), initial=0))
        reach = 1.15 * highest or 1.0
        ax.set(ylim=(-reach, reach))
        ax.yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
        name = format_axis_label(str(label.coord[i]), label.units[i])
        ax.text(1.012, 0.5, name, transform=ax.transAxes, va="center", fontsize=TITLE)
    axes[-1].set_xlabel(format_grid_name(grid))
    return axes


def information(
    model: ModelOrPath,
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
    model : LuxModel, str or Path
    ivar : float or array, (wavelength,)
        Inverse variances of a typical star's spectrum, e.g. from
        `luxscale.analysis.formal_errors.ivar_at_snr`.
    labels, span
        As in `derivative_spectra`.
    axes : array of Axes, (2,), optional
        For the spectrum and for the map; new by default.
    output, of, latent
        As in `derivative_spectra`.

    Returns
    -------
    array of Axes, (2,)
        The spectrum; and for each label, a row of the shares of
        `luxscale.analysis.interpret.information`, relative to the largest of the row, on a scale of
        square roots. Above 400 pixels neighbours are summed. At the right: how much of the label's
        variance all pixels that are drawn remove.

    Raises
    ------
    InputError
        As `derivative_spectra` and `luxscale.analysis.interpret.information`.

    Examples
    --------
    >>> from luxscale import plot
    >>> axes = plot.information(model, survey.flux_ivar.isel(star=0).compute())
    """
    model = take_model(model, "lux.plot.information(model, ivar)")
    spectrum = _predict_spectrum(model[output], latent)
    inside = _choose_pixels(spectrum, span)
    shares = interpret.information(model, ivar, of, output, latent=latent).values
    rows = find_label_rows(model[of].coord, labels)
    new = axes is None
    if axes is None:
        axes = _make_pair(len(rows))
    else:
        check_axes(axes, 2, "; give two: for the spectrum and for the map")
        axes = np.ravel(axes)
    _draw_spectrum(axes[0], spectrum, inside)
    grid = spectrum[spectrum.dims[0]]
    edges, columns = _sum_columns(grid.values, shares[rows], inside)
    names = [format_label(str(model[of].coord[i])) for i in rows]
    drawn = _draw_map(axes[1], edges, columns, names)
    axes[1].set_xlabel(format_grid_name(grid))
    if new:
        text = "share of the label's variance, relative to its largest"
        add_color_bar(drawn, list(axes), text, location="bottom", shrink=0.5, aspect=30)
    return axes


def _draw_map(ax: Axes, edges: np.ndarray, columns: np.ndarray, names: Sequence[str]) -> QuadMesh:
    """Draw shares (label, column), a row for each label, and at the right their sums."""
    largest = columns.max(axis=1, keepdims=True)
    relative = columns / np.where(largest > 0, largest, 1)
    rows = np.arange(len(names) + 1)
    # square roots, so that small shares show
    roots = PowerNorm(0.5, 0, 1)
    drawn = ax.pcolormesh(edges, rows, relative, cmap=SHARES, norm=roots, rasterized=True)
    ax.hlines(rows[1:-1], edges[0], edges[-1], color="w", lw=1)
    ax.set(ylim=(len(names), 0))
    ax.set_yticks(rows[:-1] + 0.5, names, fontsize=TITLE)
    ax.tick_params(axis="y", length=0)
    place = ax.get_yaxis_transform()
    for row, total in enumerate(columns.sum(axis=1)):
        text = f"{100 * total:.0f}%"
        ax.text(1.01, row + 0.5, text, transform=place, va="center", fontsize=TEXT)
    return drawn


def _predict_spectrum(output: Output, latent: Any) -> xr.DataArray:
    """Return the spectrum at the latents of one star, NaN where unused: (wavelength,)."""
    check_spectrum(output.name, output.is_spectrum)
    if latent is None:
        latent = np.zeros(output.map.latent_dim)
    z = np.asarray(latent, float)[None]
    (flux,) = np.asarray(output.map(z), float)
    used = np.where(output.used, flux, np.nan)
    return xr.DataArray(used, coordinates(output), [output.spec.dim], output.name)


def _choose_pixels(spectrum: xr.DataArray, span: tuple[float, float] | None) -> np.ndarray:
    """Return which pixels of a spectrum to draw: (wavelength,) bool."""
    x = spectrum[spectrum.dims[0]].values
    return find_pixels(x, span or (-np.inf, np.inf))


def _draw_spectrum(ax: Axes, spectrum: xr.DataArray, inside: np.ndarray) -> None:
    """Draw a spectrum, with the axes limited to some of its pixels."""
    x = spectrum[spectrum.dims[0]].values
    ax.step(x, spectrum.values, where="mid", color=DATA, lw=0.8)
    known = keep_finite(spectrum.values[inside])
    ax.set(ylim=find_limits(known, False), ylabel=format_output_name(str(spectrum.name)))
    set_grid_limits(ax, x[inside])
    ax.yaxis.set_major_locator(MaxNLocator(3))


def _sum_columns(
    x: np.ndarray, table: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sum neighbouring pixels into columns.

    Returns
    -------
    edges : array, (column + 1,)
    sums : array, (label, column)
    """
    x = x[inside]
    width = -(-x.size // COLUMNS)
    starts = np.arange(0, x.size, width)
    sums = np.add.reduceat(np.nan_to_num(table[:, inside]), starts, axis=1)
    bounds = _find_edges(x)
    return bounds[[*starts, x.size]], sums


def _find_edges(x: np.ndarray) -> np.ndarray:
    """Return the edges of pixels: (pixel + 1,).

    A pixel reaches half way to its neighbours, the outermost as far to both sides, and one alone
    has a width of 1.
    """
    if x.size == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    middle = (x[1:] + x[:-1]) / 2
    first = 1.5 * x[0] - 0.5 * x[1]
    last = 1.5 * x[-1] - 0.5 * x[-2]
    return np.concatenate([[first], middle, [last]])


def _make_rows(axes: Any, n: int) -> np.ndarray:
    """Return axes one above the other: one for the spectrum, ``n`` for labels."""
    if axes is not None:
        needed = f" for {n} labels; give one for the spectrum and one for each label"
        check_axes(axes, n + 1, needed)
        return np.ravel(axes)
    figure = make_figure(7.2, 1.7 + 0.75 * n, h_pad=0.02)
    heights = {"height_ratios": [1.3, *[1] * n], "hspace": 0}
    made = figure.subplots(n + 1, sharex=True, gridspec_kw=heights)
    figure.supylabel("d label / d flux", fontsize=TITLE)
    return _style_rows(made)


def _make_pair(n: int) -> np.ndarray:
    """Return axes one above the other: for the spectrum, and for a map of ``n`` rows."""
    figure = make_figure(7.2, 2.1 + 0.25 * n, h_pad=0.02)
    heights = {"height_ratios": [1, 0.2 + 0.25 * n]}
    return _style_rows(figure.subplots(2, sharex=True, gridspec_kw=heights))


def _style_rows(axes: np.ndarray) -> np.ndarray:
    """Style axes one above the other, the numbers of the grid under the last only."""
    for ax in axes:
        style_axes(ax)
        ax.tick_params(labelbottom=ax is axes[-1])
    return axes
