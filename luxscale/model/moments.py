"""Mean and covariance of labels whose latents are normal."""

from __future__ import annotations

from typing import Any

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
    if not is_quadratic(features):
        mean, rows = find_moments(features, z, covariance)
        half = linalg.dot(rows, weights.T)
        spread = linalg.square(half) if full else jnp.sum(half * half, 1)
        return linalg.dot(mean, weights.T), spread
    quadratic: Any = features
    linear, products = quadratic.split_weights(weights)
    n, p = z.shape
    labels = len(linear)
    # C Q of all labels, as one product
    stacked = products.swapaxes(0, 1).reshape(p, labels * p)
    bent = linalg.dot(covariance.reshape(n * p, p), stacked).reshape(n, p, labels, p)
    trace = jnp.trace(bent, axis1=1, axis2=3)
    slopes = linear + 2 * linalg.dot(z, stacked).reshape(n, labels, p)
    mean = linalg.dot(features(z), weights.T) + trace
    spread_out = linalg.dot(slopes, covariance)
    if full:
        flat = bent.transpose(0, 2, 1, 3).reshape(n, labels, p * p)
        turned = bent.transpose(0, 2, 3, 1).reshape(n, labels, p * p)
        straight = linalg.dot(spread_out, slopes.swapaxes(1, 2))
        return mean, straight + 2 * linalg.dot(flat, turned.swapaxes(1, 2))
    curved = jnp.sum(bent * bent.swapaxes(1, 3), (1, 3))
    return mean, jnp.sum(spread_out * slopes, 2) + 2 * curved
