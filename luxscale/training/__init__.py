"""Training: from stars with spectra and trusted labels to a model.

Imports analysis and what it stands on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luxscale.errors import InputError, Interrupted
from luxscale.training.methods import FOLDS, LABEL_CLIP
from luxscale.training.settings import check_label_clip, check_whole

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from luxscale.model.lux import LuxModel
    from luxscale.training.fitting import Request
    from luxscale.training.recipes import Recipe

__all__ = ["train"]


def train(
    survey: xr.Dataset | str | Path,
    latent_dim: int | None = None,
    *,
    recipe: str | None = None,
    outputs: Sequence[str] | None = None,
    method: str | None = None,
    windows: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    prior: float | None = None,
    nuisance: str | Path | Sequence[str | Path] | None = None,
    folds: int | None = None,
    label_clip: float | None = None,
    initial: LuxModel | str | Path | None = None,
    checkpoint: str | Path | None = None,
    unlabelled: int = 0,
    seed: int = 0,
    progress: bool = True,
    where: str = "survey",
    **settings: Any,
) -> LuxModel:
    """Train a Lux model, in memory; on more stars than that holds there is `luxscale.train_survey`.

    Parameters
    ----------
    survey : Dataset, str or Path
        Training stars; those without any label are left out, but for ``unlabelled`` of them.
    latent_dim : int, optional
        Number of latents P; 48 by default, 12 for the curved method. The Cannon has one per label,
        and takes none.
    recipe : {"linear", "curved", "cubic", "network", "mixed"}, optional
        A method with sizes that suit the number of stars; see ``luxscale.training.recipes``. If
        nothing of the model is chosen, all recipes with enough training stars are compared by the
        labels of stars left out, and the simplest one within one standard error of the best is
        trained.
    outputs : sequence of str, optional
        Outputs to model; all that the survey holds if not given.
    method : {"marginal", "alternating", "curved", "cannon"}, optional
        Maximum marginal likelihood (the default where sizes are given), the paper's training step
        (section 4.2), maps with products of latents under a mixture of Gaussians, or The Cannon
        (quadratic in the labels). See ``luxscale.training.marginal``,
        ``luxscale.training.alternating``, ``luxscale.training.curved``,
        ``luxscale.training.cannon``.
    windows : mapping of str to sequence of (least, greatest), optional
        Labels that are to be inferred from the pixels in these wavelength windows alone (section 5
        of the paper), in the unit of the grid. The other labels use all pixels.
    prior : float, optional
        Precision of the Gaussian prior on the latents at the test step, in the gauge where those of
        the training stars have variance 1; 1 by default. The Cannon has a wide one of its own, the
        curved method fits one, and both take none.
    nuisance : str, Path or sequence of them, optional
        What spectra have beside their star, inferred with the latents of each star and marginalised
        at the test step, of linear models: ``"continuum:DEGREE[:WIDTH]"``,
        ``"velocity:WIDTHkm/s"``, ``"resolution:WIDTH:POWER"``, and an .npz file of templates, in
        one str with commas or several. See ``luxscale.model.nuisances``. Training itself takes
        spectra as they are: those of its stars should be at rest, with a good continuum.
    folds : int, optional
        Misfit of the labels, and the limits of flags, are measured on each fold of the stars with
        weights regressed on the others; 1 measures nothing, and errors are then formal only. 5 by
        default, or those of ``initial``.
    label_clip : float, optional
        Labels that differ from what the spectra of their stars tell by more than so many robust
        standard deviations are set aside, and groups of labels that do by 3 or more kept with
        larger errors, counted and named; ``math.inf`` keeps all as they are. By default 6, or that
        of ``initial``. See ``luxscale.training.screen``.
    initial : LuxModel, str or Path, optional
        Model to go on from, with its method, sizes and windows: on the same stars or others, which
        have its outputs and labels and may have more. What was interrupted goes on to the
        iterations that it was asked for. See ``luxscale.training.initial``.
    checkpoint : str or Path, optional
        Where the model of the last complete iteration is written every minute and on Ctrl-C, which
        then raises ``luxscale.errors.Interrupted``. It infers as any does, with formal errors. An
        earlier checkpoint that is there is replaced.
    unlabelled : int
        So many stars without labels take part, drawn by their names: they help to find the map of
        spectra where labels are few. Recipes ``"curved"``, which is then taken uncompared if none
        is named, and ``"cubic"``, sized for all the stars.
    seed : int
        Recorded with the model. The same data gives the same model whatever it is: what is random
        in a method, the start of ``"alternating"``, is drawn the same way each time.
    progress : bool
        Whether to show progress on standard error.
    where : str
        Name of the survey in messages.
    **settings
        ``iterations`` (marginal, alternating: the most; curved: how many); ``tolerance`` (marginal,
        alternating: least gain of an iteration, in ln evidence or penalised log-likelihood per
        measured value);
        ``latent_precision`` (alternating: precision of the prior on latents in training, equation
        7); ``solver`` (alternating: ``"exact"``, or ``"jaxopt"`` for the paper's iterative solvers,
        which need the extra of that name); ``noise`` (curved: ``"correlated"``, of which the pixels
        of a spectrum share a part, or ``"independent"``, with a fitted scatter of each pixel);
        ``quadratic``, ``cubic`` (curved: of how many of the first latents there are products of
        two, and of three); ``network`` (curved: units of each hidden layer of a network beside
        them, none if 0); ``components`` (curved: that stand for a spectrum); ``gaussians`` (curved:
        of the prior); ``refine`` (curved, correlated noise: gradient steps on the labels that
        spectra alone tell; stars left out say whether they are taken).

    Returns
    -------
    LuxModel
        In the canonical gauge.

    Raises
    ------
    InputError
        If the data break the contract or carry no such model; names variable, star or label. If
        they or settings do not go with ``initial``, or ``checkpoint`` holds something else.
    Interrupted
        On Ctrl-C once the stars are read; says where the model so far is.

    Examples
    --------
    >>> import luxscale as lux
    >>> model = lux.train(survey.isel(star=slice(0, 300)), latent_dim=4, progress=False)
    >>> model["flux"].scatter.shape == (survey.sizes["wavelength"],)  # the paper's s
    True
    """
    # here, because the command line asks for the methods before anything is trained
    from luxscale.model.arguments import take_survey
    from luxscale.training.checkpoint import claim_checkpoint
    from luxscale.training.fitting import Request, fit_model
    from luxscale.training.nuisances import ask_for_nuisances
    from luxscale.training.select import refuse_catalog

    survey = take_survey(survey, "lux.train(survey)", outputs)
    refuse_catalog(survey, where)
    if folds is not None:
        check_whole("folds", folds, 1)
    check_whole("seed", seed, 0)
    check_whole("unlabelled", unlabelled, 0)
    free = method is None and latent_dim is None and prior is None and not settings
    _check_recipe(recipe, initial, free)
    asked = None
    if nuisance is not None:
        asked = ask_for_nuisances(nuisance, survey, outputs, where)
    claim_checkpoint(checkpoint)
    request = Request(
        outputs=outputs,
        method=method or "marginal",
        latent_dim=latent_dim,
        settings=settings,
        windows=windows,
        prior=prior,
        folds=FOLDS if folds is None else folds,
        seed=seed,
        label_clip=LABEL_CLIP if label_clip is None else check_label_clip(label_clip),
        where=where,
        progress=progress,
        checkpoint=checkpoint,
        nuisances=asked,
        unlabelled=unlabelled,
    )
    if initial is not None:
        request = _inherit(request, initial, method=method, folds=folds, label_clip=label_clip)
    elif free:
        if asked and recipe is None:
            recipe = "linear"  # the only one that takes them
        request = _choose_recipe(survey, recipe, request)
    return fit_model(survey, request)


def _check_recipe(recipe: str | None, initial: object, free: bool) -> None:
    """Refuse a recipe beside what it names."""
    if recipe is None:
        return
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
    from luxscale.model.arguments import take_model
    from luxscale.training.initial import inherit
    from luxscale.training.nuisances import inherit_nuisances

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
        initial=inherited,
        nuisances=request.nuisances or inherit_nuisances(initial),
    )


def _choose_recipe(survey: xr.Dataset, name: str | None, request: Request) -> Request:
    """Return a request for the recipe of a name, or for that which is best on stars left out."""
    from luxscale.progress import Progress
    from luxscale.schema.variables import STAR
    from luxscale.training.compare import compare_recipes
    from luxscale.training.fitting import fit_model
    from luxscale.training.recipes import (
        choose,
        find_pixel_step,
        find_recipe,
        format_trials,
        list_recipes,
    )
    from luxscale.training.select import measure_sizes, select_labelled
    from luxscale.training.thinning import thin_pixels

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
        quick = dataclasses.replace(request, folds=1, seed=0, progress=False, checkpoint=None)

        def train_part(part: xr.Dataset, recipe: Recipe) -> LuxModel:
            return fit_model(part, _take_recipe(quick, recipe.unrefined))

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
        compared={"recipe": recipe.name, **record},
    )
