"""Training: from stars with spectra and trusted labels to a model.

Imports analysis and what it stands on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luxscale.errors import InputError
from luxscale.training.methods import (
    LABEL_CLIP,
    check_label_clip,
    check_whole,
    complete_settings,
    pick_method,
)

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from luxscale.model.lux import LuxModel
    from luxscale.schema.windows import Spans
    from luxscale.training.data import Trained, TrainingData
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
    folds: int = 5,
    label_clip: float = LABEL_CLIP,
    seed: int = 0,
    progress: bool = True,
    where: str = "survey",
    **settings: Any,
) -> LuxModel:
    """Train a Lux model, in memory.

    Parameters
    ----------
    survey : Dataset, str or Path
        Training stars; those without any label are left out.
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
    folds : int
        Misfit of the labels, and the limits of flags, are measured on each fold of the stars with
        weights regressed on the others; 1 measures nothing, and errors are then formal only.
    label_clip : float
        Labels that differ from what the spectra of their stars tell by more than so many robust
        standard deviations are set aside, counted and named; ``math.inf`` keeps all. See
        ``luxscale.training.screen``.
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
        them, none if 0; needs the extra of that name); ``components`` (curved: that stand for a
        spectrum); ``gaussians`` (curved: of the prior); ``refine`` (curved, correlated noise: most
        gradient steps on the labels that spectra alone tell; stars left out say how many are
        taken).

    Returns
    -------
    LuxModel
        In the canonical gauge.

    Raises
    ------
    InputError
        If the data break the contract or carry no such model; names variable, star or label.

    Examples
    --------
    >>> import luxscale as lux
    >>> model = lux.train(survey.isel(star=slice(0, 300)), latent_dim=4, progress=False)
    >>> model["flux"].scatter.shape == (survey.sizes["wavelength"],)  # the paper's s
    True
    """
    from luxscale.model.arguments import take_survey

    survey = take_survey(survey, "lux.train(survey)", outputs)
    check_whole("folds", folds, 1)
    check_whole("seed", seed, 0)
    label_clip = check_label_clip(label_clip)
    free = method is None and latent_dim is None and prior is None and not settings
    if recipe is not None and not free:
        raise InputError(
            f"recipe={recipe!r} names method and sizes; leave out method, latent_dim, prior and "
            "settings, or the recipe"
        )
    model_options: dict[str, Any] = {
        "outputs": outputs,
        "windows": windows,
        "where": where,
        "label_clip": label_clip,
    }
    compared: dict[str, Any] = {}
    if free:
        chosen, compared = _choose_recipe(survey, recipe, model_options, progress)
        method, latent_dim, settings = chosen.method, chosen.latent_dim, dict(chosen.settings)
    return _train(
        survey,
        latent_dim,
        method=method or "marginal",
        prior=prior,
        folds=folds,
        seed=seed,
        progress=progress,
        settings=settings,
        compared=compared,
        **model_options,
    )


def _choose_recipe(
    survey: xr.Dataset, name: str | None, model_options: Mapping[str, Any], progress: bool
) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe of a name, or that which is best on stars left out, and what to record."""
    from luxscale.progress import Progress
    from luxscale.training.compare import compare_recipes
    from luxscale.training.recipes import choose, find_recipe, format_trials, list_recipes
    from luxscale.training.select import measure_sizes, select_labelled

    outputs, where = model_options["outputs"], model_options["where"]
    stars = select_labelled(survey, outputs, where)
    sizes = measure_sizes(stars, outputs, where)
    if name is not None:
        return find_recipe(name, *sizes), {"recipe": name}
    recipes, reason = list_recipes(*sizes)
    with Progress("recipes", enabled=progress) as shown:
        if reason:
            shown.say(reason)
        if len(recipes) == 1:
            return recipes[0], {"recipe": recipes[0].name}

        def train_part(part: xr.Dataset, recipe: Recipe) -> LuxModel:
            return _train(
                part,
                recipe.latent_dim,
                method=recipe.method,
                prior=None,
                folds=1,
                seed=0,
                progress=False,
                settings=dict(recipe.settings),
                compared={},
                **model_options,
            )

        trials = compare_recipes(stars, recipes, train_part, shown.say)
        chosen = choose(trials)
        shown.say("stars left out of training\n" + format_trials(trials, chosen))
    losses = {trial.recipe.name: round(float(trial.loss.mean()), 4) for trial in trials}
    return chosen.recipe, {"recipe": chosen.recipe.name, "compared": losses}


def _train(
    survey: xr.Dataset,
    latent_dim: int | None,
    *,
    outputs: Sequence[str] | None,
    method: str,
    windows: Mapping[str, Sequence[tuple[float, float]]] | None,
    prior: float | None,
    folds: int,
    seed: int,
    progress: bool,
    where: str,
    label_clip: float,
    settings: dict[str, Any],
    compared: dict[str, Any],
) -> LuxModel:
    """Train with a method; ``compared`` is put on record beside the settings."""
    settings = complete_settings(method, settings)
    chosen = pick_method(method)
    precision = chosen.choose_prior(prior)

    # here, because the command line asks for the methods before anything is trained
    from luxscale.model.jit import check_jax
    from luxscale.progress import Progress
    from luxscale.training.calibrate import calibrate
    from luxscale.training.select import check_size, check_windows, read_stars

    check_jax()
    with Progress("training", enabled=progress) as shown:
        shown.stage("reading stars")
        data = read_stars(survey, outputs, where, shown, label_clip)
        latent_dim = chosen.choose_latent_dim(data, latent_dim)
        check_size(data, latent_dim, folds, where)
        spans = check_windows(data, windows or {})
        data = chosen.select_stars(data, latent_dim, folds, where, shown.say)
        shown.stage("")
        trained = chosen.fit(data, latent_dim, shown.report, settings)
        record = {
            "latent_dim": latent_dim,
            "seed": seed,
            "folds": folds,
            # one that was fitted is in the model itself
            **({} if trained.prior else {"prior": precision}),
            **settings,
            **compared,
            **({"label_clip": label_clip} if math.isfinite(label_clip) else {}),
            "windows": spans,
            **dict(data.left_out),
        }
        model = _make_model(data, trained, method, spans, record)
        exact = chosen.latents_are_labels
        model = calibrate(model, data, trained, folds, shown, exact_labels=exact)
        _show_held_out(model, shown.say, choice_of_latents=not exact)
        return model


def _show_held_out(model: LuxModel, say: Callable[[str], None], *, choice_of_latents: bool) -> None:
    """Print how well labels of stars left out were predicted, if measured, and what follows."""
    from luxscale.analysis.tables import format_records
    from luxscale.training.held_out import (
        advise_on_errors,
        advise_on_latents,
        describe_inflation,
    )

    if not model.held_out:
        return
    say("labels of stars left out of training\n" + format_records(model.held_out))
    advice = [line for line in (describe_inflation(model.labels),) if line]
    advice += advise_on_errors(model.held_out)
    if choice_of_latents:
        advice += advise_on_latents(model.latent_dim, model.provenance.n_stars)
    for line in advice:
        say(line)


def _take_number(value: Any) -> Any:
    """Return a NumPy number as one of Python."""
    return value.item()


def _make_model(
    data: TrainingData,
    trained: Trained,
    method: str,
    spans: Mapping[str, Spans],
    record: Mapping[str, Any],
) -> LuxModel:
    """Return what was trained as a model; ``record`` says how."""
    import numpy as np

    from luxscale.model.lux import LuxModel, Provenance
    from luxscale.model.priors import GaussianPrior
    from luxscale.schema.sampling import StarSet

    return LuxModel(
        outputs=data.to_model(trained.arrays, trained.kinds, spans, trained.noises),
        objective=np.array(trained.history),
        provenance=Provenance(
            method=method,
            settings=json.dumps(record, sort_keys=True, default=_take_number),
            n_stars=data.n_stars,
            training_checksum=data.checksum(),
            training_stars=StarSet.of(data.stars).text,
        ),
        prior=trained.prior or GaussianPrior(record["prior"]),
    )
