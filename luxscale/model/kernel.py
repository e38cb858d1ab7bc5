"""Inference on arrays: the compiled kernel, and how its results are finished."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.decoders import Features, find_moments
from luxscale.model.jit import compile_program, use_float64
from luxscale.model.posterior import (
    FEW_ROUNDS,
    ROUNDS,
    SETTLED,
    Mode,
    find_distance,
    find_modes,
    weigh_modes,
)
from luxscale.model.priors import GaussianPrior, Gaussians
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

    spread holds the variances (star, label) of each target, or the covariances. Where the latents
    were searched for, mean holds the targets less their offset, (star, label), in units of their
    spread, and apart says whether there are two solutions, (star,).
    """

    latent: Any
    chi2: Any
    n_values: Any
    wrong: Any
    settled: Any
    spread: tuple[Any, ...]
    mean: tuple[Any, ...] = ()
    apart: Any = False


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
    for i, (head, spread) in enumerate(zip(problem.heads, posterior.spread, strict=True)):
        variance = np.diagonal(spread, axis1=1, axis2=2) if covariance else spread
        labels.append(_Labels(_predict(head, posterior, i), variance))
    few = flags.has_few(posterior.n_values, _count_used(problem.designs))
    settled = posterior.settled
    for window in problem.windows:
        part = _solve_window(window, problem, data, targets)
        labels[window.head] = labels[window.head].replace(window.labels, part.labels)
        few = few | part.few
        settled = settled & part.settled
    posterior = posterior._replace(settled=settled)
    return _finish(problem, posterior, labels, few, covariance=covariance)


def _predict(head: Head, posterior: _Posterior, i: int, columns: Any = slice(None)) -> np.ndarray:
    """Return the posterior mean of (some) labels of a head, in their units: (star, label)."""
    if not posterior.mean:
        return head.predict(posterior.latent)[:, columns]
    deviation = head.spread[columns] * posterior.mean[i].astype(float)
    return np.asarray(head.map.offset[columns] + deviation)


def _make_target(head: Head) -> _Target:
    weights = (head.map.weights / head.spread[:, None]).astype(np.float32)
    return _Target(weights, head.map.features)


def _solve(
    problem: Problem, data: Sequence[_Data], targets: Sequence[_Target], *, covariance: bool
) -> _Posterior:
    """Run the compiled kernel over blocks of stars."""
    n = data[0].value.shape[0]
    if problem.is_linear:
        return _solve_blocks(
            _kernel, problem, data, targets, problem.prior, n=n, covariance=covariance
        )
    complete = np.ones(n, bool)
    for design, given in zip(problem.designs, data, strict=True):
        complete &= design.noise.find_complete(given.ivar)
    whole, gapped = np.flatnonzero(complete), np.flatnonzero(~complete)
    prior = problem.prior.gaussians()

    def search(program: Callable[..., _Posterior], rows: np.ndarray, rounds: int) -> _Posterior:
        some = [_Data(value[rows], ivar[rows]) for value, ivar in data]
        run = functools.partial(program, rounds=rounds)
        return _solve_blocks(run, problem, some, targets, prior, n=rows.size, covariance=covariance)

    # no star depends on the others of its block: those with gaps have a program of their own, and
    # those for which the search is long are searched for again
    found = search(_search_complete, whole, FEW_ROUNDS)
    if gapped.size:
        with_gaps = search(_search_with_gaps, gapped, FEW_ROUNDS)
        place = np.argsort(np.concatenate([whole, gapped]))
        found = jax.tree.map(lambda a, b: np.concatenate([a, b])[place], found, with_gaps)
    for program, rows in ((_search_complete, complete), (_search_with_gaps, ~complete)):
        again = np.flatnonzero(rows & ~found.settled)
        if again.size:
            longer = search(program, again, ROUNDS)
            found = jax.tree.map(functools.partial(_put, again), found, longer)
    return found


def _put(rows: np.ndarray, whole: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return an array with some rows replaced."""
    out = np.array(whole)
    out[rows] = part
    return out


def _solve_blocks(
    kernel: Callable[..., _Posterior],
    problem: Problem,
    data: Sequence[_Data],
    targets: Sequence[_Target],
    prior: Any,
    *,
    n: int,
    covariance: bool,
) -> _Posterior:
    parts = []
    for start in range(0, max(n, 1), BLOCK):
        block = [_Data(*(_cut_block(array, start) for array in given)) for given in data]
        result = kernel(
            problem.designs,
            tuple(block),
            tuple(targets),
            prior,
            covariance=covariance,
        )
        parts.append(jax.tree.map(np.asarray, result))
    posterior: _Posterior = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
    return posterior


@compile_program(static_argnames=("covariance",))
def _kernel(
    designs: tuple[Any, ...],
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
    h, rhs = sum(f for f, _ in parts), sum(g for _, g in parts)
    hessian = linalg.unpack(h, rhs.shape[1]) + prior.hessian()
    slopes = [t.weights.T for t in targets]
    directions = jnp.concatenate(slopes, -1) if slopes else None
    solution = linalg.solve(hessian, rhs, directions)
    z = solution.x
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
        settled=jnp.ones(len(z), bool),
        spread=tuple(spread),
        apart=jnp.zeros(len(z), bool),
    )


def _search(
    designs: tuple[Any, ...],
    data: tuple[_Data, ...],
    targets: tuple[_Target, ...],
    prior: Gaussians,
    *,
    covariance: bool,
    complete: bool,
    rounds: int,
) -> _Posterior:
    """The posterior of z for a block of stars, where it is no Gaussian: a sum of them."""
    ivars, residuals, wrong = zip(*map(_clean, designs, data), strict=True)
    observations = [
        d.noise.observe(ivar, r, d.reduced, d.features, complete)
        for d, ivar, r in zip(designs, ivars, residuals, strict=True)
    ]
    modes = find_modes(observations, [d.dof for d in designs], prior, rounds)
    share = weigh_modes(modes)
    means, spread = [], []
    apart = jnp.zeros(share.shape[1], bool)
    for target in targets:
        mean, within, between = _mix(target, modes, share, covariance)
        means.append(mean)
        spread.append(within + between)
        if covariance:
            within, between = (jnp.diagonal(x, axis1=1, axis2=2) for x in (within, between))
        apart |= (between > within).any(1)
    best = jnp.argmax(modes.log_weight, 0)[None]
    return _Posterior(
        latent=jnp.take_along_axis(modes.latent, best[..., None], 0)[0],
        chi2=jnp.take_along_axis(modes.chi2, best, 0)[0],
        n_values=sum(o.n_values for o in observations),
        wrong=sum(wrong),
        settled=find_distance(modes) < SETTLED,
        spread=tuple(spread),
        mean=tuple(means),
        apart=apart,
    )


def _mix(target: _Target, modes: Mode, share: Any, covariance: bool) -> tuple[Any, Any, Any]:
    """Return the mean of a target over the terms of a posterior, and its variance.

    Returns
    -------
    mean : array, (star, label)
    within, between : array, (star, label), or (star, label, label)
        Mean variance of a term, and variance between the terms.
    """

    def find(mode: Mode) -> tuple[Any, Any]:
        mean, rows = find_moments(target.features, mode.latent, mode.covariance)
        spread = linalg.dot(rows, target.weights.T)
        if covariance:
            return linalg.dot(mean, target.weights.T), linalg.square(spread)
        return linalg.dot(mean, target.weights.T), jnp.sum(spread * spread, 1)

    means, variances = jax.lax.map(find, modes)
    weight = share[..., None]
    # a term without weight may be NaN
    means = jnp.where(weight > 0, means, 0)
    mean = jnp.sum(weight * means, 0)
    away = jnp.where(weight > 0, means - mean, 0)
    if covariance:
        variances = jnp.where(weight[..., None] > 0, variances, 0)
        within = jnp.sum(weight[..., None] * variances, 0)
        between = jnp.einsum("ks,ksl,ksm->slm", share, away, away)
    else:
        variances = jnp.where(weight > 0, variances, 0)
        within = jnp.sum(weight * variances, 0)
        between = jnp.sum(weight * away**2, 0)
    return mean, within, between


@compile_program(static_argnames=("covariance", "rounds"))
def _search_complete(*given: Any, covariance: bool, rounds: int) -> _Posterior:
    """Search for the latents of stars without gaps."""
    return _search(*given, covariance=covariance, complete=True, rounds=rounds)


@compile_program(static_argnames=("covariance", "rounds"))
def _search_in_float64(*given: Any, covariance: bool, rounds: int) -> _Posterior:
    return _search(*given, covariance=covariance, complete=False, rounds=rounds)


def _search_with_gaps(*given: Any, covariance: bool, rounds: int) -> _Posterior:
    """Search for the latents of stars that lack some features."""
    # float32 does not bear the noise of what gaps leave
    with use_float64():
        return _search_in_float64(*given, covariance=covariance, rounds=rounds)


def _clean(design: Design, data: _Data) -> tuple[Any, Any, Any]:
    """Return inverse variances, 0 where a value is of no use, and residuals; see `_weigh`."""
    ivar, residual, good, wrong = _check(design, data)
    ivar = jnp.where(good, ivar * design.ivar_unit, 0)
    return ivar, jnp.where(ivar > 0, residual, 0), wrong


def _weigh(design: Any, data: _Data) -> tuple[Any, Any, Any]:
    """Return what the kernel makes of the data of one output.

    Returns
    -------
    weights, residuals : array, (star, feature)
        Residuals about the offset, 0 where there is no weight.
    wrong : array, (star,)
        Number of values that break the contract.
    """
    ivar, residual, good, wrong = _check(design, data)
    weight = design.noise.weigh(ivar * design.ivar_unit)
    weight = jnp.where(good, weight, 0)
    residual = jnp.where(weight > 0, residual, 0)
    return weight, residual, wrong


def _check(design: Design, data: _Data) -> tuple[Any, Any, Any, Any]:
    """Return inverse variances, residuals, which values are sound, and how many are not."""
    ivar = data.ivar
    residual = data.value * design.unit - design.offset
    sound = jnp.isfinite(ivar) & (ivar >= 0)
    near = jnp.abs(residual) < FARTHEST  # false of NaN
    good = sound & (near | (ivar == 0))
    return ivar, residual, good, jnp.sum(~good, 1)


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
        if problem.is_linear:
            designs.append(design.take(pixels))
            inside.append(_Data(given.value[:, pixels], given.ivar[:, pixels]))
        else:
            # noise that is shared between pixels is that of a star without the others
            designs.append(design)
            outside = np.ones(given.ivar.shape[1], bool)
            outside[pixels] = False
            inside.append(_Data(given.value, np.where(outside, 0, given.ivar)))
    restricted = dataclasses.replace(problem, designs=tuple(designs))
    head, target = problem.heads[window.head], targets[window.head]
    wanted = target._replace(weights=target.weights[window.labels])
    posterior = _solve(restricted, inside, [wanted], covariance=False)
    n_used = sum(p.size for p in window.pixels)
    return _WindowResult(
        labels=_Labels(_predict(head, posterior, 0, window.labels), posterior.spread[0]),
        few=flags.has_few(posterior.n_values, min(n_used, _count_used(designs))),
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
    distance = problem.prior.distance(z)
    raised = flags.combine(
        invalid_values=posterior.wrong > 0,
        no_data=n_values == 0,
        few_pixels=few,
        bad_fit=~(chi2 <= most_chi2 * np.maximum(n_values, 1)),  # true of NaN
        unlike_training=distance > most_distance,
        label_outside_training=outside,
        prior_dominated=dominated,
        not_settled=~posterior.settled,
        two_solutions=posterior.apart,
    )
    return Inferred(
        latent=z,
        chi2=chi2,
        n_pixels=np.rint(n_values).astype(np.int32),
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
