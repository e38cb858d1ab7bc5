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
        return cls(z, np.zeros((len(z), 0), np.float32), np.zeros(len(z), np.float32))

    @property
    def has_covariance(self) -> bool:
        """Whether they are uncertain, rather than known exactly."""
        return bool(self.cov.shape[1])


@compile_program(static_argnames=("block", "marginal"))
def latent_step(
    outputs: tuple[Arrays, ...], prior: float, block: int = BLOCK, marginal: bool = True
) -> Latents:
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
    packed = [linalg.pack(o.weights).T for o in outputs]

    def solve_block(i: Any) -> Latents:
        stars = [_slice_stars(o, i, block) for o in outputs]
        return _solve_stars(stars, packed, prior, marginal)

    n = outputs[0].values.shape[0]
    blocks = jax.lax.map(solve_block, jnp.arange(n // block))
    return Latents(*(x.reshape(n, *x.shape[2:]) for x in blocks))


def _slice_stars(output: Arrays, index: Any, size: int) -> Arrays:
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
    h = linalg.unpack(normal, p) + prior * jnp.eye(p)
    z, half, log_det = linalg.solve(h, rhs, jnp.eye(p) if marginal else None)
    objective = -0.5 * prior * jnp.sum(z * z, 1)
    for output, w, r in zip(outputs, weights, residuals, strict=True):
        remaining = r - linalg.dot(z, output.weights.T)
        objective += output.noise.log_likelihood(w, remaining)
    if not marginal:
        return Latents(z, jnp.zeros((len(z), 0)), objective)
    # what the integral over z adds: the volume of the posterior in that of the prior
    objective += 0.5 * (p * jnp.log(prior) - log_det)
    covariance = linalg.pack_symmetric(linalg.square(half))
    return Latents(z, covariance, objective)


@compile_program()
def log_likelihood(output: Arrays, z: Any) -> Any:
    """Return ln p(data | z) of every star under one output (equation 4): (star,)."""
    w = output.noise.weigh(output.ivar)
    residual = output.values - output.offset - linalg.dot(z, output.weights.T)
    return output.noise.log_likelihood(w, residual)
