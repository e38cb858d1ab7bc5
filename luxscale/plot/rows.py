"""The whole spectrum of a star, in as many rows as make its pixels legible."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from luxscale.errors import InputError
from luxscale.model.arguments import (
    DatasetOrPath,
    ModelOrPath,
    take_catalog,
    take_model,
    take_survey,
)
from luxscale.model.lux import LuxModel
from luxscale.model.predict import predict
from luxscale.plot.grid import check_spectrum, set_grid_limits
from luxscale.plot.spectrum import (
    draw_data,
    draw_model,
    find_flux_limits,
    format_labels,
    load_stars,
    read_spectra,
)
from luxscale.plot.style import (
    BAD,
    TEXT,
    TITLE,
    check_axes,
    format_grid_name,
    format_output_name,
    make_figure,
    style_axes,
)
from luxscale.schema.outputs import OutputSpec, Role, pick_outputs
from luxscale.schema.standard import find_shifted
from luxscale.schema.stars import find_stars
from luxscale.schema.variables import STAR

#: Pixels in a row, at most.
ROW = 4200

#: A step this many times the usual one is a gap between detectors.
_GAP = 10

#: An error this many times the usual one says little of the flux.
_LARGE = 4

#: Stretches between gaps that get rows of their own; a grid in more pieces is none of a few
#: detectors.
_MOST_PIECES = 8


def spectrum(
    survey: DatasetOrPath,
    star: Any,
    catalog: DatasetOrPath | None = None,
    model: ModelOrPath | None = None,
    *,
    axes: Any = None,
    output: str = "flux",
    span: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw the spectrum of a star, in rows; with a model, its spectrum and the residuals too.

    Parameters
    ----------
    survey : Dataset, str or Path
    star : identifier
    catalog : Dataset, str or Path, optional
        Catalogue whose ``latent`` were inferred from the survey by the model.
    model : LuxModel, str or Path, optional
        With a catalogue.
    axes : array of Axes, (row,) or (2 * row,), optional
        Top to bottom; with a model, two for each row: spectrum and residual. New by default.
    output : str
        The spectrum, by name.
    span : tuple of float, optional
        Least and greatest pixel to draw, in the unit of the grid.

    Returns
    -------
    array of Axes, (row,) or (2 * row,)
        In each row the spectrum with its one-sigma band, and bars where pixels are bad; under it
        residuals (data - model) in units of the total error, sqrt(1 / ivar + scatter^2). The title
        has the labels of the catalogue, or of the survey where there is none.

    Raises
    ------
    InputError
        If there is no such star, output or pixel, the output is not a spectrum, the model is not of
        its pixels, only one of catalogue and model is given, or ``axes`` has the wrong size.

    Examples
    --------
    >>> from luxscale import plot
    >>> axes = plot.spectrum(survey, survey.star.values[0], catalog, model)
    """
    survey, catalog, model = _take(survey, catalog, model, output)
    (spec,) = pick_outputs(survey, output, "survey")
    check_spectrum(output, spec.role is Role.SPECTRUM)
    grid = survey[spec.dim]
    one = survey.isel({STAR: find_stars(survey, [star], "survey")})
    (value,), (ivar,) = read_spectra(one, spec)
    good = ivar > 0
    decoded = np.full(grid.size, np.nan)
    scatter = np.zeros(grid.size)
    known = one
    if catalog is not None and model is not None:
        known = load_stars(catalog, [star], "catalogue")
        decoded, scatter = _predict_spectrum(known, model, spec, grid.values)
    rows = _split_rows(grid.values, good, span)
    axes = _make_axes(axes, len(rows), model is not None)
    name = _format_axis(survey[spec.name])
    shown = good[rows[0].start : rows[-1].stop]
    bad = f"bad pixels, {100 * (1 - float(np.mean(shown))):.1f}%"
    for row, group in zip(rows, axes.reshape(len(rows), -1), strict=True):
        top = group[0]
        x = grid.values[row]
        data, err = draw_data(top, x, value[row], ivar[row])
        if model is not None:
            draw_model(group, x, data, err, decoded[row], scatter[row])
        _draw_bad(top, x, good[row], bad)
        top.set(ylabel=name, ylim=_find_limits(data, err, decoded[row]))
        set_grid_limits(group[-1], x)
    _write_title(axes[0], star, one, known)
    axes[0].legend(
        loc="best",
        fontsize=TEXT,
        ncols=4,
        edgecolor="none",
    )
    axes[-1].set_xlabel(format_grid_name(grid))
    return axes


def _take(
    survey: DatasetOrPath, catalog: DatasetOrPath | None, model: ModelOrPath | None, output: str
) -> tuple[xr.Dataset, xr.Dataset | None, LuxModel | None]:
    """Open what `spectrum` is given: a survey, and a catalogue and its model or neither."""
    call = "lux.plot.spectrum(survey, star)"
    survey = take_survey(survey, call, output)
    if catalog is not None:
        catalog = take_catalog(catalog, call)
    if model is not None:
        model = take_model(model, call)
    if (catalog is None) != (model is None):
        raise InputError(
            "a model's spectrum needs the model and a catalogue made with it; give both, or none"
        )
    return survey, catalog, model


def _predict_spectrum(
    inferred: xr.Dataset, model: LuxModel, spec: OutputSpec, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the model's spectrum, NaN in pixels that it does not use, and its scatter.

    Both are (wavelength,).
    """
    mapped = model[spec.name]
    grid = np.asarray(mapped.coord, float)
    if grid.shape != x.shape or find_shifted(x, grid).any():
        raise InputError(
            f"the model's {spec.dim} is not the survey's ({len(mapped.coord)} pixels, the survey "
            f"{x.size}); give the survey that was labelled"
        )
    return predict(inferred, model, spec.name).values[0], np.asarray(mapped.scatter)


def _split_rows(x: np.ndarray, good: np.ndarray, span: tuple[float, float] | None) -> list[slice]:
    """Return the pixels of each row: those of a detector, or a part of them."""
    low, high = span or (-np.inf, np.inf)
    start = int(np.searchsorted(x, low))
    stop = int(np.searchsorted(x, high, side="right"))
    if start >= stop:
        raise InputError(f"no pixel lies in {low:g} to {high:g}; the grid is {x[0]:g} to {x[-1]:g}")
    cuts = _find_gaps(x[start:stop])
    bounds = [start, *(start + cut for cut in cuts), stop]
    rows = []
    for first, last in itertools.pairwise(bounds):
        rows += _share_pixels(good, first, last)
    return rows


def _find_gaps(x: np.ndarray) -> list[int]:
    """Return the first pixel after each gap between detectors; none of a grid in many pieces."""
    if x.size < 2:
        return []
    # spectrographs have steps that are equal in wavelength, or in its logarithm
    if x[0] > 0:
        x = np.log(x)
    steps = np.diff(x)
    gaps = np.flatnonzero(steps > _GAP * np.median(steps)) + 1
    if gaps.size >= _MOST_PIECES:
        return []
    return gaps.tolist()


def _share_pixels(good: np.ndarray, start: int, stop: int) -> list[slice]:
    """Share pixels out among rows of about the same length, cut where pixels are bad."""
    count = -(-(stop - start) // ROW)
    size = (stop - start) / count
    bounds = [start]
    for i in range(1, count):
        middle = int(start + i * size)
        bounds.append(_find_cut(good, middle, reach=int(size / 4)))
    bounds.append(stop)
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def _find_cut(good: np.ndarray, middle: int, reach: int) -> int:
    """Return the middle of the longest bad stretch near a pixel; the pixel, if all are short."""
    first = middle - reach
    at = first + np.flatnonzero(good[first : middle + reach])
    gaps = np.diff(at)
    if not gaps.size or gaps.max() < reach // 10:
        return middle
    longest = int(np.argmax(gaps))
    before, after = at[longest], at[longest + 1]
    return int(before + after) // 2


def _draw_bad(ax: Axes, x: np.ndarray, good: np.ndarray, name: str) -> None:
    """Shade bad pixels, and mark each at the foot, where one alone can be seen."""
    if good.all():
        return
    foot = ax.get_xaxis_transform()
    ax.fill_between(
        x,
        0,
        1,
        where=~good,
        step="mid",
        transform=foot,
        color=BAD,
        alpha=0.15,
        lw=0,
        zorder=0,
    )
    ax.vlines(
        x[~good],
        0,
        0.05,
        transform=foot,
        color=BAD,
        lw=0.8,
        label=name,
    )


def _format_axis(values: xr.DataArray) -> str:
    """Return the name of an output with its unit, for an axis."""
    name = format_output_name(str(values.name))
    unit = values.attrs.get("units", "")
    if not unit:
        return name
    return f"{name} [{unit}]"


def _find_limits(data: np.ndarray, err: np.ndarray, decoded: np.ndarray) -> tuple[float, float]:
    """Return limits that hold the deepest lines, but not what sky lines leave.

    That is few pixels, with large errors or below zero.
    """
    if not np.isfinite(data).any():
        return find_flux_limits(data, decoded)
    large = _LARGE * np.nanmedian(err)
    bright = np.nanmedian(data) > large
    wild = (err > large) | ((data < 0) & bright)
    tame = np.where(wild, np.nan, data)
    return find_flux_limits(tame, decoded, central=(0.02, 99.7))


def _write_title(ax: Axes, star: Any, one: xr.Dataset, known: xr.Dataset) -> None:
    """Write the star's name and S/N at the left, its labels at the right."""
    name = str(star)
    if "snr" in one and one["snr"].dtype.kind in "fiu":
        snr = float(one["snr"].values[0])
        if np.isfinite(snr):
            name += f"   S/N {snr:.0f}"
    ax.set_title(name, loc="left", fontsize=TITLE)
    if "label_value" in known and "label_err" in known:
        ax.set_title(format_labels(known, 0), loc="right", fontsize=TEXT)


def _make_axes(axes: Any, rows: int, residuals: bool) -> np.ndarray:
    """Return axes, one or with residuals two for each row: those given, or new ones."""
    each, height = (2, 2.4) if residuals else (1, 1.9)
    needed = rows * each
    if axes is not None:
        check_axes(axes, needed, f" for {rows} rows; give {needed}: {each} for each")
        return np.ravel(axes)
    extra = 1.3 if rows == 1 else 0.5
    figure = make_figure(10, extra + height * rows, h_pad=0.02)
    cells = figure.add_gridspec(rows, 1)
    made = []
    for i in range(rows):
        cell = cells[i].subgridspec(each, 1, hspace=0, height_ratios=[3, 1.1][:each])
        top = figure.add_subplot(cell[0])
        made.append(top)
        if residuals:
            made.append(figure.add_subplot(cell[1], sharex=top))
            top.tick_params(labelbottom=False)
    for ax in made:
        style_axes(ax)
    figure.align_ylabels(made)
    return np.array(made)
