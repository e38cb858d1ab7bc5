"""Spectra of stars with what several catalogues of the same model say of them: figure 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from luxscale.model.arguments import (
    DatasetOrPath,
    ModelOrPath,
    take_catalog,
    take_model,
    take_survey,
)
from luxscale.model.predict import predict
from luxscale.plot.grid import check_spectrum, find_pixels
from luxscale.plot.spectrum import (
    draw_data,
    find_flux_limits,
    format_labels,
    list_stars,
    load_stars,
    read_spectra,
)
from luxscale.plot.style import (
    BAND,
    CYCLE,
    DATA,
    TEXT,
    TITLE,
    format_grid_name,
    make_figure,
    style_axes,
)
from luxscale.schema.outputs import pick_outputs

#: Lines of the catalogues: told apart by more than colour.
_LINES = ("-", "--", ":", "-.")


def reconstructions(
    survey: DatasetOrPath,
    catalogs: Mapping[str, DatasetOrPath],
    model: ModelOrPath,
    stars: Any,
    spans: Sequence[tuple[float, float]],
    *,
    output: str = "flux",
) -> np.ndarray:
    """Draw spectra of stars over a few stretches, with the model's by several catalogues: figure 3.

    Parameters
    ----------
    survey : Dataset, str or Path
    catalogs : mapping of str to Dataset, str or Path
        By what the legend says: catalogues of the same stars by the same model, e.g. inferred from
        spectra, and from labels.
    model : LuxModel, str or Path
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
    call = "lux.plot.reconstructions(survey, catalogs, model, ...)"
    survey = take_survey(survey, call, output)
    model = take_model(model, call)
    stars = list_stars(stars)
    (spec,) = pick_outputs(survey, output, "survey")
    check_spectrum(output, model[output].is_spectrum)
    x = survey[spec.dim].values
    stretches = [find_pixels(x, span) for span in spans]
    found = load_stars(survey, stars, "survey")
    flux, ivar = read_spectra(found, spec)
    decoded = {}
    for name, catalog in catalogs.items():
        known = load_stars(take_catalog(catalog, call), stars, "catalogue")
        decoded[name] = predict(known, model, output).values
    scatter = np.asarray(model[output].scatter)
    axes = _make_axes(len(stars), [int(pixels.sum()) for pixels in stretches])
    for i, row in enumerate(axes):
        for pair, pixels in zip(row, stretches, strict=True):
            at = (i, pixels)
            data, err = draw_data(pair[0], x[pixels], flux[at], ivar[at])
            sigma = np.hypot(err, scatter[pixels])
            lines = {name: spectra[at] for name, spectra in decoded.items()}
            _draw_lines(pair, x[pixels], data, sigma, lines)
        top, bottom = row[0]
        top.set_ylabel("Flux")
        bottom.set_ylabel(r"$\Delta / \sigma$")
        top.set_title(str(stars[i]), loc="left", fontsize=TEXT)
        if "label_value" in found:
            row[-1, 0].set_title(format_labels(found, i), loc="right", fontsize=TEXT)
    _add_legend(axes[0, 0, 0])
    axes[0, 0, 0].figure.supxlabel(format_grid_name(survey[spec.dim]), fontsize=TITLE)
    return axes


def _add_legend(first: Axes) -> None:
    """Name what is drawn, above all axes of the figure."""
    figure = first.get_figure(root=True)
    assert figure is not None
    handles, names = first.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=4,
        fontsize=TEXT,
        frameon=False,
    )


def _draw_lines(
    pair: np.ndarray,
    x: np.ndarray,
    data: np.ndarray,
    sigma: np.ndarray,
    lines: Mapping[str, np.ndarray],
) -> None:
    """Draw each model spectrum of a stretch over the data, and residuals over sigma below."""
    top, bottom = pair
    bottom.axhspan(-1, 1, color=BAND, lw=0, alpha=0.6)
    pulls = []
    for (name, model), color, dashes in zip(lines.items(), CYCLE, _LINES, strict=False):
        top.plot(
            x,
            model,
            color=color,
            lw=1,
            ls=dashes,
            label=name,
        )
        pull = (data - model) / sigma
        bottom.step(
            x,
            pull,
            where="mid",
            color=color,
            lw=0.6,
            alpha=0.8,
        )
        pulls.append(pull)
    largest = np.nanpercentile(np.abs(np.concatenate(pulls)), 99.5)
    reach = float(np.clip(1.1 * largest, 3.5, 12))
    shown = np.concatenate(list(lines.values()))
    top.set(xlim=(x[0], x[-1]), ylim=find_flux_limits(data, shown))
    bottom.set(ylim=(-reach, reach))
    top.yaxis.set_major_locator(MaxNLocator(3))
    bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    bottom.axhline(0, color=DATA, lw=0.5)


def _make_axes(stars: int, sizes: Sequence[int]) -> np.ndarray:
    """Return axes (star, span, 2), wider where a stretch holds more pixels."""
    height = 0.8 + 1.9 * stars
    figure = make_figure(9.5, height, h_pad=0.02, w_pad=0.03)
    columns = len(sizes)
    least = 0.4 * max(sizes)
    widths = [max(size, least) for size in sizes]
    cells = figure.add_gridspec(stars, columns, width_ratios=widths)
    made = np.empty((stars, columns, 2), object)
    for at in np.ndindex(stars, columns):
        parts = cells[at].subgridspec(2, 1, hspace=0, height_ratios=[3, 1.3])
        top = figure.add_subplot(parts[0])
        bottom = figure.add_subplot(parts[1], sharex=top)
        style_axes(top)
        style_axes(bottom)
        top.tick_params(labelbottom=False)
        made[at] = top, bottom
    figure.align_ylabels(made[:, 0].ravel().tolist())
    return made
