"""Figure 18: a model trained on synthetic spectra."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import luxscale as lux
from luxscale import plot
from luxscale.analysis.evaluate import compare
from luxscale.examples.giants import LABELS, load_emulator, render
from luxscale.examples.simulate import REPORTED
from luxscale.model.lux import LuxModel
from luxscale.paper import giants
from luxscale.paper.base import Study, register_figure
from luxscale.paper.labels import make_catalog
from luxscale.plot.style import TITLE, style_axes

#: Error of a pixel of a synthetic spectrum that the paper assumes, over the continuum.
ERROR = 0.1
#: Pulls up to this, and from one over it, are called right.
MOST = 1.15
#: One star in so many is for testing.
TEST = 5


def synthesise(survey: xr.Dataset, pixels: int) -> xr.Dataset:
    """Return a survey with noiseless synthetic spectra of its stars' measured labels in place of their own.

    A label that is missing takes its true value in the synthesis; elements that nobody has
    measured, as much as metals.

    Parameters
    ----------
    survey : Dataset
        Simulated giants: ``label_value``, ``label_err`` and ``label_true`` (star, label).
    pixels : int

    Returns
    -------
    Dataset
        ``flux``, ``flux_ivar``, ``label_value``, ``label_err``; ``label_true`` is what the spectra were made from.
    """
    held = survey[["label_value", "label_err", "label_true"]].compute()
    labels = np.zeros((held.sizes["star"], len(LABELS)))
    columns = [LABELS.index(name) for name in REPORTED]
    value, true = held["label_value"].values, held["label_true"].values
    labels[:, columns] = np.where(np.isfinite(value), value, true)
    flux = render(labels, load_emulator(pixels)).astype("f4")
    return held.assign(
        flux=(("star", "wavelength"), flux),
        flux_ivar=(("star", "wavelength"), np.full(flux.shape, ERROR**-2, "f4")),
        label_true=(("star", "label"), labels[:, columns]),
    ).assign_coords(wavelength=survey["wavelength"])


def split_stars(survey: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the stars to train on, and one in five to test with."""
    test = np.arange(survey.sizes["star"]) % TEST == 0
    return survey.isel(star=np.flatnonzero(~test)), survey.isel(star=np.flatnonzero(test))


def train_model(study: Study) -> LuxModel:
    """Return the model of four fifths of sample A, trained on their synthetic spectra."""
    train, _ = split_stars(giants.select_sample(study, "A"))
    return study.keep_model(
        "synthetic-model",
        lambda: lux.train(
            synthesise(train, study.pixels), giants.LATENT_DIM, progress=study.progress
        ),
        error=ERROR,
    )


def measure_pull(found: xr.Dataset, truth: xr.Dataset) -> float:
    """Return how far labels are off over their errors: the median of the labels' robust scatter, 1 if errors are right."""
    return float(compare(found, truth)["pull"].median())


def describe_pull(pull: float) -> str:
    """Say in words what a pull tells of errors."""
    words = "too small" if pull > MOST else "too large" if pull < 1 / MOST else "about right"
    return f"errors are {words}, deviations scatter by {pull:.2f} times the error"


@register_figure("18", "a model of synthetic spectra, on synthetic and on observed ones")
def synthetic(study: Study) -> Figure:
    """Draw labels that a model of synthetic spectra infers from synthetic and, below, from observed spectra.

    As in the paper spectra are synthesised from the measured labels of 4,000 stars of sample A, and
    their error is taken to be 10% a pixel; the emulator of the giants takes the place of Korg. The
    upper half is the paper's test: 1,000 more synthetic spectra, against the labels that they were
    made from. The lower half is not in the paper: the noisy spectra of the same 1,000 stars as they
    were observed, against the catalogue. They were made from the true labels, not from the measured
    ones, and have lines of elements that the synthetic spectra lack; all other physics is the same,
    so with real stars more would be lost. Errors in the lower half are too small, as its title says
    in numbers, because a model of synthetic spectra finds no scatter of pixels beyond the 10%.
    """
    trained = train_model(study)
    _, observed = split_stars(giants.select_sample(study, "A"))
    observed = observed.compute()
    made = synthesise(observed, study.pixels)
    figure = Figure((15.6, 11), layout="constrained")
    halves = figure.add_gridspec(2, 1)
    sides = {
        "Synthetic spectra": (made, made[["label_true"]]),
        "Observed spectra of the same stars": (observed, make_catalog(observed)),
    }
    for i, (title, (stars, truth)) in enumerate(sides.items()):
        half = figure.add_subfigure(halves[i])
        found = lux.infer(stars, trained).compute()
        half.suptitle(f"{title}: {describe_pull(measure_pull(found, truth))}", fontsize=TITLE + 3)
        for ax, label in zip(half.subplots(2, 6).flat, REPORTED, strict=True):
            style_axes(ax)
            plot.one_to_one(found, truth, label, ax)
    return figure
