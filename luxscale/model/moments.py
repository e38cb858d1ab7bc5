"""Mean and covariance of labels whose latents are normal."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from luxscale.model import linalg
from luxscale.model.features import Features, PolynomialFeatures, find_moments


def find_label_moments(
    features: Features, weights: Any, z: Any, covariance: Any, *, full: bool
) -> tuple[Any, Any]:
    """Return mean and variance of W phi(z), z ~ N(m, C), or its covariance.

    With products of latents, w^T z + z^T Q z + D z z z, these are exact. About m, the same is
    q^T u + u^T B u + D u u u with B = Q + 3 D m, and

        mean = W phi(m) + tr(B C)
        covariance of two labels = a^T C a' + 2 tr(B C B' C) + 6 <D, D'>,  a = q + 3 D C

    where <D, D'> is the sum over all indices, each joined by C to one of the other. Other features
    have those of `find_moments`.

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
    if isinstance(features, PolynomialFeatures):
        return _find_polynomial_moments(features, weights, z, covariance, full)
    mean, rows = find_moments(features, z, covariance)
    half = linalg.dot(rows, weights.T)
    spread = linalg.square(half) if full else jnp.sum(half * half, 1)
    return linalg.dot(mean, weights.T), spread


def _find_polynomial_moments(
    features: PolynomialFeatures, weights: Any, z: Any, covariance: Any, full: bool
) -> tuple[Any, Any]:
    """Return what `find_label_moments` does, with products of latents."""
    linear, products, triples = features.split_weights(weights)
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
    slopes = linear[:, :, None] + _fill(bending, p)
    bent, slopes = _compute_once((bent, slopes))
    if features.cubic:
        bent, slopes = _bend_more(bent, slopes, triples, z.T, last)
    trace = jnp.trace(bent, axis1=1, axis2=2)
    mean = linalg.dot(features(z), weights.T) + trace.T
    # C times the slopes
    spread_out = sum(last[:, i] * slopes[:, i, None] for i in range(p))
    if full:
        straight = linalg.dot(spread_out.transpose(2, 0, 1), slopes.transpose(2, 1, 0))
        spread = straight + 2 * _multiply_across(bent, bent)
    else:
        straight = jnp.sum(spread_out * slopes, 1)
        curved = jnp.sum(bent * bent.swapaxes(1, 2), (1, 2))
        spread = (straight + 2 * curved).T
    if features.cubic:
        spread = spread + 6 * _square_triples(triples, last, full)
    return mean, spread


def _bend_more(bent: Any, slopes: Any, triples: Any, z: Any, covariance: Any) -> tuple[Any, Any]:
    """Return B C and a, given Q C and q: (label, latent, latent, star), (label, latent, star)."""
    labels, c = triples.shape[:2]
    n = z.shape[1]
    q, p = bent.shape[1], slopes.shape[1]
    # 3 D m, the part of B that products of three have
    by_pair = triples.reshape(-1, c)
    turned = 3 * linalg.dot(by_pair, z[:c]).reshape(labels, c, c, n)
    turned = _compute_once(turned)
    bent_more = sum(turned[:, :, i, None] * covariance[i, :q] for i in range(c))
    # 3 D C and 3 D m m
    by_latent = triples.reshape(-1, c * c)
    first = covariance[:c, :c].reshape(c * c, n)
    joined = 3 * linalg.dot(by_latent, first)
    of_mean = sum(turned[:, :, i] * z[i] for i in range(c))
    steeper = joined.reshape(labels, c, n) + of_mean
    bent = bent + _fill(bent_more, q)
    slopes = slopes + _fill(steeper, p)
    found: tuple[Any, Any] = _compute_once((bent, slopes))
    return found


def _fill(array: Any, size: int) -> Any:
    """Return an array with so many latents in its second dim, 0 for those that it lacks."""
    padding = [(0, 0)] * array.ndim
    padding[1] = (0, size - array.shape[1])
    return jnp.pad(array, padding)


def _square_triples(triples: Any, covariance: Any, full: bool) -> Any:
    """Return <D, D'> of every label, or every two: (star, label), or (star, label, label)."""
    labels, c = triples.shape[:2]
    n = covariance.shape[2]
    first = covariance[:c, :c]
    # D C over one index, and C over another: what is left is a trace for each of the third
    one = linalg.dot(triples.reshape(-1, c), first.reshape(c, c * n))
    one = _compute_once(one.reshape(labels, c, c, c, n))
    two = sum(first[:, i, None, None] * one[:, i, None] for i in range(c))
    if not full:
        return jnp.sum(two * one.swapaxes(2, 3), (1, 2, 3)).T
    return sum(_multiply_across(two[:, i], one[:, i]) for i in range(c))


def _multiply_across(one: Any, other: Any) -> Any:
    """Return the traces of products of matrices, (label, q, q, star): (star, label, label)."""
    labels, q, _, n = one.shape
    flat = one.transpose(3, 0, 1, 2).reshape(n, labels, q * q)
    turned = other.transpose(3, 0, 2, 1).reshape(n, labels, q * q)
    return linalg.dot(flat, turned.swapaxes(1, 2))


#: Keeps XLA from computing an array anew for each element of the sums that take it.
_compute_once = jax.lax.optimization_barrier
