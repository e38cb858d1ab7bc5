"""Inference on arrays: what it needs to know, the compiled kernel, and how its results are finished."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg, newton
from luxscale.model.decoders import linear_features
from luxscale.model.jit import compile_program
from luxscale.model.newton import Features
from luxscale.model.noise import Noise
from luxscale.schema import flags

#: Stars in one call of the compiled kernel, whatever the chunks: one shape, compiled once. Its
#: temporaries stay below 32 MB for an APOGEE spectrum, beyond which the C library maps, and the
#: kernel zeroes, fresh pages at every call.
BLOCK = 128

#: Distance from the mean, in units of a feature's spread, beyond which a value is as good as
#: infinite.
FARTHEST = 1e6

#: Inverse variance, in units of 1 / spread^2, at which the least scatter is all that counts and
#: float32 is far from its end: what is given with less of an error counts as if with this.
MOST_IVAR = 1e20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
    """What inference needs to know of an output that it is given, in scaled units.

    weights (feature, term); packed (K, feature); offset, unit (feature,): values are
    multiplied by ``unit`` = 1 / scale; ivar_unit (feature,): scale^2, or 0 for features that take
    no part; noise, of which the features are these; features: phi of the map.
    """

    weights: Any
    packed: Any
    offset: Any
    noise: Noise
    unit: Any
    ivar_unit: Any
    features: Features = linear_features

    def take(self, pixels: Any) -> Design:
        """Return the design of some of the features."""
        last = {k: getattr(self, k)[..., pixels] for k in _PER_FEATURE}
        noise = self.noise.select(pixels)
        return dataclasses.replace(self, weights=self.weights[pixels], noise=noise, **last)

    def for_scaled_data(self, center: np.ndarray) -> Design:
        """Return the design for values that are centred, center (feature,) in units, and scaled already."""
        unit, ivar_unit, offset = (np.asarray(a) for a in (self.unit, self.ivar_unit, self.offset))
        used = (ivar_unit > 0).astype(np.float32)
        return dataclasses.replace(
            self,
            offset=np.where(used > 0, offset - center * unit, 0).astype(np.float32),
            unit=np.ones_like(unit),
            ivar_unit=used,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """What inference needs to know of labels that it predicts, in their units.

    weights (label, term); offset, floor (label,); bounds (label, 2); features: phi of the map.
    """

    weights: Any
    offset: Any
    floor: Any
    bounds: Any
    features: Features = linear_features


@dataclasses.dataclass(frozen=True)
class Window:
    """Labels of one head that are inferred from some pixels alone.

    head : index of the head; labels (label,) : positions in it; pixels : positions in each given
    output, (pixel,).
    """

    head: int
    labels: Any
    pixels: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """All that inference with one model from given outputs needs to know.

    prior (latent,) is the precision of the prior on each latent; ``limits``, where flags begin:
    chi2 per pixel and squared length of the latents, infinite for never.
    """

    designs: tuple[Design, ...]
    heads: tuple[Head, ...]
    windows: tuple[Window, ...]
    prior: Any
    limits: tuple[float, float] = (np.inf, np.inf)


#: Fields of a design, all but its weights, whose last axis is the feature.
_PER_FEATURE = ["packed", "offset", "unit", "ivar_unit"]

jax.tree_util.register_dataclass(Design, ["weights", "noise", *_PER_FEATURE], ["features"])
jax.tree_util.register_dataclass(Head, ["weights", "offset", "floor", "bounds"], ["features"])
jax.tree_util.register_dataclass(Window, ["labels", "pixels"], ["head"])
jax.tree_util.register_dataclass(Problem, ["designs", "heads", "windows", "prior"], ["limits"])


class Inferred(NamedTuple):
    """Results for a block of stars; tuples hold one array per head."""

    latent: Any
    chi2: Any
    n_pixels: Any
    flags: Any
    value: tuple[Any, ...]
    err: tuple[Any, ...]
    cov: tuple[Any, ...]


class _Posterior(NamedTuple):
    """What the compiled kernel returns: (star, ...); labels in units of their spread under the prior.

    spread holds variances (star, label) of each head, or covariances.
    """

    latent: Any
    chi2: Any
    n_values: Any
    wrong: Any
    settled: Any
    spread: tuple[Any, ...]


def infer_arrays(
    problem: Problem,
    values: Sequence[np.ndarray],
    ivars: Sequence[np.ndarray],
    *,
    covariance: bool = False,
) -> Inferred:
    """Infer latents and labels of stars from arrays.

    Parameters
    ----------
    problem : Problem
    values, ivars : sequence of array, (star, feature)
        Data of each given output, in its own units; ivar 0 where missing.
    covariance : bool
        Whether to return covariances between the labels of a head.

    Returns
    -------
    Inferred
        NumPy arrays. Errors are sqrt(diag(A C A^T) + floor^2), with C the posterior covariance of
        z.
    """
    prepared = [_in_range(*output) for output in zip(problem.designs, values, ivars, strict=True)]
    problem = dataclasses.replace(problem, designs=put_on_device([d for d, _, _ in prepared]))
    values, ivars = [v for _, v, _ in prepared], [w for _, _, w in prepared]
    scales = [_prior_spread(h) for h in problem.heads]
    maps = tuple(
        (h.weights / s[:, None]).astype(np.float32)
        for h, s in zip(problem.heads, scales, strict=True)
    )
    posterior = _solve(problem.designs, values, ivars, maps, problem, covariance)
    labels = [
        h.offset + h.features(posterior.latent.astype(float)) @ h.weights.T for h in problem.heads
    ]
    var = [np.diagonal(s, axis1=1, axis2=2).copy() if covariance else s for s in posterior.spread]
    few, settled = _few(posterior.n_values, problem.designs), posterior.settled
    for window in problem.windows:
        windowed, has_few = _from_window(window, problem, values, ivars, maps, labels, var)
        few, settled = few | has_few, settled & windowed.settled
    return _finish(
        posterior._replace(settled=settled), few, labels, var, problem, scales, covariance
    )


def _solve(
    designs: tuple[Design, ...],
    values: Sequence[np.ndarray],
    ivars: Sequence[np.ndarray],
    maps: tuple[Any, ...],
    problem: Problem,
    covariance: bool,
) -> _Posterior:
    """Run the compiled kernel over blocks of stars."""
    n = values[0].shape[0]
    features = tuple(h.features for h in problem.heads)
    parts = []
    for start in range(0, max(n, 1), BLOCK):
        block = [tuple(_block(a, start) for a in arrays) for arrays in (values, ivars)]
        parts.append(
            jax.tree.map(
                np.asarray, _kernel(designs, *block, maps, problem.prior, features, covariance)
            )
        )
    posterior: _Posterior = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
    return posterior


@compile_program(static_argnames=("features", "covariance"))
def _kernel(
    designs: tuple[Design, ...],
    values: tuple[Any, ...],
    ivars: tuple[Any, ...],
    maps: tuple[Any, ...],
    prior: Any,
    features: tuple[Features, ...],
    covariance: bool,
) -> _Posterior:
    """Equation 10 with a Gaussian prior: the posterior of z for a block of stars, and what follows from it."""
    weights, residuals, wrong = zip(*map(_weigh, designs, values, ivars), strict=True)
    parts = [
        d.noise.normal_equations(w, r, d.weights, d.packed)
        for w, r, d in zip(weights, residuals, designs, strict=True)
    ]
    phis = tuple(d.features for d in designs)
    equations = newton.in_latents(parts, phis, prior)
    targets = [newton.slope(f, equations.start, a) for f, a in zip(features, maps, strict=True)]
    solution = linalg.solve(
        equations.h, equations.rhs, jnp.concatenate(targets, -1) if targets else None
    )
    z = equations.start + solution.x
    chi2 = sum(
        d.noise.chi2(w, r - linalg.dot(d.features(z), d.weights.T))
        for w, r, d in zip(weights, residuals, designs, strict=True)
    )
    edges = np.cumsum([a.shape[0] for a in maps])[:-1]
    halves = jnp.split(solution.half, edges, -1) if maps else []
    spread = tuple(linalg.square(f) if covariance else jnp.sum(f * f, 1) for f in halves)
    return _Posterior(
        z, chi2, sum(jnp.sum(w > 0, 1) for w in weights), sum(wrong), equations.settled, spread
    )


def _weigh(d: Design, value: Any, ivar: Any) -> tuple[Any, Any, Any]:
    """Weights and residuals about the offset (star, feature), and how many values break the contract (star,)."""
    residual = value * d.unit - d.offset
    good = jnp.isfinite(ivar) & (ivar >= 0) & ((jnp.abs(residual) < FARTHEST) | (ivar == 0))
    w = jnp.where(good, d.noise.weigh(ivar * d.ivar_unit), 0)
    return w, jnp.where(w > 0, residual, 0), jnp.sum(~good, 1)


def _from_window(
    window: Window,
    problem: Problem,
    values: Sequence[np.ndarray],
    ivars: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    labels: list[np.ndarray],
    var: list[np.ndarray],
) -> tuple[_Posterior, np.ndarray]:
    """Replace labels, and their variances, by those that the pixels of a window alone give.

    Returns what these pixels say of the latents, and which stars have few of them.
    """
    h = problem.heads[window.head]
    parts = tuple(d.take(pixels) for d, pixels in zip(problem.designs, window.pixels, strict=True))
    inside, weights = (
        [a[:, pixels] for a, pixels in zip(arrays, window.pixels, strict=True)]
        for arrays in (values, ivars)
    )
    one_head = dataclasses.replace(problem, heads=(h,))
    posterior = _solve(parts, inside, weights, (maps[window.head][window.labels],), one_head, False)
    predicted = h.offset + h.features(posterior.latent.astype(float)) @ h.weights.T
    labels[window.head][:, window.labels] = predicted[:, window.labels]
    var[window.head][:, window.labels] = posterior.spread[0]
    return posterior, _few(posterior.n_values, parts)


def _few(n_values: np.ndarray, designs: Sequence[Design]) -> np.ndarray:
    """Return which stars have data in too few of the features that take part, or in none: (star,)."""
    features = sum(int((np.asarray(d.ivar_unit) > 0).sum()) for d in designs)
    few: np.ndarray = (n_values < flags.LEAST_FRACTION * features) | (n_values == 0)
    return few


def _in_range(
    d: Design, value: np.ndarray, ivar: np.ndarray
) -> tuple[Design, np.ndarray, np.ndarray]:
    """Scale float64 data before they become float32, whose range ends at 1e38; float32 data are in range already."""
    if value.dtype != np.float64 and ivar.dtype != np.float64:
        return d, value, ivar
    unit = np.asarray(d.unit, float)
    scaled = dataclasses.replace(d, unit=np.ones_like(d.unit), ivar_unit=np.sign(d.ivar_unit))
    with np.errstate(over="ignore"):  # what is infinite gets no weight, and a flag
        return (
            scaled,
            value * unit,
            np.where(np.isinf(ivar), ivar, np.minimum(ivar / unit**2, MOST_IVAR)),
        )


def put_on_device(designs: Sequence[Design]) -> tuple[Design, ...]:
    """Copy designs to where the kernel runs; left to each call, the copy of a large one costs half as much as the work."""
    copied: tuple[Design, ...] = jax.block_until_ready(jax.device_put(tuple(designs)))
    return copied


def _block(array: np.ndarray, start: int) -> np.ndarray:
    part = array[start : start + BLOCK]
    if len(part) < BLOCK:  # stars without data fill the last block: a new shape would compile again
        part = np.pad(part, ((0, BLOCK - len(part)), (0, 0)))
    with np.errstate(over="ignore"):  # what is infinite in float32 gets no weight, and a flag
        return np.asarray(part, np.float32)


def _prior_spread(head: Head) -> np.ndarray:
    """Standard deviation of each label under z ~ N(0, I), the unit in which its error is computed: (label,)."""
    spread = np.sqrt((head.weights**2).sum(1))
    return np.where(spread > 0, spread, 1)


def _finish(
    posterior: _Posterior,
    few: np.ndarray,
    value: Sequence[np.ndarray],
    var: Sequence[np.ndarray],
    problem: Problem,
    scales: Sequence[np.ndarray],
    covariance: bool,
) -> Inferred:
    """Bring the kernel's results to label units, add floors, raise flags."""
    z, chi2, n_values = posterior.latent, posterior.chi2, posterior.n_values
    err = tuple(
        np.sqrt(v * s**2 + h.floor**2) for v, s, h in zip(var, scales, problem.heads, strict=True)
    )
    cov = tuple(
        c * s[:, None] * s + np.diag(h.floor**2)
        for c, s, h in zip(posterior.spread, scales, problem.heads, strict=True)
        if covariance
    )
    outside = [
        ((v + flags.CLEARLY * e < h.bounds[:, 0]) | (v - flags.CLEARLY * e > h.bounds[:, 1])).any(1)
        for v, e, h in zip(value, err, problem.heads, strict=True)
    ]
    narrower = max(
        float(np.mean(problem.prior)), 1.0
    )  # a prior wider than the training set is no measure of ignorance
    remaining = [(v * narrower).mean(1) for v in var]
    raised = flags.combine(
        invalid_values=posterior.wrong > 0,
        no_data=n_values == 0,
        few_pixels=few,
        bad_fit=~(chi2 <= problem.limits[0] * np.maximum(n_values, 1)),  # true of NaN
        unlike_training=(z * z).sum(1) > problem.limits[1],
        label_outside_training=np.any(outside, axis=0) if outside else False,
        prior_dominated=np.max(remaining, axis=0) > 0.5 if remaining else False,
        not_settled=~posterior.settled,
    )
    return Inferred(z, chi2, n_values.astype(np.int32), raised, tuple(value), err, cov)
