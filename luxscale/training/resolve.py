"""What a request leaves open: taken from a model to go on from, a recipe, or by comparison."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError, Interrupted
from luxscale.model.arguments import take_model, take_survey
from luxscale.model.lux import LuxModel
from luxscale.progress import Progress
from luxscale.schema.variables import STAR
from luxscale.training.checkpoint import claim_checkpoint
from luxscale.training.compare import compare_recipes
from luxscale.training.fitting import fit_model
from luxscale.training.initial import inherit
from luxscale.training.nuisances import ask_for_nuisances, inherit_nuisances
from luxscale.training.recipes import (
    Recipe,
    check_members,
    find_pixel_step,
    find_recipe,
    list_recipes,
)
from luxscale.training.request import Request
from luxscale.training.select import measure_sizes, refuse_catalog, select_labelled
from luxscale.training.thinning import thin_pixels
from luxscale.training.trials import choose, format_trials


def fit_as_asked(
    survey: xr.Dataset | str | Path,
    request: Request,
    *,
    recipe: str | Recipe | None,
    free: bool,
    nuisance: str | Path | Sequence[str | Path] | None,
    initial: LuxModel | str | Path | None,
    asked: Mapping[str, Any],
) -> LuxModel:
    """Complete what is asked for, and train.

    Parameters
    ----------
    survey, recipe, nuisance, initial
        As for `luxscale.train`.
    request : Request
    free : bool
        Whether nothing of the model is chosen.
    asked : mapping
        ``method``, ``folds`` and ``label_clip`` as they were asked for; those that are None are
        those of ``initial``.

    Raises
    ------
    InputError, Interrupted
    """
    survey = take_survey(survey, "lux.train(survey)", request.outputs)
    refuse_catalog(survey, request.where)
    _check_recipe(recipe, initial, free)
    if nuisance is not None:
        nuisances = ask_for_nuisances(nuisance, survey, request.outputs, request.where)
        request = dataclasses.replace(request, nuisances=nuisances)
        if free and initial is None:
            recipe = recipe or "linear"  # the only one that takes them
    claim_checkpoint(request.checkpoint)
    with _explain_failure(request.where, initial is not None):
        if initial is not None:
            request = _inherit(request, initial, **asked)
        elif free:
            request = _choose_recipe(survey, recipe, request)
        return fit_model(survey, request)


@contextlib.contextmanager
def _explain_failure(where: str, goes_on: bool) -> Iterator[None]:
    """Say what to do where the matrices of a training have no inverse."""
    try:
        yield
    except np.linalg.LinAlgError as error:
        advice = "train without initial" if goes_on else "choose a simpler recipe, as 'linear'"
        raise InputError(
            f"{where}: the model cannot be trained on these stars ({error}); add stars, or {advice}"
        ) from error


def _check_recipe(recipe: str | Recipe | None, initial: object, free: bool) -> None:
    """Refuse a recipe beside what it names."""
    if recipe is None:
        return
    if isinstance(recipe, Recipe):
        check_members(recipe)
    if initial is not None:
        raise InputError(
            f"recipe={recipe!r}, and initial has a recipe already; leave one of them out"
        )
    if not free:
        raise InputError(
            f"recipe={recipe!r} names method and sizes; leave out method, latent_dim, prior and "
            "settings, or the recipe"
        )


def _inherit(
    request: Request,
    given: LuxModel | str | Path,
    *,
    method: str | None,
    folds: int | None,
    label_clip: float | None,
) -> Request:
    """Return a request with what the model has that it goes on from, and was not given."""
    initial = take_model(given, "lux.train(survey, initial=model)")
    inherited = inherit(
        initial,
        method=method,
        latent_dim=request.latent_dim,
        settings=request.settings,
        windows=request.windows,
        prior=request.prior,
    )
    if folds is None and inherited.folds is not None:
        request = dataclasses.replace(request, folds=inherited.folds)
    if label_clip is None and inherited.label_clip is not None:
        request = dataclasses.replace(request, label_clip=inherited.label_clip)
    return dataclasses.replace(
        request,
        method=inherited.method,
        latent_dim=initial.latent_dim,
        settings=inherited.settings,
        windows=inherited.windows,
        prior=inherited.prior,
        compared=inherited.compared,
        others=inherited.others,
        initial=inherited,
        nuisances=request.nuisances or inherit_nuisances(initial),
    )


def _choose_recipe(survey: xr.Dataset, name: str | Recipe | None, request: Request) -> Request:
    """Return a request for the recipe of a name, or for that which is best on stars left out."""
    if isinstance(name, Recipe):
        return _take_recipe(request, name)
    outputs, where = request.outputs, request.where
    stars = select_labelled(survey, outputs, where)
    sizes = measure_sizes(stars, outputs, where)
    if request.unlabelled:
        others = min(request.unlabelled, survey.sizes[STAR] - stars.sizes[STAR])
        return _take_recipe(request, find_recipe(name or "curved", *sizes, unlabelled=others))
    if name is not None:
        return _take_recipe(request, find_recipe(name, *sizes))
    recipes, reason = list_recipes(*sizes)
    step = find_pixel_step(sizes[-1])
    thinned = thin_pixels(stars, outputs, where, step, request.windows or {})
    with Progress("recipes", enabled=request.progress) as shown:
        if reason:
            shown.say(reason)
        if len(recipes) == 1:
            return _take_recipe(request, recipes[0])
        silent = dataclasses.replace(request, progress=False, advises=False)
        quick = dataclasses.replace(silent, folds=1, seed=0, checkpoint=None)

        def train_part(part: xr.Dataset, recipe: Recipe) -> LuxModel:
            return fit_model(part, _take_recipe(quick, recipe.plain))

        try:
            trials = compare_recipes(thinned, recipes, train_part, shown.say)
        except KeyboardInterrupt:
            raise Interrupted(
                "stopped while recipes were compared, of which nothing is kept; run the same "
                "command again, or name one with --recipe (recipe=)"
            ) from None
        chosen = choose(trials)
        shown.say("stars left out of training\n" + format_trials(trials, chosen, step))
    losses = {trial.recipe.name: round(float(trial.loss.mean()), 4) for trial in trials}
    thinning = {"compared_pixel_step": step} if step > 1 else {}
    return _take_recipe(request, chosen.recipe, compared=losses, **thinning)


def _take_recipe(request: Request, recipe: Recipe, **record: Any) -> Request:
    """Return a request for a recipe, which is put on record."""
    return dataclasses.replace(
        request,
        method=recipe.method,
        latent_dim=recipe.latent_dim,
        settings=dict(recipe.settings),
        others=recipe.others,
        compared={"recipe": recipe.name, **record},
    )
