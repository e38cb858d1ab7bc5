"""The comparison of recipes on stars left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from luxscale.model.infer import infer
from luxscale.model.lux import LuxModel
from luxscale.model.predict import predict
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.variables import STAR
from luxscale.training.recipes import Recipe, Trial, split_stars

#: Error of a label, in units of the scatter of the simplest recipe, beyond which all are alike.
_FARTHEST = 1e3

#: Turns stars and a recipe into a model.
Train = Callable[[xr.Dataset, Recipe], LuxModel]


def compare_recipes(
    survey: xr.Dataset, recipes: Sequence[Recipe], train: Train, report: Callable[[str], None]
) -> list[Trial]:
    """Train each recipe on most of the stars, and measure it on the others.

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
    left_out = survey.isel({STAR: left_out_rows}).load()
    trials: list[Trial] = []
    unit: np.ndarray | None = None
    for recipe in recipes:
        report(f"trying {recipe.description}")
        started = time.monotonic()
        try:
            model = train(known, recipe)
        except np.linalg.LinAlgError as error:
            if not trials:  # the simplest has to work
                raise
            report(f"{recipe.name} cannot be trained on these stars ({error}) and is left out")
            continue
        seconds = time.monotonic() - started
        difference = _find_differences(left_out, model)
        scatter = _measure_scatter(difference)
        if unit is None:
            unit = np.where(scatter > 0, scatter, 1)
        loss = np.log1p((np.clip(difference, -_FARTHEST * unit, _FARTHEST * unit) / unit) ** 2)
        names = [str(name) for output in model.labels for name in output.coord]
        trials.append(
            Trial(
                recipe=recipe,
                loss=np.nanmean(loss, axis=1),
                scatter=dict(zip(names, scatter.tolist(), strict=True)),
                misfit=_measure_misfit(left_out, model),
                seconds=seconds,
            )
        )
    return trials


def _find_differences(stars: xr.Dataset, model: LuxModel) -> np.ndarray:
    """Return inferred less trusted labels of stars that have any: (star, label)."""
    given = [o.name for o in model.outputs if not o.is_label]
    catalog = infer(stars, model, given)
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


def _measure_misfit(stars: xr.Dataset, model: LuxModel) -> float:
    """Return the median over stars of a pixel's mean squared residual, in units of its error."""
    spectra = [o for o in model.outputs if o.is_spectrum]
    catalog = infer(stars, model, [o.name for o in spectra])
    total, count = np.zeros(stars.sizes[STAR]), np.zeros(stars.sizes[STAR])
    for output in spectra:
        (spec,) = pick_outputs(stars, [output.name], "survey")
        values = stars[spec.name].values
        ivar = np.where(output.used, spec.ivar(values, stars[spec.noise].values), 0)
        residual = np.where(ivar > 0, values - predict(catalog, model, output.name).values, 0)
        total += (ivar * residual**2).sum(1)
        count += (ivar > 0).sum(1)
    return float(np.median(total / np.maximum(count, 1)))
