"""What stars left out of training tell of a model: misfit of its labels, and limits of flags."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from luxscale.model.inference import Inference
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output
from luxscale.progress import Progress
from luxscale.schema.windows import Spans
from luxscale.training import held_out
from luxscale.training.data import BLOCK, Fit, Trained, TrainingData
from luxscale.training.inflation import LabelErrors, measure_errors


class Residuals(NamedTuple):
    """What errors are measured from, of one output's labels: (star, label).

    signal : (star,), S/N of the spectrum.
    """

    residual: np.ndarray
    formal: np.ndarray
    label_err: np.ndarray
    signal: np.ndarray


class LeftOut(NamedTuple):
    """What inference says of stars left out of training.

    chi2, distance : (star,), chi2 per value and how unusual the latents are, of stars with data;
    labels : of each output of labels.
    """

    chi2: np.ndarray
    distance: np.ndarray
    labels: tuple[Residuals, ...]


def calibrate(
    model: LuxModel,
    data: TrainingData,
    trained: Trained,
    folds: int,
    shown: Progress,
    *,
    exact_labels: bool,
) -> LuxModel:
    """Put what is measured out of fold into a model: errors and table of labels, limits of flags.

    The latents of a fold's stars are those of the whole training; what is regressed on them,
    weights and scatter, is not. That a star's own latents bear on the gauge that others are given
    is an influence of order 1 / n_stars.

    Parameters
    ----------
    model : LuxModel
    data : TrainingData
    trained : Trained
        What regresses without a fold.
    folds : int
        With 1 nothing is measured, and the model stays as it is.
    shown : Progress
    exact_labels : bool
        Whether the latents are the labels, which then scatter about nothing.
    """
    if not data.measured:
        # nothing to predict labels from but each other: their scatter is all there is
        own = (dataclasses.replace(o, floor=o.scatter) for o in model.outputs)
        return dataclasses.replace(model, outputs=tuple(own))
    if folds == 1:
        return model
    parts = measure_each_fold(model, data, trained, folds, shown)
    return put_misfit(model, parts, exact_labels=exact_labels)


def put_misfit(model: LuxModel, parts: Sequence[LeftOut], *, exact_labels: bool) -> LuxModel:
    """Put into a model what the stars of each fold tell.

    Parameters
    ----------
    model : LuxModel
    parts : sequence of LeftOut
        Of each fold.
    exact_labels : bool
        As for `calibrate`.
    """
    left_out = concatenate(parts)
    measured = {}
    records = []
    for i, (output, residuals) in enumerate(zip(model.labels, left_out.labels, strict=True)):
        errors = measure_errors([part.labels[i] for part in parts], len(model.members))
        widened = _widen_errors(output, errors, exact_labels)
        records += held_out.measure_labels(widened, residuals)
        measured[output.name] = widened
    return dataclasses.replace(
        model,
        outputs=tuple(measured.get(o.name, o) for o in model.outputs),
        limits=(_set_limit(left_out.chi2), _set_limit(left_out.distance)),
        provenance=dataclasses.replace(model.provenance, held_out=json.dumps(records)),
    )


def measure_each_fold(
    model: LuxModel, data: TrainingData, trained: Trained, folds: int, shown: Progress
) -> list[LeftOut]:
    """Infer the stars of each fold with weights regressed on the others.

    Parameters
    ----------
    model, data, trained, folds, shown
        As for `calibrate`.
    """
    fold = data.assign_folds(folds)
    rows = [np.flatnonzero(fold == k) for k in range(folds)]
    windows: dict[str, Spans] = {}
    for output in model.outputs:
        windows.update(output.windows)
    parts = []
    shown.stage("training again without each fold")
    for k, fit in enumerate(trained.leave_out(rows)):
        shown.stage(f"measuring errors on stars left out, fold {k + 1} of {folds}")
        part = _put_fit(model, fit, data, trained, windows)
        parts.append(measure_left_out(part, data, rows[k]))
    return parts


def _put_fit(
    model: LuxModel,
    fit: Fit,
    data: TrainingData,
    trained: Trained,
    windows: Mapping[str, Spans],
) -> LuxModel:
    """Return a model with the parameters that some of the stars give, those of all its members."""
    others = []
    for member in zip(model.others, fit.others, trained.others, strict=True):
        of_model, of_fit, of_training = member
        others.append(_put_fit(of_model, of_fit, data, of_training, windows))
    return dataclasses.replace(
        model,
        outputs=data.to_model(fit.arrays, fit.kinds or trained.kinds, windows, fit.noises),
        prior=fit.prior or model.prior,
        others=tuple(others),
    )


def measure_left_out(model: LuxModel, data: TrainingData, rows: np.ndarray) -> LeftOut:
    """Infer stars from all that is measured of them, and compare with their labels."""
    names = [o.spec.name for o in data.measured]
    centers = [o.spread.center for o in data.measured]
    inference = Inference.of(model, names, exactly=True).for_scaled_data(centers)
    tables = [o.read_table() for o in data.measured]
    parts, signals = [], []
    for start in range(0, rows.size, BLOCK):
        block = rows[start : start + BLOCK]
        values = [value[block] for value, _ in tables]
        ivars = [ivar[block] for _, ivar in tables]
        parts.append(inference.infer_from_ivars(values, ivars))
        signals.append(_measure_signal(data, block))
    inferred = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    signal = np.concatenate(signals)
    n_values = inferred["n_pixels"]
    seen = n_values > 0
    labels = []
    for output in data.labels:
        value, ivar = output.read_physical(rows)
        measured = ivar > 0
        known = measured & seen[:, None]
        difference = inferred[output.spec.name] - value
        # infinite where there is no label, so that nothing is divided by 0
        safe_ivar = np.where(measured, ivar, np.inf)
        labels.append(
            Residuals(
                residual=np.where(known, difference, np.nan),
                formal=inferred[output.spec.noise],
                label_err=1 / np.sqrt(safe_ivar),
                signal=signal,
            )
        )
    chi2 = inferred["chi2"] / np.maximum(n_values, 1)
    distance = model.prior.distance(inferred["latent"])
    return LeftOut(
        chi2=chi2[seen],
        distance=distance[seen],
        labels=tuple(labels),
    )


def _measure_signal(data: TrainingData, rows: np.ndarray) -> np.ndarray:
    """Return the mean S/N of what is measured of stars, of the values that they have: (star,)."""
    total, n_values = np.zeros(rows.size), np.zeros(rows.size)
    for output in data.measured:
        value, ivar = output.read_physical(rows)
        known = ivar > 0
        total += np.where(known, np.abs(value) * np.sqrt(ivar), 0).sum(axis=1)
        n_values += known.sum(axis=1)
    return total / np.maximum(n_values, 1)


def concatenate(parts: Sequence[LeftOut]) -> LeftOut:
    """Return what is said of several sets of stars as of one."""
    labels = []
    for of_output in zip(*(part.labels for part in parts), strict=True):
        labels.append(Residuals(*map(np.concatenate, zip(*of_output, strict=True))))
    return LeftOut(
        chi2=np.concatenate([part.chi2 for part in parts]),
        distance=np.concatenate([part.distance for part in parts]),
        labels=tuple(labels),
    )


def _widen_errors(output: Output, errors: LabelErrors, exact_labels: bool) -> Output:
    """Put the misfit of labels into their output, as their scatter too unless they are exact."""
    # what spectra cannot tell of labels is their scatter about the model, where labels are given
    scatter = output.scatter if exact_labels else errors.misfit
    factors = errors.inflation if any(set(c.value) != {1} for c in errors.inflation) else ()
    return dataclasses.replace(output, floor=errors.floor, inflation=factors, scatter=scatter)


def _set_limit(values: np.ndarray) -> float:
    """Return three times as far from the median as the 99th percentile."""
    if not values.size:
        return float("inf")
    middle, high = np.percentile(values, [50, 99])
    return float(middle + 3 * (high - middle))
