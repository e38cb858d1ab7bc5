"""The figures of a report, as images that the page holds itself."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as MplFigure
from PIL import Image

from luxscale import plot
from luxscale.analysis.label_arrays import LABEL
from luxscale.model.lux import LuxModel
from luxscale.plot.style import make_axes
from luxscale.report.measure import SNR_BINS, measure_fit
from luxscale.report.sample import Sample, escape_names
from luxscale.report.sources import Inputs
from luxscale.schema.variables import STAR
from luxscale.store import damage

#: Pixels an inch of a PNG, and of a page.
_DPI, _PAGE_DPI = 160, 96

#: SVG is sharp at any size: it is taken up to so many times the bytes of a PNG.
_VECTOR = 3

#: Worst stars of which spectra are drawn.
SPECTRA = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """An image of the page.

    Parameters
    ----------
    uri : str
        The image itself, a data URI.
    width, height : int
        In pixels of the page.
    alt : str
        What it shows, for those who cannot see it.
    caption : str
    """

    uri: str
    width: int
    height: int
    alt: str
    caption: str


def make_image(drawn: Any, alt: str, caption: str, *, lines: bool = False) -> Figure:
    """Return a Matplotlib figure, or that of some axes, as an image.

    It is PNG, or SVG if it is of lines and not much larger so.
    """
    figure: MplFigure = drawn if isinstance(drawn, MplFigure) else np.ravel(drawn)[0].figure
    layout = figure.get_layout_engine()
    if layout is not None:
        # once, for both kinds
        layout.execute(figure)
        figure.set_layout_engine("none")
    kind, content = "png", _write_png(figure)
    if lines:
        vector = _write_svg(figure)
        if len(vector) < _VECTOR * len(content):
            kind, content = "svg+xml", vector
    width, height = (round(inches * _PAGE_DPI) for inches in figure.get_size_inches())
    return Figure(
        uri=f"data:image/{kind};base64,{base64.b64encode(content).decode()}",
        width=width,
        height=height,
        alt=alt,
        caption=caption,
    )


def _write_svg(figure: MplFigure) -> bytes:
    """Return a drawing without the time, or anything else that differs from run to run."""
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "luxscale", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", dpi=_DPI, metadata={"Date": None})
    return stream.getvalue()


def _write_png(figure: MplFigure) -> bytes:
    """Return an image of 256 colours, a third as large as one of all."""
    full, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=_DPI, pil_kwargs={"compress_level": 1})
    with Image.open(full) as image:
        colours = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        colours.save(reduced, "png", optimize=True)
    return reduced.getvalue()


def one_to_one(compared: Sample) -> list[Figure]:
    """Draw every label against the trusted one."""
    pairs, truth = compared.pairs, compared.truth
    assert pairs is not None
    assert truth is not None
    return [
        make_image(
            plot.one_to_one(compared.catalog, truth, name, make_axes(3.1, 3.1)),
            f"{name}: inferred against trusted, with the line of equality",
            name.replace(r"\$", "$"),
        )
        for name in pairs[LABEL].values.tolist()
    ]


#: Elements, and alpha for all of these, whose abundances tell populations apart, the best first.
_ALPHA = ("alpha", "mg", "o", "si", "ca")


def pick_abundance_labels(labels: Sequence[str]) -> tuple[str, str] | None:
    """Return the labels of an abundance plane: metallicity and alpha abundance, if there are any.

    Examples
    --------
    >>> from luxscale.report.figures import pick_abundance_labels
    >>> pick_abundance_labels(["teff", "logg", "fe_h", "mg_fe", "alpha_m"])
    ('fe_h', 'alpha_m')
    """
    metallicities = [name for name in ("fe_h", "m_h") if name in labels]
    # of an element, over iron before over all metals
    abundances = [f"{element}_{over}" for element in _ALPHA for over in ("fe", "m")]
    known = [name for name in abundances if name in labels]
    if not metallicities or not known:
        return None
    return metallicities[0], known[0]


def planes(sample: Sample) -> list[Figure]:
    """Draw the Kiel diagram and the abundance plane, where the catalogue has labels for them."""
    labels = [str(name) for name in sample.catalog[LABEL].values.tolist()]
    drawn = []
    if {"teff", "logg"} <= set(labels):
        kiel = make_image(
            plot.kiel(sample.catalog),
            "Kiel diagram: surface gravity against effective temperature, coloured by metallicity",
            "Kiel diagram.",
        )
        drawn.append(kiel)
    axes = pick_abundance_labels(labels)
    if axes:
        metallicity, abundance = axes
        plane = make_image(
            plot.abundances(sample.catalog, abundance, metallicity),
            f"Abundance plane: {abundance} against {metallicity}",
            f"Abundance plane, {abundance} against {metallicity}.",
        )
        drawn.append(plane)
    return drawn


def errors(stars: Sample) -> Figure | None:
    """Draw errors against S/N, None where no S/N is known."""
    if stars.snr is None:
        return None
    caption = (
        "Errors against S/N, in bins of as many stars: median, and 16th to 84th percentile of "
        "stars."
    )
    if stars.truth is not None:
        caption += (
            " Points: robust scatter of inferred - trusted, which holds the errors of both; where "
            "errors are right and the trusted labels exact, points lie on the line."
        )
    return make_image(
        plot.errors_by_snr(stars.catalog, stars.snr, stars.pairs),
        "Errors of each label against signal-to-noise ratio",
        caption,
        lines=True,
    )


def pulls(compared: Sample) -> Figure:
    """Draw the calibration of errors."""
    pairs = compared.pairs
    assert pairs is not None
    which = "of all stars"
    if compared.snr is not None:
        which += f", and in {SNR_BINS} bins of S/N with as many stars each"
    return make_image(
        plot.pulls(pairs, compared.snr, bins=SNR_BINS),
        "Histograms of pulls of each label, with the unit Gaussian",
        f"Pulls, (inferred - trusted) / error, of every label, {which}. Line: the unit Gaussian, "
        "which they follow if errors are right. In each panel their median and robust scatter; "
        "the outermost bins hold what lies beyond.",
        lines=True,
    )


def chi2(ratio: np.ndarray, inputs: Inputs) -> Figure:
    """Draw the distribution of chi2."""
    limit = inputs.model.limits[0] if inputs.model else None
    ax = plot.chi2(xr.DataArray(ratio, dims=STAR), limit=limit, ax=make_axes(5.8, 3.0))
    ax.set_xlabel(r"$\chi^2$ per pixel")
    return make_image(
        ax,
        "Histogram of chi2 per pixel of all stars, logarithmic",
        "χ² per pixel of all stars that are done; the figure says how many lie outside of its "
        "axis." + explain_pixels(inputs.model),
        lines=True,
    )


def explain_pixels(model: LuxModel | None) -> str:
    """Return what counts as a pixel where pixels share noise; nothing where they do not."""
    shared = [o for o in model.outputs if o.correlation is not None] if model else []
    if not shared:
        return ""
    names = " and ".join(o.name for o in shared)
    return f" Pixels of {names} share noise: an independent component of it counts as a pixel here."


def fits(inputs: Inputs, tell: Callable[[int], None]) -> Iterator[Figure]:
    """Draw the goodness of fit by wavelength of every spectrum."""
    for output in inputs.spectra:
        table = measure_fit(inputs, output, tell)
        yield make_image(
            plot.fit_by_pixel(table),
            f"{output}: chi2 per star, mean and scatter of residuals by wavelength",
            f"Residuals of {output} over the expected noise, (data - model) / √(error² + "
            f"scatter²), pixel by pixel, of {table.attrs['stars']:,} stars of whole chunks spread "
            "over the survey. χ² per star is the mean of their squares; a little below 1 is "
            "right, for the latents follow some of the noise.",
            lines=True,
        )


def spectra(inputs: Inputs, rows: np.ndarray, ratio: np.ndarray) -> Iterator[Figure]:
    """Draw data, model and residuals of some stars, each read alone."""
    assert inputs.survey is not None
    assert inputs.model is not None
    for row in rows.tolist():
        with damage.explain_damage(inputs.survey_where):
            observed = inputs.survey.isel({STAR: [row]}).compute()
        labelled = inputs.catalog.isel({STAR: [row]}).compute()
        name = str(observed[STAR].values.tolist()[0])
        # a name that Matplotlib writes as it is
        names = escape_names(np.array([name]))
        observed, labelled = (
            one.drop_vars(STAR).assign_coords({STAR: names}) for one in (observed, labelled)
        )
        for output in inputs.spectra:
            axes = plot.spectrum(observed, names[0], labelled, inputs.model, output=output)
            alt = f"{name}, row {row}: {output}, model and residuals; χ² per pixel {ratio[row]:.3g}"
            yield make_image(axes, alt, f"{alt}.")
