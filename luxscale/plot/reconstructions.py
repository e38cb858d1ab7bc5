"""Spectra of stars with what several catalogues of the same model say of them: figure 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from luxscale.errors import InputError
from luxscale.model.lux import LuxModel
from luxscale.model.predict import predict
from luxscale.plot.spectrum import draw_data, find_flux_limits, format_labels
from luxscale.plot.style import BAND, CYCLE, DATA, TEXT, TITLE, format_grid_name, style_axes
from luxscale.schema.outputs import OutputSpec, pick_outputs
from luxscale.schema.stars import find_stars
from luxscale.schema.variables import STAR

#: Lines of the catalogues: told apart by more than colour.
_LINES = ("-", "--", ":", "-.")


def reconstructions(
    survey: xr.Dataset,
    catalogs: Mapping[str, xr.Dataset],
    model: LuxModel,
    stars: Any,
    spans: Sequence[tuple[float, float]],
    *,
    output: str = "flux",
) -> np.ndarray:
    """Draw spectra of stars over a few stretches, with the model's by several latents: figure 3.

    Parameters
    ----------
    survey : Dataset
    catalogs : mapping of str to Dataset
        By what the legend says: catalogues of the same stars by the same model, e.g. inferred from
        spectra, and from labels.
    model : LuxModel
    stars : identifier or sequence of identifiers
    spans : sequence of (least, greatest)
        Stretches of the spectrum, each a column, in the unit of the grid.
    output : str
        The spectrum, by name.

    Returns
    -------
    array of Axes, (star, span, 2)
        Spectrum with its one-sigma band and each catalogue's model spectrum; under it residuals
        (data - model) in units of the total error, sqrt(1 / ivar + scatter^2). Titles have the
        labels of the survey.

    Raises
    ------
    InputError
        If a star or output is missing, the output is not a spectrum, or a stretch holds no pixel.
    """
    stars = [stars] if np.ndim(stars) == 0 else list(stars)
    (spec,) = pick_outputs(survey, output, "survey")
    x = survey[spec.dim].values
    if not model[output].is_spectrum:
        raise InputError(
            f"output {output!r} has names, not a grid; draw a spectrum, such as 'flux'"
        )
    inside = [(x >= low) & (x <= high) for low, high in spans]
    for span, pixels in zip(spans, inside, strict=True):
        if not pixels.any():
            raise InputError(f"no pixel lies in {span}; the grid is {x[0]:g} to {x[-1]:g}")
    found = survey.isel({STAR: find_stars(survey, stars, "survey")}).compute()
    decoded = {name: _decode(c, model, stars, output) for name, c in catalogs.items()}
    axes = _axes(len(stars), [int(p.sum()) for p in inside])
    for i, row in enumerate(axes):
        lines = {name: d[i] for name, d in decoded.items()}
        for pair, pixels in zip(row, inside, strict=True):
            _draw(
                pair,
                x,
                found.isel({STAR: [i]}),
                spec,
                np.asarray(model[output].scatter),
                lines,
                pixels,
            )
        row[0, 0].set_ylabel("Flux")
        row[0, 1].set_ylabel(r"$\Delta / \sigma$")
        row[0, 0].set_title(str(stars[i]), loc="left", fontsize=TEXT)
        if "label_value" in found:
            row[-1, 0].set_title(format_labels(found, i), loc="right", fontsize=TEXT)
    handles, names = axes[0, 0, 0].get_legend_handles_labels()
    axes[0, 0, 0].figure.legend(
        handles, names, loc="outside upper center", ncols=4, fontsize=TEXT, frameon=False
    )
    axes[0, 0, 0].figure.supxlabel(format_grid_name(survey[spec.dim]), fontsize=TITLE)
    return axes


def _decode(catalog: xr.Dataset, model: LuxModel, stars: Sequence[Any], output: str) -> np.ndarray:
    rows = find_stars(catalog, stars, "catalogue")
    return predict(catalog.isel({STAR: rows}).compute(), model, output).values


def _draw(
    pair: np.ndarray,
    x: np.ndarray,
    one: xr.Dataset,
    spec: OutputSpec,
    scatter: np.ndarray,
    lines: Mapping[str, np.ndarray],
    pixels: np.ndarray,
) -> None:
    """Draw a stretch of one star: the spectrum above, residuals below."""
    values, noise = (one[v].values for v in spec.variables)
    ivar = spec.ivar(values, noise)[0]
    top, bottom = pair
    data, err = draw_data(top, x[pixels], values[0][pixels], ivar[pixels])
    bottom.axhspan(-1, 1, color=BAND, lw=0, alpha=0.6)
    pulls = []
    for (name, model), color, dashes in zip(lines.items(), CYCLE, _LINES, strict=False):
        top.plot(x[pixels], model[pixels], color=color, lw=1, ls=dashes, label=name)
        pulls.append((data - model[pixels]) / np.hypot(err, scatter[pixels]))
        bottom.step(x[pixels], pulls[-1], where="mid", color=color, lw=0.6, alpha=0.8)
    reach = float(np.clip(1.1 * np.nanpercentile(np.abs(np.concatenate(pulls)), 99.5), 3.5, 12))
    shown = np.concatenate([m[pixels] for m in lines.values()])
    top.set(xlim=(x[pixels][0], x[pixels][-1]), ylim=find_flux_limits(data, shown))
    bottom.set(ylim=(-reach, reach))
    top.yaxis.set_major_locator(MaxNLocator(3))
    bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    bottom.axhline(0, color=DATA, lw=0.5)


def _axes(stars: int, sizes: Sequence[int]) -> np.ndarray:
    """Return axes (star, span, 2), wider where a stretch holds more pixels."""
    figure = Figure((9.5, 0.8 + 1.9 * stars), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02, w_pad=0.03)  # type: ignore[union-attr, call-arg]
    widths = [max(size, 0.4 * max(sizes)) for size in sizes]
    cells = figure.add_gridspec(stars, len(sizes), width_ratios=widths)
    made = np.empty((stars, len(sizes), 2), object)
    for i, j in np.ndindex(stars, len(sizes)):
        parts = cells[i, j].subgridspec(2, 1, hspace=0, height_ratios=[3, 1.3])
        made[i, j, 0] = figure.add_subplot(parts[0])
        made[i, j, 1] = figure.add_subplot(parts[1], sharex=made[i, j, 0])
        made[i, j, 0].tick_params(labelbottom=False)
        for ax in made[i, j]:
            style_axes(ax)
    figure.align_ylabels([ax for ax in made[:, 0].flat if isinstance(ax, Axes)])
    return made
