"""The figures of a report, as images that the page holds itself."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure as MplFigure
from PIL import Image

from luxscale import plot
from luxscale.analysis.evaluate import LABEL
from luxscale.plot.style import make_axes
from luxscale.report.facts import SNR_BINS, Sample, fit_by_pixel, plain
from luxscale.report.inputs import Inputs
from luxscale.schema.variables import STAR
from luxscale.store import damage

#: Pixels an inch of a PNG, and of a page.
_DPI, _PAGE_DPI = 160, 96

#: SVG is sharp at any size: it is taken up to so many times the bytes of a PNG.
_VECTOR = 3

#: Worst stars of which spectra are drawn.
SPECTRA = 6


@dataclasses.dataclass(frozen=True)
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


def image(drawn: Any, alt: str, caption: str, *, lines: bool = False) -> Figure:
    """Return a Matplotlib figure, or that of some axes, as PNG, or as SVG if it is of lines and not much larger so."""
    figure: MplFigure = drawn if isinstance(drawn, MplFigure) else np.ravel(drawn)[0].figure
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)  # once, for both kinds
        figure.set_layout_engine("none")
    found = "png", _png(figure)
    if lines and len(vector := _svg(figure)) < _VECTOR * len(found[1]):
        found = "svg+xml", vector
    width, height = (round(inches * _PAGE_DPI) for inches in figure.get_size_inches())
    uri = f"data:image/{found[0]};base64,{base64.b64encode(found[1]).decode()}"
    return Figure(uri, width, height, alt, caption)


def _svg(figure: MplFigure) -> bytes:
    """Return a drawing without the time, or anything else that differs from run to run."""
    held = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "luxscale", "svg.fonttype": "path"}):
        figure.savefig(held, format="svg", dpi=_DPI, metadata={"Date": None})
    return held.getvalue()


def _png(figure: MplFigure) -> bytes:
    """Return an image of 256 colours, a third as large as one of all."""
    full, held = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=_DPI, pil_kwargs={"compress_level": 1})
    with Image.open(full) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
            held, "png", optimize=True
        )
    return held.getvalue()


def one_to_one(compared: Sample) -> list[Figure]:
    """Draw every label against the trusted one."""
    pairs, truth = compared.pairs, compared.truth
    assert pairs is not None
    assert truth is not None
    return [
        image(
            plot.one_to_one(compared.catalog, truth, name, make_axes(3.1, 3.1)),
            f"{name}: inferred against trusted, with the line of equality",
            name.replace(r"\$", "$"),
        )
        for name in pairs[LABEL].values.tolist()
    ]


#: Abundances that tell populations apart, the best known first.
_ALPHA = re.compile(r"(alpha|mg|o|si|ca)_(m|fe)")


def abundance_labels(labels: Sequence[str]) -> tuple[str, str] | None:
    """Return the labels of an abundance plane, metallicity and alpha abundance, or None if there are none.

    Examples
    --------
    >>> from luxscale.report.figures import abundance_labels
    >>> abundance_labels(["teff", "logg", "fe_h", "mg_fe", "alpha_m"])
    ('fe_h', 'alpha_m')
    """
    metallicity = next((name for name in ("fe_h", "m_h") if name in labels), None)
    ranked = sorted(
        (("alpha", "mg", "o", "si", "ca").index(found[1]), name)
        for name in labels
        if (found := _ALPHA.fullmatch(name))
    )
    return (metallicity, ranked[0][1]) if metallicity and ranked else None


def planes(sample: Sample) -> list[Figure]:
    """Draw the Kiel diagram and the abundance plane, where the catalogue has labels for them."""
    names, drawn = list(map(str, sample.catalog[LABEL].values.tolist())), []
    if {"teff", "logg"} <= set(names):
        drawn.append(
            image(
                plot.kiel(sample.catalog),
                "Kiel diagram: surface gravity against effective temperature, coloured by "
                "metallicity",
                "Kiel diagram.",
            )
        )
    found = abundance_labels(names)
    if found:
        drawn.append(
            image(
                plot.abundances(sample.catalog, found[1], found[0]),
                f"Abundance plane: {found[1]} against {found[0]}",
                f"Abundance plane, {found[1]} against {found[0]}.",
            )
        )
    return drawn


def errors(stars: Sample) -> Figure | None:
    """Draw errors against S/N, None where no S/N is known."""
    if stars.snr is None:
        return None
    against = "" if stars.truth is None else (
        " Points: robust scatter of inferred - trusted, which holds the errors of both; where "
        "errors are right and the "
        "trusted labels exact, points lie on the line."
    )  # fmt: skip
    return image(
        plot.errors_by_snr(stars.catalog, stars.snr, stars.pairs),
        "Errors of each label against signal-to-noise ratio",
        "Errors against S/N, in bins of as many stars: median, and 16th to 84th percentile of "
        f"stars.{against}",
        lines=True,
    )


def pulls(compared: Sample) -> Figure:
    """Draw the calibration of errors."""
    pairs = compared.pairs
    assert pairs is not None
    by_snr = (
        "" if compared.snr is None else f", and in {SNR_BINS} bins of S/N with as many stars each"
    )
    return image(
        plot.pulls(pairs, compared.snr, bins=SNR_BINS),
        "Histograms of pulls of each label, with the unit Gaussian",
        f"Pulls, (inferred - trusted) / error, of every label, of all stars{by_snr}. Line: the "
        "unit Gaussian, which "
        "they follow if errors are right. In each panel their median and robust scatter; the "
        "outermost bins hold what "
        "lies beyond.",
        lines=True,
    )


def chi2(ratio: np.ndarray, inputs: Inputs) -> Figure:
    """Draw the distribution of chi2."""
    limit = inputs.model.limits[0] if inputs.model else None
    ax = plot.chi2(xr.DataArray(ratio, dims=STAR), limit=limit, ax=make_axes(5.8, 3.0))
    ax.set_xlabel(r"$\chi^2$ per pixel")
    return image(
        ax,
        "Histogram of chi2 per pixel of all stars, logarithmic",
        "χ² per pixel of all stars that are done; how many lie outside of the axis is said.",
        lines=True,
    )


def fits(inputs: Inputs, tell: Callable[[int], None]) -> Iterator[Figure]:
    """Draw the goodness of fit by wavelength of every spectrum."""
    for output in inputs.spectra:
        table = fit_by_pixel(inputs, output, tell)
        drawn = plot.fit_by_pixel(table)
        stars = f"{table.attrs['stars']:,} stars of whole chunks spread over the survey"
        yield image(
            drawn,
            f"{output}: chi2 per star, mean and scatter of residuals by wavelength",
            f"Residuals of {output} over the expected noise, (data - model) / √(error² + "
            f"scatter²), pixel by pixel, of {stars}. χ² per star "
            "is the mean of their squares; a little below 1 is right, for the latents follow "
            "some of the noise.",
            lines=True,
        )


def spectra(inputs: Inputs, rows: np.ndarray, ratio: np.ndarray) -> Iterator[Figure]:
    """Draw data, model and residuals of some stars, each read alone."""
    assert inputs.survey is not None
    assert inputs.model is not None
    for row in rows.tolist():
        with damage.explain_damage(inputs.survey_where):
            one = inputs.survey.isel({STAR: [row]}).compute()
        found = inputs.catalog.isel({STAR: [row]}).compute()
        name = str(one[STAR].values.tolist()[0])
        for output in inputs.spectra:
            shown = _renamed(one, name), _renamed(found, name)
            axes = plot.spectrum(
                shown[0], plain(np.array([name]))[0], shown[1], inputs.model, output=output
            )
            said = (
                f"{name}, row {row}: {output}, model and residuals; χ² per pixel {ratio[row]:.3g}"
            )
            yield image(axes, said, said + ".")


def _renamed(one: xr.Dataset, name: str) -> xr.Dataset:
    """Give a star a name that Matplotlib writes as it is."""
    return one.drop_vars(STAR).assign_coords({STAR: plain(np.array([name]))})
