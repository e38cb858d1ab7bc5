"""Figures 7, 8, 9, 15 and 16: labels of simulated giants against their catalogue's, in diagrams.

The paper's stars are APOGEE's, their labels ASPCAP's. Here the labels of the catalogue are those
behind the spectra with errors as large as ASPCAP's, and abundances are [X/M] against [M/H], as the
emulator has them, for [X/Fe] and [Fe/H].
"""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from luxscale import plot
from luxscale.paper import giants
from luxscale.paper.base import Study, register_figure

PLANE = ("m_h", "mg_m")


def make_catalog(survey: xr.Dataset) -> xr.Dataset:
    """Return the labels that a survey comes with as a catalogue, in memory."""
    return survey[["label_value", "label_err"]].compute()


@register_figure("7", "labels of sample B against the catalogue's")
def one_to_one(study: Study) -> Figure:
    """Draw twelve labels of sample B against the catalogue's.

    Panels say the bias, the RMSE and the catalogue's error. As in the paper the RMSE holds the
    error of the catalogue's label, which here is known to be Gaussian.
    """
    truth = make_catalog(giants.select_sample(study, "B"))
    return plot.labels_figure(giants.infer_catalog(study, "B"), truth, kiel=False)


@register_figure("7-true", "labels of sample B against the true ones")
def against_truth(study: Study) -> Figure:
    """Draw labels of sample B against those behind the spectra.

    Nobody knows these of real stars, so this is not in the paper.
    """
    truth = giants.select_sample(study, "B")[["label_true"]].compute()
    return plot.labels_figure(giants.infer_catalog(study, "B"), truth, kiel=False)


@register_figure("8", "Lux, The Cannon and the catalogue in two diagrams")
def diagrams(study: Study) -> Figure:
    """Draw two diagrams of sample B as Lux, The Cannon and the catalogue have them.

    These are the Kiel diagram and [Mg/M] against [M/H].

    The paper colours the lower row by the eccentricity of orbits, which simulated stars lack: here
    it is a density. The Cannon is trained on the stars of sample A that have all twelve labels.
    """
    cannon = giants.train_cannon(study)
    catalogs = {
        "Lux": giants.infer_catalog(study, "B"),
        "The Cannon": giants.infer_catalog(study, "B", with_model=cannon),
        "Catalogue": make_catalog(giants.select_sample(study, "B")),
    }
    return plot.diagrams(catalogs, PLANE)


@register_figure("9", "labels of sample C, at low S/N")
def low_snr(study: Study) -> Figure:
    """Draw four labels of sample C against the catalogue's, and two diagrams.

    These are the Kiel diagram and [Mg/M] against [M/H].
    """
    truth = make_catalog(giants.select_sample(study, "C"))
    labels = ["teff", "logg", "m_h", "mg_m"]
    return plot.labels_figure(giants.infer_catalog(study, "C"), truth, labels, plane=PLANE)


@register_figure("15", "Kiel diagram and abundances of sample B")
def abundances(study: Study) -> Figure:
    """Draw the Kiel diagram and every [X/M] against [M/H] for sample B."""
    return plot.abundances_figure(giants.infer_catalog(study, "B"))


@register_figure("16", "all labels of sample C, at low S/N")
def faint(study: Study) -> Figure:
    """Draw twelve labels of sample C (S/N 30 to 60) against the catalogue's.

    They are inferred by the model of sample A.

    As figure 9, with all labels. The paper's catalogue was measured in the same noisy spectra; here
    its errors are those of bright stars and independent of the spectra, so nothing that both share
    hides in the scatter.
    """
    truth = make_catalog(giants.select_sample(study, "C"))
    return plot.labels_figure(giants.infer_catalog(study, "C"), truth, kiel=False)
