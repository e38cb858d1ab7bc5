"""Inference on arrays: the compiled kernel, and how its results are finished."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg, newton
from luxscale.model.decoders import Features
from luxscale.model.jit import compile_program
from luxscale.model.priors import Prior
from luxscale.model.problem import Design, Head, Problem, Window, put_on_device
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
    """Labels whose variances are wanted.

    weights (label, term), in units of the labels' spread; features, phi of their map.
    """

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
    """Labels of a head, and their variances in units of their spread: (star, label)."""

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
    few = flags.has_few(posterior.n_values, _count_used(problem.designs))
    settled = posterior.settled
    for window in problem.windows:
        part = _solve_window(window, problem, data, targets)
        labels[window.head] = labels[window.head].replace(window.labels, part.labels)
        few = few | part.few
        settled = settled & part.settled
    posterior = posterior._replace(settled=settled)
    return _finish(problem, posterior, labels, few, covariance=covariance)


def _make_target(head: Head) -> _Target:
    weights = (head.map.weights / head.spread[:, None]).astype(np.float32)
    return _Target(weights, head.map.features)


def _solve(
    problem: Problem, data: Sequence[_Data], targets: Sequence[_Target], *, covariance: bool
) -> _Posterior:
    """Run the compiled kernel over blocks of stars."""
    n = data[0].value.shape[0]
    parts = []
    for start in range(0, max(n, 1), BLOCK):
        block = [_Data(*(_cut_block(array, start) for array in given)) for given in data]
        result = _kernel(
            problem.designs,
            tuple(block),
            tuple(targets),
            problem.prior,
            covariance=covariance,
        )
        parts.append(jax.tree.map(np.asarray, result))
    posterior: _Posterior = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
    return posterior


@compile_program(static_argnames=("covariance",))
def _kernel(
    designs: tuple[Design, ...],
    data: tuple[_Data, ...],
    targets: tuple[_Target, ...],
    prior: Prior,
    covariance: bool,
) -> _Posterior:
    """Equation 10: the posterior of z for a block of stars, and what follows from it."""
    weights, residuals, wrong = zip(*map(_weigh, designs, data), strict=True)
    features = tuple(d.features for d in designs)
    parts = [
        d.noise.normal_equations(w, r, d.weights, d.packed)
        for d, w, r in zip(designs, weights, residuals, strict=True)
    ]
    equations = newton.in_latents(parts, features, prior)
    slopes = [newton.slope(t.features, equations.start, t.weights) for t in targets]
    directions = jnp.concatenate(slopes, -1) if slopes else None
    solution = linalg.solve(equations.h, equations.rhs, directions)
    z = equations.start + solution.x
    chi2 = sum(
        d.noise.chi2(w, r - linalg.dot(d.features(z), d.weights.T))
        for d, w, r in zip(designs, weights, residuals, strict=True)
    )
    n_values = sum(jnp.sum(w > 0, 1) for w in weights)
    edges = np.cumsum([t.weights.shape[0] for t in targets])[:-1]
    halves = jnp.split(solution.half, edges, -1) if targets else []
    spread = [linalg.square(half) if covariance else jnp.sum(half * half, 1) for half in halves]
    return _Posterior(
        latent=z,
        chi2=chi2,
        n_values=n_values,
        wrong=sum(wrong),
        settled=equations.settled,
        spread=tuple(spread),
    )


def _weigh(design: Design, data: _Data) -> tuple[Any, Any, Any]:
    """Return what the kernel makes of the data of one output.

    Returns
    -------
    weights, residuals : array, (star, feature)
        Residuals about the offset, 0 where there is no weight.
    wrong : array, (star,)
        Number of values that break the contract.
    """
    ivar = data.ivar
    residual = data.value * design.unit - design.offset
    sound = jnp.isfinite(ivar) & (ivar >= 0)
    near = jnp.abs(residual) < FARTHEST  # false of NaN
    good = sound & (near | (ivar == 0))
    weight = design.noise.weigh(ivar * design.ivar_unit)
    weight = jnp.where(good, weight, 0)
    residual = jnp.where(weight > 0, residual, 0)
    wrong = jnp.sum(~good, 1)
    return weight, residual, wrong


class _WindowResult(NamedTuple):
    """What the pixels of a window say.

    labels: those of the window; few, settled (star,): whether its pixels are few, and whether the
    search for the latents ended.
    """

    labels: _Labels
    few: np.ndarray
    settled: np.ndarray


def _solve_window(
    window: Window, problem: Problem, data: Sequence[_Data], targets: Sequence[_Target]
) -> _WindowResult:
    """Infer the labels of a window from its pixels alone."""
    designs, inside = [], []
    for design, given, pixels in zip(problem.designs, data, window.pixels, strict=True):
        designs.append(design.take(pixels))
        inside.append(_Data(given.value[:, pixels], given.ivar[:, pixels]))
    target = targets[window.head]
    wanted = target._replace(weights=target.weights[window.labels])
    restricted = dataclasses.replace(problem, designs=tuple(designs))
    posterior = _solve(restricted, inside, [wanted], covariance=False)
    predicted = problem.heads[window.head].predict(posterior.latent)
    return _WindowResult(
        labels=_Labels(predicted[:, window.labels], posterior.spread[0]),
        few=flags.has_few(posterior.n_values, _count_used(designs)),
        settled=posterior.settled,
    )


def _count_used(designs: Sequence[Design]) -> int:
    return sum(design.n_used for design in designs)


def _bring_in_range(design: Design, data: _Data) -> tuple[Design, _Data]:
    """Scale float64 data before they become float32, whose range ends at 1e38.

    Data in float32 are in range already. Returns the design that fits the data.
    """
    value, ivar = data
    if value.dtype != np.float64 and ivar.dtype != np.float64:
        return design, data
    unit = np.asarray(design.unit, float)
    with np.errstate(over="ignore"):  # what is infinite gets no weight, and a flag
        scaled_value = value * unit
        scaled_ivar = np.minimum(ivar / unit**2, MOST_IVAR)
    in_range = _Data(scaled_value, np.where(np.isinf(ivar), ivar, scaled_ivar))
    one, used = np.ones_like(design.unit), np.sign(design.ivar_unit)
    return dataclasses.replace(design, unit=one, ivar_unit=used), in_range


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
    outside = dominated = np.zeros(len(few), bool)
    for head, found, error in zip(heads, labels, err, strict=True):
        outside = outside | _find_outside(head, found.value, error)
        remaining = problem.prior.remaining(found.variance).mean(1)
        dominated = dominated | (remaining > 0.5)
    z, chi2, n_values = posterior.latent, posterior.chi2, posterior.n_values
    most_chi2, most_distance = problem.limits
    raised = flags.combine(
        invalid_values=posterior.wrong > 0,
        no_data=n_values == 0,
        few_pixels=few,
        bad_fit=~(chi2 <= most_chi2 * np.maximum(n_values, 1)),  # true of NaN
        unlike_training=(z * z).sum(1) > most_distance,
        label_outside_training=outside,
        prior_dominated=dominated,
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
