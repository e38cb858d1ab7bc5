"""Damped Gauss-Newton steps to the latents of least chi-square under one Gaussian of the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from luxscale.model import by_star
from luxscale.model.observation import Equations

#: Damping of the first step, in units of the diagonal, and its bounds.
FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-2, 1e-6, 1e6


def search(
    equations: Sequence[Equations],
    mean: Any,
    precision: Any,
    z: Any,
    damping: Any,
    steps: int,
    *,
    bent: bool = False,
) -> tuple[Any, Any]:
    """Take damped Gauss-Newton steps, each star by itself.

    Parameters
    ----------
    equations : sequence of Equations
    mean, precision : array, (star, P) and (star, P, P)
        Of the Gaussian that holds each star's latents.
    z, damping : array, (star, P) and (star,)
        Where to begin, and by how much of the diagonal to lift the matrix.
    steps : int
    bent : bool
        Whether to take Newton's steps, where what is minimised is convex.

    Returns
    -------
    z, damping : array
    """

    def step(_: int, state: tuple[Any, Any]) -> tuple[Any, Any]:
        z, damping = state
        hessian, downhill = linearise(equations, mean, precision, z)
        diagonal = jnp.diagonal(hessian, axis1=1, axis2=2)
        eye = jnp.eye(z.shape[1], dtype=z.dtype)
        lifted = hessian + (damping[:, None] * diagonal)[..., None] * eye
        factor = jnp.linalg.cholesky(lifted)
        if bent is not False:
            plain = factor
            factor = jax.lax.cond(
                bent,
                lambda: _take_curvature(equations, z, lifted, plain),
                lambda: plain,
            )
        new = z + cho_solve((factor, True), downhill[..., None])[..., 0]
        # false of NaN, where damping is too small
        better = _measure_change(equations, mean, precision, z, new) < 0
        damping = jnp.where(better, damping / 5, damping * 5)
        z = jnp.where(better[:, None], new, z)
        return z, jnp.clip(damping, _LEAST_DAMPING, _MOST_DAMPING)

    found: tuple[Any, Any] = jax.lax.fori_loop(0, steps, step, (z, damping))
    return found


def _take_curvature(equations: Sequence[Equations], z: Any, lifted: Any, factor: Any) -> Any:
    """Return the factor of Newton's matrix, where what is minimised is convex."""
    newton = jnp.linalg.cholesky(lifted + sum(one.bend(z) for one in equations))
    convex = ~jnp.isnan(newton).any((1, 2), keepdims=True)
    return jnp.where(convex, newton, factor)


def linearise(equations: Sequence[Equations], mean: Any, precision: Any, z: Any) -> tuple[Any, Any]:
    """Return the matrix of a Gauss-Newton step, and minus half the gradient."""
    hessian = precision
    downhill = -by_star.multiply(precision, z - mean)
    for one in equations:
        curvature, slope = one.linearise(z)
        hessian = hessian + curvature
        downhill = downhill + slope
    return hessian, downhill


def _measure_change(
    equations: Sequence[Equations], mean: Any, precision: Any, old: Any, new: Any
) -> Any:
    """Return by how much what is minimised grows from old to new latents: (star,)."""
    both = (old - mean) + (new - mean)
    held = by_star.multiply(precision, both)
    change = jnp.sum(held * (new - old), 1)
    for one in equations:
        change = change + one.measure_change(old, new)
    return change
