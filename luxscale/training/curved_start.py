"""Where curved training starts: labels as latents, and what they leave of the spectra."""

from __future__ import annotations

import numpy as np

from luxscale.model.features import PolynomialFeatures
from luxscale.training.curved_state import Shape, State, Tables
from luxscale.training.data import TrainingData

#: Variance of the latents at the start.
_START_VARIANCE = 0.05


def find_start(data: TrainingData, tables: Tables, shape: Shape) -> State:
    """Begin with the labels as latents, and the leading components of what they leave.

    Labels that are missing are predicted from the components, by ridge regression.
    """
    measured = [t for o, t in zip(data.outputs, tables, strict=True) if not o.is_label]
    spectra = np.hstack([table.standardise() for table in measured])
    n, p = data.n_stars, shape.latent_dim
    known = np.zeros((n, 0))
    for output in data.labels:
        values, ivar = output.read_table()
        filled = _fill_labels(values.astype(float), ivar > 0, spectra)
        known = np.hstack([known, filled])
    known = _order_labels(known, spectra)[:, : p - 1]
    products = PolynomialFeatures(known.shape[1], known.shape[1])(known)
    design = np.hstack([np.ones((n, 1)), products])
    rest = spectra - design @ np.linalg.lstsq(design, spectra, rcond=None)[0]
    left, _, right = np.linalg.svd(rest, full_matrices=False)
    # the sign of a singular vector is arbitrary
    largest = np.take_along_axis(right, np.abs(right).argmax(1)[:, None], 1)[:, 0]
    free = p - known.shape[1]
    more = (left * np.sign(largest))[:, :free] * np.sqrt(n)
    z = np.hstack([known, more, np.zeros((n, free - more.shape[1]))])
    return State(
        features=shape.products,
        z=z,
        covariance=np.tile(_START_VARIANCE * np.eye(p), (n, 1, 1)),
        robust_weights=(np.ones((n, 1)),) * len(tables),
    )


def _fill_labels(values: np.ndarray, is_known: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Return labels of variance 1, those that are missing predicted from the spectra."""
    filled = values.copy()
    design = np.hstack([np.ones((len(spectra), 1)), spectra])
    ridge = 1e-2 * np.trace(spectra.T @ spectra) / spectra.shape[1] / len(spectra)
    for i, known in enumerate(is_known.T):
        if known.all():
            continue
        x = design[known]
        normal = x.T @ x + ridge * len(x) * np.eye(x.shape[1])
        slope = np.linalg.solve(normal, x.T @ values[known, i])
        filled[~known, i] = design[~known] @ slope
    return filled / np.maximum(filled.std(0), 1e-9)


def _order_labels(known: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Turn labels so that the first explain most of the spectra: (star, label), of variance 1."""
    if not known.shape[1]:
        return known
    centred = known - known.mean(0)
    left, _, _ = np.linalg.svd(centred, full_matrices=False)
    _, _, turn = np.linalg.svd(spectra.T @ left, full_matrices=False)
    led = left @ turn.T
    largest = led[np.abs(led).argmax(0), np.arange(led.shape[1])]
    return led * np.sign(largest) * np.sqrt(len(known))
