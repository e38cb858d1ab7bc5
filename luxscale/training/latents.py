"""The latents of the training stars at given weights, in blocks of stars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.jit import compile_program
from luxscale.training.data import BLOCK, Arrays


class Latents(NamedTuple):
    """Posterior of the latents.

    mean : (star, latent); cov : (star, K), packed, K = 0 where they are exact; objective : (star,).
    """

    mean: Any
    cov: Any
    objective: Any

    @classmethod
    def certain(cls, z: np.ndarray) -> Latents:
        """Return latents that are known exactly."""
        n = len(z)
        return cls(
            mean=z,
            cov=np.zeros((n, 0), np.float32),
            objective=np.zeros(n, np.float32),
        )

    @property
    def has_covariance(self) -> bool:
        """Whether they are uncertain, rather than known exactly."""
        return bool(self.cov.shape[1])


@compile_program(static_argnames=("marginal",))
def solve_latents(outputs: tuple[Arrays, ...], prior: float, marginal: bool = True) -> Latents:
    """Solve for the latents of all stars at fixed weights and scatter (the z-step; the E-step).

    Parameters
    ----------
    outputs : tuple of Arrays
    prior : float
        Precision of the Gaussian prior on latents, 1 / variance.
    marginal : bool
        Whether to return covariances and the log evidence, ln p(data), instead of none and the
        penalised log-likelihood of equation 8.
    """
    # the products of the weights are the same for all stars
    packed = [linalg.pack(o.weights).T for o in outputs]

    def solve_block(i: Any) -> Latents:
        stars = [slice_stars(o, i, BLOCK) for o in outputs]
        return _solve_stars(
            stars,
            packed,
            prior=prior,
            marginal=marginal,
        )

    n = outputs[0].values.shape[0]
    indices = jnp.arange(n // BLOCK)
    blocks = jax.lax.map(solve_block, indices)
    # (block, star of it, ...) to (star, ...)
    joined = [x.reshape(n, *x.shape[2:]) for x in blocks]
    return Latents(*joined)


def slice_stars(output: Arrays, index: Any, size: int) -> Arrays:
    """Return one block of stars of an output."""
    first = index * size
    return output._replace(
        values=jax.lax.dynamic_slice_in_dim(output.values, first, size, 0),
        ivar=jax.lax.dynamic_slice_in_dim(output.ivar, first, size, 0),
    )


def _solve_stars(
    outputs: Sequence[Arrays], packed: Sequence[Any], prior: float, marginal: bool
) -> Latents:
    """Solve for the latents of some stars; ``packed`` are the products of each output's weights."""
    designs = [o.weights for o in outputs]
    weights = [o.noise.weigh(o.ivar) for o in outputs]
    residuals = [o.values - o.offset for o in outputs]
    normal, rhs = linalg.sum_equations(weights, residuals, designs, packed)
    p = rhs.shape[1]
    identity = jnp.eye(p)
    h = linalg.unpack(normal, p) + prior * identity
    solution = linalg.solve(h, rhs, identity if marginal else None)
    z = solution.x
    # the prior's part, then the likelihood of each output
    length2 = jnp.sum(z * z, 1)
    objective = -0.5 * prior * length2
    for output, w, r in zip(outputs, weights, residuals, strict=True):
        predicted = linalg.dot(z, output.weights.T)
        objective += output.noise.log_likelihood(w, r - predicted)
    if not marginal:
        no_covariance = jnp.zeros((len(z), 0))
        return Latents(z, no_covariance, objective)
    # what the integral over z adds: the volume of the posterior in that of the prior
    log_volume = p * jnp.log(prior) - solution.log_det
    objective += 0.5 * log_volume
    covariance = linalg.square(solution.half)
    return Latents(
        mean=z,
        cov=linalg.pack_symmetric(covariance),
        objective=objective,
    )


@compile_program()
def log_likelihood(output: Arrays, z: Any) -> Any:
    """Return ln p(data | z) of every star under one output (equation 4): (star,)."""
    w = output.noise.weigh(output.ivar)
    predicted = linalg.dot(z, output.weights.T)
    residual = output.values - output.offset - predicted
    return output.noise.log_likelihood(w, residual)
