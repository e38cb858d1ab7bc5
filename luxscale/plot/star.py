"""The whole spectrum of a star, in as many rows as make its pixels legible."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from luxscale.errors import InputError
from luxscale.model.lux import LuxModel
from luxscale.model.predict import predict
from luxscale.plot.spectrum import draw_data, draw_model, find_flux_limits, format_labels
from luxscale.plot.style import BAD, TEXT, TITLE, format_grid_name, style_axes
from luxscale.schema.outputs import OutputSpec, Role, pick_outputs
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
    survey: xr.Dataset,
    star: Any,
    catalog: xr.Dataset | None = None,
    model: LuxModel | None = None,
    *,
    axes: Any = None,
    output: str = "flux",
    span: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw the spectrum of a star, in rows; with a model, its spectrum and the residuals too.

    Parameters
    ----------
    survey : Dataset
    star : identifier
    catalog : Dataset, optional
        Catalogue whose ``latent`` were inferred from the survey by the model.
    model : LuxModel, optional
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
    if (catalog is None) != (model is None):
        raise InputError(
            "a model's spectrum needs the model and a catalogue made with it; give both, or none"
        )
    (spec,) = pick_outputs(survey, output, "survey")
    x = survey[spec.dim].values
    if spec.role is not Role.SPECTRUM:
        raise InputError(
            f"output {output!r} has names, not a grid; draw a spectrum, such as 'flux'"
        )
    one = survey.isel({STAR: find_stars(survey, [star], "survey")})
    value, ivar = _data(one, spec)
    decoded, scatter, known = np.full(x.size, np.nan), np.zeros(x.size), one
    if catalog is not None and model is not None:
        known = catalog.isel({STAR: find_stars(catalog, [star], "catalogue")}).compute()
        decoded, scatter = _model(known, model, spec, x)
    rows = _rows(x, ivar > 0, span)
    axes = _axes(axes, len(rows), model is not None)
    bad = 1 - float(np.mean(ivar[rows[0].start : rows[-1].stop] > 0))
    for row, group in zip(rows, axes.reshape(len(rows), -1), strict=True):
        data, err = draw_data(group[0], x[row], value[row], ivar[row])
        if model is not None:
            draw_model(group, x[row], data, err, decoded[row], scatter[row])
        _draw_bad(group[0], x[row], ivar[row] > 0, f"bad pixels, {100 * bad:.1f}%")
        group[0].set(ylabel=_axis_name(survey[spec.name]), ylim=_limits(data, err, decoded[row]))
        group[-1].set_xlim(x[row][0], x[row][-1] if x[row].size > 1 else x[row][0] + 1)
    _title(axes[0], star, one, known)
    axes[0].legend(loc="best", fontsize=TEXT, ncols=4, edgecolor="none")
    axes[-1].set_xlabel(format_grid_name(survey[spec.dim]))
    return axes


def _data(one: xr.Dataset, spec: OutputSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return flux and ivar of a star: (wavelength,) each."""
    values, noise = (np.asarray(one[v].values) for v in spec.variables)
    return values[0], spec.ivar(values, noise)[0]


def _model(
    inferred: xr.Dataset, model: LuxModel, spec: OutputSpec, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the model's spectrum, NaN in pixels that it does not use, and its scatter: (wavelength,) each."""
    mapped = model[spec.name]
    if not np.array_equal(np.asarray(mapped.coord, float), x):
        raise InputError(
            f"the model's {spec.dim} is not the survey's ({len(mapped.coord)} pixels, the "
            f"survey {x.size}); give the "
            "survey that was labelled"
        )
    return predict(inferred, model, spec.name).values[0], np.asarray(mapped.scatter)


def _rows(x: np.ndarray, good: np.ndarray, span: tuple[float, float] | None) -> list[slice]:
    """Return the pixels of each row: those of a detector, or a part of them."""
    low, high = span or (-np.inf, np.inf)
    start, stop = np.searchsorted(x, low), np.searchsorted(x, high, side="right")
    if start >= stop:
        raise InputError(f"no pixel lies in {low:g} to {high:g}; the grid is {x[0]:g} to {x[-1]:g}")
    steps = np.diff(np.log(x[start:stop]) if x[start] > 0 else x[start:stop])
    gaps = np.flatnonzero(steps > _GAP * np.median(steps)) if steps.size else np.array([], int)
    cuts = (start + 1 + gaps).tolist() if gaps.size < _MOST_PIECES else []
    bounds = [int(start), *cuts, int(stop)]
    return [row for a, b in itertools.pairwise(bounds) for row in _parts(good, a, b)]


def _parts(good: np.ndarray, start: int, stop: int) -> list[slice]:
    """Share pixels out among rows, cut in the middle of the longest bad stretch near an equal share."""
    count = -(-(stop - start) // ROW)
    size = (stop - start) / count
    bounds = [
        start,
        *(_cut(good, int(start + i * size), int(size / 4)) for i in range(1, count)),
        stop,
    ]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def _cut(good: np.ndarray, middle: int, reach: int) -> int:
    at = np.flatnonzero(good[middle - reach : middle + reach]) + middle - reach
    gaps = np.diff(at)
    if not gaps.size or gaps.max() < reach // 10:
        return middle
    longest = int(np.argmax(gaps))
    return int(at[longest] + at[longest + 1]) // 2


def _draw_bad(ax: Axes, x: np.ndarray, good: np.ndarray, name: str) -> None:
    """Shade bad pixels, and mark each at the foot, where one alone can be seen."""
    if good.all():
        return
    foot = ax.get_xaxis_transform()
    ax.fill_between(
        x, 0, 1, where=~good, step="mid", transform=foot, color=BAD, alpha=0.15, lw=0, zorder=0
    )
    ax.vlines(x[~good], 0, 0.05, transform=foot, color=BAD, lw=0.8, label=name)


def _axis_name(values: xr.DataArray) -> str:
    unit = values.attrs.get("units", "")
    return str(values.name).replace("_", " ").capitalize() + (f" [{unit}]" if unit else "")


def _limits(data: np.ndarray, err: np.ndarray, decoded: np.ndarray) -> tuple[float, float]:
    """Show the deepest lines, but not what sky lines leave: few pixels, with large errors or below zero."""
    if not np.isfinite(data).any():
        return find_flux_limits(data, decoded)
    usual, level = np.nanmedian(err), np.nanmedian(data)
    wild = (err > _LARGE * usual) | ((data < 0) & (level > _LARGE * usual))
    return find_flux_limits(np.where(wild, np.nan, data), decoded, (0.02, 99.7))


def _title(ax: Axes, star: Any, one: xr.Dataset, known: xr.Dataset) -> None:
    """Write the star's name and S/N at the left, its labels at the right."""
    snr = float(one["snr"].values[0]) if "snr" in one and one["snr"].dtype.kind in "fiu" else np.nan
    ax.set_title(
        f"{star}" + (f"   S/N {snr:.0f}" if np.isfinite(snr) else ""), loc="left", fontsize=TITLE
    )
    if "label_value" in known and "label_err" in known:
        ax.set_title(format_labels(known, 0), loc="right", fontsize=TEXT)


def _axes(axes: Any, rows: int, residuals: bool) -> np.ndarray:
    each = 2 if residuals else 1
    if axes is not None:
        if np.size(axes) != rows * each:
            raise InputError(
                f"{np.size(axes)} axes for {rows} rows; give {rows * each}: {each} for each"
            )
        return np.ravel(axes)
    figure = Figure(
        (10, 0.5 + (2.4 if residuals else 1.9) * rows + (0.8 if rows == 1 else 0)),
        layout="constrained",
    )
    figure.get_layout_engine().set(h_pad=0.02)  # type: ignore[union-attr, call-arg]
    cells, made = figure.add_gridspec(rows, 1), []
    for i in range(rows):
        cell = cells[i].subgridspec(each, 1, hspace=0, height_ratios=[3, 1.1][:each])
        pair = [figure.add_subplot(cell[0])]
        if residuals:
            pair.append(figure.add_subplot(cell[1], sharex=pair[0]))
            pair[0].tick_params(labelbottom=False)
        made += pair
    for ax in made:
        style_axes(ax)
    figure.align_ylabels(made)
    return np.array(made)
