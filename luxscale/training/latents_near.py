"""The latents of the training stars, from those of the iteration before, which are near.

As `luxscale.training.latents`, without the normal matrices of all stars, which are most of its
work: a matrix that is nearly right (`luxscale.training.approximation`) gives covariances, and
conjugate gradients solve the exact equations with it. Stars for which it is not near enough are
solved as they would be otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import by_star, linalg
from luxscale.model.components import Components, is_worthwhile
from luxscale.model.jit import compile_program
from luxscale.model.noise import DiagonalNoise
from luxscale.training.approximation import approximate, find_directions, pick_rows
from luxscale.training.conjugate import solve_near
from luxscale.training.data import BLOCK, Arrays
from luxscale.training.latents import Latents, slice_stars, solve_latents

#: Share of |dz| that a step may leave, for H_0^-1 to be a covariance.
_MOST_LEFT = 0.2

#: Share of the stars that the exact way may have to solve; with more, it takes all from then on.
_MOST_REST = 0.3


class LatentSolver:
    """The z-step of a training, which knows where its approximations are of no use.

    Parameters
    ----------
    n_stars : int
        Number of stars, without padding.
    prior : float
        As for `solve_latents`.
    marginal : bool
    tell : callable, optional
        Told how many stars an approximation was not right for, where there are any.
    """

    def __init__(
        self,
        n_stars: int,
        prior: float,
        marginal: bool = True,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._n_stars, self._prior, self._marginal = n_stars, prior, marginal
        self._tell = tell
        self._is_useful = True

    def solve(self, outputs: tuple[Arrays, ...], near: Any) -> Latents:
        """Return the latents of all stars.

        Parameters
        ----------
        outputs : tuple of Arrays
        near : array, (star, latent)
            What they are near to.
        """
        latent_dim = near.shape[1]
        many = [is_worthwhile(len(o.offset), latent_dim, 0) for o in outputs]
        if not (self._is_useful and any(many)):
            return solve_latents(outputs, self._prior, marginal=self._marginal)
        components = tuple(
            approximate_output(o, self._n_stars, latent_dim) if is_many else None
            for o, is_many in zip(outputs, many, strict=True)
        )
        found, good = _solve_near(outputs, components, near, self._prior, marginal=self._marginal)
        rest = np.flatnonzero(~np.asarray(good)[: self._n_stars])
        if rest.size and self._tell:
            self._tell(f"{rest.size:,} of {self._n_stars:,} stars solved the exact way")
        if rest.size > _MOST_REST * self._n_stars:
            self._is_useful = False
            return solve_latents(outputs, self._prior, marginal=self._marginal)
        return self._solve_rest(outputs, found, rest)

    def _solve_rest(self, outputs: tuple[Arrays, ...], found: Latents, rest: np.ndarray) -> Latents:
        """Return latents of which some stars' are solved the exact way."""
        whole = Latents(*(np.array(array) for array in found)) if rest.size else found
        for start in range(0, rest.size, BLOCK):
            rows = rest[start : start + BLOCK]
            # of one size, for the sake of one program
            block = np.resize(rows, BLOCK)
            some = tuple(
                o._replace(values=np.asarray(o.values)[block], ivar=np.asarray(o.ivar)[block])
                for o in outputs
            )
            exact = solve_latents(some, self._prior, marginal=self._marginal)
            for array, part in zip(whole, exact, strict=True):
                array[rows] = part[: rows.size]
        return whole


def approximate_output(output: Arrays, n_stars: int, latent_dim: int) -> Components:
    """Return the components of the normal matrices that an output makes of stars."""
    rows = pick_rows(n_stars, latent_dim)
    ivar = np.asarray(output.ivar)[rows]
    products, sample = _sample_stars(output.weights, output.scatter, ivar)
    directions = find_directions(sample, latent_dim, latent_dim)
    return Components(*approximate(products, directions))


@compile_program()
def _sample_stars(weights: Any, scatter: Any, ivar: Any) -> tuple[Any, Any]:
    """Return the packed products of weights, (feature, K), and the matrices of some stars."""
    products = linalg.pack(weights)
    return products, linalg.dot(DiagonalNoise(scatter).weigh(ivar), products)


@compile_program(static_argnames=("marginal",))
def _solve_near(
    outputs: tuple[Arrays, ...],
    components: tuple[Components | None, ...],
    near: Any,
    prior: float,
    *,
    marginal: bool,
) -> tuple[Latents, Any]:
    """Return the latents of all stars, and which are right: (star,)."""
    packed = [
        linalg.pack(o.weights).T if c is None else None
        for o, c in zip(outputs, components, strict=True)
    ]

    def solve_block(i: Any) -> tuple[Latents, Any]:
        stars = [slice_stars(o, i, BLOCK) for o in outputs]
        start = jax.lax.dynamic_slice_in_dim(near, i * BLOCK, BLOCK, 0)
        return _solve_stars_near(stars, components, packed, start, prior, marginal)

    n = near.shape[0]
    latents, good = jax.lax.map(solve_block, jnp.arange(n // BLOCK))
    return Latents(*(x.reshape(n, *x.shape[2:]) for x in latents)), good.reshape(n)


def _solve_stars_near(
    outputs: Sequence[Arrays],
    components: Sequence[Components | None],
    packed: Sequence[Any],
    near: Any,
    prior: float,
    marginal: bool,
) -> tuple[Latents, Any]:
    p = near.shape[1]
    h = prior * jnp.eye(p)
    pull = -prior * near
    objective = -0.5 * prior * jnp.sum(near**2, 1)
    weights = [o.noise.weigh(o.ivar) for o in outputs]
    for output, w, products, parts in zip(outputs, weights, packed, components, strict=True):
        left = output.values - output.offset - linalg.dot(near, output.weights.T)
        pull += linalg.dot(w * left, output.weights)
        objective += output.noise.log_likelihood(w, left)
        if parts is None:
            normal = linalg.dot(w, products.T)
        else:
            normal = linalg.dot(linalg.dot(w, parts.sums), parts.matrices)
        h = h + linalg.unpack(normal, p)
    inverse = linalg.invert_root(h)

    def apply(direction: Any) -> Any:
        parts = [
            linalg.dot(w * linalg.dot(direction, o.weights.T), o.weights)
            for o, w in zip(outputs, weights, strict=True)
        ]
        return sum(parts) + prior * direction

    solved = solve_near(apply, inverse, near, pull, _MOST_LEFT)
    objective += solved.fall
    if not marginal:
        return Latents(solved.x, jnp.zeros((len(near), 0)), objective), solved.good
    # ln |H|, H^-1 = R^T R and R a triangle
    log_det = -2 * by_star.sum_log_diagonal(inverse)
    objective += 0.5 * (p * jnp.log(prior) - log_det)
    covariance = linalg.pack_symmetric(linalg.square(inverse))
    return Latents(solved.x, covariance, objective), solved.good
