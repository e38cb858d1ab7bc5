"""Sums over stars from which weights and offsets follow, one tile of features at a time.

For given latents, all that training needs of the stars are sums over them: `expect` takes them over
some stars, ``+`` puts those of other stars to them, and `maximise` solves for the parameters. As
sums add up, folds share one pass over the stars: `leave_out_step` adds, for each fold, those of all
others. Stars that do not fit into memory could be trained on likewise, a chunk after the other.

Everything is in the units of `luxscale.training.data`, float32, and runs over tiles of features, so
that no array of (star, feature, latent) ever exists, nor the normal matrices of all features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.jit import compile_program
from luxscale.model.noise import DiagonalNoise
from luxscale.training.data import LEAST_SCATTER, Arrays
from luxscale.training.latents import Latents

#: Features that are worked on at once: small enough for the cache, large enough for the product.
TILE = 256

#: Pull of an offset to 0, in stars of average weight: just what a feature without data needs.
_OFFSET_RIDGE = 1e-6


class Moments(NamedTuple):
    """[z, 1] (star, latent + 1) and the expectation of its packed products (star, K)."""

    first: Any
    second: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """Sums over stars of the regression of a tile of features on the latents.

    Parameters
    ----------
    normal : array, (feature, K)
        Sum of w E[x x^T], packed, with x = [z, 1] and w = 1 / (sigma^2 + s^2).
    right : array, (feature, latent + 1)
        Sum of w y E[x].
    weight : array, (feature,)
        Sum of w.
    count : array, (feature,)
        Number of measured values.
    """

    normal: Any
    right: Any
    weight: Any
    count: Any

    def __add__(self, other: Statistics) -> Statistics:
        """Return the statistics of two sets of stars that share none."""
        return Statistics(
            normal=self.normal + other.normal,
            right=self.right + other.right,
            weight=self.weight + other.weight,
            count=self.count + other.count,
        )


jax.tree_util.register_dataclass(Statistics, ["normal", "right", "weight", "count"], [])


@compile_program()
def compute_moments(latents: Latents) -> Moments:
    """Return the moments of the latents that `expect` sums over stars.

    With covariances, second moments are expectations over the posterior, E[z z^T] = z z^T + C.
    """
    z = latents.mean
    constant = jnp.ones_like(z[:, :1])
    first = jnp.concatenate([z, constant], 1)
    products = linalg.pack(z)
    if latents.has_covariance:
        products = products + latents.cov
    # the products of the last, constant column stand last: they are z, and 1
    return Moments(first, jnp.concatenate([products, first], 1))


def expect(values: Any, weights: Any, moments: Moments) -> Statistics:
    """Sum over stars what the regression of a tile of features needs.

    Parameters
    ----------
    values : array, (star, feature)
    weights : array, (star, feature)
        1 / (sigma^2 + s^2), 0 where a value is missing or the star takes no part.
    moments : Moments
        Of the latents of these stars.
    """
    return Statistics(
        normal=linalg.dot(weights.T, moments.second),
        right=linalg.dot((weights * values).T, moments.first),
        weight=jnp.sum(weights, 0),
        count=jnp.sum(weights > 0, 0, dtype=weights.dtype),
    )


@compile_program()
def maximise(statistics: Statistics, start: Any, ridge: float) -> tuple[Any, Any]:
    """Solve for the weights and offsets that the statistics make most likely.

    A program of its own: it takes longest to compile, and serves all outputs and steps.

    Parameters
    ----------
    statistics : Statistics
    start : array, (feature, latent)
        Weights to which what the data leave free shrinks.
    ridge : float
        Strength of that shrinking, in stars of average weight.

    Returns
    -------
    weights : array, (feature, latent)
    offset : array, (feature,)
    """
    p = start.shape[1]
    is_weight = jnp.arange(p + 1) < p
    shrink = jnp.where(is_weight, ridge, _OFFSET_RIDGE)
    strength = statistics.weight / jnp.maximum(statistics.count, 1)
    # a feature without data still needs a matrix that can be solved
    strength = jnp.where(strength > 0, strength, 1)[:, None]
    normal = linalg.unpack(statistics.normal, p + 1)
    diagonal = (strength * shrink)[:, :, None] * jnp.eye(p + 1)
    h = normal + diagonal
    # the weights are pulled to their start, the offset to 0
    of_weights = strength * ridge * start
    of_offset = jnp.zeros_like(strength)
    pull = jnp.concatenate([of_weights, of_offset], 1)
    x = linalg.solve(h, statistics.right + pull).x
    return x[:, :p], x[:, p]


def weight_step(
    output: Arrays,
    latents: Latents,
    start: Any,
    stars: Any,
    tile: int = TILE,
    scatter_steps: int = 0,
    ridge: float = 1.0,
) -> Arrays:
    """Solve for scatter, then weights and offset, at fixed latents (a-, b- and s-step; M-step).

    Parameters
    ----------
    output : Arrays
    latents : Latents
    start : array, (feature, latent)
        Weights to which what the data leave free shrinks.
    stars : array, (star,)
        1 for the stars that take part, 0 for those that do not.
    scatter_steps : int
        Fisher-scoring steps for the scatter; 0 keeps it.
    ridge : float
        Strength of that shrinking, in stars of average weight.
    """
    moments = compute_moments(latents)
    out = output._replace(
        weights=np.array(output.weights, np.float32),
        offset=np.array(output.offset, np.float32),
        scatter=np.array(output.scatter, np.float32),
    )
    for i in _list_tiles(len(out.offset), tile):
        statistics, scatter = _expect_tile(
            output,
            latents,
            moments,
            stars,
            i,
            tile=tile,
            scatter_steps=scatter_steps,
        )
        weights, offset = maximise(statistics, _cut_rows(start, i, tile), ridge)
        _put_tile(out.weights, i, weights)
        _put_tile(out.offset, i, offset)
        _put_tile(out.scatter, i, scatter)
    return out


@compile_program(static_argnames=("tile", "scatter_steps"))
def _expect_tile(
    output: Arrays,
    latents: Latents,
    moments: Moments,
    stars: Any,
    i: Any,
    *,
    tile: int,
    scatter_steps: int,
) -> tuple[Statistics, Any]:
    """Return the statistics of a tile of features, and its scatter, which is fitted first."""
    values = _cut_columns(output.values, i, tile)
    ivar = _cut_columns(output.ivar, i, tile)
    weights = _cut_columns(output.weights, i, tile, axis=0)
    offset = _cut_columns(output.offset, i, tile, axis=0)
    scatter = _cut_columns(output.scatter, i, tile, axis=0)
    noise = DiagonalNoise(scatter)
    ivar = ivar * stars[:, None]
    if scatter_steps:
        # E[(y - model)^2], with what the latents' own uncertainty adds
        predicted = linalg.dot(latents.mean, weights.T)
        square = (values - offset - predicted) ** 2
        if latents.has_covariance:
            square += linalg.quadratic_form(latents.cov, weights)
        noise = noise.fit(square, ivar, scatter_steps, LEAST_SCATTER)
    statistics = expect(values, noise.weigh(ivar), moments)
    return statistics, noise.scatter


def overshoot(old: Arrays, new: Arrays, factor: float) -> Arrays:
    """Go on from old through new weights and offset.

    With a factor below 2, what the step maximised still rises.
    """
    weights_change = new.weights - old.weights
    offset_change = new.offset - old.offset
    return new._replace(
        weights=old.weights + factor * weights_change,
        offset=old.offset + factor * offset_change,
    )


def leave_out_each(
    outputs: tuple[Arrays, ...],
    latents: Latents,
    starts: Sequence[Any],
    folds: Sequence[np.ndarray],
) -> list[tuple[Arrays, ...]]:
    """Return the outputs once for each fold, regressed without its stars."""
    parts = [
        leave_out_step(output, latents, start, folds)
        for output, start in zip(outputs, starts, strict=True)
    ]
    return list(zip(*parts, strict=True))


def leave_out_step(
    output: Arrays,
    latents: Latents,
    start: Any,
    folds: Sequence[np.ndarray],
    tile: int = TILE,
    ridge: float = 1.0,
) -> list[Arrays]:
    """Solve for weights and offset once for each fold, from the stars of the others.

    The statistics of the stars that a fold leaves are the sum of those of the other folds, so that
    all together cost little more than one `weight_step`.

    Parameters
    ----------
    output, latents, start, tile, ridge
        As for `weight_step`.
    folds : sequence of array
        Positions of the stars of each fold.
    """
    d = len(output.offset)
    if d <= tile:  # one tile is not worth a program of its own
        everyone = np.arange(len(latents.mean))
        regressed = []
        for fold in folds:
            others = np.isin(everyone, fold, invert=True)
            of_fold = weight_step(
                output,
                latents,
                start,
                stars=others.astype(np.float32),
                tile=tile,
                ridge=ridge,
            )
            regressed.append(of_fold)
        return regressed
    members, present = _pad_folds(folds)
    moments = compute_moments(latents)
    gathered = Moments(
        first=np.asarray(moments.first)[members],
        second=np.asarray(moments.second)[members],
    )
    by_fold = jax.device_put(gathered)
    out = []
    for _ in folds:
        own_weights = np.array(start, np.float32)
        own_offset = np.array(output.offset)
        out.append(output._replace(weights=own_weights, offset=own_offset))
    for i in _list_tiles(d, tile):
        others = _expect_others(output, by_fold, members, present, i, tile=tile)
        pull = _cut_rows(start, i, tile)
        for k, of_fold in enumerate(out):
            statistics = jax.tree.map(lambda a, k=k: a[k], others)
            weights, offset = maximise(statistics, pull, ridge)
            _put_tile(of_fold.weights, i, weights)
            _put_tile(of_fold.offset, i, offset)
    return out


def _pad_folds(folds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of the stars of each fold, filled up to one length, and 1 for stars."""
    sizes = [fold.size for fold in folds]
    most = max(sizes)
    members = []
    present = []
    for fold, size in zip(folds, sizes, strict=True):
        members.append(np.pad(fold, (0, most - size)))
        present.append(np.arange(most) < size)
    return np.stack(members), np.stack(present).astype(np.float32)


@compile_program(static_argnames=("tile",))
def _expect_others(
    output: Arrays, moments: Moments, members: Any, present: Any, i: Any, *, tile: int
) -> Statistics:
    """Return the statistics of a tile over the stars that each fold leaves: (fold, feature)."""
    values = _cut_columns(output.values, i, tile)
    ivar = _cut_columns(output.ivar, i, tile)
    scatter = _cut_columns(output.scatter, i, tile, axis=0)
    weights = DiagonalNoise(scatter).weigh(ivar)

    def expect_fold(fold: tuple[Any, Any, Moments]) -> Statistics:
        rows, here, of_fold = fold
        # 0 for what fills the fold up
        present_weights = weights[rows] * here[:, None]
        return expect(values[rows], present_weights, of_fold)

    folds = jax.lax.map(expect_fold, (members, present, moments))
    others: Statistics = jax.tree.map(_sum_others, folds)
    return others


def _sum_others(folds: Any) -> Any:
    """Return, for each fold, the sum over the others.

    By addition alone, so that what a fold held leaves no rounding behind.
    """
    is_other = 1 - jnp.eye(len(folds))
    return jnp.tensordot(
        is_other,
        folds,
        axes=1,
        precision=jax.lax.Precision.HIGHEST,
    )


def _list_tiles(d: int, tile: int) -> Iterator[int]:
    """Return where tiles of features start.

    The last one overlaps that before it, so that all are of one size.
    """
    last = max(d - tile, 0)
    return (min(i, last) for i in range(0, d, tile))


def _cut_columns(x: Any, i: Any, tile: int, axis: int = 1) -> Any:
    """Return one tile, a narrow output filled up with features without data."""
    lacking = max(tile - x.shape[axis], 0)
    part = jax.lax.dynamic_slice_in_dim(x, i, tile - lacking, axis)
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, lacking)
    return jnp.pad(part, padding)


def _cut_rows(x: Any, i: int, tile: int) -> np.ndarray:
    part = np.asarray(x, np.float32)[i : i + tile]
    lacking = tile - len(part)
    return np.pad(part, ((0, lacking), (0, 0)))


def _put_tile(whole: Any, i: int, part: Any) -> None:
    """Put what was found of a tile in its place, without what fills a narrow output up."""
    whole[i : i + len(part)] = part[: len(whole)]
