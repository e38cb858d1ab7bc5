"""One training: stars are read, a method fits, and stars left out tell how good it is."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.tables import format_records
from luxscale.errors import InputError
from luxscale.model.jit import check_jax, use_one_blas_thread
from luxscale.model.lux import LuxModel, Provenance
from luxscale.model.maxima import needs_every_term
from luxscale.model.priors import GaussianPrior
from luxscale.progress import Progress
from luxscale.schema.sampling import StarSet
from luxscale.schema.windows import Spans
from luxscale.training.calibrate import calibrate
from luxscale.training.checkpoint import Checkpoint
from luxscale.training.data import Trained, TrainingData
from luxscale.training.held_out import advise_on_errors, advise_on_latents, describe_inflation
from luxscale.training.initial import Inherited, find_start
from luxscale.training.members import join_members, train_others
from luxscale.training.methods import Method, complete_settings, pick_method
from luxscale.training.nuisances import check_method
from luxscale.training.recipes import CORRELATED, Recipe
from luxscale.training.request import Request
from luxscale.training.select import check_size, check_windows, read_stars

#: What is said of a model that is labelled by the full search.
_FULL_SEARCH = (
    "a spectrum often has several solutions in this model: labels come from the full search for "
    "the most probable, which takes longer"
)


def fit_model(survey: xr.Dataset, request: Request) -> LuxModel:
    """Train a model as asked.

    Raises
    ------
    InputError
    Interrupted
        Says where the model so far is, if there is a checkpoint.
    """
    settings = complete_settings(request.method, request.settings)
    method = pick_method(request.method)
    if request.nuisances is not None:
        check_method(request.method)
    precision = method.choose_prior(request.prior)
    _check_unlabelled(request, settings)
    check_jax()
    # what is not compiled has small matrices, or few
    said = Progress("training", enabled=request.progress, advises=request.advises)
    with use_one_blas_thread(), said as shown:
        data, latent_dim = _read(survey, request, method, shown)
        spans = check_windows(data, request.windows or {})
        start = find_start(request.initial, data, request.where)
        stars = gather_stars(data, request.initial)
        record = make_record(
            data, request, latent_dim=latent_dim, settings=settings, prior=precision, spans=spans
        )

        def make_model(trained: Trained, **more: Any) -> LuxModel:
            model = build_model(data, trained, request.method, spans, {**record, **more}, stars)
            others = _build_others(model, trained.others, request.others, data, spans)
            return choose_search(dataclasses.replace(model, others=others))

        exact = method.latents_are_labels
        first = start.number if start else 0
        checkpoint = Checkpoint(
            request.checkpoint, make_model, shown, first=first, goes_on=not exact
        )
        with checkpoint.keep_on_interrupt():
            trained = method.fit(data, latent_dim, checkpoint, settings, start)
            asked = request.initial.asked if request.initial else {}
            others = train_others(request.others, data, checkpoint, start, asked)
            trained = join_members(trained, others)
            model = make_model(trained)
            model = calibrate(model, data, trained, request.folds, shown, exact_labels=exact)
        show_held_out(model, shown, choice_of_latents=not exact)
        if any(member.every_term for member in model.members):
            shown.say(_FULL_SEARCH)
        return model


def choose_search(model: LuxModel) -> LuxModel:
    """Return a model whose members are searched for fast only where that finds their maxima."""
    first, *others = (
        dataclasses.replace(member, every_term=needs_every_term(member)) for member in model.members
    )
    return dataclasses.replace(first, others=tuple(others))


def _check_unlabelled(request: Request, settings: Mapping[str, Any]) -> None:
    """Refuse stars without labels where these do not help."""
    if not request.unlabelled:
        return
    wanted = ""
    if request.others:
        wanted = "one model, and not for an ensemble"
    elif settings.get("noise") != CORRELATED or settings["network"]:
        wanted = "products of latents with correlated noise"
    if wanted:
        raise InputError(
            f"unlabelled={request.unlabelled} is for {wanted}; leave it out, or choose recipe "
            "'curved' or 'cubic'"
        )


def _read(
    survey: xr.Dataset, request: Request, method: Method, shown: Progress
) -> tuple[TrainingData, int]:
    """Return the stars that a method can use, and the number of latents."""
    shown.stage("reading stars")
    where = request.where
    clip, unlabelled = request.label_clip, request.unlabelled
    data = read_stars(survey, request.outputs, where, shown, clip, unlabelled)
    latent_dim = method.choose_latent_dim(data, request.latent_dim)
    for number in (latent_dim, *(member.latent_dim for member in request.others)):
        check_size(data, number, request.folds, where)
    data = method.select_stars(data, latent_dim, request.folds, where, shown.say)
    if request.nuisances is not None:
        data = request.nuisances.put_into(data)
    shown.stage("")
    return data, latent_dim


def make_record(
    data: TrainingData,
    request: Request,
    *,
    latent_dim: int,
    settings: Mapping[str, Any],
    prior: float,
    spans: Mapping[str, Spans],
) -> dict[str, Any]:
    """Return what is put on record of a training."""
    clip = request.label_clip
    begun = request.initial.describe() if request.initial else {}
    return {
        "latent_dim": latent_dim,
        "seed": request.seed,
        "folds": request.folds,
        "prior": prior,
        **settings,
        **request.compared,
        **begun,
        **({"label_clip": clip} if math.isfinite(clip) else {}),
        **({"unlabelled": request.unlabelled} if request.unlabelled else {}),
        **({"members": [member.describe() for member in request.others]} if request.others else {}),
        "windows": spans,
        **dict(data.left_out),
    }


def gather_stars(data: TrainingData, initial: Inherited | None) -> StarSet:
    """Return all stars that a model has seen, with those of the one that training goes on from.

    None, if that does not know its own.
    """
    stars = StarSet.of(data.stars)
    if initial is None:
        return stars
    before = initial.model.training_stars
    return stars | before if before.text else before


def build_model(
    data: TrainingData,
    trained: Trained,
    method: str,
    spans: Mapping[str, Spans],
    record: Mapping[str, Any],
    stars: StarSet,
) -> LuxModel:
    """Return what was trained as a model; ``record`` says how it was asked for."""
    prior = trained.prior or GaussianPrior(record["prior"])
    # one that was fitted is in the model itself
    kept = {name: v for name, v in record.items() if name != "prior" or not trained.prior}
    kept.update(trained.settings)
    return LuxModel(
        outputs=data.to_model(trained.arrays, trained.kinds, spans, trained.noises),
        objective=np.array(trained.history),
        provenance=Provenance(
            method=method,
            settings=json.dumps(kept, sort_keys=True, default=_take_number),
            n_stars=data.n_stars,
            training_checksum=data.checksum(),
            training_stars=stars.text,
        ),
        prior=prior,
    )


def _build_others(
    model: LuxModel,
    trained: Sequence[Trained],
    recipes: Sequence[Recipe],
    data: TrainingData,
    spans: Mapping[str, Spans],
) -> tuple[LuxModel, ...]:
    """Return the further members of a model that were trained; a checkpoint has none."""
    found = []
    for member, recipe in zip(trained, recipes, strict=False):
        trained_as = {**recipe.settings, **member.settings}
        record = dataclasses.replace(recipe, settings=trained_as).describe()
        settings = json.dumps(record, sort_keys=True, default=_take_number)
        made = dataclasses.replace(model.provenance, method=recipe.method, settings=settings)
        other = LuxModel(
            outputs=data.to_model(member.arrays, member.kinds, spans, member.noises),
            objective=np.array(member.history),
            provenance=made,
            prior=member.prior or GaussianPrior(pick_method(recipe.method).choose_prior(None)),
        )
        found.append(other)
    return tuple(found)


def _take_number(value: Any) -> Any:
    """Return a NumPy number as one of Python."""
    return value.item()


def show_held_out(model: LuxModel, shown: Progress, *, choice_of_latents: bool) -> None:
    """Print how well labels of stars left out were predicted, if measured, and what follows."""
    if not model.held_out:
        return
    shown.say("labels of stars left out of training\n" + format_records(model.held_out))
    inflation = describe_inflation(model.labels)
    if inflation:
        shown.say(inflation)
    advice = advise_on_errors(model.held_out)
    if choice_of_latents:
        advice += advise_on_latents(model.latent_dim, model.provenance.n_stars)
    for line in advice:
        shown.advise(line)
