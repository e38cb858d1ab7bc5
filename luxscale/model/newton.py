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
from luxscale.model.priors import Prior

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


class _Part(NamedTuple):
    """Normal equations of one output in its features phi: F (star, term, term), g (star, term)."""

    f: Any
    g: Any
    phi: Features

    def residual(self, terms: Any) -> Any:
        """Return g - F phi, half the slope of minus chi-square in the features: (star, term)."""
        return self.g - _multiply(self.f, terms)


def in_latents(
    parts: Sequence[tuple[Any, Any]], features: Sequence[Features], prior: Prior
) -> Equations:
    """Return the normal equations in the latents, at the minimum of chi-square plus prior.

    Parameters
    ----------
    parts : sequence of (F, g)
        Normal equations of each output in its features: packed (star, K) and (star, term).
    features : sequence of Features
        phi of each output's map, (star, latent) -> (star, term).
    prior : Prior
        Of the latents, prepared.
    """
    n, p = parts[0][0].shape[0], prior.hessian().shape[0]
    origin = jnp.zeros((n, p))
    if all(phi.is_linear for phi in features):
        h, rhs = sum(f for f, _ in parts), sum(g for _, g in parts)
        return Equations(
            h=linalg.unpack(h, p) + prior.hessian(),
            rhs=rhs,
            start=origin,
            settled=jnp.ones(n, bool),
        )
    full = [
        _Part(linalg.unpack(f, g.shape[-1]), g, phi)
        for (f, g), phi in zip(parts, features, strict=True)
    ]
    z, distance = _search(full, prior, origin)
    h, _ = _linearise(full, prior, z)
    return Equations(h=h, rhs=jnp.zeros_like(z), start=z, settled=distance < SETTLED)


def slope(features: Features, z: Any, weights: Any) -> Any:
    """Return d(W phi)/dz of every star, as targets of `linalg.solve`: (star, latent, feature)."""
    if features.is_linear:
        return jnp.broadcast_to(weights.T, (*z.shape, weights.shape[0]))
    return jnp.einsum(
        "nkp,mk->npm",
        _jacobian(features, z),
        weights,
        precision=jax.lax.Precision.HIGHEST,
    )


def _jacobian(features: Features, z: Any) -> Any:
    """Return d phi / d z of every star: (star, term, latent)."""
    return jax.vmap(jax.jacfwd(features))(z)


def _multiply(matrices: Any, vectors: Any) -> Any:
    """Return the product of a matrix and a vector of every star."""
    return linalg.dot(matrices, vectors[..., None])[..., 0]


def _linearise(full: Sequence[_Part], prior: Prior, z: Any) -> tuple[Any, Any]:
    """Return the equations of a Gauss-Newton step.

    The matrix J^T F J + prior, (star, P, P), and minus half the gradient, (star, P).
    """
    h = jnp.broadcast_to(prior.hessian(), (*z.shape, z.shape[-1]))
    downhill = -prior.gradient(z)
    for part in full:
        j = _jacobian(part.phi, z)
        transposed = j.swapaxes(1, 2)
        h = h + linalg.dot(transposed, linalg.dot(part.f, j))
        downhill = downhill + _multiply(transposed, part.residual(part.phi(z)))
    return h, downhill


def _curve(full: Sequence[_Part], z: Any) -> Any:
    """Return what the curvature of phi adds to the Gauss-Newton matrix: (star, P, P).

    It is small where residuals are.
    """
    total = jnp.zeros((*z.shape, z.shape[-1]))
    for part in full:

        def along(x: Any, r: Any, phi: Features = part.phi) -> Any:
            return jnp.dot(phi(x), r)

        pull = _multiply(part.f, part.phi(z)) - part.g
        total = total + jax.vmap(jax.hessian(along))(z, pull)
    return total


def _measure_change(full: Sequence[_Part], prior: Prior, old: Any, new: Any) -> Any:
    """Return by how much chi-square plus prior grows from old to new latents: (star,).

    A difference of squares is a product, so that nothing cancels.
    """
    change = prior.penalty_change(old, new)
    for part in full:
        before, after = part.phi(old), part.phi(new)
        slopes = _multiply(part.f, before + after) - 2 * part.g
        change = change + jnp.sum((after - before) * slopes, 1)
    return change


class _State(NamedTuple):
    """Where the search is: number of steps, latents, damping and squared distance of each star."""

    step: Any
    z: Any
    damping: Any
    distance: Any


def _search(full: Sequence[_Part], prior: Prior, start: Any) -> tuple[Any, Any]:
    """Find the minimum of every star by damped Newton steps from ``start``.

    The first steps leave out the curvature of phi, which far from the minimum leads astray and near
    it is what counts. Returns the latents, and how far off the minimum still is, in sigma squared.
    """
    eye = jnp.eye(start.shape[1])

    def step(state: _State) -> _State:
        z, damping = state.z, state.damping
        h, downhill = _linearise(full, prior, z)
        diagonal = jnp.diagonal(h, axis1=1, axis2=2)
        distance = jnp.sum(downhill**2 / diagonal, 1)
        use_curvature = jnp.where(state.step < _GAUSS_NEWTON, 0, 1)
        curvature = use_curvature * _curve(full, z)
        lift = (damping[:, None] * diagonal)[..., None] * eye
        new = z + linalg.solve(h + curvature + lift, downhill).x
        # false of NaN, where damping is too small to be positive
        better = _measure_change(full, prior, z, new) < 0
        damping = jnp.where(better, damping / 5, damping * 5)
        return _State(
            step=state.step + 1,
            z=jnp.where(better[:, None], new, z),
            damping=jnp.clip(damping, 1e-6, 1e6),
            distance=distance,
        )

    def is_unfinished(state: _State) -> Any:
        return (state.step < STEPS) & jnp.any(state.distance > SETTLED / 10)

    n = start.shape[0]
    first = _State(
        step=0,
        z=start,
        damping=jnp.full(n, 1e-3),
        distance=jnp.full(n, jnp.inf),
    )
    last = jax.lax.while_loop(is_unfinished, step, first)
    return last.z, last.distance
