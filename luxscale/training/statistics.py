"""Sums over stars from which weights and offsets of a tile of features follow.

For given latents, all that training needs of the stars are sums over them: `expect` takes them over
some stars, ``+`` puts those of other stars to them, and `maximise` solves for the parameters. Stars
that do not fit into memory could be trained on likewise, a chunk after the other.

Everything is in the units of `luxscale.training.data`, float32. `luxscale.training.regression` goes
through the tiles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from luxscale.model import linalg
from luxscale.model.jit import compile_program
from luxscale.training.latents import Latents

#: Pull of an offset to 0, in stars of average weight: just what a feature without data needs.
_OFFSET_RIDGE = 1e-6


class Moments(NamedTuple):
    """[z, 1] (star, latent + 1) and the expectation of its packed products (star, K)."""

    first: Any
    second: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """Sums over stars of the regression of a tile of features on the latents.

    Parameters
    ----------
    normal : array, (feature, K)
        Sum of w E[x x^T], packed, with x = [z, 1] and w = 1 / (sigma^2 + s^2).
    right : array, (feature, latent + 1)
        Sum of w y E[x].
    weight : array, (feature,)
        Sum of w.
    count : array, (feature,)
        Number of measured values.
    """

    normal: Any
    right: Any
    weight: Any
    count: Any

    def __add__(self, other: Statistics) -> Statistics:
        """Return the statistics of two sets of stars that share none."""
        return Statistics(
            normal=self.normal + other.normal,
            right=self.right + other.right,
            weight=self.weight + other.weight,
            count=self.count + other.count,
        )


jax.tree_util.register_dataclass(Statistics, ["normal", "right", "weight", "count"], [])


@compile_program()
def compute_moments(latents: Latents) -> Moments:
    """Return the moments of the latents that `expect` sums over stars.

    With covariances, second moments are expectations over the posterior, E[z z^T] = z z^T + C.
    """
    z = latents.mean
    constant = jnp.ones_like(z[:, :1])
    first = jnp.concatenate([z, constant], 1)
    products = linalg.pack(z)
    if latents.has_covariance:
        products = products + latents.cov
    # the products of the last, constant column stand last: they are z, and 1
    return Moments(first, jnp.concatenate([products, first], 1))


def expect(
    values: Any, weights: Any, moments: Moments, dot: Callable[[Any, Any], Any] = linalg.dot
) -> Statistics:
    """Sum over stars what the regression of a tile of features needs.

    Parameters
    ----------
    values : array, (star, feature)
    weights : array, (star, feature)
        1 / (sigma^2 + s^2), 0 where a value is missing or the star takes no part.
    moments : Moments
        Of the latents of these stars.
    dot : callable
        Product of matrices, of whichever library the arrays are.
    """
    return Statistics(
        normal=dot(weights.T, moments.second),
        right=dot((weights * values).T, moments.first),
        weight=weights.sum(0),
        count=(weights > 0).sum(0, dtype=weights.dtype),
    )


@compile_program()
def maximise(statistics: Statistics, start: Any, ridge: Any) -> tuple[Any, Any]:
    """Solve for the weights and offsets that the statistics make most likely.

    A program of its own: it takes longest to compile, and serves all outputs and steps.

    Parameters
    ----------
    statistics : Statistics
    start : array, (feature, latent)
        Weights to which what the data leave free shrinks.
    ridge : float or array, (feature, 1)
        Strength of that shrinking, in stars of average weight.

    Returns
    -------
    weights : array, (feature, latent)
    offset : array, (feature,)
    """
    p = start.shape[1]
    diagonal, pull = find_ridge(statistics.weight, statistics.count, start, ridge)
    normal = linalg.unpack(statistics.normal, p + 1)
    h = normal + diagonal[:, :, None] * jnp.eye(p + 1)
    x = linalg.solve(h, statistics.right + pull).x
    return x[:, :p], x[:, p]


def find_ridge(weight: Any, count: Any, start: Any, ridge: Any) -> tuple[Any, Any]:
    """Return what `maximise` adds to normal equations.

    Parameters
    ----------
    weight, count
        As in `Statistics`.
    start, ridge
        As for `maximise`.

    Returns
    -------
    diagonal, right : array, (feature, latent + 1)
    """
    p = start.shape[1]
    is_weight = jnp.arange(p + 1) < p
    shrink = jnp.where(is_weight, ridge, _OFFSET_RIDGE)
    strength = weight / jnp.maximum(count, 1)
    # a feature without data still needs a matrix that can be solved
    strength = jnp.where(strength > 0, strength, 1)[:, None]
    # the weights are pulled to their start, the offset to 0
    of_weights = strength * ridge * start
    of_offset = jnp.zeros_like(strength)
    return strength * shrink, jnp.concatenate([of_weights, of_offset], 1)
