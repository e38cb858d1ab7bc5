"""What inference says of stars left out of training, from all that is measured of them and less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from luxscale.model.inference import Inference
from luxscale.model.lux import LuxModel
from luxscale.model.presence import MOST_OUTPUTS
from luxscale.training.data import BLOCK, TrainingData


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
    labels : of each output of labels; parts : the same inferred from some of the outputs alone, for
    each of `list_parts`.
    """

    chi2: np.ndarray
    distance: np.ndarray
    labels: tuple[Residuals, ...]
    parts: tuple[tuple[Residuals, ...], ...] = ()


def list_parts(measured: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the outputs that errors are measured of beside all: each alone, and all but each.

    Parameters
    ----------
    measured : sequence of str
        Names of all spectra and bands.
    """
    if not 1 < len(measured) <= MOST_OUTPUTS:
        return ()
    alone = [(name,) for name in measured]
    others = [tuple(name for name in measured if name != one) for one in measured]
    return tuple(dict.fromkeys((*alone, *others)))


def measure_left_out(model: LuxModel, data: TrainingData, rows: np.ndarray) -> LeftOut:
    """Infer stars from all that is measured of them and from parts; compare with their labels."""
    names = [o.spec.name for o in data.measured]
    inference = _prepare(model, data, names)
    blocks = [rows[start : start + BLOCK] for start in range(0, rows.size, BLOCK)]
    signal = np.concatenate([_measure_signal(data, block) for block in blocks])
    inferred = _infer_blocks(inference, data, blocks, names)
    n_values = inferred["n_pixels"]
    seen = n_values > 0
    chi2 = inferred["chi2"] / np.maximum(n_values, 1)
    distance = model.prior.distance(inferred["latent"])
    parts = []
    for part in list_parts(names):
        # a label whose windows all lie in what is not given is inferred from the rest
        of_windows = inference.problem.windows
        asked = _prepare(model, data, part) if of_windows else inference
        of_part = _infer_blocks(asked, data, blocks, part)
        complete = _find_complete(data, rows, part)
        parts.append(_compare_labels(data, rows, of_part, complete, signal))
    return LeftOut(
        chi2=chi2[seen],
        distance=distance[seen],
        labels=_compare_labels(data, rows, inferred, seen, signal),
        parts=tuple(parts),
    )


def _prepare(model: LuxModel, data: TrainingData, given: Sequence[str]) -> Inference:
    """Return the inference from some outputs of the data of training."""
    centers = [o.spread.center for o in data.measured if o.spec.name in given]
    return Inference.of(model, given, exactly=True).for_scaled_data(centers)


def _infer_blocks(
    inference: Inference, data: TrainingData, blocks: Sequence[np.ndarray], given: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return what is inferred of blocks of stars as if they had some of the outputs alone."""
    asked = [o for o in data.measured if o.spec in inference.given]
    tables = [(o.spec.name in given, *o.read_table()) for o in asked]
    found = []
    for block in blocks:
        values = [value[block] for _, value, _ in tables]
        ivars = [ivar[block] if has else np.zeros_like(ivar[block]) for has, _, ivar in tables]
        found.append(inference.infer_from_ivars(values, ivars))
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _find_complete(data: TrainingData, rows: np.ndarray, given: Sequence[str]) -> np.ndarray:
    """Return which stars have data of all of some outputs: (star,) bool."""
    tables = [o.read_table() for o in data.measured if o.spec.name in given]
    return np.all([(ivar[rows] > 0).any(axis=1) for _, ivar in tables], axis=0)


def _compare_labels(
    data: TrainingData,
    rows: np.ndarray,
    inferred: Mapping[str, np.ndarray],
    seen: np.ndarray,
    signal: np.ndarray,
) -> tuple[Residuals, ...]:
    """Return how labels of stars that were seen compare with those given, of each output."""
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
    return tuple(labels)


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
    return LeftOut(
        chi2=np.concatenate([part.chi2 for part in parts]),
        distance=np.concatenate([part.distance for part in parts]),
        labels=_join([part.labels for part in parts]),
        parts=tuple(map(_join, zip(*(part.parts for part in parts), strict=True))),
    )


def _join(sets: Sequence[tuple[Residuals, ...]]) -> tuple[Residuals, ...]:
    """Return residuals of several sets of stars, of each output of labels, as of one."""
    by_output = zip(*sets, strict=True)
    return tuple(Residuals(*map(np.concatenate, zip(*of, strict=True))) for of in by_output)
