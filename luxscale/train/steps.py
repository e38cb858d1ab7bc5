"""The block steps that both trainers are made of: latents given weights, and weights given latents.

Everything is in the units of `luxscale.train.data.TrainingData`, float32, and runs over blocks of stars or
tiles of features, so that no array of (star, feature, latent) ever exists.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale import solvers

#: Stars (features) that are worked on at once: small enough for the cache, large enough for the product.
BLOCK, TILE = 256, 256


#: Least scatter of any feature, in units of its spread: with smaller errors float32 could not tell the prior from
#: rounding.
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

    @classmethod
    def empty(cls, values: Any, ivar: Any, d: int) -> Arrays:
        """Return data of d features without parameters."""
        return cls(
            values, ivar, np.zeros((d, 0), np.float32), np.zeros(d, np.float32), np.full(d, LEAST_SCATTER, np.float32)
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


@solvers.program(static_argnames=("block", "marginal"))
def latent_step(outputs: tuple[Arrays, ...], prior: float, block: int = BLOCK, marginal: bool = True) -> Latents:
    """Solve for the latents of all stars at fixed weights and scatter (the z-step; the E-step).

    Parameters
    ----------
    outputs : tuple of Arrays
    prior : float
        Precision of the Gaussian prior on latents, 1 / variance.
    marginal : bool
        Whether to return covariances and the log evidence, ln p(data), instead of zeros and the penalised
        log-likelihood of equation 8.
    """
    p = outputs[0].weights.shape[1]
    packed = [solvers.pack(o.weights) for o in outputs]

    def one_block(i: Any) -> Latents:
        weights = [solvers.weight(_slice(o.ivar, i, block), o.scatter) for o in outputs]
        residuals = [_slice(o.values, i, block) - o.offset for o in outputs]
        h, rhs = solvers.sum_equations(weights, residuals, [o.weights for o in outputs], packed)
        z, half, log_det = solvers.solve(
            solvers.unpack(h, p) + prior * jnp.eye(p), rhs, jnp.eye(p) if marginal else None
        )
        objective = -0.5 * prior * jnp.sum(z * z, 1)
        for w, r, o in zip(weights, residuals, outputs, strict=True):
            misfit = w * (r - solvers.dot(z, o.weights.T)) ** 2
            objective += 0.5 * jnp.sum(jnp.where(w > 0, jnp.log(jnp.where(w > 0, w, 1) / (2 * np.pi)), 0) - misfit, 1)
        if not marginal:
            return Latents(z, jnp.zeros((block, 0)), objective)
        objective += 0.5 * (p * jnp.log(prior) - log_det)
        return Latents(z, solvers.pack_symmetric(solvers.square(half)), objective)

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
    weights, offset, scatter = _weight_step(
        output, latents, start, stars, min(tile, output.values.shape[1]), scatter_steps, ridge
    )
    return output._replace(weights=weights, offset=offset, scatter=scatter)


@solvers.program(static_argnames=("tile", "scatter_steps"))
def _weight_step(
    output: Arrays, latents: Latents, start: Any, stars: Any, tile: int, scatter_steps: int, ridge: float
) -> tuple[Any, Any, Any]:
    z = latents.mean
    p, uncertain = z.shape[1], latents.cov.shape[1] > 0
    z1 = jnp.concatenate([z, jnp.ones_like(z[:, :1])], 1)
    second = jnp.concatenate([solvers.pack(z) + (latents.cov if uncertain else 0), z1], 1)
    shrink = jnp.where(jnp.arange(p + 1) < p, ridge, 1e-6)

    def one_tile(i: Any) -> tuple[Any, Any, Any]:
        y, ivar = _slice(output.values, i, tile, 1), _slice(output.ivar, i, tile, 1) * stars[:, None]
        x, offset, s = (_slice(a, i, tile) for a in (output.weights, output.offset, output.scatter))
        if scatter_steps:
            q = (y - offset - solvers.dot(z, x.T)) ** 2
            s = solvers.fit_scatter(
                q + solvers.quadratic_form(latents.cov, x) if uncertain else q, ivar, s, scatter_steps, LEAST_SCATTER
            )
        w = solvers.weight(ivar, s)
        strength = jnp.sum(w, 0) / jnp.maximum(jnp.sum(w > 0, 0), 1)
        strength = jnp.where(strength > 0, strength, 1)[:, None]
        h = solvers.unpack(solvers.dot(w.T, second), p + 1) + (strength * shrink)[:, :, None] * jnp.eye(p + 1)
        pull = jnp.concatenate([strength * ridge * _slice(start, i, tile), jnp.zeros((tile, 1))], 1)
        solution = solvers.solve(h, solvers.dot((w * y).T, z1) + pull).x
        return solution[:, :p], solution[:, p], s

    d = output.values.shape[1]
    x, offset, s = jax.lax.map(one_tile, jnp.arange(d // tile))
    return x.reshape(d, p), offset.reshape(d), s.reshape(d)


@solvers.program()
def log_likelihood(output: Arrays, z: Any) -> Any:
    """Return ln p(data | z) of every star under one output (equation 4): (star,)."""
    w = solvers.weight(output.ivar, output.scatter)
    misfit = w * (output.values - output.offset - solvers.dot(z, output.weights.T)) ** 2
    return 0.5 * jnp.sum(jnp.where(w > 0, jnp.log(jnp.where(w > 0, w, 1) / (2 * np.pi)), 0) - misfit, 1)


def mean_weight(output: Arrays) -> np.ndarray:
    """Return the mean over stars of 1 / (sigma^2 + s^2): (feature,), float64."""
    return np.asarray(_mean_weight(output), float)


@solvers.program()
def _mean_weight(output: Arrays) -> Any:
    return jnp.mean(solvers.weight(output.ivar, output.scatter), 0)


def canonical(
    outputs: tuple[Arrays, ...], latents: Latents, n_stars: int, spectral: tuple[bool, ...]
) -> tuple[tuple[Arrays, ...], Latents]:
    """Turn weights and latents into the canonical gauge; what they predict does not change.

    The latents of the training stars get mean 0 and covariance 1 (second moments include the posterior
    covariances), the mean information of the spectra, W^T diag(mean weight) W, becomes diagonal and descending,
    and the largest weight of each latent positive.

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
    informed = [w for w, s in zip(zip(weights, outputs, strict=True), spectral, strict=True) if s or not any(spectral)]
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
    return new, Latents(z.astype(np.float32), np.zeros((z.shape[0], 0), np.float32), latents.objective)
