"""Figures 13 and 17: labels of one survey for the spectra of another.

They show how much of these labels is correlation only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import luxscale as lux
from luxscale import plot
from luxscale.analysis.evaluate import match_labels
from luxscale.model.features import quadratic_features
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
    """Return labels of the stars with abundances.

    Each star's are inferred by a model that was trained without it.
    """
    survey = make_survey(study)
    fold = assign_folds(survey["matched"].values)

    def infer() -> xr.Dataset:
        return xr.concat(_infer_folds(study, survey, fold), "star")

    return study.keep("transfer-catalog", infer, latents=LATENT_DIM, **study.training)


def _infer_folds(study: Study, survey: xr.Dataset, fold: np.ndarray) -> Iterator[xr.Dataset]:
    """Yield the labels of each fold, by a model of all other stars."""
    for k in range(FOLDS):
        training = survey.isel(star=fold != k)
        model = study.train(training, LATENT_DIM)
        yield lux.infer(survey.isel(star=fold == k), model).compute()


def assign_folds(matched: np.ndarray) -> np.ndarray:
    """Return the fold in which each star is left out of training: (star,) int.

    It is -1 of stars without abundances, which are never left out.
    """
    fold = np.full(matched.size, -1)
    fold[matched] = np.arange(matched.sum()) % FOLDS
    return fold


def predict_from_labels(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Predict values by a quadratic in other labels, each fold from the others.

    Parameters
    ----------
    values : array, (star,)
        What is NaN stays NaN.
    known : array, (star, label)

    Returns
    -------
    array, (star,)
    """
    n = len(known)
    x = (known - known.mean(axis=0)) / known.std(axis=0)
    design = np.column_stack([np.ones(n), quadratic_features(x)])
    fold = np.arange(n) % FOLDS
    there = np.isfinite(values)
    predicted = np.full(n, np.nan)
    for k in range(FOLDS):
        training = there & (fold != k)
        test = there & (fold == k)
        weights, *_ = np.linalg.lstsq(design[training], values[training])
        predicted[test] = design[test] @ weights
    return predicted


def find_residuals(
    inferred: np.ndarray, true: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what other labels do not predict of the inferred and of the trusted values (star,)."""
    inferred = np.where(np.isfinite(true), inferred, np.nan)
    left_inferred = inferred - predict_from_labels(inferred, known)
    left_true = true - predict_from_labels(true, known)
    return left_inferred, left_true


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
        inferred, true = _read_sides(pairs, label)
        rows.append(_measure_label(inferred, true, known))
    table = pd.DataFrame(rows)
    columns = {str(name): ("label", values.to_numpy()) for name, values in table.items()}
    return xr.Dataset(columns, {"label": list(ABUNDANCES)}, {"known": list(KNOWN)})


def _measure_label(inferred: np.ndarray, true: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Return the shares of the variance of one label by what predicts them."""
    there = np.isfinite(true)
    left = np.array(find_residuals(inferred, true, known))[:, there]
    off = (inferred - true)[there]
    total = np.var(true[there])
    correlation = np.corrcoef(left)[0, 1]
    return {
        "labels": 1 - np.mean(left[1] ** 2) / total,
        "spectrum": 1 - np.mean(off**2) / total,
        # a negative correlation predicts nothing
        "beyond": max(correlation, 0) ** 2,
        "chance": ONE_SIDED**2 / there.sum(),
    }


def _read_sides(pairs: xr.Dataset, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what is inferred of a label, and what is trusted: (star,) each."""
    one = pairs.sel(label=label)
    return one["inferred"].values, one["truth"].values


def match_pairs(study: Study) -> xr.Dataset:
    """Return inferred and trusted labels of stars that have all of KNOWN."""
    pairs = match_labels(infer_catalog(study), make_survey(study))
    given = pairs["truth"].sel(label=list(KNOWN)).values
    complete = np.isfinite(given).all(axis=1)
    chosen = pairs.isel(star=np.flatnonzero(complete))
    return chosen.assign_coords(star=np.arange(complete.sum()))


@register_figure("13", "abundances of one survey from the spectra of another", FILE, TABLE)
def transfer(study: Study) -> Figure:
    """Draw six [X/Fe] against [Fe/H], inferred and measured, and what other labels leave of them.

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
    columns = len(SHOWN)
    drawing, axes = make_panels(3 * columns, columns)
    for i, label in enumerate(SHOWN):
        top, middle, bottom = axes[i::columns]
        _draw_abundances(pairs["truth"], label, middle, "Survey")
        _draw_abundances(pairs["inferred"], label, top, "Inferred")
        top.set(xlim=middle.get_xlim(), ylim=middle.get_ylim())
        inferred, true = _read_sides(pairs, label)
        left_inferred, left_true = find_residuals(inferred, true, known)
        plot.beyond(left_inferred, left_true, label, bottom)
    return drawing


def _draw_abundances(values: xr.DataArray, label: str, ax: Axes, side: str) -> None:
    """Draw one side of matched stars in a plane of abundances, and say which on both axes."""
    plot.abundances(values.to_dataset(name="label_value"), label, ax=ax)
    ax.set_xlabel(f"{side} {ax.get_xlabel()}")
    ax.set_ylabel(f"{side} {ax.get_ylabel()}")


@register_figure("17", "all labels of one survey from the spectra of another", FILE, TABLE)
def every_label(study: Study) -> Figure:
    """Draw all labels inferred from XP spectra against the measured ones, and what predicts them.

    Stars and models are those of figure 13. The first four labels are DR17's, the others DR12's: of
    its 15 abundances [X/H] one, [Fe/H], is what the others are divided by, which leaves fourteen
    [X/Fe]. The last panel compares the share of the variance of each abundance that the spectrum
    predicts with the share that (teff, logg, fe_h, alpha_m) predict, a quadratic fitted to APOGEE's
    own values, and marks what the spectrum knows beyond correlation with these four, which is not
    yet a line of the element: see figure 13.
    """
    found = infer_catalog(study)
    truth = make_survey(study)
    labels = [name for name in found["label"].values.tolist() if name != "a_k"]
    drawing, axes = make_panels(len(labels), 6, more=1)
    for label, ax in zip(labels, axes, strict=False):
        plot.one_to_one(found, truth, label, ax)
    plot.transfer(measure_shares(match_pairs(study)), axes[-1])
    return drawing
