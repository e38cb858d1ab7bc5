"""What stars left out of training tell of a model: misfit of its labels, and limits of flags."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np

from luxscale.model.calibration import PartErrors
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output
from luxscale.progress import Progress
from luxscale.schema.windows import Spans
from luxscale.training import held_out
from luxscale.training.data import Fit, Trained, TrainingData
from luxscale.training.inflation import LabelErrors, measure_errors
from luxscale.training.left_out import LeftOut, concatenate, list_parts, measure_left_out

#: Fewest stars that tell errors of a label that is inferred from some of the outputs.
_FEWEST_OF_PART = 30


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
        part_errors = _measure_parts(model, parts, i, widened)
        measured[output.name] = dataclasses.replace(widened, part_errors=part_errors)
    return dataclasses.replace(
        model,
        outputs=tuple(measured.get(o.name, o) for o in model.outputs),
        limits=(_set_limit(left_out.chi2), _set_limit(left_out.distance)),
        provenance=dataclasses.replace(model.provenance, held_out=json.dumps(records)),
    )


def _measure_parts(
    model: LuxModel, folds: Sequence[LeftOut], label: int, output: Output
) -> tuple[PartErrors, ...]:
    """Return the errors of labels that are inferred from some outputs of a model alone.

    Labels that few stars tell have the errors that they have from all.

    Parameters
    ----------
    model : LuxModel
    folds : sequence of LeftOut
    label : int
        Position of an output of labels.
    output : Output
        It, with its errors from all outputs.
    """
    measured = []
    for given, outputs in enumerate(list_parts(model.measured)):
        residuals = [fold.parts[given][label] for fold in folds]
        known = np.concatenate([np.isfinite(of_fold.residual) for of_fold in residuals])
        enough = known.sum(0) >= _FEWEST_OF_PART
        if not enough.any():
            continue
        found, of_all = measure_errors(residuals, len(model.members)).errors, output.errors
        scales = zip(enough, found.scale, of_all.scale, strict=True)
        floors = zip(enough, found.floor, of_all.floor, strict=True)
        errors = PartErrors(
            outputs=outputs,
            scale=tuple(own if told else other for told, own, other in scales),
            floor=tuple(own if told else other for told, own, other in floors),
        )
        measured.append(errors)
    return tuple(measured)


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
