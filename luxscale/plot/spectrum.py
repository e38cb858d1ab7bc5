"""Spectra of single stars with the model's over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from luxscale.analysis.evaluate import count_decimals, label_units, round_to
from luxscale.errors import InputError
from luxscale.model.lux import LuxModel, Output
from luxscale.model.predict import predict
from luxscale.plot.style import (
    BAND,
    DATA,
    MODEL,
    TEXT,
    TITLE,
    find_limits,
    format_grid_name,
    format_label,
    style_axes,
)
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.stars import find_stars
from luxscale.schema.variables import STAR

#: Labels in the title of a spectrum.
TITLE_LABELS = 4


def spectra(
    survey: xr.Dataset,
    catalog: xr.Dataset,
    model: LuxModel,
    stars: Any,
    axes: Any = None,
    output: str = "flux",
) -> np.ndarray:
    """Draw spectra of a few stars with the model's over them: figure 3.

    Parameters
    ----------
    survey, catalog : Dataset
        The data, and the catalogue whose ``latent`` were inferred from them.
    model : LuxModel
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
    stars = [stars] if np.ndim(stars) == 0 else list(stars)
    if not model[output].is_spectrum:
        raise InputError(
            f"output {output!r} has names, not a grid; draw a spectrum, such as 'flux'"
        )
    (spec,) = pick_outputs(survey, output, "survey")
    found = survey[list(spec.variables)].isel({STAR: find_stars(survey, stars, "survey")}).compute()
    inferred = catalog.isel({STAR: find_stars(catalog, stars, "catalogue")}).compute()
    decoded = predict(inferred, model, output).values
    values, noise = (found[v].values for v in spec.variables)
    ivar = spec.ivar(values, noise)
    axes = _star_axes(axes, len(stars))
    for i, pair in enumerate(axes.reshape(-1, 2)):
        _draw_spectrum(pair, survey[spec.dim], values[i], ivar[i], decoded[i], model[output])
        pair[0].set_title(str(stars[i]), loc="left", fontsize=TITLE)
        pair[0].set_title(format_labels(inferred, i), loc="right", fontsize=TEXT)
    axes[0].legend(loc="best", fontsize=TEXT, ncols=3, frameon=False)
    axes[-1].set_xlabel(format_grid_name(survey[spec.dim]))
    return axes


def _star_axes(axes: Any, n: int) -> np.ndarray:
    if axes is not None:
        if np.size(axes) != 2 * n:
            raise InputError(
                f"{np.size(axes)} axes for {n} stars; give two for each: spectrum and residual"
            )
        return np.ravel(axes)
    figure = Figure((7.2, 0.4 + 2.2 * n), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02)  # type: ignore[union-attr, call-arg]
    stars = figure.add_gridspec(n, 1, hspace=0.06)
    made: list[Axes] = []
    for i in range(n):
        cell = stars[i].subgridspec(2, 1, hspace=0, height_ratios=[3, 1.1])
        for j in range(2):
            made.append(figure.add_subplot(cell[j], sharex=made[0] if made else None))
            style_axes(made[-1])
            made[-1].tick_params(labelbottom=False)
    made[-1].tick_params(labelbottom=True)
    figure.align_ylabels(made)
    return np.array(made)


def _draw_spectrum(
    axes: np.ndarray,
    grid: xr.DataArray,
    value: np.ndarray,
    ivar: np.ndarray,
    decoded: np.ndarray,
    output: Output,
) -> None:
    """Draw one star: NaN breaks the lines at missing pixels."""
    value, err = draw_data(axes[0], grid.values, value, ivar)
    draw_model(axes, grid.values, value, err, decoded, np.asarray(output.scatter))
    axes[0].set(
        ylabel=output.name.replace("_", " ").capitalize(), ylim=find_flux_limits(value, decoded)
    )
    axes[1].set(xlim=(grid.values[0], grid.values[-1]))


def draw_data(
    ax: Axes, x: np.ndarray, value: np.ndarray, ivar: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a spectrum with its one-sigma band; returns the values and errors drawn, NaN where pixels are missing."""
    seen = ivar > 0
    err = np.where(seen, 1 / np.sqrt(np.where(seen, ivar, 1)), np.nan)
    value = np.where(seen, value, np.nan)
    ax.fill_between(
        x, value - err, value + err, step="mid", color=BAND, lw=0, label=r"data $\pm\,1\sigma$"
    )
    ax.step(x, value, where="mid", color=DATA, lw=0.8, label="data")
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
    pull = (value - decoded) / np.hypot(err, scatter)
    bottom.axhspan(-1, 1, color=BAND, lw=0, alpha=0.6)
    bottom.axhline(0, color=MODEL, lw=0.8, zorder=3)
    bottom.step(x, pull, where="mid", color=DATA, lw=0.7)
    reach = float(np.clip(1.1 * np.nanmax(np.abs(pull), initial=0), 3.5, 10))
    bottom.set(ylabel=r"$\Delta / \sigma$", ylim=(-reach, reach))
    bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def find_flux_limits(
    value: np.ndarray, decoded: np.ndarray, central: tuple[float, float] = (0.3, 99.7)
) -> tuple[float, float]:
    """Show all of the model, and the data but for the wildest pixels."""
    data = value[np.isfinite(value)]
    shown = [decoded[np.isfinite(decoded)], np.percentile(data, central) if data.size else data]
    return find_limits(np.concatenate(shown), False)


def format_labels(catalog: xr.Dataset, i: int) -> str:
    """Return the first labels that are known of a star, with their errors."""
    parts: list[str] = []
    for j, (name, unit) in enumerate(label_units(catalog).items()):
        value, err = (float(catalog[v].values[i, j]) for v in ("label_value", "label_err"))
        if len(parts) == TITLE_LABELS or not np.isfinite(value):
            continue
        places = count_decimals(None, err) if np.isfinite(err) else count_decimals(value)
        known = rf" \pm {round_to(err, places)}" if np.isfinite(err) else ""
        shown = "" if unit.startswith("dex") else f" {unit}"
        parts.append(rf"{format_label(name)} ${round_to(value, places)}{known}${shown}")
    return ",  ".join(parts)
