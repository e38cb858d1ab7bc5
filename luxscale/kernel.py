"""Inference on arrays: what a model needs to be for it, the compiled kernel, and how its results are finished."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale import flags, solvers
from luxscale.model import LuxModel, Output

#: Stars in one call of the compiled kernel, whatever the chunks: one shape, compiled once, that fits the cache.
BLOCK = 256


class Design(NamedTuple):
    """What inference needs to know of an output that it is given, in scaled units.

    weights (feature, latent); packed (feature, K); offset, scatter, unit (feature,): values are multiplied by
    ``unit`` = 1 / scale; ivar_unit (feature,): scale^2, or 0 for features that take no part.
    """

    weights: Any
    packed: Any
    offset: Any
    scatter: Any
    unit: Any
    ivar_unit: Any


class Head(NamedTuple):
    """What inference needs to know of labels that it predicts, in their units.

    weights (label, latent); offset, floor (label,); bounds (label, 2).
    """

    weights: Any
    offset: Any
    floor: Any
    bounds: Any


class Limits(NamedTuple):
    """Where flags begin: chi2 per pixel, squared length of the latents; inf = never."""

    chi2: float = np.inf
    distance: float = np.inf


class Inferred(NamedTuple):
    """Results for a block of stars; tuples hold one array per head."""

    latent: Any
    chi2: Any
    n_pixels: Any
    flags: Any
    value: tuple[Any, ...]
    err: tuple[Any, ...]
    cov: tuple[Any, ...]


def design(output: Output) -> Design:
    """Return the design of an output, float32, ready for the kernel."""
    scale = np.asarray(output.scale, float)
    safe = np.where(scale > 0, scale, 1)
    used = np.asarray(output.used, bool)
    weights = np.asarray(output.map.weights / safe[:, None], np.float32)
    i, j, _ = solvers.packed_index(weights.shape[1])
    return Design(
        weights,
        weights[:, i] * weights[:, j],
        np.where(used, output.map.offset / safe, 0).astype(np.float32),
        np.asarray(output.scatter / safe, np.float32),
        (1 / safe).astype(np.float32),
        np.where(used, safe**2, 0).astype(np.float32),
    )


def head(output: Output) -> Head:
    """Return what predicts an output from latents."""
    return Head(*(np.asarray(a, float) for a in (output.map.weights, output.map.offset, output.floor, output.bounds)))


@solvers.program(static_argnames=("covariance",))
def _kernel(
    designs: tuple[Design, ...],
    values: tuple[Any, ...],
    ivars: tuple[Any, ...],
    heads: tuple[Any, ...],
    covariance: bool,
) -> tuple[Any, ...]:
    """Equation 10 with the prior N(0, I): the posterior of z for a block of stars, and what follows from it."""
    p = designs[0].weights.shape[1]
    weights, residuals, wrong = zip(*map(_weigh, designs, values, ivars), strict=True)
    h, rhs = solvers.sum_equations(weights, residuals, [d.weights for d in designs], [d.packed for d in designs])
    z, chol, scale = solvers.factor(solvers.unpack(h, p) + jnp.eye(p), rhs)
    chi2 = sum(
        jnp.sum(w * (r - solvers.dot(z, d.weights.T)) ** 2, 1)
        for w, r, d in zip(weights, residuals, designs, strict=True)
    )
    halves = [solvers.project(chol, scale, a) for a in heads]
    spread = tuple(solvers.dot(f.swapaxes(1, 2), f) if covariance else jnp.sum(f * f, 1) for f in halves)
    return z, chi2, sum(jnp.sum(w > 0, 1) for w in weights), sum(wrong), spread


def _weigh(d: Design, value: Any, ivar: Any) -> tuple[Any, Any, Any]:
    """Weights and residuals about the offset (star, feature), and how many values break the contract (star,)."""
    good = jnp.isfinite(ivar) & (ivar >= 0) & (jnp.isfinite(value) | (ivar == 0))
    w = jnp.where(good, solvers.weight(ivar * d.ivar_unit, d.scatter), 0)
    return w, jnp.where(w > 0, value * d.unit - d.offset, 0), jnp.sum(~good, 1)


def infer_arrays(
    designs: Sequence[Design],
    values: Sequence[np.ndarray],
    ivars: Sequence[np.ndarray],
    heads: Sequence[Head],
    *,
    covariance: bool = False,
    limits: Limits = Limits(),  # noqa: B008 - immutable
) -> Inferred:
    """Infer latents and labels of stars from arrays.

    Parameters
    ----------
    designs : sequence of Design
        One for each output that is given.
    values, ivars : sequence of array, (star, feature)
        Data of each given output, in its own units; ivar 0 where missing.
    heads : sequence of Head
        One for each output that is predicted.
    covariance : bool
        Whether to return covariances between the labels of a head.
    limits : Limits

    Returns
    -------
    Inferred
        NumPy arrays. Errors are sqrt(diag(A C A^T) + floor^2), with C the posterior covariance of z.
    """
    n = values[0].shape[0]
    prepared = [_in_range(*output) for output in zip(designs, values, ivars, strict=True)]
    on_device = on_accelerator([d for d, _, _ in prepared])
    values, ivars = [v for _, v, _ in prepared], [w for _, _, w in prepared]
    scales = [_prior_spread(h) for h in heads]
    maps = tuple((h.weights / s[:, None]).astype(np.float32) for h, s in zip(heads, scales, strict=True))
    parts = []
    for start in range(0, max(n, 1), BLOCK):
        block = [tuple(_block(a, start) for a in arrays) for arrays in (values, ivars)]
        parts.append(jax.tree.map(np.asarray, _kernel(on_device, *block, maps, covariance)))
    z, chi2, n_values, wrong, spread = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
    return _finish(z, chi2, n_values, wrong, spread, designs, heads, scales, covariance, limits)


def _in_range(d: Design, value: np.ndarray, ivar: np.ndarray) -> tuple[Design, np.ndarray, np.ndarray]:
    """Scale float64 data before they become float32, whose range ends at 1e38; float32 data are in range already."""
    if value.dtype != np.float64 and ivar.dtype != np.float64:
        return d, value, ivar
    unit = np.asarray(d.unit, float)
    scaled = d._replace(unit=np.ones_like(d.unit), ivar_unit=np.sign(d.ivar_unit))
    return scaled, value * unit, ivar / unit**2


def on_accelerator(designs: Sequence[Design]) -> tuple[Design, ...]:
    """Copy designs to where the kernel runs; left to each call, the copy of a large one costs half as much as the work."""
    copied: tuple[Design, ...] = jax.block_until_ready(jax.device_put(tuple(designs)))
    return copied


def _block(array: np.ndarray, start: int) -> np.ndarray:
    part = array[start : start + BLOCK]
    if len(part) < BLOCK:  # stars without data fill the last block: a new shape would compile again
        part = np.pad(part, ((0, BLOCK - len(part)), (0, 0)))
    return np.asarray(part, np.float32)


def _prior_spread(head: Head) -> np.ndarray:
    """Standard deviation of each label under the prior, the unit in which its error is computed: (label,)."""
    spread = np.sqrt((head.weights**2).sum(1))
    return np.where(spread > 0, spread, 1)


def _finish(
    z: Any,
    chi2: Any,
    n_values: Any,
    wrong: Any,
    spread: Any,
    designs: Sequence[Design],
    heads: Sequence[Head],
    scales: Sequence[np.ndarray],
    covariance: bool,
    limits: Limits,
) -> Inferred:
    """Bring the kernel's results to label units, add floors, raise flags."""
    value = tuple(h.offset + z.astype(float) @ h.weights.T for h in heads)
    var = [np.diagonal(s, axis1=1, axis2=2) if covariance else s for s in spread]
    err = tuple(np.sqrt(v * s**2 + h.floor**2) for v, s, h in zip(var, scales, heads, strict=True))
    cov = (
        tuple(c * s[:, None] * s + np.diag(h.floor**2) for c, s, h in zip(spread, scales, heads, strict=True))
        if covariance
        else ()
    )
    features = sum(int((np.asarray(d.ivar_unit) > 0).sum()) for d in designs)
    outside = [((v < h.bounds[:, 0]) | (v > h.bounds[:, 1])).any(1) for v, h in zip(value, heads, strict=True)]
    remaining = [v.mean(1) for v in var] or [np.zeros(len(z))]
    raised = flags.combine(
        invalid_values=wrong > 0,
        no_data=n_values == 0,
        few_pixels=n_values < flags.LEAST_FRACTION * features,
        bad_fit=chi2 > limits.chi2 * np.maximum(n_values, 1),
        unlike_training=(z * z).sum(1) > limits.distance,
        label_outside_training=np.any(outside, axis=0) if outside else False,
        prior_dominated=np.max(remaining, axis=0) > 0.5,
    )
    return Inferred(z, chi2, n_values.astype(np.int32), raised, value, err, cov)


def limits_of(model: LuxModel) -> Limits:
    """Return where flags begin for a model."""
    return Limits(*model.limits)
