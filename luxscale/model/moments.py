"""Mean and covariance of labels whose latents are normal."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from luxscale.model import linalg
from luxscale.model.features import Features, find_moments, is_quadratic


def find_label_moments(
    features: Features, weights: Any, z: Any, covariance: Any, *, full: bool
) -> tuple[Any, Any]:
    """Return mean and variance of W phi(z), z ~ N(m, C), or its covariance.

    With products of two, w^T z + z^T Q z, these are exact:

        mean = w^T m + m^T Q m + tr(Q C)
        covariance of two labels = q^T C q' + 2 tr(Q C Q' C),  q = w + 2 Q m

    and else those of `find_moments`.

    Parameters
    ----------
    features : Features
        phi.
    weights : array, (label, term)
    z : array, (star, latent)
    covariance : array, (star, latent, latent)
    full : bool
        Whether the covariance is wanted.

    Returns
    -------
    mean : array, (star, label)
    spread : array, (star, label), or (star, label, label)
    """
    if is_quadratic(features):
        return _find_quadratic_moments(features, weights, z, covariance, full)
    mean, rows = find_moments(features, z, covariance)
    half = linalg.dot(rows, weights.T)
    spread = linalg.square(half) if full else jnp.sum(half * half, 1)
    return linalg.dot(mean, weights.T), spread


def _find_quadratic_moments(
    features: Any, weights: Any, z: Any, covariance: Any, full: bool
) -> tuple[Any, Any]:
    """Return what `find_label_moments` does, with products of two."""
    linear, products = features.split_weights(weights)
    n, p = z.shape
    labels = len(linear)
    # Q is 0 but for the latents that have products
    q = features.quadratic
    # the star last, of which there are more than latents
    last = jnp.moveaxis(covariance, 0, 2)
    # Q C of all labels, as one product
    stacked = products[:, :q, :q].reshape(labels * q, q)
    flat_covariance = last[:q, :q].reshape(q, q * n)
    bent = linalg.dot(stacked, flat_covariance).reshape(labels, q, q, n)
    # the slopes w + 2 Q m
    bending = 2 * linalg.dot(stacked, z[:, :q].T).reshape(labels, q, n)
    slopes = linear[:, :, None] + jnp.pad(bending, ((0, 0), (0, p - q), (0, 0)))
    bent, slopes = jax.lax.optimization_barrier((bent, slopes))
    trace = jnp.trace(bent, axis1=1, axis2=2)
    mean = linalg.dot(features(z), weights.T) + trace.T
    # C times the slopes
    spread_out = sum(last[:, i] * slopes[:, i, None] for i in range(p))
    if not full:
        straight = jnp.sum(spread_out * slopes, 1)
        curved = jnp.sum(bent * bent.swapaxes(1, 2), (1, 2))
        return mean, (straight + 2 * curved).T
    flat = bent.transpose(3, 0, 1, 2).reshape(n, labels, q * q)
    turned = bent.transpose(3, 0, 2, 1).reshape(n, labels, q * q)
    straight = linalg.dot(spread_out.transpose(2, 0, 1), slopes.transpose(2, 1, 0))
    curved = linalg.dot(flat, turned.swapaxes(1, 2))
    return mean, straight + 2 * curved
