"""Features that are fitted: the hidden layers of a network, in curved training.

The expected loss of the regression, sum of w E|c - W phi(z)|^2 over stars and outputs with z ~
N(m, C), is a quadratic form in the mean and the covariance rows of the hidden units
(`luxscale.model.features.find_moments`). With W as it is, the layers go down its slope by Adam; the
regression that follows has the rest.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.features import PolynomialFeatures, find_moments
from luxscale.model.jit import compile_program, use_float64
from luxscale.model.network import NetworkFeatures, run_layers
from luxscale.model.observation import Equations

#: Hidden layers.
_LAYERS = 2

#: Steps of Adam before each regression, and their size.
_STEPS, _RATE = 10, 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stars:
    """Where the stars are.

    Parameters
    ----------
    z : array, (star, latent)
    covariance : array, (star, latent, latent)
    blocks : sequence of array of int
        Stars, in blocks of one size; the last is filled up with rows of its own.
    """

    z: np.ndarray
    covariance: np.ndarray
    blocks: Sequence[np.ndarray]


def make_network(products: PolynomialFeatures, units: int) -> NetworkFeatures:
    """Return products with a network beside them that knows nothing yet.

    Its weights look random, and are always the same.
    """
    rng = np.random.default_rng(0)
    sizes = [products.latent_dim] + [units] * _LAYERS
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        matrix = rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)
        layers.append((matrix, 0.5 * rng.standard_normal(outputs)))
    return NetworkFeatures(products, tuple(layers))


def descend(
    features: NetworkFeatures, memory: Any, stars: Stars, equations: Sequence[Sequence[Equations]]
) -> tuple[NetworkFeatures, Any]:
    """Take steps of Adam down the expected loss.

    Parameters
    ----------
    features : NetworkFeatures
    memory : pytree
        Of Adam, as the last call returned it; None in the first.
    stars : Stars
    equations : sequence of sequence of Equations
        What each output says of the stars of each block.

    Returns
    -------
    features : NetworkFeatures
    memory : pytree
    """
    import optax  # half a second

    parts = []
    with use_float64():
        if memory is None:
            memory = optax.adam(_RATE).init(features.layers)
        for rows, of_block in zip(stars.blocks, equations, strict=True):
            z, covariance = stars.z[rows], stars.covariance[rows]
            gram, pull = _reduce(features.products, tuple(of_block), z, covariance)
            # a star that fills up its block counts once
            counted = np.zeros((len(rows), 1, 1))
            counted[np.unique(rows, return_index=True)[1]] = 1
            parts.append((z, covariance, counted * gram, counted * pull))
        stacked = [np.stack(arrays) for arrays in zip(*parts, strict=True)]
        found = _descend(features.products, features.layers, memory, *stacked)
    layers, memory = jax.tree.map(np.asarray, found)
    return dataclasses.replace(features, layers=layers), memory


@compile_program()
def _reduce(
    products: PolynomialFeatures, equations: tuple[Equations, ...], z: Any, covariance: Any
) -> tuple[Any, Any]:
    """Return G and a of the loss, sum over the mean and the rows v of the units of v' G v - 2 v' a.

    Returns
    -------
    gram : array, (star, unit, unit)
    pull : array, (star, 1 + 2 latent, unit)
    """
    mean, rows = find_moments(products, z, covariance)
    known = jnp.concatenate([mean[:, None], rows], 1)
    split = products.n_terms
    gram: Any = 0
    pull: Any = 0
    for one in equations:
        of_products, of_units = one.weights[:, :split], one.weights[:, split:]
        if one.precision.ndim == 2:
            weighted = one.precision[:, :, None] * of_units
        else:
            weighted = linalg.dot(one.precision, of_units)
        gram = gram + linalg.dot(of_units.T, weighted)
        pull = pull - linalg.dot(linalg.dot(known, of_products.T), weighted)
        pull = pull.at[:, 0].add(linalg.dot(one.pull, of_units))
    return gram, pull


@compile_program()
def _descend(
    products: PolynomialFeatures, layers: Any, memory: Any, *stars: Any
) -> tuple[Any, Any]:
    """Take the steps, with all blocks of stars in each.

    Products of latents, and a constant, take up what they can of each change of the units: else
    the least change would upset the balance between both.

    Parameters
    ----------
    products, layers, memory
        See `descend`.
    *stars : array, (block, star, ...)
        z, covariance, and what `_reduce` returns.
    """
    import optax

    z, _, gram, _ = stars
    known = jnp.concatenate([jnp.ones_like(z[..., :1]), products(z)], -1)
    weighted = known * jnp.trace(gram, axis1=2, axis2=3)[..., None]
    normal = jnp.einsum("bnk,bnl->kl", weighted, known)
    normal = normal + 1e-9 * jnp.diag(jnp.diag(normal))

    def project(layers: Any) -> Any:
        right = jnp.einsum("bnk,bnu->ku", weighted, run_layers(layers, z))
        return jnp.linalg.solve(normal, right)

    def measure(layers: Any, taken: Any, z: Any, covariance: Any, gram: Any, pull: Any) -> Any:
        def rest(z: Any) -> Any:
            return run_layers(layers, z) - linalg.dot(products(z), taken[1:]) - taken[0]

        mean, rows = find_moments(rest, z, covariance)
        units = jnp.concatenate([mean[:, None], rows], 1)
        return jnp.sum((linalg.dot(units, gram) - 2 * pull) * units)

    start = project(layers)

    def step(_: int, state: Any) -> Any:
        layers, memory = state
        taken = project(layers) - start

        def add(total: Any, block: Any) -> Any:
            return jax.tree.map(jnp.add, total, jax.grad(measure)(layers, taken, *block)), None

        nothing = jax.tree.map(jnp.zeros_like, layers)
        slope, _ = jax.lax.scan(add, nothing, stars)
        change, memory = optax.adam(_RATE).update(slope, memory)
        return optax.apply_updates(layers, change), memory

    found: tuple[Any, Any] = jax.lax.fori_loop(0, _STEPS, step, (layers, memory))
    return found
