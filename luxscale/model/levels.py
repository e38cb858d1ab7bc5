"""The search for latents of stars whose noise differs by its level alone, term by term.

All stars are searched for by their leads (`luxscale.model.leads`); those for which that is not good
enough, by steps of every term. So are all stars of models for which leads were found to miss maxima
(`luxscale.model.maxima`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from luxscale.model import linalg
from luxscale.model.ascent import Common, Found, find_covariance, screen
from luxscale.model.blocks import BLOCK, Data, Posterior, Target, clean_data, run_blocks
from luxscale.model.climb import MATTERS, Ascent, find_best
from luxscale.model.groups import Block, cut_blocks, map_groups, run_rows
from luxscale.model.jit import compile_program, run_alone
from luxscale.model.landmarks import Landmarks, find_level
from luxscale.model.leads import follow_leads, restart_others
from luxscale.model.lowered import keep_lowered, register_result
from luxscale.model.moments import find_label_moments
from luxscale.model.problem import Problem

#: Most terms that are tried for a star, and by how much their ln evidence, of spectra linearised at
#: the means of the Gaussians, may be less than the best.
TRIED, LIKELY = 16, 20.0

#: Most steps of the full search.
STEPS = 40

#: Stars whose terms are held at once: what is known of them stays in a processor's cache.
_STARS = 4096


@register_result
class Reduced(NamedTuple):
    """Spectra as their components: (star, value); the others (star,).

    level t^2; number of wrong values; whether a spectrum is complete, without which the first two
    say nothing.
    """

    components: Any
    level: Any
    wrong: Any
    complete: Any


class _Chosen(NamedTuple):
    """Terms to try: star, gaussian and place of the level in the grid, (term,).

    And what is known of them: log_evidence (term,) and q (term, latent), see
    `luxscale.model.landmarks`.
    """

    star: np.ndarray
    gaussian: np.ndarray
    place: np.ndarray
    log_evidence: np.ndarray
    q: np.ndarray


@compile_program(static_argnames=("covariance",))
@keep_lowered
def _reduce(designs: Any, data: Any, targets: Any, prior: Any, covariance: bool) -> Reduced:
    (design,), (given,) = designs, data
    ivar, residual, wrong = clean_data(design, given)
    return Reduced(
        components=linalg.dot(residual, design.reduced.basis),
        level=design.noise.measure_level(ivar),
        wrong=wrong,
        complete=design.noise.find_complete(ivar),
    )


def reduce_spectra(problem: Problem, data: Sequence[Data]) -> Reduced:
    """Return the components of spectra."""
    n = len(data[0].value)
    return run_blocks(_reduce, problem, data, (), None, n=n, covariance=False)


def search_levels(
    problem: Problem,
    landmarks: Landmarks,
    reduced: Reduced,
    targets: Sequence[Target],
    *,
    covariance: bool,
) -> Posterior:
    """Search for the latents of stars whose level is in the grid of the landmarks."""
    common = make_common(problem, landmarks)

    def search(group: Callable[..., Posterior], stars: np.ndarray) -> Posterior:
        parts = []
        for start in range(0, stars.size, _STARS):
            some = Reduced(*(array[stars[start : start + _STARS]] for array in reduced))
            parts.append(group(common, some, targets, covariance))
        found: Posterior = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
        return found

    everyone = np.arange(len(reduced.level))
    if landmarks.every_term:
        return search(reach_maxima, everyone)
    found = search(reach_maxima_fast, everyone)
    again = np.flatnonzero(found.fell_back)
    if again.size:
        fully = search(reach_maxima, again)._replace(fell_back=np.ones(again.size, bool))
        for whole, part in zip(jax.tree.leaves(found), jax.tree.leaves(fully), strict=True):
            whole[again] = part
    return found


def reach_maxima_fast(
    common: Common, reduced: Reduced, targets: Sequence[Target], covariance: bool
) -> Posterior:
    """Search by the lead of each star; those that fell back are not done."""
    ascent = _begin(common, reduced, every=False)
    again = follow_leads(common, ascent)
    found = _sum_terms(common, ascent, again, targets, covariance)
    return found._replace(wrong=reduced.wrong, fell_back=again)


def reach_maxima(
    common: Common, reduced: Reduced, targets: Sequence[Target], covariance: bool
) -> Posterior:
    """Take steps of every term, and once more of those that others have shown a better place."""
    ascent = _begin(common, reduced, every=True)
    ascent.found.log_weight[:] = -np.inf
    moving = _climb_far(common, ascent, np.arange(len(ascent.star)))
    again = restart_others(common, ascent)
    if again.size:
        moving = _climb_far(common, ascent, again)
    found = _sum_terms(common, ascent, ascent.any_of_star(moving), targets, covariance)
    return found._replace(wrong=reduced.wrong)


def _climb_far(common: Common, ascent: Ascent, active: np.ndarray) -> np.ndarray:
    """Take steps until terms have settled; return which have not: (term,)."""
    for _ in range(STEPS):
        ascent.climb(common, active)
        moving = ascent.find_moving()
        active = np.flatnonzero(moving & (ascent.fraction > 1e-6))
        if not active.size:
            break
    return moving


def make_common(problem: Problem, landmarks: Landmarks) -> Common:
    """Return what all stars share, where the kernel runs."""
    (design,) = problem.designs
    common = Common(design.dof, problem.prior.gaussians(), landmarks)
    return Common(*jax.device_put(tuple(common)))


def _begin(common: Common, reduced: Reduced, *, every: bool) -> Ascent:
    """Choose the terms of all stars, and where the search of every one begins, or of the best."""
    chosen = _screen_stars(common, reduced)
    first = np.searchsorted(chosen.star, np.arange(len(reduced.level)))
    begun = np.arange(chosen.star.size) if every else find_best(chosen.log_evidence, first)
    latent = np.asarray(common.prior.mean)[chosen.gaussian]
    back = np.asarray(common.landmarks.back)[chosen.place[begun], chosen.gaussian[begun]]
    latent[begun] += np.matmul(back, chosen.q[begun, :, None])[..., 0]
    n, p = latent.shape
    infinite = np.full(n, np.inf, np.float32)
    nothing = Found(
        step=np.zeros((n, p), np.float32),
        distance=infinite,
        energy=infinite.copy(),
        log_weight=chosen.log_evidence,
        chi2=infinite.copy(),
        slope=np.zeros((n, p), np.float32),
        hessian=np.zeros((n, p * (p + 1) // 2), np.float32),
    )
    return Ascent(
        components=reduced.components,
        level=reduced.level,
        star=chosen.star,
        gaussian=chosen.gaussian,
        first=first,
        latent=latent,
        base=latent.copy(),
        found=nothing,
        fraction=np.ones(n, np.float32),
        origin=np.arange(n),
    )


def _screen_stars(common: Common, reduced: Reduced) -> _Chosen:
    """Choose the terms of all stars, which then stand together."""
    places = Landmarks.find_levels(reduced.level)
    with run_alone():
        parts = [
            _screen_block(common, place, reduced, block)
            for place in np.unique(places)
            for block in cut_blocks(np.flatnonzero(places == place), BLOCK)
        ]
    chosen = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    order = np.argsort(chosen[0], kind="stable")
    return _Chosen(*(array[order] for array in chosen))


def _screen_block(common: Common, place: int, reduced: Reduced, block: Block) -> _Chosen:
    """Choose the terms of stars of one level."""
    level = np.float32(find_level(place))
    found = screen(common, place, level, reduced.components[block.rows])
    log_evidence, q = (np.asarray(a)[: block.number] for a in found)
    which = _choose_terms(log_evidence)
    row, gaussian = which
    return _Chosen(
        star=block.rows[row],
        gaussian=gaussian.astype(np.int32),
        place=np.full(row.size, place),
        log_evidence=log_evidence[which],
        q=q[which],
    )


def _choose_terms(log_evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return star and Gaussian of the terms to try."""
    least = log_evidence.max(1, keepdims=True) - LIKELY
    number = log_evidence.shape[1]
    if number > TRIED:
        ranked = np.partition(log_evidence, number - TRIED, axis=1)
        least = np.maximum(least, ranked[:, number - TRIED, None])
    # without any, true of NaN
    star, gaussian = np.nonzero(~(log_evidence < least))
    return star, gaussian


@compile_program(static_argnames=("full",))
@keep_lowered
def _find_moments(common: Any, targets: Any, terms: Any, number: Any, full: bool) -> Any:
    def find(some: Any) -> Any:
        latent, hessian, gaussian = some
        covariance = find_covariance(common, hessian, gaussian)
        return tuple(
            find_label_moments(t.features, t.weights, latent, covariance, full=full)
            for t in targets
        )

    return map_groups(find, terms, number)


def _sum_terms(
    common: Common,
    ascent: Ascent,
    unsettled: np.ndarray,
    targets: Sequence[Target],
    covariance: bool,
) -> Posterior:
    """Return the posteriors of stars, the sums of their terms."""
    log_share = ascent.measure_shares()
    share = np.exp(log_share)
    counts = (log_share > MATTERS) & np.isfinite(ascent.found.log_weight)
    # what has not settled is searched for again
    counts &= ~unsettled[ascent.star]
    share = np.where(counts, share, 0)
    total = np.add.reduceat(share, ascent.first)
    best = find_best(log_share, ascent.first)
    counts[best] = True
    share[best] = np.where(total > 0, share[best], 1)
    kept = np.flatnonzero(counts)
    star, share = ascent.star[kept], share[kept]
    first = np.searchsorted(star, np.arange(len(total)))
    share = (share / np.add.reduceat(share, first)[star]).astype(np.float32)
    latent = ascent.latent[kept]
    given = (latent, ascent.found.hessian[ascent.origin[kept]], ascent.gaussian[kept])

    def find(terms: Any, number: int) -> Any:
        return _find_moments(common, tuple(targets), terms, number, full=covariance)

    labels = run_rows(find, given)
    means, spread = [], []
    apart = np.zeros(len(total), bool)
    for mean, variance in labels:
        middle, within, between = _mix(mean, variance, share, star, first)
        means.append(middle)
        spread.append(within + between)
        if covariance:
            within, between = (np.diagonal(x, axis1=1, axis2=2) for x in (within, between))
        apart |= (between > within).any(1)
    return Posterior(
        latent=ascent.latent[best],
        chi2=ascent.found.chi2[ascent.origin[best]],
        n_values=np.full(len(total), float(ascent.components.shape[1]), np.float32),
        wrong=np.zeros(len(total), np.int32),
        settled=(total > 0) & ~unsettled,
        spread=tuple(spread),
        mean=tuple(means),
        apart=apart,
        fell_back=np.zeros_like(apart),
    )


def _mix(
    mean: np.ndarray, variance: np.ndarray, share: np.ndarray, star: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean of labels over terms, mean variance of a term and variance between them."""
    weight = share[:, None]
    middle = np.add.reduceat(weight * mean, first)
    away = mean - middle[star]
    if variance.ndim == 2:
        within = np.add.reduceat(weight * variance, first)
        return middle, within, np.add.reduceat(weight * away**2, first)
    within = np.add.reduceat(weight[..., None] * variance, first)
    products = away[:, :, None] * away[:, None]
    return middle, within, np.add.reduceat(weight[..., None] * products, first)
