"""The choice between recipes by stars left out.

Those with enough training stars are trained on most of the stars and asked for the labels of the
others; what they cost there decides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from luxscale.analysis.tables import fold_rows
from luxscale.training.folds import assign_folds
from luxscale.training.recipes import SHARE, Recipe

#: Most stars that a comparison trains on, and that it leaves out.
_MOST_TRAINED, _MOST_LEFT_OUT = 5000, 1500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """How a recipe did on stars left out.

    Parameters
    ----------
    recipe : Recipe
    loss : array, (star,)
        Mean over the labels of ln(1 + d^2), d the error of a label in units of the robust scatter
        of the simplest recipe.
    scatter : mapping of str to float
        Robust scatter of each label.
    misfit : float
        Median over stars of the mean squared residual of a pixel, in units of its error.
    seconds : float
        Of training.
    """

    recipe: Recipe
    loss: np.ndarray
    scatter: Mapping[str, float]
    misfit: float
    seconds: float


def choose(trials: Sequence[Trial]) -> Trial:
    """Return the simplest trial whose loss is within one standard error of the least.

    Parameters
    ----------
    trials : sequence of Trial
        The simplest first, on the same stars.
    """
    best = min(trials, key=lambda trial: float(trial.loss.mean()))
    for trial in trials:
        excess = trial.loss - best.loss
        if excess.mean() <= excess.std() / math.sqrt(excess.size):
            return trial
    return best


def format_trials(trials: Sequence[Trial], chosen: Trial, step: int = 1) -> str:
    """Return a table of what was compared, on one pixel in ``step``, and what was chosen."""
    names = list(trials[0].scatter)
    head = ["recipe", "loss", *names, "spectra", "seconds", ""]
    rows = [head]
    for trial in trials:
        mark = "chosen" if trial is chosen else ""
        rows.append(
            [
                trial.recipe.name,
                f"{trial.loss.mean():.3f}",
                *(f"{trial.scatter[name]:.3g}" for name in names),
                f"{trial.misfit:.3g}",
                f"{trial.seconds:.0f}",
                mark,
            ]
        )
    notes = [
        "labels: robust scatter, in their units; spectra: chi2 per pixel, were pixels independent",
        "loss, which decides: mean of ln(1 + (difference / scatter by "
        f"{trials[0].recipe.name})^2) of the labels",
    ]
    notes += [f"{t.recipe.name}: {t.recipe.description}" for t in trials]
    if step > 1:
        notes.append(f"compared on one pixel in {step}; the one chosen is trained on all")
    groups = [1] * (len(head) - 3)
    return "\n".join([fold_rows(rows, [*groups, 2]), *notes])


def split_stars(stars: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of the stars to train on and to leave out, chosen by their names."""
    fold = assign_folds(stars.values, SHARE)
    left_out, others = np.flatnonzero(fold == 0), np.flatnonzero(fold != 0)
    return _thin(others, _MOST_TRAINED), _thin(left_out, _MOST_LEFT_OUT)


def _thin(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many rows, evenly spaced."""
    if rows.size <= most:
        return rows
    return rows[np.linspace(0, rows.size - 1, most).astype(int)]
