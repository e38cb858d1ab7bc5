"""The block steps that both trainers are made of: latents given weights, and weights given latents.

Everything is in the units of `luxscale.training.data.TrainingData`, float32, and runs over blocks of
stars or tiles of features, so that no array of (star, feature, latent) ever exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.jit import compile_program
from luxscale.model.noise import DiagonalNoise

#: Stars (features) that are worked on at once: small enough for the cache, large enough for the
#: product.
BLOCK, TILE = 256, 256


#: Least scatter of any feature, in units of its spread: with smaller errors float32 could not tell
#: the prior from rounding.
LEAST_SCATTER = 1e-3


class Arrays(NamedTuple):
    """One output in training: data and parameters.

    values, ivar : (star, feature); weights : (feature, latent); offset, scatter : (feature,).
    """

    values: Any
    ivar: Any
    weights: Any
    offset: Any
    scatter: Any

    @property
    def noise(self) -> DiagonalNoise:
        """Noise of the output."""
        return DiagonalNoise(self.scatter)

    @classmethod
    def empty(cls, values: Any, ivar: Any, d: int) -> Arrays:
        """Return data of d features without parameters."""
        return cls(
            values,
            ivar,
            np.zeros((d, 0), np.float32),
            np.zeros(d, np.float32),
            np.full(d, LEAST_SCATTER, np.float32),
        )


class Latents(NamedTuple):
    """Posterior of the latents: mean (star, latent), packed covariance (star, K), objective (star,)."""

    mean: Any
    cov: Any
    objective: Any

    @classmethod
    def certain(cls, z: np.ndarray) -> Latents:
        """Return latents that are known exactly."""
        return cls(z, np.zeros((len(z), 0), np.float32), np.zeros(len(z), np.float32))


def _slice(x: Any, index: Any, size: int, axis: int = 0) -> Any:
    return jax.lax.dynamic_slice_in_dim(x, index * size, size, axis)


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
        Whether to return covariances and the log evidence, ln p(data), instead of zeros and the
        penalised log-likelihood of equation 8.
    """
    p = outputs[0].weights.shape[1]
    packed = [linalg.pack(o.weights).T for o in outputs]

    def one_block(i: Any) -> Latents:
        weights = [o.noise.weigh(_slice(o.ivar, i, block)) for o in outputs]
        residuals = [_slice(o.values, i, block) - o.offset for o in outputs]
        h, rhs = linalg.sum_equations(weights, residuals, [o.weights for o in outputs], packed)
        z, half, log_det = linalg.solve(
            linalg.unpack(h, p) + prior * jnp.eye(p), rhs, jnp.eye(p) if marginal else None
        )
        objective = -0.5 * prior * jnp.sum(z * z, 1)
        for w, r, o in zip(weights, residuals, outputs, strict=True):
            objective += o.noise.log_likelihood(w, r - linalg.dot(z, o.weights.T))
        if not marginal:
            return Latents(z, jnp.zeros((block, 0)), objective)
        objective += 0.5 * (p * jnp.log(prior) - log_det)
        return Latents(z, linalg.pack_symmetric(linalg.square(half)), objective)

    n = outputs[0].values.shape[0]
    blocks = jax.lax.map(one_block, jnp.arange(n // block))
    return Latents(*(x.reshape(n, *x.shape[2:]) for x in blocks))


def weight_step(
    output: Arrays,
    latents: Latents,
    start: Any,
    stars: Any,
    tile: int = TILE,
    scatter_steps: int = 0,
    ridge: float = 1.0,
) -> Arrays:
    """Solve for scatter, then weights and offset, of all features at fixed latents (a-, b- and s-step; M-step).

    Parameters
    ----------
    output : Arrays
    latents : Latents
        With covariances the sums are expectations over the posterior, E[z z^T] = z z^T + C.
    start : array, (feature, latent)
        Weights to which what the data leave free shrinks.
    stars : array, (star,)
        1 for the stars that take part, 0 for those that do not.
    scatter_steps : int
        Fisher-scoring steps for the scatter; 0 keeps it.
    ridge : float
        Strength of that shrinking, in stars of average weight.
    """
    moments = _moments(latents)
    out = output._replace(
        **{k: np.array(getattr(output, k), np.float32) for k in ("weights", "offset", "scatter")}
    )
    for i in _tiles(len(out.offset), tile):
        sums, scatter = _tile_sums(output, latents, moments, stars, i, tile, scatter_steps)
        _put(out, i, *_regress(sums, _rows(start, i, tile), ridge), scatter)
    return out


def overshoot(old: Arrays, new: Arrays, factor: float) -> Arrays:
    """Go on from old through new weights and offset, by a factor below 2: what the step maximised still rises."""
    weights, offset = (
        getattr(old, k) + factor * (getattr(new, k) - getattr(old, k))
        for k in ("weights", "offset")
    )
    return new._replace(weights=weights, offset=offset)


def _tiles(d: int, tile: int) -> Iterator[int]:
    """Return where tiles of features start; the last one overlaps that before it, so that all are of one size."""
    return (min(i, max(d - tile, 0)) for i in range(0, d, tile))


def _columns(x: Any, i: Any, tile: int, axis: int = 1) -> Any:
    """Return one tile; a narrow output is filled up with features without data."""
    lacking = max(tile - x.shape[axis], 0)
    part = jax.lax.dynamic_slice_in_dim(x, i, tile - lacking, axis)
    return jnp.pad(part, [(0, lacking if k == axis else 0) for k in range(x.ndim)])


def _rows(x: Any, i: int, tile: int) -> np.ndarray:
    part = np.asarray(x, np.float32)[i : i + tile]
    return np.pad(part, ((0, tile - len(part)), (0, 0)))


def _put(output: Arrays, i: int, *new: Any) -> None:
    """Put weights and offset of a tile in their place, and its scatter if given."""
    for whole, part in zip(output[2:], new, strict=False):
        whole[i : i + len(part)] = part[: len(whole)]


@compile_program(static_argnames=("tile", "scatter_steps"))
def _tile_sums(
    output: Arrays,
    latents: Latents,
    moments: _Moments,
    stars: Any,
    i: Any,
    tile: int,
    scatter_steps: int,
) -> tuple[_Sums, Any]:
    """Return the sums of a tile of features, and its scatter, which is fitted first."""
    y, ivar = (_columns(a, i, tile) for a in output[:2])
    x, offset, s = (_columns(a, i, tile, 0) for a in output[2:])
    ivar = ivar * stars[:, None]
    noise = DiagonalNoise(s)
    if scatter_steps:
        q = (y - offset - linalg.dot(latents.mean, x.T)) ** 2
        if latents.cov.shape[1]:
            q += linalg.quadratic_form(latents.cov, x)
        noise = noise.fit(q, ivar, scatter_steps, LEAST_SCATTER)
    return _sums(y, noise.weigh(ivar), moments), noise.scatter


def leave_out_step(
    output: Arrays,
    latents: Latents,
    start: Any,
    folds: Sequence[np.ndarray],
    tile: int = TILE,
    ridge: float = 1.0,
) -> list[Arrays]:
    """Solve for weights and offset once for each fold, from the stars of the others, at fixed latents and scatter.

    Sums over stars are sums over folds, so that all together cost little more than one
    `weight_step`.

    Parameters
    ----------
    output, latents, start, tile, ridge
        As for `weight_step`.
    folds : sequence of array
        Positions of the stars of each fold.
    """
    if len(output.offset) <= tile:  # one tile is not worth a program of its own
        others = [
            np.isin(np.arange(len(latents.mean)), f, invert=True).astype(np.float32) for f in folds
        ]
        return [weight_step(output, latents, start, stars, tile, ridge=ridge) for stars in others]
    most = max(f.size for f in folds)
    members = np.stack([np.pad(f, (0, most - f.size)) for f in folds])
    present = np.stack([np.arange(most) < f.size for f in folds]).astype(np.float32)
    moments = jax.device_put(_Moments(*(np.asarray(m)[members] for m in _moments(latents))))
    out = [
        output._replace(weights=np.array(start, np.float32), offset=np.array(output.offset))
        for _ in folds
    ]
    for i in _tiles(len(output.offset), tile):
        others, pull = (
            _sums_over_others(output, moments, members, present, i, tile),
            _rows(start, i, tile),
        )
        for k, fold in enumerate(out):
            _put(fold, i, *_regress(_Sums(*(a[k] for a in others)), pull, ridge))
    return out


@compile_program(static_argnames=("tile",))
def _sums_over_others(
    output: Arrays, moments: _Moments, members: Any, present: Any, i: Any, tile: int
) -> _Sums:
    """Return the sums of a tile of features over the stars that each fold leaves: (fold, feature, ...)."""
    y, ivar = (_columns(a, i, tile) for a in output[:2])
    w = DiagonalNoise(_columns(output.scatter, i, tile, 0)).weigh(ivar)

    def one_fold(fold: tuple[Any, Any, _Moments]) -> _Sums:
        rows, here, of_fold = fold
        return _sums(y[rows], w[rows] * here[:, None], of_fold)

    return _Sums(*map(_over_others, jax.lax.map(one_fold, (members, present, moments))))


def leave_out_each(
    outputs: tuple[Arrays, ...],
    latents: Latents,
    starts: Sequence[Any],
    folds: Sequence[np.ndarray],
) -> list[tuple[Arrays, ...]]:
    """Return the outputs once for each fold, regressed without its stars."""
    parts = [
        leave_out_step(o, latents, start, folds) for o, start in zip(outputs, starts, strict=True)
    ]
    return list(zip(*parts, strict=True))


class _Moments(NamedTuple):
    """[z, 1] (star, latent + 1) and the expectation of its packed products (star, K)."""

    first: Any
    second: Any


@compile_program()
def _moments(latents: Latents) -> _Moments:
    z = latents.mean
    first = jnp.concatenate([z, jnp.ones_like(z[:, :1])], 1)
    return _Moments(
        first,
        jnp.concatenate([linalg.pack(z) + (latents.cov if latents.cov.shape[1] else 0), first], 1),
    )


class _Sums(NamedTuple):
    """Sums over stars of a regression: packed H (feature, K), right-hand side (feature, latent + 1); weights, number."""

    h: Any
    rhs: Any
    weight: Any
    count: Any


def _sums(y: Any, w: Any, moments: _Moments) -> _Sums:
    h, rhs = linalg.dot(w.T, moments.second), linalg.dot((w * y).T, moments.first)
    return _Sums(h, rhs, jnp.sum(w, 0), jnp.sum(w > 0, 0, dtype=w.dtype))


def _over_others(parts: Any) -> Any:
    """Return, for each fold, the sum over the others, by addition alone: what a fold held leaves no rounding behind."""
    return jnp.tensordot(1 - jnp.eye(len(parts)), parts, 1, precision=jax.lax.Precision.HIGHEST)


@compile_program()
def _regress(sums: _Sums, start: Any, ridge: float) -> tuple[Any, Any]:
    """Return weights (feature, latent) and offset (feature,), shrunk to ``start``.

    A program of its own: it takes longest to compile, and serves all outputs and steps.
    """
    p = start.shape[1]
    shrink = jnp.where(jnp.arange(p + 1) < p, ridge, 1e-6)
    strength = sums.weight / jnp.maximum(sums.count, 1)
    strength = jnp.where(strength > 0, strength, 1)[:, None]
    h = linalg.unpack(sums.h, p + 1) + (strength * shrink)[:, :, None] * jnp.eye(p + 1)
    pull = jnp.concatenate([strength * ridge * start, jnp.zeros_like(strength)], 1)
    x = linalg.solve(h, sums.rhs + pull).x
    return x[:, :p], x[:, p]


@compile_program()
def log_likelihood(output: Arrays, z: Any) -> Any:
    """Return ln p(data | z) of every star under one output (equation 4): (star,)."""
    w = output.noise.weigh(output.ivar)
    residual = output.values - output.offset - linalg.dot(z, output.weights.T)
    return output.noise.log_likelihood(w, residual)


def mean_weight(output: Arrays) -> np.ndarray:
    """Return the mean over stars of 1 / (sigma^2 + s^2): (feature,), float64."""
    return np.asarray(_mean_weight(output), float)


@compile_program()
def _mean_weight(output: Arrays) -> Any:
    return jnp.mean(output.noise.weigh(output.ivar), 0)


def canonical(
    outputs: tuple[Arrays, ...], latents: Latents, n_stars: int, spectral: tuple[bool, ...]
) -> tuple[tuple[Arrays, ...], Latents]:
    """Turn weights and latents into the canonical gauge; what they predict does not change.

    The latents of the training stars get mean 0 and covariance 1 (second moments include the
    posterior covariances), the mean information of the spectra, W^T diag(mean weight) W, becomes
    diagonal and descending, and the largest weight of each latent positive.

    Returns
    -------
    outputs : tuple of Arrays
    latents : Latents
        Means only.
    """
    z = np.asarray(latents.mean, float)
    p = z.shape[1]
    mean = z[:n_stars].mean(0)
    cov = np.cov(z[:n_stars].T, bias=True).reshape(p, p)
    if latents.cov.shape[1]:
        i, j = np.tril_indices(p)
        mean_cov = np.asarray(latents.cov[:n_stars], float).mean(0)
        extra = np.zeros((p, p))
        extra[i, j] = extra[j, i] = mean_cov
        cov = cov + extra
    values, vectors = np.linalg.eigh(cov)
    keep = np.maximum(values, values[-1] * 1e-12)  # a latent that no star uses stays finite
    whiten = vectors * np.sqrt(keep)
    weights = [np.asarray(o.weights, float) @ whiten for o in outputs]
    informed = [
        w
        for w, s in zip(zip(weights, outputs, strict=True), spectral, strict=True)
        if s or not any(spectral)
    ]
    information = sum(w.T @ (mean_weight(o)[:, None] * w) for w, o in informed)
    _, rotation = np.linalg.eigh(information)
    rotation = rotation[:, ::-1]
    turned = informed[0][0] @ rotation
    rotation = rotation * np.where(turned[np.abs(turned).argmax(0), np.arange(p)] < 0, -1, 1)
    new = tuple(
        o._replace(
            weights=np.asarray(w @ rotation, np.float32),
            offset=np.asarray(o.offset + np.asarray(o.weights, float) @ mean, np.float32),
        )
        for o, w in zip(outputs, weights, strict=True)
    )
    z = (z - mean) @ (vectors / np.sqrt(keep)) @ rotation
    return new, Latents(
        z.astype(np.float32), np.zeros((z.shape[0], 0), np.float32), latents.objective
    )
