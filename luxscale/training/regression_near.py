"""Weights and offsets regressed on the latents, from those of the iteration before, near by.

As `luxscale.training.regression`, without the normal matrices of all features, which are most of
its work, as `luxscale.training.latents_near` does without those of stars. The sum over stars of
z z^T is solved with as it is; that of the latents' covariances, which differ little, is taken from
their leading directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import by_star, linalg
from luxscale.model.components import Components, is_worthwhile
from luxscale.model.jit import compile_program
from luxscale.model.noise import DiagonalNoise
from luxscale.training.approximation import (
    approximate,
    approximate_covariances,
    find_directions,
    find_variance,
    pick_rows,
)
from luxscale.training.conjugate import solve_near
from luxscale.training.data import LEAST_SCATTER, Arrays
from luxscale.training.latents import Latents
from luxscale.training.regression import (
    RIDGE,
    TILE,
    cut_rows,
    cut_tile,
    expect_tile,
    list_tiles,
    put_tile,
    regress_weights,
    spread_ridge,
)
from luxscale.training.statistics import compute_moments, find_ridge, maximise

#: Share of |dx| that a step may leave.
_MOST_LEFT = 0.5

#: Share of the tiles that the exact way may have to solve; with more, it takes all from then on.
_MOST_REST = 0.3


class _Sums(NamedTuple):
    """What tiles of features share of the stars.

    first (star, latent + 1), [z, 1]; second, of E[x x^T]; covariance, of the latents' alone, None
    where they are certain.
    """

    first: Any
    second: Components
    covariance: Components | None


class WeightSolver:
    """The regression of a training, which knows where its approximations are of no use."""

    def __init__(self) -> None:
        self._is_useful = True

    def solve(
        self,
        output: Arrays,
        latents: Latents,
        start: Any,
        stars: Any,
        scatter_steps: int = 0,
        covariance: Components | None = None,
    ) -> Arrays:
        """Return scatter, weights and offset at fixed latents.

        Parameters
        ----------
        output : Arrays
            Its weights and offset are near to those looked for.
        latents, start, stars, scatter_steps
            As for `regress_weights`.
        covariance : Components, optional
            Directions of the latents' covariances, if others than as many as there are latents.
        """
        d, latent_dim = output.weights.shape
        if not (self._is_useful and is_worthwhile(d, latent_dim, 0)):
            return regress_weights(output, latents, start, stars, scatter_steps=scatter_steps)
        moments = compute_moments(latents)
        sums = _approximate_moments(output, latents, moments, stars, covariance)
        out = output._replace(
            weights=np.array(output.weights, np.float32),
            offset=np.array(output.offset, np.float32),
            scatter=np.array(output.scatter, np.float32),
        )
        ridge = spread_ridge(RIDGE, TILE, TILE)
        rest = []
        for i in list_tiles(d, TILE):
            pull = cut_rows(start, i, TILE)
            found, scatter, good = _solve_tile(
                output, sums, stars, pull, ridge, i, tile=TILE, scatter_steps=scatter_steps
            )
            weights, offset = found[:, :-1], found[:, -1]
            if not np.all(good):
                rest.append(i)
                statistics, scatter = expect_tile(
                    output, latents, moments, stars, i, tile=TILE, scatter_steps=scatter_steps
                )
                weights, offset = maximise(statistics, pull, ridge)
            put_tile(out.weights, i, weights)
            put_tile(out.offset, i, offset)
            put_tile(out.scatter, i, scatter)
        self._is_useful = len(rest) * TILE <= _MOST_REST * d
        return out


def _approximate_moments(
    output: Arrays, latents: Latents, moments: Any, stars: Any, covariance: Components | None
) -> _Sums:
    d, latent_dim = output.weights.shape
    count = latent_dim // 2
    features = pick_rows(d, count)
    ivar = np.asarray(output.ivar)[:, features]
    sample = _sample_features(ivar, output.scatter[features], moments.second, stars)
    second = approximate(moments.second, find_directions(sample, latent_dim + 1, count))
    if not latents.has_covariance:
        return _Sums(moments.first, second, None)
    # these are summed star by star for the scatter, too
    covariance = covariance or approximate_covariances(latents.cov, latent_dim, stars, latent_dim)
    return _Sums(moments.first, second, covariance)


@compile_program()
def _sample_features(ivar: Any, scatter: Any, second: Any, stars: Any) -> Any:
    """Return the normal matrices of some features."""
    weights = DiagonalNoise(scatter).weigh(ivar * stars[:, None])
    return linalg.dot(weights.T, second)


@compile_program(static_argnames=("tile", "scatter_steps"))
def _solve_tile(
    output: Arrays,
    sums: _Sums,
    stars: Any,
    start: Any,
    ridge: Any,
    i: Any,
    *,
    tile: int,
    scatter_steps: int,
) -> tuple[Any, Any, Any]:
    """Return weights and offset of a tile, its scatter, which is fitted first, and what is good."""
    part = cut_tile(output, i, tile)
    ivar = part.ivar * stars[:, None]
    weights, noise = part.weights, part.noise
    near = jnp.concatenate([weights, part.offset[:, None]], 1)
    left = part.values - linalg.dot(sums.first, near.T)
    if scatter_steps:
        square = left**2
        if sums.covariance is not None:
            square += find_variance(sums.covariance, weights)
        noise = noise.fit(square, ivar, scatter_steps, LEAST_SCATTER)
    w = noise.weigh(ivar)
    p = weights.shape[1]
    diagonal, shrink = find_ridge(jnp.sum(w, 0), jnp.sum(w > 0, 0), start, ridge)
    of_latents = jnp.zeros((tile, p, p))
    if sums.covariance is not None:
        of_latents = _make_matrices(w, sums.covariance, p)
    h = _make_matrices(w, sums.second, p + 1) + diagonal[:, :, None] * jnp.eye(p + 1)

    def add_others(x: Any) -> Any:
        by_latents = by_star.multiply(of_latents, x[:, :p])
        return jnp.pad(by_latents, ((0, 0), (0, 1))) + diagonal * x

    def apply(x: Any) -> Any:
        return _sum_stars(sums.first, w * linalg.dot(sums.first, x.T)) + add_others(x)

    pull = _sum_stars(sums.first, w * left) - add_others(near) + shrink
    solved = solve_near(apply, linalg.invert_root(h), near, pull, _MOST_LEFT)
    return solved.x, noise.scatter, solved.good


def _make_matrices(w: Any, sums: Components, p: int) -> Any:
    """Return the normal matrices of features, nearly: (feature, p, p)."""
    return linalg.unpack(linalg.dot(_sum_stars(sums.sums, w), sums.matrices), p)


def _sum_stars(of_stars: Any, of_both: Any) -> Any:
    """Return sums over stars, (star, k) and (star, feature) -> (feature, k)."""
    # turned once they are summed: a product that is to be turned itself takes twice as long
    sums = jax.lax.optimization_barrier(linalg.dot(of_stars.T, of_both))
    return sums.T
