"""The comparison of recipes on stars left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from luxscale.model.infer import infer_few
from luxscale.model.lux import LuxModel
from luxscale.model.predict import predict
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.variables import STAR
from luxscale.store.damage import load_stars
from luxscale.training.recipes import CORRELATED, INDEPENDENT, Recipe
from luxscale.training.trials import Trial, split_stars

#: Error of a label, in units of the scatter of the simplest recipe, beyond which all are alike.
_FARTHEST = 1e3

#: Pixels that one independent value stands for, from which noise counts as correlated. It is 10 of
#: sampled XP spectra, 2.3 of 100 pixels of APOGEE, 1.05 of simulated independent ones.
_SHARED = 2.0

#: Turns stars and a recipe into a model.
Train = Callable[[xr.Dataset, Recipe], LuxModel]


def compare_recipes(
    survey: xr.Dataset, recipes: Sequence[Recipe], train: Train, report: Callable[[str], None]
) -> list[Trial]:
    """Train each recipe on most of the stars, and measure it on the others.

    What the simplest leaves of the spectra says whether pixels share noise; recipes that take it
    otherwise are not tried.

    Parameters
    ----------
    survey : Dataset
        Stars with labels.
    recipes : sequence of Recipe
        The simplest first, in units of whose scatter labels are compared.
    train : callable
        Turns stars and a recipe into a model.
    report : callable
        Called with what is being done.
    """
    trained_rows, left_out_rows = split_stars(survey[STAR])
    known = survey.isel({STAR: trained_rows})
    left_out = load_stars(survey.isel({STAR: left_out_rows}), "survey")
    trials: list[Trial] = []
    attempts: list[tuple[Recipe, _Attempt]] = []
    unit: np.ndarray | None = None
    noise = ""
    for recipe in recipes:
        if noise and recipe.method != recipes[0].method and recipe.noise != noise:
            report(f"{recipe.name} is not tried: the noise of pixels is {noise}")
            continue
        report(f"trying {recipe.description}")
        try:
            members = [_find_attempt(m, attempts, train, known, left_out) for m in recipe.members]
        except np.linalg.LinAlgError as error:
            if not trials:  # the simplest has to work
                raise
            report(f"{recipe.name} cannot be trained on these stars ({error}) and is left out")
            continue
        difference = np.mean([member.difference for member in members], axis=0)
        scatter = _measure_scatter(difference)
        if unit is None:
            unit = np.where(scatter > 0, scatter, 1)
        loss = np.log1p((np.clip(difference, -_FARTHEST * unit, _FARTHEST * unit) / unit) ** 2)
        noise = noise or _name_noise(members[0].residual)
        trials.append(
            Trial(
                recipe=recipe,
                loss=np.nanmean(loss, axis=1),
                scatter=dict(zip(members[0].labels, scatter.tolist(), strict=True)),
                misfit=_measure_misfit(members[0].residual),
                seconds=sum(member.seconds for member in members),
            )
        )
    return trials


class _Attempt(NamedTuple):
    """What a model says of stars left out.

    labels : names; difference : (star, label), see `_find_differences`; residual : of each
    spectrum, see `_find_residuals`; seconds : of training.
    """

    labels: list[str]
    difference: np.ndarray
    residual: list[np.ndarray]
    seconds: float


def _find_attempt(
    recipe: Recipe,
    attempts: list[tuple[Recipe, _Attempt]],
    train: Train,
    known: xr.Dataset,
    left_out: xr.Dataset,
) -> _Attempt:
    """Return what a model of a recipe says, and keep it: several trials may have it."""
    for tried, attempt in attempts:
        if tried.trains_as(recipe):
            return attempt
    started = time.monotonic()
    model = train(known, recipe)
    seconds = time.monotonic() - started
    catalog = infer_few(left_out, model, model.measured)
    found = _Attempt(
        labels=[str(name) for output in model.labels for name in output.coord],
        difference=_find_differences(left_out, model, catalog),
        residual=_find_residuals(left_out, model, catalog),
        seconds=seconds,
    )
    attempts.append((recipe, found))
    return found


def _find_differences(stars: xr.Dataset, model: LuxModel, catalog: xr.Dataset) -> np.ndarray:
    """Return inferred less trusted labels of stars that have any: (star, label)."""
    parts = []
    for output in model.labels:
        trusted = stars[output.name].values
        known = np.isfinite(trusted) & np.isfinite(stars[output.spec.noise].values)
        inferred = catalog[output.name].values
        # what is no number is as wrong as can be
        difference = np.where(np.isfinite(inferred), inferred - trusted, np.inf)
        parts.append(np.where(known, difference, np.nan))
    found = np.concatenate(parts, axis=1)
    return found[~np.isnan(found).all(1)]


def _measure_scatter(difference: np.ndarray) -> np.ndarray:
    middle = np.nanmedian(difference, axis=0)
    return np.asarray(1.4826 * np.nanmedian(np.abs(difference - middle), axis=0))


def _find_residuals(stars: xr.Dataset, model: LuxModel, catalog: xr.Dataset) -> list[np.ndarray]:
    """Return residuals over errors of each spectrum, NaN where missing: (star, pixel).

    The catalogue is from all that is measured; spectra that are not all of it tell by themselves.
    """
    spectra = [o for o in model.outputs if o.is_spectrum]
    names = tuple(o.name for o in spectra)
    if names != model.measured:
        catalog = infer_few(stars, model, names)
    found = []
    for output in spectra:
        (spec,) = pick_outputs(stars, [output.name], "survey")
        values = stars[spec.name].values
        ivar = np.where(output.used, spec.ivar(values, stars[spec.noise].values), 0)
        residual = np.where(ivar > 0, values - predict(catalog, model, output.name).values, 0)
        found.append(np.where(ivar > 0, np.sqrt(ivar) * residual, np.nan))
    return found


def _measure_misfit(residuals: Sequence[np.ndarray]) -> float:
    """Return the median over stars of a pixel's mean squared residual, in units of its error."""
    both = np.hstack(residuals)
    count = np.maximum(np.isfinite(both).sum(1), 1)
    return float(np.median(np.nansum(both**2, axis=1) / count))


def _name_noise(residuals: Sequence[np.ndarray]) -> str:
    """Return whether the pixels of any spectrum share noise."""
    shared = max((count_shared(one) for one in residuals), default=1.0)
    return CORRELATED if shared > _SHARED else INDEPENDENT


def count_shared(residual: np.ndarray) -> float:
    """Return how many pixels one independent value stands for, by their residuals.

    With rho the correlation of pixels i and j over n stars, sum_ij rho^2 / D less the (D - 1) / n
    that chance gives: 1 where the D pixels are independent, D / r where r values make them.

    Parameters
    ----------
    residual : array, (star, pixel)
        In units of errors, NaN where missing.
    """
    known = np.isfinite(residual)
    some = known.sum(0) > 1
    here = np.where(known, residual, 0)[:, some]
    known = known[:, some]
    # a star that is far off would correlate all pixels
    squares = (here**2).sum(1, keepdims=True)
    count = known.sum(1, keepdims=True)
    size = np.sqrt(squares / np.maximum(count, 1))
    unit = here / np.maximum(size, 1e-30)
    mean = unit.sum(0) / known.sum(0)
    centred = np.where(known, unit - mean, 0)
    length = np.sqrt((centred**2).sum(0))
    lengths = np.maximum(np.outer(length, length), 1e-30)
    rho = centred.T @ centred / lengths
    n, d = centred.shape
    by_chance = (d - 1) / max(n, 1)
    return float((rho**2).sum() / max(d, 1) - by_chance)
