"""Figures 3, 4 and 6: spectra of giants, how they are fitted, what the model has learnt of lines.

The spectra are optical (4000 to 8288 Angstrom in air) and smooth over about 2 Angstrom, where the
paper's are infrared and sharper: other lines, and more of them blended.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import luxscale as lux
from luxscale import plot
from luxscale.analysis.goodness import effective_parameters
from luxscale.model.lux import LuxModel
from luxscale.model.predict import is_linear_between, predict, predict_error, predict_mean
from luxscale.paper import giants
from luxscale.paper.base import Study, register_figure
from luxscale.paper.lines import find_windows, widen_span
from luxscale.paper.pairs import find_pair
from luxscale.plot.style import CYCLE, style_axes
from luxscale.schema.stars import find_stars
from luxscale.schema.variables import STAR

#: Stretches of figures 3 and 6 in Angstrom: green lines with the Mg b triplet, which the zoom is
#: on.
SPAN, ZOOM = (5000.0, 5460.0), (5155.0, 5195.0)
DERIVATIVES = (5140.0, 5460.0)

#: Labels of figure 6, and whose lines are marked.
MARKED = {"teff": "", "logg": "", "m_h": "Fe I", "mg_m": "Mg I", "mn_m": "Mn I"}

#: Pairs of figure 3: what differs, and what is alike.
PAIRS = {
    "m_h": {"teff": 40.0, "logg": 0.15},
    "logg": {"teff": 40.0, "m_h": 0.05},
    "teff": {"logg": 0.15, "m_h": 0.05},
}


@register_figure("3", "spectra from fluxes and from labels")
def spectra(study: Study) -> Figure:
    """Draw six stars of sample B in three pairs.

    The stars of a pair are alike in two of Teff, log g and [M/H] and not in the third.
    """
    survey = giants.select_sample(study, "B")
    catalog = giants.infer_catalog(study, "B").compute()
    catalogs = {
        "model, from fluxes": catalog,
        "model, from labels": giants.infer_catalog(study, "B", given="label_value"),
    }
    stars: list[Any] = []
    for label, alike in PAIRS.items():
        stars += find_pair(catalog, label, alike)
    spans = [widen_span(span, survey["wavelength"].values) for span in (SPAN, ZOOM)]
    axes = plot.reconstructions(survey, catalogs, giants.train_model(study), stars, spans)
    return axes[0, 0, 0].figure


def measure_goodness(study: Study) -> xr.Dataset:
    """Return reduced chi2 of sample B's spectra, with latents from fluxes and from labels.

    Returns
    -------
    Dataset
        ``from_flux``, over its degrees of freedom, ``freedom``; ``from_labels``, over the number of
        pixels; and ``expected``, the mean that the latter should have, as labels leave much of a
        spectrum unknown: (star,) each.
    """
    model = giants.train_model(study)

    def measure_block(block: xr.Dataset) -> xr.Dataset:
        return _measure_goodness(block, model)

    def measure() -> xr.Dataset:
        return study.map_blocks("chi2 of sample B", giants.select_sample(study, "B"), measure_block)

    return study.keep("giants-goodness", measure, model=model.fingerprint)


def _measure_goodness(block: xr.Dataset, model: LuxModel) -> xr.Dataset:
    """Return what `measure_goodness` does, of some stars."""
    output = model["flux"]
    good = (block["flux_ivar"] > 0) & np.asarray(output.used)
    ivar = block["flux_ivar"].where(good, 0).values.astype(float)

    def measure(predicted: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
        residual = (block["flux"] - predicted).where(good, 0).values
        chi2, count = output.noise.measure_chi2(ivar, residual)
        return xr.DataArray(chi2, dims=STAR), xr.DataArray(count, dims=STAR)

    squared, count = measure(predict(lux.infer(block, model), model))
    of_labels, _ = measure(predict_from_labels(block, model))
    freedom = count - effective_parameters(block, model)
    found = xr.Dataset(
        {
            "from_flux": squared / freedom,
            "from_labels": of_labels / count,
            "freedom": freedom,
            "expected": _predict_chi2(block, model),
        }
    )
    return found.drop_vars("label", errors="ignore")


def predict_from_labels(block: xr.Dataset, model: LuxModel) -> xr.DataArray:
    """Return the mean spectra of stars of these labels: (star, wavelength)."""
    if is_linear_between(model, "flux", "label_value"):
        return predict(lux.infer(block, model, "label_value"), model)
    return predict_mean(block, model)["flux"]


def _predict_chi2(block: xr.Dataset, model: LuxModel) -> xr.DataArray:
    """Return the mean reduced chi2 that spectra should have when only the labels are given.

    It is the mean over good pixels of (error^2 + s^2 + b C b) / (error^2 + s^2), where C is the
    covariance of the latents given the labels. NaN where the model is not linear: errors of pixels
    alone do not say it there.
    """
    if not is_linear_between(model, "flux", "label_value"):
        return xr.full_like(block["flux_ivar"][:, 0], np.nan, float)
    output = model["flux"]
    good = (block["flux_ivar"] > 0) & np.asarray(output.used)
    noise2 = 1 / block["flux_ivar"].where(good)
    s2 = np.asarray(output.scatter, float) ** 2
    unknown2 = predict_error(block, model, given="label_value") ** 2
    ratio = (unknown2 + noise2) / (noise2 + s2)
    return ratio.mean("wavelength")


@register_figure("4", "reduced chi2 of spectra")
def chi2(study: Study) -> Figure:
    """Draw reduced chi2 of sample B, with latents from fluxes, as in the paper, and from labels.

    The paper divides by the number of pixels, here it is the degrees of freedom: the number of
    pixels less the parameters that the fit spends. Twelve labels leave 36 directions of the latents
    to the prior, which gives the mean expected there. Latents are not Gaussian given labels: most
    stars fit better than that, a few, metal-poor or cool, far worse. Of a model that is not linear
    the spectrum from labels is the mean of those that are possible, and no mean is expected of
    chi2.
    """
    values = measure_goodness(study).compute()
    drawn = Figure((7.6, 3.2), layout="constrained")
    left, right = drawn.subplots(1, 2)
    for ax, title in ((left, "latents from fluxes"), (right, "latents from labels")):
        ax.set_title(title)
        style_axes(ax)
    plot.chi2(values["from_flux"], freedom=values["freedom"], ax=left)
    expected = values["expected"]
    is_known = bool(expected.notnull().any())
    plot.chi2(values["from_labels"], expected=expected if is_known else None, ax=right)
    return drawn


@register_figure("6", "derivative spectra and lines")
def derivatives(study: Study) -> Figure:
    """Draw how labels of a star of sample B change with flux, with windows of Fe I, Mg I and Mn I.

    As in the paper the derivatives are A B^+ (equation 13), without regard to noise; Mn, which the
    paper mentions, is drawn too. [M/H] is not [Fe/H]: it moves all metals together, so that no
    single Fe I line need stand out. Those of a curved model are the ones at that star.
    """
    model = giants.train_model(study)
    catalog = giants.infer_catalog(study, "B").compute()
    star = find_typical_star(catalog)
    latent = _select_star(catalog, star)["latent"].values[0]
    axes = plot.derivative_spectra(model, list(MARKED), DERIVATIVES, latent=latent)
    _add_spectra(axes[0], study, star)
    for ax, (label, name) in zip(axes[1:], MARKED.items(), strict=True):
        plot.mark_windows(ax, find_windows(label), name)
    return axes[0].get_figure()


def find_typical_star(catalog: xr.Dataset) -> Any:
    """Return the star whose latents are nearest to the mean."""
    distance2 = (catalog["latent"].values ** 2).sum(axis=1)
    nearest = int(np.argmin(distance2))
    return catalog[STAR].values[nearest]


def _select_star(catalog: xr.Dataset, star: Any) -> xr.Dataset:
    return catalog.isel({STAR: find_stars(catalog, [star], "catalogue")}).compute()


def _add_spectra(ax: Any, study: Study, star: Any) -> None:
    """Draw a star's data, and its spectrum from its labels, over that from its fluxes."""
    survey = giants.select_sample(study, "B")
    one = survey.isel({STAR: find_stars(survey, [star], "survey")}).compute()
    flux = one["flux"].where(one["flux_ivar"] > 0).values[0]
    decoded = predict_from_labels(one, giants.train_model(study)).values[0]
    x = one["wavelength"].values
    ax.lines[0].set(color=CYCLE[0], label="from fluxes", zorder=3)
    ax.step(
        x,
        flux,
        where="mid",
        color="0.6",
        lw=0.7,
        label="data",
        zorder=1,
    )
    ax.plot(
        x,
        decoded,
        "--",
        color=CYCLE[1],
        lw=0.9,
        label="from labels",
        zorder=4,
    )
    ax.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.1,
        fontsize=8,
        ncols=3,
        frameon=False,
    )
