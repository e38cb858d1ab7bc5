"""Training: from stars with spectra and trusted labels to a model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr

from luxscale.kernel import design, head, infer_arrays
from luxscale.model import LuxModel, Provenance
from luxscale.progress import Progress
from luxscale.schema import STAR, InputError, check_structure, check_unique, check_values, pick_outputs
from luxscale.train.alternating import train_alternating
from luxscale.train.data import TrainingData, load_training
from luxscale.train.marginal import excess_scatter, train_marginal

__all__ = ["train"]

_METHODS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "marginal": (train_marginal, {"iterations": 30, "tolerance": 1e-4}),
    "alternating": (train_alternating, {"iterations": 5, "latent_precision": 1e-6}),
}


def train(
    survey: xr.Dataset,
    latent_dim: int = 48,
    *,
    outputs: Sequence[str] | None = None,
    method: str = "marginal",
    folds: int = 2,
    seed: int = 0,
    progress: bool = True,
    where: str = "survey",
    **settings: Any,
) -> LuxModel:
    """Train a Lux model, in memory.

    Parameters
    ----------
    survey : Dataset
        Training stars; those without any label are left out.
    latent_dim : int
        Number of latents P.
    outputs : sequence of str, optional
        Outputs to model; all that the survey holds if not given.
    method : {"marginal", "alternating"}
        Maximum marginal likelihood, or the paper's training step (section 4.2). See ``luxscale.train.marginal`` and
        ``luxscale.train.alternating``.
    folds : int
        Misfit of the labels, and the limits of flags, are measured on each fold of the stars with a model trained
        on the others; 1 measures nothing, and errors are then formal only.
    seed : int
        Of the random start of ``"alternating"``; ``"marginal"`` has none.
    progress : bool
        Whether to show progress on standard error.
    where : str
        Name of the survey in messages.
    **settings
        ``iterations`` (both methods); ``tolerance`` (marginal: least gain in ln evidence per measured value);
        ``latent_precision`` (alternating: precision of the prior on latents, equation 7).

    Returns
    -------
    LuxModel
        In the canonical gauge.

    Raises
    ------
    InputError
        If the data break the contract or carry no such model; names variable, star or label.
    """
    settings = _settings(method, settings)
    for name, value, least in (("latent_dim", latent_dim, 1), ("folds", folds, 1), ("seed", seed, 0)):
        if not isinstance(value, Integral) or int(value) < least:
            raise InputError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    with Progress("training", enabled=progress) as shown:
        shown.stage("reading")
        data = _read(survey, outputs, where, shown)
        _check_size(data, latent_dim, folds, where)
        shown.stage("")
        model = _fit(data, latent_dim, method, settings, seed, folds, shown)
        if folds > 1 and any(data.spectral):
            model = _calibrate(model, data, latent_dim, method, settings, seed, folds, shown)
    return model


def _settings(method: str, given: dict[str, Any]) -> dict[str, Any]:
    if method not in _METHODS:
        raise InputError(f"method {method!r} is unknown; choose one of {', '.join(_METHODS)}")
    known = _METHODS[method][1]
    for name in given:
        if name not in known:
            raise InputError(f"method {method!r} has no setting {name!r}; it has {', '.join(known)}")
    for name, value in given.items():
        least = 1 if name == "iterations" else 0
        if not np.isfinite(value) or value < least or (name == "latent_precision" and value == 0):
            raise InputError(f"{name} is {value}; it must be {'at least 1' if least else 'a positive number'}")
    return {**known, **given}


def _read(survey: xr.Dataset, outputs: Sequence[str] | None, where: str, shown: Progress) -> TrainingData:
    check_structure(survey, where)
    specs = pick_outputs(survey, outputs, where)
    labels = [s for s in specs if survey[s.dim].dtype.kind != "f"]
    left_out: dict[str, int] = {}
    if labels:
        table = [tuple(np.isfinite(survey[v].values) for v in s.variables) for s in labels]
        known = np.any([(value & err).any(1) for value, err in table], axis=0)
        if not known.any():
            names = " and ".join(f"{s.name!r} with {s.noise!r}" for s in labels)
            raise InputError(
                f"{where}: no star has a label and its error in {names}; training needs both: join a "
                "catalogue, or train on other stars"
            )
        without = sum(int((value & ~err).sum()) for value, err in table)
        left_out = {"stars_without_labels": int((~known).sum()), "labels_without_errors": without}
        if not known.all():
            shown.say(f"{int((~known).sum()):,} of {known.size:,} stars have no label and are left out")
        if without:
            shown.say(f"{without:,} label values have no error and get no weight; give each an error")
        survey = survey if known.all() else survey.isel({STAR: np.flatnonzero(known)})
    survey = survey[[v for s in specs for v in s.variables]].load()
    check_unique(survey[STAR].values, where)
    check_values(survey, specs, where)
    return dataclasses.replace(load_training(survey, specs, where), left_out=tuple(left_out.items()))


def _check_size(data: TrainingData, latent_dim: int, folds: int, where: str) -> None:
    left_out = -(-data.n_stars // folds) if folds > 1 else 0
    stars, features = data.n_stars - left_out, sum(a.values.shape[1] for a in data.arrays)
    if latent_dim >= min(stars, features):
        raise InputError(
            f"{where}: latent_dim={latent_dim} is more than {stars} training stars "
            f"(folds={folds}) and {features} features can carry; choose fewer than {min(stars, features)}, or add stars"
        )


def _fit(
    data: TrainingData, latent_dim: int, method: str, settings: dict[str, Any], seed: int, folds: int, shown: Progress
) -> LuxModel:
    function, _ = _METHODS[method]
    arrays, history = function(data, latent_dim, seed=seed, report=shown.report, **settings)
    record = {"latent_dim": latent_dim, "seed": seed, "folds": folds, **settings, **dict(data.left_out)}
    return LuxModel(
        data.outputs(arrays, [np.zeros(a.weights.shape[0]) for a in arrays]),
        np.array(history),
        Provenance(method, json.dumps(record, sort_keys=True), data.n_stars, data.checksum()),
    )


def _calibrate(
    model: LuxModel,
    data: TrainingData,
    latent_dim: int,
    method: str,
    settings: dict[str, Any],
    seed: int,
    folds: int,
    shown: Progress,
) -> LuxModel:
    """Measure label misfit and the spread of chi2 and latents out of fold, and put them into the model."""
    fold = data.fold(folds)
    results = []
    for k in range(folds):
        shown.stage(f"fold {k + 1} of {folds}")
        part = _fit(data.select(fold != k), latent_dim, method, settings, seed, folds, shown)
        results.append(_left_out(part, data.select(fold == k)))
    outputs = []
    for output in model.outputs:
        floor = np.zeros(len(output.coord))
        if output.is_label:
            residual, variance = (np.concatenate([r[output.name][i] for r in results]) for i in range(2))
            for m in range(floor.size):
                known = np.isfinite(residual[:, m])
                floor[m] = excess_scatter(residual[known, m], variance[known, m])
        outputs.append(dataclasses.replace(output, floor=floor))
    chi2, distance = (_limit(np.concatenate([r[k] for r in results])) for k in ("chi2", "distance"))
    return dataclasses.replace(model, outputs=tuple(outputs), limits=(chi2, distance))


def _left_out(model: LuxModel, data: TrainingData) -> dict[str, Any]:
    """Residuals and variances of labels predicted from spectra, chi2 per pixel and squared length of latents."""
    given = [(o, *_physical(data, i)) for i, o in enumerate(model.outputs) if data.spectral[i]]
    inferred = infer_arrays(
        [design(o) for o, _, _ in given],
        [v for _, v, _ in given],
        [w for _, _, w in given],
        [head(o) for o in model.labels],
    )
    seen = inferred.n_pixels > 0
    results: dict[str, Any] = {
        "chi2": (inferred.chi2 / np.maximum(inferred.n_pixels, 1))[seen],
        "distance": (inferred.latent**2).sum(1)[seen],
    }
    for output, predicted, err in zip(model.labels, inferred.value, inferred.err, strict=True):
        value, ivar = _physical(data, [o.name for o in model.outputs].index(output.name))
        known = (ivar > 0) & seen[:, None]
        results[output.name] = (
            np.where(known, predicted - value, np.nan),
            err**2 + 1 / np.where(ivar > 0, ivar, np.inf),
        )
    return results


def _physical(data: TrainingData, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and inverse variances of an output in the units of the survey."""
    a, spread = data.arrays[index], data.spreads[index]
    safe = np.where(spread.scale > 0, spread.scale, 1)
    return spread.center + a.values * spread.scale, a.ivar / safe**2


def _limit(values: np.ndarray) -> float:
    """Twice as far from the median as the 99th percentile of stars left out of training."""
    if not values.size:
        return float("inf")
    middle, high = np.percentile(values, [50, 99])
    return float(middle + 2 * (high - middle))
