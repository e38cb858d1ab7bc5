"""Inference on arrays: what it needs to know, the compiled kernel, and how its results are finished."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg, newton
from luxscale.model.decoders import Features, linear_features
from luxscale.model.jit import compile_program
from luxscale.model.noise import Noise
from luxscale.model.priors import GaussianPrior
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

    Parameters
    ----------
    weights : array, (feature, term)
    packed : array, (K, feature)
        Products of the columns of the weights, for the normal equations.
    offset : array, (feature,)
    noise : Noise
    unit : array, (feature,)
        1 / scale, by which values are multiplied.
    ivar_unit : array, (feature,)
        scale^2, by which inverse variances are; 0 for features that take no part.
    features : Features
        phi of the map.
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
        return dataclasses.replace(
            self,
            weights=self.weights[pixels],
            packed=self.packed[:, pixels],
            offset=self.offset[pixels],
            noise=self.noise.select(pixels),
            unit=self.unit[pixels],
            ivar_unit=self.ivar_unit[pixels],
        )

    def for_scaled_data(self, center: np.ndarray) -> Design:
        """Return the design for values that are scaled, and centred at (feature,) in the output's units, already."""
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

    Parameters
    ----------
    weights : array, (label, term)
    offset, floor : array, (label,)
    bounds : array, (label, 2)
        Least and greatest value in training.
    features : Features
        phi of the map.
    """

    weights: Any
    offset: Any
    floor: Any
    bounds: Any
    features: Features = linear_features

    def predict(self, z: np.ndarray) -> np.ndarray:
        """Return the labels of latents z, in float64: (star, latent) -> (star, label)."""
        labels: np.ndarray = self.offset + self.features(z.astype(float)) @ self.weights.T
        return labels

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of each label under z ~ N(0, I), the unit in which its error is computed: (label,)."""
        spread = np.sqrt((self.weights**2).sum(1))
        return np.where(spread > 0, spread, 1)


@dataclasses.dataclass(frozen=True)
class Window:
    """Labels of one head that are inferred from some pixels alone.

    Parameters
    ----------
    head : int
        Position of the head.
    labels : array of int, (label,)
        Positions of the labels in it.
    pixels : tuple of array of int, (pixel,)
        Positions in each given output.
    """

    head: int
    labels: Any
    pixels: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """All that inference with one model from given outputs needs to know.

    Parameters
    ----------
    designs : tuple of Design
        One for each given output.
    heads : tuple of Head
    windows : tuple of Window
    prior : GaussianPrior
        Prepared: its precision is an array.
    limits : tuple of float
        Chi2 per pixel and squared length of the latents at which flags begin, infinite for never.
    """

    designs: tuple[Design, ...]
    heads: tuple[Head, ...]
    windows: tuple[Window, ...]
    prior: GaussianPrior
    limits: tuple[float, float] = (np.inf, np.inf)


jax.tree_util.register_dataclass(
    Design, ["weights", "packed", "offset", "noise", "unit", "ivar_unit", "features"], []
)
jax.tree_util.register_dataclass(Head, ["weights", "offset", "floor", "bounds", "features"], [])
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


class _Data(NamedTuple):
    """Values and inverse variances of one given output: (star, feature)."""

    value: Any
    ivar: Any


class _Target(NamedTuple):
    """Labels whose variances are wanted: weights (label, term) in units of their spread, and phi of their map."""

    weights: Any
    features: Features


class _Posterior(NamedTuple):
    """What the compiled kernel returns: (star, ...).

    spread holds the variances (star, label) of each target, or the covariances.
    """

    latent: Any
    chi2: Any
    n_values: Any
    wrong: Any
    settled: Any
    spread: tuple[Any, ...]


class _Labels(NamedTuple):
    """Labels of a head, and their variances in units of their spread, before floors: (star, label)."""

    value: np.ndarray
    variance: np.ndarray

    def replace(self, columns: np.ndarray, others: _Labels) -> _Labels:
        """Return labels of which some columns are those of others."""
        value, variance = self.value.copy(), self.variance.copy()
        value[:, columns], variance[:, columns] = others.value, others.variance
        return _Labels(value, variance)


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
    prepared = [
        _bring_in_range(design, _Data(value, ivar))
        for design, value, ivar in zip(problem.designs, values, ivars, strict=True)
    ]
    problem = dataclasses.replace(problem, designs=put_on_device([d for d, _ in prepared]))
    data = [given for _, given in prepared]
    targets = [_make_target(head) for head in problem.heads]
    posterior = _solve(problem, data, targets, covariance=covariance)
    labels = []
    for head, spread in zip(problem.heads, posterior.spread, strict=True):
        variance = np.diagonal(spread, axis1=1, axis2=2) if covariance else spread
        labels.append(_Labels(head.predict(posterior.latent), variance))
    few, settled = _find_few(posterior.n_values, problem.designs), posterior.settled
    for window in problem.windows:
        found, windowed, has_few = _solve_window(window, problem, data, targets)
        labels[window.head] = labels[window.head].replace(window.labels, found)
        few, settled = few | has_few, settled & windowed.settled
    posterior = posterior._replace(settled=settled)
    return _finish(problem, posterior, labels, few, covariance=covariance)


def _make_target(head: Head) -> _Target:
    weights = (head.weights / head.spread[:, None]).astype(np.float32)
    return _Target(weights, head.features)


def _solve(
    problem: Problem, data: Sequence[_Data], targets: Sequence[_Target], *, covariance: bool
) -> _Posterior:
    """Run the compiled kernel over blocks of stars."""
    n = data[0].value.shape[0]
    parts = []
    for start in range(0, max(n, 1), BLOCK):
        block = tuple(
            _Data(_cut_block(given.value, start), _cut_block(given.ivar, start)) for given in data
        )
        result = _kernel(
            problem.designs, block, tuple(targets), problem.prior, covariance=covariance
        )
        parts.append(jax.tree.map(np.asarray, result))
    posterior: _Posterior = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
    return posterior


@compile_program(static_argnames=("covariance",))
def _kernel(
    designs: tuple[Design, ...],
    data: tuple[_Data, ...],
    targets: tuple[_Target, ...],
    prior: GaussianPrior,
    covariance: bool,
) -> _Posterior:
    """Equation 10: the posterior of z for a block of stars, and what follows from it."""
    weights, residuals, wrong = zip(*map(_weigh, designs, data), strict=True)
    parts = [
        d.noise.normal_equations(w, r, d.weights, d.packed)
        for d, w, r in zip(designs, weights, residuals, strict=True)
    ]
    equations = newton.in_latents(parts, tuple(d.features for d in designs), prior)
    slopes = [newton.slope(t.features, equations.start, t.weights) for t in targets]
    directions = jnp.concatenate(slopes, -1) if slopes else None
    solution = linalg.solve(equations.h, equations.rhs, directions)
    z = equations.start + solution.x
    chi2 = sum(
        d.noise.chi2(w, r - linalg.dot(d.features(z), d.weights.T))
        for d, w, r in zip(designs, weights, residuals, strict=True)
    )
    edges = np.cumsum([t.weights.shape[0] for t in targets])[:-1]
    halves = jnp.split(solution.half, edges, -1) if targets else []
    spread = [linalg.square(half) if covariance else jnp.sum(half * half, 1) for half in halves]
    return _Posterior(
        latent=z,
        chi2=chi2,
        n_values=sum(jnp.sum(w > 0, 1) for w in weights),
        wrong=sum(wrong),
        settled=equations.settled,
        spread=tuple(spread),
    )


def _weigh(design: Design, data: _Data) -> tuple[Any, Any, Any]:
    """Weights and residuals about the offset (star, feature), and how many values break the contract (star,)."""
    residual = data.value * design.unit - design.offset
    sound = jnp.isfinite(data.ivar) & (data.ivar >= 0)
    near = jnp.abs(residual) < FARTHEST  # false of NaN
    good = sound & (near | (data.ivar == 0))
    w = jnp.where(good, design.noise.weigh(data.ivar * design.ivar_unit), 0)
    return w, jnp.where(w > 0, residual, 0), jnp.sum(~good, 1)


def _solve_window(
    window: Window, problem: Problem, data: Sequence[_Data], targets: Sequence[_Target]
) -> tuple[_Labels, _Posterior, np.ndarray]:
    """Infer the labels of a window from its pixels alone.

    Returns
    -------
    labels : _Labels
        Those of the window.
    posterior : _Posterior
        What its pixels say of the latents.
    few : array of bool, (star,)
        Which stars have few of them.
    """
    head, target = problem.heads[window.head], targets[window.head]
    designs = tuple(d.take(p) for d, p in zip(problem.designs, window.pixels, strict=True))
    inside = [
        _Data(given.value[:, p], given.ivar[:, p])
        for given, p in zip(data, window.pixels, strict=True)
    ]
    restricted = dataclasses.replace(problem, designs=designs, heads=(head,), windows=())
    wanted = target._replace(weights=target.weights[window.labels])
    posterior = _solve(restricted, inside, [wanted], covariance=False)
    value = head.predict(posterior.latent)[:, window.labels]
    labels = _Labels(value, posterior.spread[0])
    return labels, posterior, _find_few(posterior.n_values, designs)


def _find_few(n_values: np.ndarray, designs: Sequence[Design]) -> np.ndarray:
    """Return which stars have data in too few of the features that take part, or in none: (star,)."""
    features = sum(int((np.asarray(d.ivar_unit) > 0).sum()) for d in designs)
    few: np.ndarray = (n_values < flags.LEAST_FRACTION * features) | (n_values == 0)
    return few


def _bring_in_range(design: Design, data: _Data) -> tuple[Design, _Data]:
    """Scale float64 data before they become float32, whose range ends at 1e38.

    Data in float32 are in range already. Returns the design that fits the data.
    """
    value, ivar = data
    if value.dtype != np.float64 and ivar.dtype != np.float64:
        return design, data
    unit = np.asarray(design.unit, float)
    scaled = dataclasses.replace(
        design, unit=np.ones_like(design.unit), ivar_unit=np.sign(design.ivar_unit)
    )
    with np.errstate(over="ignore"):  # what is infinite gets no weight, and a flag
        in_range = np.minimum(ivar / unit**2, MOST_IVAR)
        return scaled, _Data(value * unit, np.where(np.isinf(ivar), ivar, in_range))


def put_on_device(designs: Sequence[Design]) -> tuple[Design, ...]:
    """Copy designs to where the kernel runs.

    Left to each call, the copy of a large one costs half as much as the work.
    """
    copied: tuple[Design, ...] = jax.block_until_ready(jax.device_put(tuple(designs)))
    return copied


def _cut_block(array: np.ndarray, start: int) -> np.ndarray:
    """Return a block of stars in float32."""
    part = array[start : start + BLOCK]
    # stars without data fill the last block: a new shape would compile again
    if len(part) < BLOCK:
        part = np.pad(part, ((0, BLOCK - len(part)), (0, 0)))
    with np.errstate(over="ignore"):  # what is infinite in float32 gets no weight, and a flag
        return np.asarray(part, np.float32)


def _finish(
    problem: Problem,
    posterior: _Posterior,
    labels: Sequence[_Labels],
    few: np.ndarray,
    *,
    covariance: bool,
) -> Inferred:
    """Bring the kernel's results to label units, add floors, raise flags."""
    heads = problem.heads
    value = tuple(found.value for found in labels)
    err = tuple(
        np.sqrt(found.variance * head.spread**2 + head.floor**2)
        for head, found in zip(heads, labels, strict=True)
    )
    cov: tuple[np.ndarray, ...] = ()
    if covariance:
        cov = tuple(
            spread * head.spread[:, None] * head.spread + np.diag(head.floor**2)
            for head, spread in zip(heads, posterior.spread, strict=True)
        )
    outside = [_find_outside(*head) for head in zip(heads, value, err, strict=True)]
    remaining = [problem.prior.remaining(found.variance).mean(1) for found in labels]
    z, chi2, n_values = posterior.latent, posterior.chi2, posterior.n_values
    most_chi2, most_distance = problem.limits
    raised = flags.combine(
        invalid_values=posterior.wrong > 0,
        no_data=n_values == 0,
        few_pixels=few,
        bad_fit=~(chi2 <= most_chi2 * np.maximum(n_values, 1)),  # true of NaN
        unlike_training=(z * z).sum(1) > most_distance,
        label_outside_training=np.any(outside, axis=0) if outside else False,
        prior_dominated=np.max(remaining, axis=0) > 0.5 if remaining else False,
        not_settled=~posterior.settled,
    )
    return Inferred(
        latent=z,
        chi2=chi2,
        n_pixels=n_values.astype(np.int32),
        flags=raised,
        value=value,
        err=err,
        cov=cov,
    )


def _find_outside(head: Head, value: np.ndarray, err: np.ndarray) -> np.ndarray:
    """Return which stars have a label clearly outside its range in training: (star,)."""
    least, greatest = head.bounds.T
    below = value + flags.CLEARLY * err < least
    above = value - flags.CLEARLY * err > greatest
    found: np.ndarray = (below | above).any(1)
    return found
