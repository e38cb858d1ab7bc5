"""From normal equations in the features phi(z) of a map to normal equations in the latents z.

The chi-square of a star is quadratic in phi, whatever the map: chi2(z) = phi^T F phi - 2 phi^T g +
constant, with F and g formed once from the pixels. A linear map has phi(z) = z, and nothing is left
to do; for any other the minimum is found by damped Newton steps that never touch a pixel again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from luxscale.model import linalg
from luxscale.model.decoders import Features
from luxscale.model.priors import GaussianPrior

#: Most steps of the search, and the squared distance to the minimum, in sigma, at which it has
#: settled.
STEPS, SETTLED = 100, 1e-4

#: Steps of Gauss-Newton before those of Newton.
_GAUSS_NEWTON = 12


class Equations(NamedTuple):
    """Normal equations H (z - start) = rhs of a block of stars.

    h (star, latent, latent), prior included; rhs, start (star, latent); settled (star,), false
    where the search for the minimum did not end.
    """

    h: Any
    rhs: Any
    start: Any
    settled: Any


def in_latents(
    parts: Sequence[tuple[Any, Any]], features: Sequence[Features], prior: GaussianPrior
) -> Equations:
    """Return the normal equations in the latents, at the minimum of chi-square plus prior.

    Parameters
    ----------
    parts : sequence of (F, g)
        Normal equations of each output in its features: packed (star, K) and (star, term).
    features : sequence of callable
        phi of each output's map, (star, latent) -> (star, term).
    prior : GaussianPrior
        Of the latents, its precision (latent,).
    """
    n, p = parts[0][0].shape[0], prior.precision.shape[0]
    origin, settled = jnp.zeros((n, p)), jnp.ones(n, bool)
    if all(f.is_linear for f in features):
        h = sum(h for h, _ in parts)
        return Equations(
            linalg.unpack(h, p) + prior.hessian(), sum(g for _, g in parts), origin, settled
        )
    full = [(linalg.unpack(h, g.shape[-1]), g) for h, g in parts]
    z, distance = _search(full, features, prior, origin)
    h, _ = _linearise(full, features, prior, z)
    return Equations(h, jnp.zeros_like(z), z, distance < SETTLED)


def slope(features: Features, z: Any, weights: Any) -> Any:
    """Return d(W phi)/dz at the latents of every star, as targets of `solvers.solve`: (star, latent, feature)."""
    if features.is_linear:
        return jnp.broadcast_to(weights.T, (*z.shape, weights.shape[0]))
    return jnp.einsum(
        "nkp,mk->npm", _jacobian(features, z), weights, precision=jax.lax.Precision.HIGHEST
    )


def _jacobian(features: Features, z: Any) -> Any:
    """Return d phi / d z of every star: (star, term, latent)."""
    return jax.vmap(jax.jacfwd(features))(z)


def _times(matrices: Any, vectors: Any) -> Any:
    return linalg.dot(matrices, vectors[..., None])[..., 0]


def _linearise(
    full: Sequence[tuple[Any, Any]], features: Sequence[Features], prior: GaussianPrior, z: Any
) -> tuple[Any, Any]:
    """Return the Gauss-Newton matrix J^T F J + prior, and minus half the gradient: (star, P, P) and (star, P)."""
    h = jnp.broadcast_to(prior.hessian(), (*z.shape, z.shape[-1]))
    downhill = -prior.gradient(z)
    for (f, g), phi in zip(full, features, strict=True):
        j = _jacobian(phi, z)
        h = h + linalg.dot(j.swapaxes(1, 2), linalg.dot(f, j))
        downhill = downhill + _times(j.swapaxes(1, 2), g - _times(f, phi(z)))
    return h, downhill


def _bending(full: Sequence[tuple[Any, Any]], features: Sequence[Features], z: Any) -> Any:
    """Return what the curvature of phi adds to the Gauss-Newton matrix where residuals are large: (star, P, P)."""
    total = jnp.zeros((*z.shape, z.shape[-1]))
    for (f, g), phi in zip(full, features, strict=True):
        curvature = jax.vmap(jax.hessian(lambda x, r, phi=phi: jnp.dot(phi(x), r)))
        total = total + curvature(z, _times(f, phi(z)) - g)
    return total


def _change(
    full: Sequence[tuple[Any, Any]],
    features: Sequence[Features],
    prior: GaussianPrior,
    old: Any,
    new: Any,
) -> Any:
    """Return by how much chi-square plus prior grows from old to new latents, without cancellation: (star,)."""
    change = prior.penalty_change(old, new)
    for (f, g), phi in zip(full, features, strict=True):
        a, b = phi(old), phi(new)
        change = change + jnp.sum((b - a) * (_times(f, a + b) - 2 * g), 1)
    return change


def _search(
    full: Sequence[tuple[Any, Any]], features: Sequence[Features], prior: GaussianPrior, start: Any
) -> tuple[Any, Any]:
    """Damped Newton from ``start``: the minimum of every star, and how far off it still is, in sigma squared.

    The first steps leave out the curvature of phi, which far from the minimum leads astray and near
    it is what counts.
    """

    def step(state: tuple) -> tuple:
        k, z, damping, _ = state
        h, downhill = _linearise(full, features, prior, z)
        diagonal = jnp.diagonal(h, axis1=1, axis2=2)
        distance = jnp.sum(downhill**2 / diagonal, 1)
        bending = jnp.where(k < _GAUSS_NEWTON, 0, 1) * _bending(full, features, z)
        damped = h + bending + (damping[:, None] * diagonal)[..., None] * jnp.eye(z.shape[1])
        new = z + linalg.solve(damped, downhill).x
        better = (
            _change(full, features, prior, z, new) < 0
        )  # false of NaN, where damping is too small to be positive
        z = jnp.where(better[:, None], new, z)
        damping = jnp.clip(jnp.where(better, damping / 5, damping * 5), 1e-6, 1e6)
        return k + 1, z, damping, distance

    def more(state: tuple) -> Any:
        k, _, _, distance = state
        return (k < STEPS) & jnp.any(distance > SETTLED / 10)

    n = start.shape[0]
    _, z, _, distance = jax.lax.while_loop(
        more, step, (0, start, jnp.full(n, 1e-3), jnp.full(n, jnp.inf))
    )
    return z, distance
