"""Variable projection: latents that enter linearly are eliminated, those that curve searched for.

Where the first latents v alone have products, phi(z) holds psi(v) and the other latents u. Under
one Gaussian of the prior, N(m, S), chi-square and the prior's part together are, about latents z_0
and with d = phi(z) - phi(z_0),

    d^T A d - 2 d^T a + constant,  A = W^T M W + S^-1,
    a = W^T (b - M W phi(z_0)) - S^-1 (z_0 - m)

of M and b as in `luxscale.model.observation`. The best u are linear in psi, and what is left is of
the same form in psi alone, a few numbers:

    A_uu = L L^T,  (Y, y) = L^-1 (A_uv, a_u),  u = u_0 + L^-T (y - Y (psi(v) - psi(v_0)))
    C = A_vv - Y^T Y,  c = a_v - Y^T y

Golub & Pereyra (1973), SIAM J. Numer. Anal. 10, 413.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from luxscale.model import by_star, linalg
from luxscale.model.features import Features, PolynomialFeatures
from luxscale.model.gauss_newton import search
from luxscale.model.observation import Equations, Observation

#: Latents for each one that curves, from which on the others are eliminated.
_LEAST = 3


class Projected(NamedTuple):
    """What is left of the equations of stars, under one Gaussian each.

    equations, of psi(v); root (star, u, u), L; slopes (star, u, term) and pull (star, u), Y and y;
    origin (star, latent), z_0.
    """

    equations: Any
    root: Any
    slopes: Any
    pull: Any
    origin: Any

    def complete(self, v: Any) -> Any:
        """Return the latents that begin with v, the others at their best: (star, latent)."""
        q = v.shape[1]
        psi = self.equations.features
        away = psi(v) - psi(self.origin[:, :q])
        rest = self.pull - by_star.multiply(self.slopes, away)
        step = by_star.solve_lower(self.root, rest, transposed=True)
        return jnp.concatenate([v, self.origin[:, q:] + step], 1)

    def search(self, damping: Any, steps: int, *, bent: Any) -> tuple[Any, Any]:
        """Take the steps of `luxscale.model.gauss_newton.search` in v: v, damping."""
        q = self.equations.features.latent_dim
        v = self.origin[:, :q]
        # the Gaussian is in the equations
        free = jnp.zeros((*v.shape, q), v.dtype)
        return search([self.equations], v, free, v, damping, steps, bent=bent)

    def find_covariance(self, z: Any) -> Any:
        """Return H^-1, H = J^T M J + S^-1, J the slope at z, of `complete`.

        With D = d psi / dv and (D^T C D)^-1 = R^T R it is Q^T Q, Q = ((R, -R D^T Y^T L^-1),
        (0, L^-1)).
        """
        psi = self.equations.features
        terms, u = self.slopes.shape[2], self.root.shape[1]
        v = z[:, :-u]
        eye = jnp.broadcast_to(jnp.eye(u, dtype=v.dtype), self.root.shape)
        inverse = solve_triangular(self.root, linalg.follow(eye, z), lower=True)
        left, _ = self.equations.linearise(v)
        root = linalg.invert_root(left)
        bends = psi.slopes(v, jnp.eye(terms, dtype=v.dtype))
        across = linalg.dot(linalg.dot(bends, self.slopes.swapaxes(1, 2)), inverse)
        above = jnp.concatenate([root, -linalg.dot(root, across)], 2)
        below = jnp.pad(inverse, ((0, 0), (0, 0), (v.shape[1], 0)))
        return linalg.square(jnp.concatenate([above, below], 1))

    def measure(self, z: Any) -> tuple[Any, Any]:
        """Return ln |H|, J the slope at z, and the squared distance to the maximum: (star,)."""
        psi = self.equations.features
        edge = z.shape[1] - self.root.shape[1]
        v, u = z[:, :edge], z[:, edge:]
        v_0, u_0 = self.origin[:, :edge], self.origin[:, edge:]
        left, downhill = self.equations.linearise(v)
        root = jnp.linalg.cholesky(linalg.follow(left, z))
        step = by_star.solve_lower(root, downhill)
        away = psi(v) - psi(v_0)
        lacks = self.pull - by_star.multiply(self.slopes, away)
        lacks -= by_star.multiply_left(u - u_0, self.root)
        log_det = 2 * by_star.sum_log_diagonal(self.root) + 2 * by_star.sum_log_diagonal(root)
        return log_det, jnp.sum(step * step, 1) + jnp.sum(lacks * lacks, 1)


def is_separable(observations: Sequence[Observation]) -> bool:
    """Return whether most latents are linear, in one output whose features are summed."""
    one, *others = (o.equations for o in observations)
    return not others and one.precision.ndim == 3 and is_mostly_linear(one.features)


def is_mostly_linear(features: Features) -> bool:
    """Return whether most latents enter linearly, and some do not."""
    if not isinstance(features, PolynomialFeatures):
        return False
    return 0 < _LEAST * features.quadratic <= features.latent_dim


def prepare(observation: Observation) -> Observation:
    """Return an observation with what `project` takes."""
    one = observation.equations
    features: Any = one.features
    weights = one.weights[:, _order_terms(features)]
    gram = linalg.dot(weights.T, linalg.dot(one.precision, weights))
    return dataclasses.replace(observation, equations=dataclasses.replace(one, gram=gram))


def add_up(equations: Sequence[Equations]) -> Equations:
    """Return the equations of several outputs as those of their terms, which `project` takes.

    In float64: the terms of a map are less well conditioned than the values that they sum.
    """
    features: Any = equations[0].features
    precision, pull = (sum(parts) for parts in zip(*map(_sum_by_term, equations), strict=True))
    order = _order_terms(features)
    return Equations(
        precision=precision,
        pull=pull,
        weights=jnp.eye(features.n_terms, dtype=pull.dtype),
        features=features,
        gram=precision[:, order[:, None], order],
    )


def _sum_by_term(one: Equations) -> tuple[Any, Any]:
    """Return B^T M B and B^T b: (star, term, term) and (star, term)."""
    if one.precision.ndim == 2:
        weighted = one.precision[..., None] * one.weights
    else:
        weighted = linalg.dot(one.precision, one.weights)
    return linalg.dot(one.weights.T, weighted), linalg.dot(one.pull, one.weights)


def project(one: Equations, mean: Any, precision: Any, z: Any) -> Projected:
    """Eliminate the latents that enter linearly.

    Parameters
    ----------
    one : Equations
        Of `prepare`.
    mean, precision : array, (star, latent) and (star, latent, latent)
        Of the Gaussian that holds each star's latents.
    z : array, (star, latent)
        About which. The nearer to the maximum, the less is rounded.
    """
    features: Any = one.features
    p, q = features.latent_dim, features.quadratic
    m = features.n_terms - (p - q)
    # the Gaussian holds latents, and no products of them
    every, products = (0, 0), (0, m - q)
    held = by_star.multiply(precision, z - mean)
    slope = linalg.dot(one.find_rest(z), one.weights)
    downhill = slope - jnp.pad(held, (every, products))
    # the m terms that stay come first
    downhill = downhill[:, _order_terms(features)]
    of_linear = one.gram[:, m:, m:] + precision[:, q:, q:]
    root = jnp.linalg.cholesky(of_linear)
    between = jnp.pad(precision[:, q:, :q], (every, every, products))
    across = one.gram[:, m:, :m] + between
    right = jnp.concatenate([across, downhill[:, m:, None]], 2)
    half = solve_triangular(root, right, lower=True)
    slopes = half[..., :-1]
    pull = half[..., -1]
    # what is left for the terms that stay
    within = jnp.pad(precision[:, :q, :q], (every, products, products))
    curvature = one.gram[:, :m, :m] + within - linalg.square(slopes)
    rest = downhill[:, :m] - by_star.multiply_left(pull, slopes)
    inner = PolynomialFeatures(q, q, features.cubic)
    here = inner(z[:, :q])
    equations = Equations(
        precision=curvature,
        pull=rest + by_star.multiply(curvature, here),
        weights=jnp.eye(m, dtype=root.dtype),
        features=inner,
    )
    return Projected(equations, root=root, slopes=slopes, pull=pull, origin=z)


def _order_terms(features: PolynomialFeatures) -> np.ndarray:
    """Return the places of psi(v), then of u, among the features."""
    linear = np.arange(features.quadratic, features.latent_dim)
    return np.r_[np.delete(np.arange(features.n_terms), linear), linear]
