"""Figure 18: a model trained on synthetic spectra."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import luxscale as lux
from luxscale import plot
from luxscale.analysis.evaluate import compare
from luxscale.examples.drawing import REPORTED
from luxscale.examples.giants import LABELS, load_emulator, render
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
    """Return a survey with noiseless synthetic spectra of its stars' measured labels.

    They take the place of its own. A label that is missing takes its true value in the synthesis;
    elements that nobody has measured, as much as metals.

    Parameters
    ----------
    survey : Dataset
        Simulated giants: ``label_value``, ``label_err`` and ``label_true`` (star, label).
    pixels : int

    Returns
    -------
    Dataset
        ``flux``, ``flux_ivar``, ``label_value``, ``label_err``; ``label_true`` is what the spectra
        were made from.
    """
    table = survey[["label_value", "label_err", "label_true"]].compute()
    value = table["label_value"].values
    given = np.where(np.isfinite(value), value, table["label_true"].values)
    # elements that nobody has measured stay at 0, as much as metals
    labels = np.zeros((len(given), len(LABELS)))
    labels[:, [LABELS.index(name) for name in REPORTED]] = given
    flux = render(labels, load_emulator(pixels)).astype("f4")
    ivar = np.full(flux.shape, ERROR**-2, "f4")
    made = table.assign(
        flux=(("star", "wavelength"), flux),
        flux_ivar=(("star", "wavelength"), ivar),
        label_true=(("star", "label"), given),
    )
    return made.assign_coords(wavelength=survey["wavelength"])


def split_stars(survey: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the stars to train on, and one in five to test with."""
    test = np.arange(survey.sizes["star"]) % TEST == 0
    training_stars = survey.isel(star=np.flatnonzero(~test))
    test_stars = survey.isel(star=np.flatnonzero(test))
    return training_stars, test_stars


def train_model(study: Study) -> LuxModel:
    """Return the model of four fifths of sample A, trained on their synthetic spectra."""
    training, _ = split_stars(giants.select_sample(study, "A"))

    def train() -> LuxModel:
        made = synthesise(training, study.pixels)
        return study.train(made, giants.LATENT_DIM)

    return study.keep_model("synthetic-model", train, error=ERROR, **study.training)


def measure_pull(found: xr.Dataset, truth: xr.Dataset) -> float:
    """Return how far labels are off over their errors: 1 if errors are right.

    It is the median of the labels' robust scatter.
    """
    return float(compare(found, truth)["pull"].median())


def describe_pull(pull: float) -> str:
    """Say in words what a pull tells of errors."""
    if pull > MOST:
        words = "too small"
    elif pull < 1 / MOST:
        words = "too large"
    else:
        words = "about right"
    return f"errors are {words}, deviations scatter by {pull:.2f} times the error"


@register_figure("18", "a model of synthetic spectra, on synthetic and on observed ones")
def synthetic(study: Study) -> Figure:
    """Draw labels that a model of synthetic spectra infers, from such and from observed spectra.

    As in the paper spectra are synthesised from the measured labels of 4,000 stars of sample A, and
    their error is taken to be 10% a pixel; the emulator of the giants takes the place of Korg. The
    upper half is the paper's test: 1,000 more synthetic spectra, against the labels that they were
    made from. The lower half is not in the paper: the noisy spectra of the same 1,000 stars as they
    were observed, against the catalogue. They were made from the true labels, not from the measured
    ones, and have lines of elements that the synthetic spectra lack; all other physics is the same,
    so with real stars more would be lost. Errors in the lower half are too small, as its title says
    in numbers, because a model of synthetic spectra finds no scatter of pixels beyond the 10%.
    """
    model = train_model(study)
    _, observed = split_stars(giants.select_sample(study, "A"))
    observed = observed.compute()
    made = synthesise(observed, study.pixels)
    sides = {
        "Synthetic spectra": (made, made[["label_true"]]),
        "Observed spectra of the same stars": (observed, make_catalog(observed)),
    }
    figure = Figure((15.6, 11), layout="constrained")
    halves = figure.add_gridspec(2, 1)
    for i, (title, (stars, truth)) in enumerate(sides.items()):
        found = lux.infer(stars, model).compute()
        half = figure.add_subfigure(halves[i])
        verdict = describe_pull(measure_pull(found, truth))
        half.suptitle(f"{title}: {verdict}", fontsize=TITLE + 3)
        for ax, label in zip(half.subplots(2, 6).flat, REPORTED, strict=True):
            style_axes(ax)
            plot.one_to_one(found, truth, label, ax)
    return figure
