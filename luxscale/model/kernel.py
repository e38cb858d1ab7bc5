"""Inference on arrays: the compiled kernel, and how its results are finished."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from luxscale.model.blocks import Data, Posterior, Target, bring_in_range
from luxscale.model.distortion import BEYOND
from luxscale.model.gaussian import solve_stars
from luxscale.model.head import Head
from luxscale.model.jit import run_alone
from luxscale.model.marginalise import solve_with_nuisances
from luxscale.model.members import Found, Labels, average
from luxscale.model.presence import mark_outputs
from luxscale.model.problem import Design, Problem, Window, put_on_device
from luxscale.model.search import Terms, list_terms, search_stars
from luxscale.schema import flags


class Inferred(NamedTuple):
    """Results for a block of stars; tuples hold one array per head.

    fell_back says for which the fast way to the posterior was not good enough; nuisance holds the
    coefficient of each nuisance, and nuisance_err their errors; outputs, where errors depend on it,
    the bits of those that a star has.
    """

    latent: Any
    chi2: Any
    n_pixels: Any
    flags: Any
    value: tuple[Any, ...]
    err: tuple[Any, ...]
    cov: tuple[Any, ...]
    fell_back: Any
    nuisance: tuple[Any, ...] = ()
    nuisance_err: tuple[Any, ...] = ()
    outputs: tuple[Any, ...] = ()


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
        NumPy arrays. Errors are sqrt(inflation^2 diag(A C A^T) + floor^2), with C the posterior
        covariance of z, or calibrated ones.
    """
    members = (problem, *problem.others)
    # what NumPy does between programs wakes BLAS's threads too, which then wait at full speed
    with run_alone():
        found = [_infer_member(member, values, ivars, covariance=covariance) for member in members]
        together = average(found, [member.heads for member in members])
        return _finish(problem, together, covariance=covariance)


def _infer_member(
    problem: Problem,
    values: Sequence[np.ndarray],
    ivars: Sequence[np.ndarray],
    *,
    covariance: bool,
) -> Found:
    """Infer latents and labels by one member of an ensemble."""
    problem, data = _bring_in_range(problem, values, ivars)
    targets = [_make_target(head) for head in problem.heads]
    posterior = _solve(problem, data, targets, covariance=covariance)
    labels = []
    for i, (head, spread) in enumerate(zip(problem.heads, posterior.spread, strict=True)):
        variance = np.diagonal(spread, axis1=1, axis2=2) if covariance else spread
        labels.append(Labels(_predict(head, posterior, i), variance))
    few = flags.has_few(posterior.n_values, _count_used(problem.designs))
    settled = posterior.settled
    for window in problem.windows:
        part = _solve_window(window, problem, data, targets)
        labels[window.head] = labels[window.head].replace(window.labels, part.labels)
        few = few | part.few
        settled = settled & part.settled
    outputs = mark_outputs(problem.designs, data, problem.bits) if problem.bits else None
    return Found(posterior._replace(settled=settled), tuple(labels), few, outputs)


def _bring_in_range(
    problem: Problem, values: Sequence[np.ndarray], ivars: Sequence[np.ndarray]
) -> tuple[Problem, list[Data]]:
    """Return a problem and its data, of which no number is too large or small for float32."""
    prepared = [
        bring_in_range(design, Data(value, ivar))
        for design, value, ivar in zip(problem.designs, values, ivars, strict=True)
    ]
    designs = put_on_device([design for design, _ in prepared])
    return dataclasses.replace(problem, designs=designs, others=()), [d for _, d in prepared]


def find_terms(
    problem: Problem, values: Sequence[np.ndarray], ivars: Sequence[np.ndarray], head: int
) -> Terms:
    """Return the Gaussians that a posterior is the sum of, as the labels of one head have them.

    Those of all members of an ensemble, whose posterior is the mean of theirs.

    Parameters
    ----------
    problem : Problem
    values, ivars : sequence of array, (star, feature)
    head : int
        Its position.

    Returns
    -------
    Terms
        In the units of the labels.
    """
    members = (problem, *problem.others)
    found = [_find_member_terms(member, values, ivars, head) for member in members]
    share, mean, variance = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    return Terms(share / len(members), mean, variance)


def _find_member_terms(
    problem: Problem, values: Sequence[np.ndarray], ivars: Sequence[np.ndarray], head: int
) -> Terms:
    """Return the Gaussians of one member: a single one if that is linear."""
    problem, data = _bring_in_range(problem, values, ivars)
    wanted = problem.heads[head]
    target = _make_target(wanted)
    if problem.is_linear:
        posterior = _solve(problem, data, [target], covariance=False)
        mean = _predict(wanted, posterior, 0)[:, None]
        share, variance = np.ones(mean.shape[:2]), posterior.spread[0][:, None]
    else:
        share, mean, variance = list_terms(problem, data, target)
        mean = wanted.map.offset + wanted.spread * mean.astype(float)
    return Terms(share, mean, wanted.spread**2 * variance)


def _predict(head: Head, posterior: Posterior, i: int, columns: Any = slice(None)) -> np.ndarray:
    """Return the posterior mean of (some) labels of a head, in their units: (star, label)."""
    if not posterior.mean:
        return head.predict(posterior.latent)[:, columns]
    deviation = head.spread[columns] * posterior.mean[i].astype(float)
    return np.asarray(head.map.offset[columns] + deviation)


def _make_target(head: Head) -> Target:
    weights = (head.map.weights / head.spread[:, None]).astype(np.float32)
    return Target(weights, head.map.features)


def _solve(
    problem: Problem, data: Sequence[Data], targets: Sequence[Target], *, covariance: bool
) -> Posterior:
    """Run the compiled kernel over blocks of stars."""
    if problem.distortion is not None:
        return solve_with_nuisances(problem, data, targets, covariance=covariance)
    if problem.is_linear:
        return solve_stars(problem, data, targets, covariance=covariance)
    return search_stars(problem, data, targets, covariance=covariance)


class _WindowResult(NamedTuple):
    """What the pixels of a window say.

    labels: those of the window; few, settled (star,): whether its pixels are few, and whether the
    search for the latents ended.
    """

    labels: Labels
    few: np.ndarray
    settled: np.ndarray


def _solve_window(
    window: Window, problem: Problem, data: Sequence[Data], targets: Sequence[Target]
) -> _WindowResult:
    """Infer the labels of a window from its pixels alone."""
    designs, inside = [], []
    for design, given, pixels in zip(problem.designs, data, window.pixels, strict=True):
        if problem.is_linear and problem.distortion is None:
            designs.append(design.take(pixels))
            inside.append(Data(given.value[:, pixels], given.ivar[:, pixels]))
        else:
            # noise that is shared between pixels is that of a star without the others, and spectra
            # that are shifted rest on those outside
            designs.append(design)
            outside = np.ones(given.ivar.shape[1], bool)
            outside[pixels] = False
            inside.append(Data(given.value, np.where(outside, 0, given.ivar)))
    restricted = dataclasses.replace(problem, designs=tuple(designs))
    head, target = problem.heads[window.head], targets[window.head]
    wanted = target._replace(weights=target.weights[window.labels])
    posterior = _solve(restricted, inside, [wanted], covariance=False)
    n_used = sum(p.size for p in window.pixels)
    return _WindowResult(
        labels=Labels(_predict(head, posterior, 0, window.labels), posterior.spread[0]),
        few=flags.has_few(posterior.n_values, min(n_used, _count_used(designs))),
        settled=posterior.settled,
    )


def _count_used(designs: Sequence[Design]) -> int:
    return sum(design.n_used for design in designs)


def _finish(problem: Problem, found: Found, *, covariance: bool) -> Inferred:
    """Bring the kernel's results to label units, and add floors and flags."""
    heads, (posterior, labels, few, outputs) = problem.heads, found
    value = tuple(one.value for one in labels)
    err = tuple(
        head.find_by_outputs(Head.find_error, one.variance, outputs)
        for head, one in zip(heads, labels, strict=True)
    )
    cov: tuple[np.ndarray, ...] = ()
    if covariance:
        cov = tuple(
            head.find_by_outputs(_find_covariance, spread, outputs)
            for head, spread in zip(heads, posterior.spread, strict=True)
        )
    coefficients, errors = _find_coefficients(problem, posterior)
    return Inferred(
        latent=posterior.latent,
        chi2=posterior.chi2,
        n_pixels=np.rint(posterior.n_values).astype(np.int32),
        flags=_raise_flags(problem, posterior, labels, err, few),
        value=value,
        err=err,
        cov=cov,
        fell_back=posterior.fell_back,
        nuisance=coefficients,
        nuisance_err=errors,
        outputs=() if outputs is None else (outputs,),
    )


def _raise_flags(
    problem: Problem,
    posterior: Posterior,
    labels: Sequence[Labels],
    err: Sequence[np.ndarray],
    few: np.ndarray,
) -> np.ndarray:
    """Return the flags of every star: (star,)."""
    outside = dominated = np.zeros(len(few), bool)
    for head, found, error in zip(problem.heads, labels, err, strict=True):
        outside = outside | _find_outside(head, found.value, error)
        remaining = problem.prior.remaining(found.variance).mean(1)
        dominated = dominated | (remaining > 0.5)
    most_chi2, most_distance = problem.limits
    n_values = posterior.n_values
    fits = posterior.chi2 <= most_chi2 * np.maximum(n_values, 1)  # false of NaN
    distance = problem.prior.distance(posterior.latent)
    return flags.combine(
        invalid_values=posterior.wrong > 0,
        no_data=n_values == 0,
        few_pixels=few,
        bad_fit=~fits,
        unlike_training=distance > most_distance,
        label_outside_training=outside,
        prior_dominated=dominated,
        not_settled=~posterior.settled,
        two_solutions=posterior.apart,
        nuisance_beyond_prior=_find_beyond(posterior),
    )


def _find_beyond(posterior: Posterior) -> np.ndarray:
    """Return which stars have a nuisance clearly beyond its prior: (star,)."""
    beyond = np.zeros(len(posterior.n_values), bool)
    if posterior.nuisance:
        beyond = (np.abs(posterior.nuisance[0]) > BEYOND).any(1)
    return beyond


def _find_coefficients(
    problem: Problem, posterior: Posterior
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return the coefficient of each nuisance, and its errors, in their units: (star,)."""
    if problem.distortion is None:
        return (), ()
    widths = np.asarray(problem.distortion.widths, float)
    coefficients, errors = (tuple((found * widths).T) for found in posterior.nuisance)
    return coefficients, errors


def _find_covariance(head: Head, spread: np.ndarray) -> np.ndarray:
    """Return covariances of labels as errors have them: (star, label, label)."""
    variance = np.diagonal(spread, axis1=1, axis2=2)
    factor = np.sqrt(head.inflate(variance))
    inflated = spread * factor[:, :, None] * factor[:, None, :]
    covariance: np.ndarray = inflated * head.spread[:, None] * head.spread
    floor2 = head.find_floor(variance) ** 2
    return covariance + floor2[..., None] * np.eye(variance.shape[1])


def _find_outside(head: Head, value: np.ndarray, err: np.ndarray) -> np.ndarray:
    """Return which stars have a label clearly outside its range in training: (star,)."""
    least, greatest = head.bounds.T
    below = value + flags.CLEARLY * err < least
    above = value - flags.CLEARLY * err > greatest
    found: np.ndarray = (below | above).any(1)
    return found
