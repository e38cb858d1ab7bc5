"""The canonical gauge: which of all latents that predict the same a model has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from luxscale.model.jit import compile_program
from luxscale.training.data import Arrays
from luxscale.training.latents import Latents

#: Least variance of a latent, as a fraction of the greatest: one that no star uses stays finite.
_LEAST_VARIANCE = 1e-12


def turn_to_canonical_gauge(
    outputs: tuple[Arrays, ...], latents: Latents, n_stars: int, informing: Sequence[bool]
) -> tuple[tuple[Arrays, ...], Latents]:
    """Turn weights and latents into the canonical gauge; what they predict does not change.

    The latents of the training stars get mean 0 and covariance 1 (second moments include the
    posterior covariances), the mean information of the spectra, W^T diag(mean weight) W, becomes
    diagonal and descending, and the largest weight of each latent positive.

    Parameters
    ----------
    outputs : tuple of Arrays
    latents : Latents
    n_stars : int
        Number of stars, without padding.
    informing : sequence of bool
        Whose information it is: see `TrainingData.informing`.

    Returns
    -------
    outputs : tuple of Arrays
    latents : Latents
        Means only.
    """
    z = np.asarray(latents.mean, float)
    mean = z[:n_stars].mean(0)
    covariance = _compute_covariance(latents, n_stars)
    mean_weights = [
        compute_mean_weight(output) if informs else None
        for output, informs in zip(outputs, informing, strict=True)
    ]
    new, turn = turn_outputs(outputs, mean, covariance, mean_weights)
    turned = (z - mean) @ turn
    means = Latents.certain(turned.astype(np.float32))
    return new, means._replace(objective=latents.objective)


def turn_outputs(
    outputs: Sequence[Arrays],
    mean: np.ndarray,
    covariance: np.ndarray,
    mean_weights: Sequence[np.ndarray | None],
) -> tuple[tuple[Arrays, ...], np.ndarray]:
    """Turn weights into the canonical gauge of latents of this mean and covariance.

    Parameters
    ----------
    outputs : sequence of Arrays
    mean : array, (latent,)
    covariance : array, (latent, latent)
    mean_weights : sequence of array (feature,) or None
        Mean over the stars of the weights of an output's values, up to a factor that all share;
        None where an output does not set the gauge.

    Returns
    -------
    outputs : tuple of Arrays
    turn : array, (latent, latent)
        What turns latents, less their mean: they stand left of it.
    """
    variances, vectors = np.linalg.eigh(covariance)
    greatest = variances[-1]
    scale = np.sqrt(np.maximum(variances, greatest * _LEAST_VARIANCE))
    # of latents with mean 0 and covariance 1, up to a rotation
    whitening = vectors * scale
    old_weights = [np.asarray(o.weights, float) for o in outputs]
    weights = [w @ whitening for w in old_weights]
    rotation = _find_rotation(weights, mean_weights)
    new = []
    for output, old, whitened in zip(outputs, old_weights, weights, strict=True):
        # what the mean of the latents predicted goes into the offset
        offset = output.offset + old @ mean
        rotated = whitened @ rotation
        new.append(
            output._replace(
                weights=np.asarray(rotated, np.float32),
                offset=np.asarray(offset, np.float32),
            )
        )
    return tuple(new), (vectors / scale) @ rotation


def _find_rotation(
    weights: Sequence[np.ndarray], mean_weights: Sequence[np.ndarray | None]
) -> np.ndarray:
    """Return the rotation that makes the information diagonal and descending: (latent, latent)."""
    n_latents = weights[0].shape[1]
    information = np.zeros((n_latents, n_latents))
    informing = []
    for of_output, mean_weight in zip(weights, mean_weights, strict=True):
        if mean_weight is not None:
            information = information + of_output.T @ (mean_weight[:, None] * of_output)
            informing.append(of_output)
    _, vectors = np.linalg.eigh(information)
    # eigenvalues ascend, latents shall descend
    descending = vectors[:, ::-1]
    return _orient(descending, informing[0])


def _compute_covariance(latents: Latents, n_stars: int) -> np.ndarray:
    """Return the covariance of the stars' latents, with the mean of their own: (latent, latent)."""
    z = np.asarray(latents.mean, float)[:n_stars]
    p = z.shape[1]
    # of one latent, numpy returns a number
    cov = np.cov(z.T, bias=True).reshape(p, p)
    if not latents.has_covariance:
        return cov
    packed = np.asarray(latents.cov)[:n_stars]
    mean_packed = packed.mean(0, dtype=float)
    i, j = np.tril_indices(p)
    extra = np.zeros((p, p))
    extra[i, j] = mean_packed
    extra[j, i] = mean_packed
    return cov + extra


def _orient(rotation: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return a rotation that makes the largest of the rotated weights of each latent positive."""
    turned = weights @ rotation
    row = np.abs(turned).argmax(0)
    column = np.arange(turned.shape[1])
    largest = turned[row, column]
    sign = np.where(largest < 0, -1, 1)
    return rotation * sign


def compute_mean_weight(output: Arrays) -> np.ndarray:
    """Return the mean over stars of 1 / (sigma^2 + s^2): (feature,), float64."""
    return np.asarray(_mean_weight(output), float)


@compile_program()
def _mean_weight(output: Arrays) -> Any:
    return jnp.mean(output.noise.weigh(output.ivar), 0)
