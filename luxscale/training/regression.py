"""Weights and offsets regressed on the latents, one tile of features at a time.

No array of (star, feature, latent) ever exists, nor the normal matrices of all features. The sums
over stars are those of `luxscale.training.statistics`. As sums add up, folds share one pass over
the stars: `regress_folds` adds, for each fold, those of all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.components import Components
from luxscale.model.jit import compile_program
from luxscale.model.noise import DiagonalNoise
from luxscale.training.approximation import find_variance
from luxscale.training.data import LEAST_SCATTER, Arrays, Fit
from luxscale.training.latents import Latents
from luxscale.training.statistics import Moments, Statistics, compute_moments, expect, maximise

#: Features that are worked on at once: small enough for the cache, large enough for the product.
TILE = 256

#: How strongly weights are pulled to their start, in stars of average weight.
RIDGE = 1.0


def regress_weights(
    output: Arrays,
    latents: Latents,
    start: Any,
    stars: Any,
    tile: int = TILE,
    scatter_steps: int = 0,
    ridge: Any = RIDGE,
    covariance: Components | None = None,
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
    ridge : float or array, (feature,)
        Strength of that shrinking, in stars of average weight.
    covariance : Components, optional
        Directions of the latents' covariances by which the scatter knows them, faster.
    """
    moments = compute_moments(latents)
    out = output._replace(
        weights=np.array(output.weights, np.float32),
        offset=np.array(output.offset, np.float32),
        scatter=np.array(output.scatter, np.float32),
    )
    ridges = spread_ridge(ridge, len(out.offset), tile)
    for i in list_tiles(len(out.offset), tile):
        statistics, scatter = expect_tile(
            output,
            latents,
            moments,
            stars,
            i,
            covariance,
            tile=tile,
            scatter_steps=scatter_steps,
        )
        weights, offset = maximise(statistics, cut_rows(start, i, tile), ridges[i : i + tile])
        put_tile(out.weights, i, weights)
        put_tile(out.offset, i, offset)
        put_tile(out.scatter, i, scatter)
    return out


@compile_program(static_argnames=("tile", "scatter_steps"))
def expect_tile(
    output: Arrays,
    latents: Latents,
    moments: Moments,
    stars: Any,
    i: Any,
    covariance: Components | None = None,
    *,
    tile: int,
    scatter_steps: int,
) -> tuple[Statistics, Any]:
    """Return the statistics of a tile of features, and its scatter, which is fitted first."""
    part = cut_tile(output, i, tile)
    ivar = part.ivar * stars[:, None]
    noise = part.noise
    if scatter_steps:
        squares = find_squares(part, latents, covariance)
        noise = noise.fit(squares, ivar, scatter_steps, LEAST_SCATTER)
    statistics = expect(part.values, noise.weigh(ivar), moments)
    return statistics, noise.scatter


def find_squares(output: Arrays, latents: Latents, covariance: Components | None = None) -> Any:
    """Return E[(y - model)^2], with what the latents' own uncertainty adds: (star, feature)."""
    predicted = linalg.dot(latents.mean, output.weights.T)
    square = (output.values - output.offset - predicted) ** 2
    if covariance is not None:
        square += find_variance(covariance, output.weights)
    elif latents.has_covariance:
        square += linalg.quadratic_form(latents.cov, output.weights)
    return square


def extrapolate_step(old: Arrays, new: Arrays, factor: float) -> Arrays:
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
) -> list[Fit]:
    """Return the outputs once for each fold, regressed without its stars."""
    parts = [
        regress_folds(output, latents, start, folds)
        for output, start in zip(outputs, starts, strict=True)
    ]
    return [Fit(arrays) for arrays in zip(*parts, strict=True)]


def regress_folds(
    output: Arrays,
    latents: Latents,
    start: Any,
    folds: Sequence[np.ndarray],
    tile: int = TILE,
    ridge: Any = RIDGE,
) -> list[Arrays]:
    """Solve for weights and offset once for each fold, from the stars of the others.

    The statistics of the stars that a fold leaves are the sum of those of the other folds, so that
    all together cost little more than one `regress_weights`.

    Parameters
    ----------
    output, latents, start, tile, ridge
        As for `regress_weights`.
    folds : sequence of array
        Positions of the stars of each fold.
    """
    d = len(output.offset)
    if d <= tile:  # one tile is not worth a program of its own
        everyone = np.arange(len(latents.mean))
        regressed = []
        for fold in folds:
            others = np.isin(everyone, fold, invert=True)
            of_fold = regress_weights(
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
    ridges = spread_ridge(ridge, d, tile)
    for i in list_tiles(d, tile):
        others = _expect_others(output, by_fold, members, present, i, tile=tile)
        pull = cut_rows(start, i, tile)
        for k, of_fold in enumerate(out):
            statistics = jax.tree.map(lambda a, k=k: a[k], others)
            weights, offset = maximise(statistics, pull, ridges[i : i + tile])
            put_tile(of_fold.weights, i, weights)
            put_tile(of_fold.offset, i, offset)
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


def list_tiles(d: int, tile: int) -> Iterator[int]:
    """Return where tiles of features start.

    The last one overlaps that before it, so that all are of one size.
    """
    last = max(d - tile, 0)
    return (min(i, last) for i in range(0, d, tile))


def spread_ridge(ridge: Any, d: int, tile: int) -> np.ndarray:
    """Return the ridge of each of d features, and of what fills a narrow output up: (feature, 1).

    In one form, whether features share it or not, so that one program serves both.
    """
    ridges = np.full((max(d, tile), 1), RIDGE, np.float32)
    ridges[:d, 0] = ridge
    return ridges


def cut_tile(output: Arrays, i: Any, tile: int) -> Arrays:
    """Return an output of one tile of features, filled up with features without data."""
    return Arrays(
        values=_cut_columns(output.values, i, tile),
        ivar=_cut_columns(output.ivar, i, tile),
        weights=_cut_columns(output.weights, i, tile, axis=0),
        offset=_cut_columns(output.offset, i, tile, axis=0),
        scatter=_cut_columns(output.scatter, i, tile, axis=0),
    )


def _cut_columns(x: Any, i: Any, tile: int, axis: int = 1) -> Any:
    """Return one tile, a narrow output filled up with features without data."""
    lacking = max(tile - x.shape[axis], 0)
    part = jax.lax.dynamic_slice_in_dim(x, i, tile - lacking, axis)
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, lacking)
    return jnp.pad(part, padding)


def cut_rows(x: Any, i: int, tile: int) -> np.ndarray:
    """Return the rows of one tile, a narrow output's filled up with 0."""
    part = np.asarray(x, np.float32)[i : i + tile]
    lacking = tile - len(part)
    return np.pad(part, ((0, lacking), (0, 0)))


def put_tile(whole: Any, i: int, part: Any) -> None:
    """Put what was found of a tile in its place, without what fills a narrow output up."""
    whole[i : i + len(part)] = part[: len(whole)]
