"""The latents of the training stars at given weights, in blocks of stars, so that no array of (star, feature, latent) exists."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.jit import compile_program
from luxscale.training.data import BLOCK, Arrays


class Latents(NamedTuple):
    """Posterior of the latents: mean (star, latent), packed covariance (star, K), objective (star,)."""

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
    p = outputs[0].weights.shape[1]
    designs = [o.weights for o in outputs]
    packed = [linalg.pack(x).T for x in designs]

    def solve_block(i: Any) -> Latents:
        weights = [o.noise.weigh(_slice(o.ivar, i, block)) for o in outputs]
        residuals = [_slice(o.values, i, block) - o.offset for o in outputs]
        h, rhs = linalg.sum_equations(weights, residuals, designs, packed)
        directions = jnp.eye(p) if marginal else None
        z, half, log_det = linalg.solve(linalg.unpack(h, p) + prior * jnp.eye(p), rhs, directions)
        objective = -0.5 * prior * jnp.sum(z * z, 1)
        for o, w, r in zip(outputs, weights, residuals, strict=True):
            objective += o.noise.log_likelihood(w, r - linalg.dot(z, o.weights.T))
        if not marginal:
            return Latents(z, jnp.zeros((block, 0)), objective)
        # what the integral over z adds: the volume of the posterior in that of the prior
        objective += 0.5 * (p * jnp.log(prior) - log_det)
        return Latents(z, linalg.pack_symmetric(linalg.square(half)), objective)

    n = outputs[0].values.shape[0]
    blocks = jax.lax.map(solve_block, jnp.arange(n // block))
    return Latents(*(x.reshape(n, *x.shape[2:]) for x in blocks))


def _slice(x: Any, index: Any, size: int) -> Any:
    return jax.lax.dynamic_slice_in_dim(x, index * size, size, 0)


@compile_program()
def log_likelihood(output: Arrays, z: Any) -> Any:
    """Return ln p(data | z) of every star under one output (equation 4): (star,)."""
    w = output.noise.weigh(output.ivar)
    residual = output.values - output.offset - linalg.dot(z, output.weights.T)
    return output.noise.log_likelihood(w, residual)
