"""Figures 13 and 17: labels of one survey for the spectra of another, and how much of them is correlation only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import luxscale as lux
from luxscale import plot
from luxscale.analysis.evaluate import match_labels
from luxscale.model.decoders import quadratic_features
from luxscale.paper.abundances import ABUNDANCES, TABLE, make_survey
from luxscale.paper.base import Study, register_figure
from luxscale.paper.panels import make_panels
from luxscale.paper.xp import FILE

FOLDS, LATENT_DIM = 5, 48
#: A correlation of n stars without any is above this over sqrt(n) in 5% of cases.
ONE_SIDED = 1.645
#: Labels that could tell of an abundance without any line of its element.
KNOWN = ("teff", "logg", "fe_h", "alpha_m")
#: Abundances of figure 13.
SHOWN = ("c_fe", "n_fe", "mg_fe", "al_fe", "mn_fe", "ni_fe")


def infer_catalog(study: Study) -> xr.Dataset:
    """Return labels of the stars with abundances, each inferred by a model that was trained without its own."""
    every = make_survey(study)
    fold = assign_folds(every["matched"].values)
    return study.keep(
        "transfer-catalog",
        lambda: xr.concat(_by_fold(study, every, fold), "star"),
        latents=LATENT_DIM,
    )


def _by_fold(study: Study, every: xr.Dataset, fold: np.ndarray) -> Iterator[xr.Dataset]:
    for k in range(FOLDS):
        model = lux.train(every.isel(star=fold != k), LATENT_DIM, progress=study.progress)
        yield lux.infer(every.isel(star=fold == k), model).compute()


def assign_folds(matched: np.ndarray) -> np.ndarray:
    """Return the fold (star,) in which each star with abundances is left out of training; -1 of the others."""
    fold = np.full(matched.size, -1)
    fold[matched] = np.arange(matched.sum()) % FOLDS
    return fold


def predict_from_labels(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Predict values (star,) from other labels (star, label): quadratic, each fold from the others; NaN stays NaN."""
    x = (known - known.mean(0)) / known.std(0)
    design = np.column_stack([np.ones(len(x)), quadratic_features(x)])
    fold, there = np.arange(len(x)) % FOLDS, np.isfinite(values)
    predicted = np.full(len(x), np.nan)
    for k in range(FOLDS):
        weights = np.linalg.lstsq(design[there & (fold != k)], values[there & (fold != k)])[0]
        predicted[there & (fold == k)] = design[there & (fold == k)] @ weights
    return predicted


def find_residuals(
    inferred: np.ndarray, true: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what other labels do not predict of the inferred and of the trusted values (star,)."""
    inferred = np.where(np.isfinite(true), inferred, np.nan)
    return inferred - predict_from_labels(inferred, known), true - predict_from_labels(true, known)


def measure_shares(pairs: xr.Dataset) -> xr.Dataset:
    """Measure how much of the variance of abundances is predicted, and by what.

    Parameters
    ----------
    pairs : Dataset
        From `luxscale.analysis.evaluate.match_labels`, with the labels KNOWN and ABUNDANCES.

    Returns
    -------
    Dataset
        (label,): ``labels``, the share that the trusted KNOWN predict; ``spectrum``, that the
        spectrum does; ``beyond``, the share of what KNOWN leave that the spectrum predicts, a
        squared correlation; ``chance``, what ``beyond`` stays below in 95% of cases when there is
        nothing. Negative where a prediction is worse than the mean. The attribute ``known`` holds
        the names KNOWN.
    """
    known = pairs["truth"].sel(label=list(KNOWN)).values
    rows = []
    for label in ABUNDANCES:
        inferred, true = (pairs[v].sel(label=label).values for v in ("inferred", "truth"))
        there = np.isfinite(true)
        left = np.array(find_residuals(inferred, true, known))[:, there]
        total = np.var(true[there])
        rows.append((
            1 - np.mean(left[1] ** 2) / total,
            1 - np.mean((inferred - true)[there] ** 2) / total,
            max(np.corrcoef(left)[0, 1], 0) ** 2,
            ONE_SIDED**2 / there.sum(),
        ))  # fmt: skip
    names = ("labels", "spectrum", "beyond", "chance")
    columns = {
        k: ("label", np.array(v)) for k, v in zip(names, zip(*rows, strict=True), strict=True)
    }
    return xr.Dataset(columns, {"label": list(ABUNDANCES)}, {"known": list(KNOWN)})


def match_pairs(study: Study) -> xr.Dataset:
    """Return inferred and trusted labels of stars that have all of KNOWN."""
    pairs = match_labels(infer_catalog(study), make_survey(study))
    known = np.isfinite(pairs["truth"].sel(label=list(KNOWN)).values).all(1)
    return pairs.isel(star=np.flatnonzero(known)).assign_coords(star=np.arange(known.sum()))


@register_figure("13", "abundances of one survey from the spectra of another", FILE, TABLE)
def transfer(study: Study) -> Figure:
    """Draw six [X/Fe] against [Fe/H], inferred from XP spectra and as measured, and what other labels leave of them.

    The paper infers GALAH's abundances from APOGEE spectra, trained on 4,000 stars that have both.
    Here APOGEE DR12's abundances, from high-resolution infrared spectra, are inferred from Gaia's
    low-resolution ones. Of the giants only 257 are in both published files, so the model is trained
    on 4,000 XP giants without abundances too, as missing labels, and each star with abundances is
    labelled by a model that was trained without it, in five folds. The table gives no errors: 0.05
    dex is assumed for all. The last row is the paper's caveat, drawn: from the inferred and the
    measured abundance is taken what a quadratic in (teff, logg, fe_h, alpha_m) predicts of each;
    where no slope is left, the abundance came from correlation with these alone. A slope is more
    than correlation with these four: it may be lines of the element, or correlation with what else
    a spectrum knows of, such as C, N, age or extinction, or with the errors of the four.
    """
    pairs = match_pairs(study)
    known = pairs["truth"].sel(label=list(KNOWN)).values
    drawing, axes = make_panels(3 * len(SHOWN), len(SHOWN))
    for i, label in enumerate(SHOWN):
        column = axes[i :: len(SHOWN)]
        for ax, side, name in zip(
            column[1::-1], ("truth", "inferred"), ("Survey", "Inferred"), strict=True
        ):
            plot.abundances(pairs.assign(label_value=pairs[side]), label, ax=ax)
            ax.set(xlabel=f"{name} {ax.get_xlabel()}", ylabel=f"{name} {ax.get_ylabel()}")
        column[0].set(xlim=column[1].get_xlim(), ylim=column[1].get_ylim())
        inferred, true = (pairs[v].sel(label=label).values for v in ("inferred", "truth"))
        plot.beyond(*find_residuals(inferred, true, known), label, column[2])
    return drawing


@register_figure("17", "all labels of one survey from the spectra of another", FILE, TABLE)
def every_label(study: Study) -> Figure:
    """Draw all labels inferred from XP spectra against the measured ones, and what of them is more than correlation with four.

    Stars and models are those of figure 13. The first four labels are DR17's, the others DR12's: of
    its 15 abundances [X/H] one, [Fe/H], is what the others are divided by, which leaves fourteen
    [X/Fe]. The last panel compares the share of the variance of each abundance that the spectrum
    predicts with the share that (teff, logg, fe_h, alpha_m) predict, a quadratic fitted to APOGEE's
    own values, and marks what the spectrum knows beyond correlation with these four, which is not
    yet a line of the element: see figure 13.
    """
    found, truth = infer_catalog(study), make_survey(study)
    labels = [name for name in found["label"].values.tolist() if name != "a_k"]
    drawing, axes = make_panels(len(labels), 6, more=1)
    for label, ax in zip(labels, axes, strict=False):
        plot.one_to_one(found, truth, label, ax)
    plot.transfer(measure_shares(match_pairs(study)), axes[-1])
    return drawing
