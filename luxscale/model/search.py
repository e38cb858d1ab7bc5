"""The kernel where latents have to be searched for: curved maps, mixtures, heavy tails."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model.blocks import Data, Posterior, Target, clean_data, find_sound_ivar, run_blocks
from luxscale.model.eliminate import find_terms
from luxscale.model.jit import compile_program, use_float64
from luxscale.model.levels import reduce_spectra, search_levels
from luxscale.model.moments import find_label_moments
from luxscale.model.observation import Observation
from luxscale.model.posterior import (
    FEW_ROUNDS,
    ROUNDS,
    SETTLED,
    Mode,
    find_distance,
    find_modes,
    weigh_modes,
)
from luxscale.model.priors import Gaussians
from luxscale.model.problem import Problem
from luxscale.model.separable import is_separable


def _search(
    designs: tuple[Any, ...],
    data: tuple[Data, ...],
    targets: tuple[Target, ...],
    prior: Gaussians,
    *,
    covariance: bool,
    complete: bool,
    rounds: Any,
) -> Posterior:
    """The posterior of z for a block of stars, where it is no Gaussian: a sum of them."""
    ivars, residuals, wrong = zip(*map(clean_data, designs, data), strict=True)
    observations = [
        d.noise.observe(ivar, r, d.reduced, d.features, complete)
        for d, ivar, r in zip(designs, ivars, residuals, strict=True)
    ]
    modes, moments = _find_terms(designs, observations, prior, rounds, targets, full=covariance)
    share = weigh_modes(modes)
    means, spread = [], []
    apart = jnp.zeros(share.shape[1], bool)
    for of_terms in moments:
        mean, within, between = _mix(*of_terms, share, covariance)
        means.append(mean)
        spread.append(within + between)
        if covariance:
            within, between = (jnp.diagonal(x, axis1=1, axis2=2) for x in (within, between))
        apart |= (between > within).any(1)
    best = jnp.argmax(modes.log_weight, 0)[None]
    settled = find_distance(modes) < SETTLED
    return Posterior(
        latent=jnp.take_along_axis(modes.latent, best[..., None], 0)[0],
        chi2=jnp.take_along_axis(modes.chi2, best, 0)[0],
        n_values=sum(o.n_values for o in observations),
        wrong=sum(wrong),
        settled=settled,
        spread=tuple(spread),
        mean=tuple(means),
        apart=apart,
        # where most latents are eliminated, a search has as many rounds as it needs
        fell_back=jnp.zeros_like(apart) if is_separable(observations) else ~settled,
    )


def _find_terms(
    designs: Sequence[Any],
    observations: Sequence[Observation],
    prior: Gaussians,
    rounds: Any,
    targets: Sequence[Target],
    *,
    full: bool,
) -> tuple[Mode, list[tuple[Any, Any]]]:
    """Return the terms of a posterior, and mean and variance of each target under each of them."""
    dofs = [d.dof for d in designs]
    if is_separable(observations):
        return find_terms(observations[0], dofs[0], prior, targets, full=full)
    modes = find_modes(observations, dofs, prior, rounds)

    def find(target: Target) -> tuple[Any, Any]:
        def find_one(mode: Mode) -> tuple[Any, Any]:
            return find_label_moments(
                target.features, target.weights, mode.latent, mode.covariance, full=full
            )

        found: tuple[Any, Any] = jax.lax.map(find_one, modes)
        return found

    return modes, [find(target) for target in targets]


def _mix(means: Any, variances: Any, share: Any, covariance: bool) -> tuple[Any, Any, Any]:
    """Return the mean of a target over the terms of a posterior, and its variance.

    Returns
    -------
    mean : array, (star, label)
    within, between : array, (star, label), or (star, label, label)
        Mean variance of a term, and variance between the terms.
    """
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


@compile_program(static_argnames=("covariance",))
def _search_complete(*given: Any, covariance: bool, rounds: Any) -> Posterior:
    """Search for the latents of stars without gaps."""
    return _search(*given, covariance=covariance, complete=True, rounds=rounds)


@compile_program(static_argnames=("covariance",))
def _search_in_float64(*given: Any, covariance: bool, rounds: Any) -> Posterior:
    return _search(*given, covariance=covariance, complete=False, rounds=rounds)


def _search_with_gaps(*given: Any, covariance: bool, rounds: Any) -> Posterior:
    """Search for the latents of stars that lack some features."""
    # float32 does not bear the noise of what gaps leave
    with use_float64():
        return _search_in_float64(*given, covariance=covariance, rounds=rounds)


class Terms(NamedTuple):
    """The terms of a posterior: share (star, term), mean and variance (star, term, label).

    Of one target, less its offset and in units of its spread.
    """

    share: Any
    mean: Any
    variance: Any


@compile_program(static_argnames=("covariance",))
def _list_terms(
    designs: tuple[Any, ...],
    data: tuple[Data, ...],
    targets: tuple[Target, ...],
    prior: Gaussians,
    covariance: bool,
) -> Terms:
    ivars, residuals, _ = zip(*map(clean_data, designs, data), strict=True)
    observations = [
        d.noise.observe(ivar, r, d.reduced, d.features, complete=False)
        for d, ivar, r in zip(designs, ivars, residuals, strict=True)
    ]
    modes, (moments,) = _find_terms(designs, observations, prior, ROUNDS, targets, full=False)
    mean, variance = moments
    return Terms(weigh_modes(modes).T, mean.swapaxes(0, 1), variance.swapaxes(0, 1))


def list_terms(problem: Problem, data: Sequence[Data], target: Target) -> Terms:
    """Return the terms of each star's posterior, as labels have them."""
    n = data[0].value.shape[0]
    prior = problem.prior.gaussians()
    with use_float64():
        return run_blocks(_list_terms, problem, data, [target], prior, n=n, covariance=False)


class _Part(NamedTuple):
    """Some of the stars: their general program, which they are, and what was found for them.

    unfinished says for which of them a longer search may find more.
    """

    program: Callable[..., Posterior]
    rows: np.ndarray
    found: Posterior
    unfinished: np.ndarray


def _replace_rows(rows: np.ndarray, whole: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return an array with some rows replaced."""
    out = np.array(whole)
    out[rows] = part
    return out


def search_stars(
    problem: Problem, data: Sequence[Data], targets: Sequence[Target], *, covariance: bool
) -> Posterior:
    """Search for the latents of stars: no star depends on the others.

    Those whose noise differs by its level alone share the tables of `luxscale.model.landmarks`; the
    others have programs of their own, without gaps and with them. Those for which the search is
    long are searched for again.
    """
    prior = problem.prior.gaussians()
    parts: list[_Part] = []
    landmarks = problem.landmarks
    if landmarks is None:
        complete, others = _find_complete(problem, data), np.array(True)
    else:
        reduced = reduce_spectra(problem, data)
        complete = reduced.complete
        alike = complete & (landmarks.find_levels(reduced.level) >= 0)
        others = ~alike
        if alike.any():
            reduced = jax.tree.map(lambda array: array[alike], reduced)
            found = search_levels(problem, landmarks, reduced, targets, covariance=covariance)
            parts.append(_Part(_search_complete, np.flatnonzero(alike), found, ~found.settled))
    whole, gapped = np.flatnonzero(complete & others), np.flatnonzero(~complete)

    def search(program: Callable[..., Posterior], rows: np.ndarray, rounds: int) -> Posterior:
        run = functools.partial(program, rounds=rounds)
        some = _select_stars(data, rows)
        return run_blocks(run, problem, some, targets, prior, n=rows.size, covariance=covariance)

    for program, rows in ((_search_complete, whole), (_search_with_gaps, gapped)):
        # without stars of its kind, a program need not be compiled
        if rows.size:
            found = search(program, rows, FEW_ROUNDS)
            parts.append(_Part(program, rows, found, found.fell_back))
    if not parts:
        return search(_search_complete, whole, FEW_ROUNDS)
    place = np.argsort(np.concatenate([part.rows for part in parts]))
    results = [part.found for part in parts]
    found = jax.tree.map(lambda *arrays: np.concatenate(arrays)[place], *results)
    for part in parts:
        again = part.rows[part.unfinished]
        if again.size:
            longer = search(part.program, again, ROUNDS)
            longer = longer._replace(fell_back=np.ones(again.size, bool))
            found = jax.tree.map(functools.partial(_replace_rows, again), found, longer)
    return found


def _find_complete(problem: Problem, data: Sequence[Data]) -> np.ndarray:
    """Return which stars have no gaps: (star,)."""
    complete = np.ones(len(data[0].value), bool)
    for design, given in zip(problem.designs, data, strict=True):
        if not design.noise.bears_gaps:
            complete &= np.asarray(design.noise.find_complete(find_sound_ivar(design, given)))
    return complete


def _select_stars(data: Sequence[Data], rows: np.ndarray) -> list[Data]:
    if rows.size == len(data[0].value):
        return list(data)
    return [Data(value[rows], ivar[rows]) for value, ivar in data]
