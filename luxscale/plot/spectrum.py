"""Spectra of single stars with the model's over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from luxscale.analysis.label_arrays import label_units
from luxscale.analysis.tables import count_decimals, round_to
from luxscale.model.arguments import (
    DatasetOrPath,
    ModelOrPath,
    take_catalog,
    take_model,
    take_survey,
)
from luxscale.model.predict import predict
from luxscale.plot.grid import check_spectrum
from luxscale.plot.style import (
    BAND,
    DATA,
    MODEL,
    TEXT,
    TITLE,
    check_axes,
    find_limits,
    format_grid_name,
    format_label,
    format_output_name,
    keep_finite,
    make_figure,
    style_axes,
)
from luxscale.schema.outputs import OutputSpec, pick_outputs
from luxscale.schema.stars import find_stars
from luxscale.schema.variables import STAR

#: Labels in the title of a spectrum.
TITLE_LABELS = 4


def spectra(
    survey: DatasetOrPath,
    catalog: DatasetOrPath,
    model: ModelOrPath,
    stars: Any,
    axes: Any = None,
    output: str = "flux",
) -> np.ndarray:
    """Draw spectra of a few stars with the model's over them: figure 3.

    Parameters
    ----------
    survey, catalog : Dataset, str or Path
        The data, and the catalogue whose ``latent`` were inferred from them.
    model : LuxModel, str or Path
    stars : identifier or sequence of identifiers
    axes : array of Axes, (2 * star,), optional
        For each star one for the spectrum and one for the residual; new by default.
    output : str
        The spectrum, by name.

    Returns
    -------
    array of Axes, (2 * star,)
        For each star: the spectrum with its one-sigma band, broken where pixels are missing, and
        the model; residuals (data - model) in units of the total error, sqrt(1 / ivar + scatter^2).

    Raises
    ------
    InputError
        If a star or output is missing, the output is not a spectrum, or ``axes`` has the wrong
        size.

    Examples
    --------
    >>> from luxscale import plot
    >>> axes = plot.spectra(survey, catalog, model, survey.star.values[:3])
    """
    call = "lux.plot.spectra(survey, catalog, model, stars)"
    survey = take_survey(survey, call, output)
    catalog = take_catalog(catalog, call)
    model = take_model(model, call)
    stars = list_stars(stars)
    check_spectrum(output, model[output].is_spectrum)
    (spec,) = pick_outputs(survey, output, "survey")
    found = load_stars(survey[list(spec.variables)], stars, "survey")
    values, ivar = read_spectra(found, spec)
    inferred = load_stars(catalog, stars, "catalogue")
    decoded = predict(inferred, model, output).values
    scatter = np.asarray(model[output].scatter)
    name = format_output_name(model[output].name)
    grid = survey[spec.dim]
    x = grid.values
    axes = _make_axes(axes, len(stars))
    for i, (top, bottom) in enumerate(axes.reshape(-1, 2)):
        value, err = draw_data(top, x, values[i], ivar[i])
        draw_model((top, bottom), x, value, err, decoded[i], scatter)
        top.set(ylabel=name, ylim=find_flux_limits(value, decoded[i]))
        bottom.set(xlim=(x[0], x[-1]))
        top.set_title(str(stars[i]), loc="left", fontsize=TITLE)
        top.set_title(format_labels(inferred, i), loc="right", fontsize=TEXT)
    axes[0].legend(
        loc="best",
        fontsize=TEXT,
        ncols=3,
        frameon=False,
    )
    axes[-1].set_xlabel(format_grid_name(grid))
    return axes


def list_stars(stars: Any) -> list[Any]:
    """Return the identifiers of stars as a list, of one alone too."""
    if np.ndim(stars) == 0:
        return [stars]
    return list(stars)


def load_stars(data: xr.Dataset, stars: Sequence[Any], what: str) -> xr.Dataset:
    """Return some stars of a survey or catalogue, as ``what`` says, in memory.

    Raises
    ------
    InputError
        If one is missing.
    """
    rows = find_stars(data, stars, what)
    return data.isel({STAR: rows}).compute()


def read_spectra(stars: xr.Dataset, spec: OutputSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return flux and ivar of stars: (star, wavelength) each."""
    flux, noise = (np.asarray(stars[name].values) for name in spec.variables)
    return flux, spec.ivar(flux, noise)


def _make_axes(axes: Any, n: int) -> np.ndarray:
    """Return axes (2 * star,): those given, or new ones."""
    if axes is not None:
        check_axes(axes, 2 * n, f" for {n} stars; give two for each: spectrum and residual")
        return np.ravel(axes)
    figure = make_figure(7.2, 0.4 + 2.2 * n, h_pad=0.02)
    cells = figure.add_gridspec(n, 1, hspace=0.06)
    made: list[Axes] = []
    first = None
    for i in range(n):
        cell = cells[i].subgridspec(2, 1, hspace=0, height_ratios=[3, 1.1])
        for part in (cell[0], cell[1]):
            ax = figure.add_subplot(part, sharex=first)
            style_axes(ax)
            ax.tick_params(labelbottom=False)
            made.append(ax)
            first = made[0]
    made[-1].tick_params(labelbottom=True)
    figure.align_ylabels(made)
    return np.array(made)


def draw_data(
    ax: Axes, x: np.ndarray, value: np.ndarray, ivar: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a spectrum with its one-sigma band.

    Returns
    -------
    value, err : array, (wavelength,)
        As they are drawn: NaN where pixels are missing.
    """
    seen = ivar > 0
    # 1 in place of a missing pixel's ivar: its error is NaN, without a division by 0
    sigma = 1 / np.sqrt(np.where(seen, ivar, 1))
    err = np.where(seen, sigma, np.nan)
    value = np.where(seen, value, np.nan)
    ax.fill_between(
        x,
        value - err,
        value + err,
        step="mid",
        color=BAND,
        lw=0,
        label=r"data $\pm\,1\sigma$",
    )
    ax.step(
        x,
        value,
        where="mid",
        color=DATA,
        lw=0.8,
        label="data",
    )
    return value, err


def draw_model(
    axes: Any,
    x: np.ndarray,
    value: np.ndarray,
    err: np.ndarray,
    decoded: np.ndarray,
    scatter: np.ndarray,
) -> None:
    """Draw the model over the data, and below, (data - model) / sqrt(err^2 + scatter^2)."""
    top, bottom = axes
    top.plot(x, decoded, color=MODEL, lw=0.9, label="model")
    sigma = np.hypot(err, scatter)
    pull = (value - decoded) / sigma
    bottom.axhspan(-1, 1, color=BAND, lw=0, alpha=0.6)
    bottom.axhline(0, color=MODEL, lw=0.8, zorder=3)
    bottom.step(x, pull, where="mid", color=DATA, lw=0.7)
    # at least 3.5 sigma, at most 10, which a wild pixel would stretch
    largest = np.nanmax(np.abs(pull), initial=0)
    reach = float(np.clip(1.1 * largest, 3.5, 10))
    bottom.set(ylabel=r"$\Delta / \sigma$", ylim=(-reach, reach))
    bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def find_flux_limits(
    value: np.ndarray, decoded: np.ndarray, central: tuple[float, float] = (0.3, 99.7)
) -> tuple[float, float]:
    """Return limits that hold all of the model, and the data but for the wildest pixels."""
    shown = [keep_finite(decoded)]
    data = keep_finite(value)
    if data.size:
        shown.append(np.percentile(data, central))
    return find_limits(np.concatenate(shown), False)


def format_labels(catalog: xr.Dataset, i: int) -> str:
    """Return the first labels that are known of a star, with their errors."""
    parts: list[str] = []
    for j, (name, unit) in enumerate(label_units(catalog).items()):
        value = float(catalog["label_value"].values[i, j])
        err = float(catalog["label_err"].values[i, j])
        if np.isfinite(value):
            parts.append(_format_value(name, unit, value, err))
        if len(parts) == TITLE_LABELS:
            break
    return ",  ".join(parts)


def _format_value(name: str, unit: str, value: float, err: float) -> str:
    """Return a label with its error, where that is known, and its unit, but for dex."""
    if np.isfinite(err):
        places = count_decimals(None, err)
        number = rf"{round_to(value, places)} \pm {round_to(err, places)}"
    else:
        number = round_to(value, count_decimals(value))
    text = f"{format_label(name)} ${number}$"
    if unit.startswith("dex"):
        return text
    return f"{text} {unit}"
