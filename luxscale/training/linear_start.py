"""Where curved training of independent noise starts: the latents of a linear model.

Of all latents that predict the same the first are those along which the spectra bend most: with r
the weighted residuals of a pixel, E[r z z^T] is the matrix of the second derivatives of what the
linear model lacks (principal Hessian directions, Li 1992), and their squares are summed over
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.jit import compile_program
from luxscale.training.curved_state import Shape, State
from luxscale.training.data import BLOCK, Arrays, TrainingData
from luxscale.training.latents import Latents, solve_latents
from luxscale.training.marginal import Limits, maximise_evidence
from luxscale.training.reporting import Silence

#: Iterations of the linear model at most, and the gain of one with which it ends.
_LIMITS = Limits(iterations=8, tolerance=2e-4)


def find_linear_start(data: TrainingData, shape: Shape) -> State:
    """Return the latents of a linear model, those first that the spectra bend along."""
    outputs = maximise_evidence(data, shape.latent_dim, _LIMITS, Silence()).outputs
    latents = solve_latents(outputs, 1.0)
    n, p = data.n_stars, shape.latent_dim
    z = np.asarray(latents.mean[:n], float)
    _, _, table = linalg.packed_index(p)
    covariance = np.asarray(latents.cov[:n], float)[:, table]
    turn = find_bends(outputs, latents, data.mark_stars())
    return State(
        features=shape.products,
        z=z @ turn,
        covariance=turn.T @ covariance @ turn,
        robust_weights=(np.ones((n, 1)),) * len(data.outputs),
    )


def find_bends(outputs: Sequence[Arrays], latents: Latents, stars: np.ndarray) -> np.ndarray:
    """Return the rotation to directions in order of how much outputs bend along them.

    Parameters
    ----------
    outputs : sequence of Arrays
        Of a linear model.
    latents : Latents
    stars : array, (star,)
        1 for stars, 0 for padding.
    """
    p = latents.mean.shape[1]
    _, _, table = linalg.packed_index(p)
    bends = np.zeros((p, p))
    for output in outputs:
        lacks = np.asarray(_measure_bends(output, latents, stars), float)[:, table]
        flat = lacks.swapaxes(0, 1).reshape(p, -1)
        bends += flat @ flat.T
    _, vectors = np.linalg.eigh(bends)
    turn = vectors[:, ::-1]
    # the sign of an eigenvector is arbitrary
    largest = turn[np.abs(turn).argmax(0), np.arange(p)]
    return np.asarray(turn * np.sign(largest))


@compile_program()
def _measure_bends(output: Arrays, latents: Latents, stars: Any) -> Any:
    """Return the sum over stars of weighted residuals times products: (feature, product)."""

    def add(total: Any, block: tuple[Any, ...]) -> tuple[Any, None]:
        values, ivar, z, here = block
        w = output.noise.weigh(ivar) * here[:, None]
        rest = values - output.offset - linalg.dot(z, output.weights.T)
        return total + linalg.dot((jnp.sqrt(w) * rest).T, linalg.pack(z)), None

    d, p = output.weights.shape
    blocks = []
    for array in (output.values, output.ivar, latents.mean, stars):
        array = jnp.asarray(array)
        blocks.append(array.reshape(-1, BLOCK, *array.shape[1:]))
    start = jnp.zeros((d, p * (p + 1) // 2))
    return jax.lax.scan(add, start, tuple(blocks))[0]
