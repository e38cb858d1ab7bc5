"""The search for latents of stars whose noise differs by its level alone, term by term."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from luxscale.model import linalg
from luxscale.model.ascent import Common, Found, Terms, screen, take_step
from luxscale.model.blocks import BLOCK, Data, Posterior, Target, clean_data, run_blocks
from luxscale.model.jit import compile_program, run_alone
from luxscale.model.landmarks import Landmarks, find_level
from luxscale.model.moments import find_label_moments
from luxscale.model.problem import Problem

#: Most terms that are tried for a star, and by how much their ln evidence, of spectra linearised at
#: the means of the Gaussians, may be less than the best.
TRIED, LIKELY = 16, 20.0

#: Least ln share of a term that is followed, and of one that counts.
MATTERS = -9.0

#: Squared length of the last step, in sigma and times its term's share, after which a term has
#: settled: it is taken, and what is left is a tenth of it.
SETTLED = 1e-2

#: Most steps, and by how much ln p may fall, from rounding, in one that is kept.
STEPS, _ROUNDING = 20, 1e-2

#: What a term may gain beyond what its next step promises, in units of that.
_SLACK = 0.5

#: Terms in one call of a compiled step.
_TERMS = 512

#: Stars whose terms are held at once: what is known of them stays in a processor's cache.
_STARS = 4096


class Reduced(NamedTuple):
    """Spectra as their components: (star, value); the others (star,).

    level t^2; number of wrong values; whether a spectrum is complete, without which the first two
    say nothing.
    """

    components: Any
    level: Any
    wrong: Any
    complete: Any


@compile_program(static_argnames=("covariance",))
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


@dataclasses.dataclass
class _Ascent:
    """Terms of all stars on their way to the maxima, those of a star together.

    Parameters
    ----------
    reduced : Reduced
        The stars.
    star, gaussian : array, (term,)
    first : array, (star,)
        Where the terms of each star begin.
    latent : array, (term, latent)
        To be looked at next.
    base, found
        Where each term was found best, and what was found there.
    fraction : array, (term,)
        Part of the step that is looked at.
    """

    reduced: Reduced
    star: np.ndarray
    gaussian: np.ndarray
    first: np.ndarray
    latent: np.ndarray
    base: np.ndarray
    found: Found
    fraction: np.ndarray

    def climb(self, common: Common, rows: np.ndarray) -> None:
        """Take a step of some of the terms."""
        with run_alone():
            for start in range(0, rows.size, _TERMS):
                some = rows[start : start + _TERMS]
                block = _fill_block(some)
                star = self.star[block]
                terms = Terms(
                    components=self.reduced.components[star],
                    level=self.reduced.level[star],
                    gaussian=self.gaussian[block],
                    latent=self.latent[block],
                )
                new = take_step(common, terms)
                self.update(some, Found(*(np.asarray(array)[: some.size] for array in new)))

    def update(self, rows: np.ndarray, new: Found) -> None:
        """Keep what is better, and look less far where it is not."""
        better = new.energy <= self.found.energy[rows] + _ROUNDING  # false of NaN
        kept = rows[better]
        for old, values in zip(self.found, new, strict=True):
            old[kept] = values[better]
        self.base[kept] = self.latent[kept]
        self.fraction[kept] = 1
        self.fraction[rows[~better]] /= 4
        step = self.fraction[rows, None] * self.found.step[rows]
        self.latent[rows] = self.base[rows] + step

    def measure_shares(self) -> np.ndarray:
        """Return ln of the share of each term in its star's posterior, beside the best's."""
        best = np.maximum.reduceat(self.found.log_weight, self.first)
        # without any, all are as good
        best = np.where(np.isfinite(best), best, 0)
        return self.found.log_weight - best[self.star]

    def find_moving(self) -> np.ndarray:
        """Return which terms still move and may matter: (term,)."""
        distance = self.found.distance
        # what the last step will gain is not sure: a term is beside what others have reached
        reached = self.found.log_weight - 0.5 * distance
        best = np.maximum.reduceat(reached, self.first)[self.star]
        with np.errstate(over="ignore", invalid="ignore"):
            # and may be more
            log_share = self.found.log_weight + _SLACK * distance - best
            moves = np.exp(np.minimum(log_share, 0)) * distance > SETTLED
        return moves & (log_share > MATTERS) | np.isinf(distance)


def search_levels(
    problem: Problem,
    landmarks: Landmarks,
    reduced: Reduced,
    targets: Sequence[Target],
    *,
    covariance: bool,
) -> Posterior:
    """Search for the latents of stars whose level is in the grid of the landmarks."""
    common = _make_common(problem, landmarks)
    parts = []
    for start in range(0, len(reduced.level), _STARS):
        some = Reduced(*(array[start : start + _STARS] for array in reduced))
        parts.append(_search_group(common, some, targets, covariance))
    found: Posterior = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    return found


def _search_group(
    common: Common, reduced: Reduced, targets: Sequence[Target], covariance: bool
) -> Posterior:
    ascent = _begin(common, reduced)
    active = np.arange(len(ascent.star))
    for _ in range(STEPS):
        ascent.climb(common, active)
        moving = ascent.find_moving()
        active = np.flatnonzero(moving & (ascent.fraction > 1e-6))
        if not active.size:
            break
    return _sum_terms(ascent, moving, targets, covariance)


def _make_common(problem: Problem, landmarks: Landmarks) -> Common:
    (design,) = problem.designs
    common = Common(design.dof, problem.prior.gaussians(), landmarks)
    return Common(*jax.device_put(tuple(common)))


def _begin(common: Common, reduced: Reduced) -> _Ascent:
    """Choose the terms of all stars, and where their search begins."""
    places = Landmarks.find_levels(reduced.level)
    stars, gaussians, latents = [], [], []
    back, mean = np.asarray(common.landmarks.back), np.asarray(common.prior.mean)
    for place in np.unique(places):
        members = np.flatnonzero(places == place)
        level = np.float32(find_level(place))
        for start in range(0, members.size, BLOCK):
            rows = members[start : start + BLOCK]
            some = reduced.components[np.resize(rows, BLOCK)]
            found = screen(common, place, level, some)
            log_evidence, q = (np.asarray(a)[: rows.size] for a in found)
            star, gaussian = _choose_terms(log_evidence)
            steps = np.matmul(back[place, gaussian], q[star, gaussian][..., None])[..., 0]
            stars.append(rows[star])
            gaussians.append(gaussian)
            latents.append(mean[gaussian] + steps)
    star = np.concatenate(stars)
    order = np.argsort(star, kind="stable")
    star = star[order]
    latent = np.concatenate(latents)[order].astype(np.float32)
    n, p = latent.shape
    infinite = np.full(n, np.inf, np.float32)
    nothing = Found(
        step=np.zeros((n, p), np.float32),
        distance=infinite,
        energy=infinite.copy(),
        log_weight=-infinite,
        chi2=infinite.copy(),
        covariance=np.zeros((n, p, p), np.float32),
    )
    return _Ascent(
        reduced=reduced,
        star=star,
        gaussian=np.concatenate(gaussians)[order].astype(np.int32),
        first=np.searchsorted(star, np.arange(len(reduced.level))),
        latent=latent,
        base=latent.copy(),
        found=nothing,
        fraction=np.ones(n, np.float32),
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


def _fill_block(rows: np.ndarray) -> np.ndarray:
    """Return rows, repeated until they are as many as a program takes."""
    return rows if rows.size == _TERMS else np.resize(rows, _TERMS)


def _run_terms(program: Callable[..., Any], rows: Any) -> Any:
    """Run a compiled program over terms, in blocks of one size."""
    leaves = jax.tree.leaves(rows)
    n = len(leaves[0])
    parts = []
    for start in range(0, n, _TERMS):
        which = _fill_block(np.arange(start, min(start + _TERMS, n)))
        block = jax.tree.map(lambda array, which=which: array[which], rows)
        parts.append(jax.tree.map(np.asarray, program(block)))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[:n], *parts)


@compile_program(static_argnames=("full",))
def _find_moments(targets: Any, latent: Any, covariance: Any, full: bool) -> Any:
    return tuple(
        find_label_moments(t.features, t.weights, latent, covariance, full=full) for t in targets
    )


def _sum_terms(
    ascent: _Ascent,
    moving: np.ndarray,
    targets: Sequence[Target],
    covariance: bool,
) -> Posterior:
    """Return the posteriors of stars, the sums of their terms."""
    log_share = ascent.measure_shares()
    share = np.exp(log_share)
    counts = (log_share > MATTERS) & np.isfinite(ascent.found.energy)
    share = np.where(counts, share, 0)
    total = np.add.reduceat(share, ascent.first)
    best = _find_best(log_share, ascent.first)
    counts[best] = True
    share[best] = np.where(total > 0, share[best], 1)
    kept = np.flatnonzero(counts)
    star, share = ascent.star[kept], share[kept]
    first = np.searchsorted(star, np.arange(len(total)))
    share = (share / np.add.reduceat(share, first)[star]).astype(np.float32)
    latent = ascent.base[kept] + ascent.found.step[kept]
    given = (latent, ascent.found.covariance[kept])
    labels = _run_terms(lambda rows: _find_moments(tuple(targets), *rows, full=covariance), given)
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
        latent=(ascent.base + ascent.found.step)[best],
        chi2=ascent.found.chi2[best],
        n_values=np.full(len(total), float(ascent.reduced.components.shape[1]), np.float32),
        wrong=ascent.reduced.wrong,
        settled=(total > 0) & ~np.logical_or.reduceat(moving, ascent.first),
        spread=tuple(spread),
        mean=tuple(means),
        apart=apart,
        fell_back=np.zeros_like(apart),
    )


def _find_best(log_share: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return which term of each star has most weight: (star,)."""
    sizes = np.diff(np.append(first, log_share.size))
    star = np.repeat(np.arange(first.size), sizes)
    order = np.lexsort((-log_share, star))
    best: np.ndarray = order[first]
    return best


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
