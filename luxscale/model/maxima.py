"""Whether the fast search for latents finds the maxima of a model's posteriors.

Following the best term of a star (`luxscale.model.leads`) finds what the full search does where one
solution is the rule. Models of few stars, or of latents that bend spectra much, have stars of which
a term far from the best ends at a more probable one, without a sign of it beside that. Spectra that
the model draws itself tell how many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from luxscale.model.levels import Reduced, make_common, reach_maxima, reach_maxima_fast
from luxscale.model.lux import LuxModel
from luxscale.model.pose import pose_problem
from luxscale.model.problem import Problem

#: Spectra that are drawn, and the range of ln t^2, about the noise of the training stars.
_DRAWN, _LEVELS = 2048, (-2.0, 3.0)

#: By how much ln p may be less than that of the full search, and the share of spectra of which it
#: may be by more. Models of thousands of real spectra have 0 to 0.15% of these, of 600 simulated
#: stars 1 to 2%.
WORSE, MOST_MISSED = 1.0, 0.003


def needs_every_term(model: LuxModel) -> bool:
    """Return whether the fast search misses maxima of one member, from any output but labels."""
    curved = [o for o in model.outputs if not (o.is_label or o.map.features.is_linear)]
    problems = (pose_problem(model, [output], ()) for output in curved)
    return any(measure_missed(problem) > MOST_MISSED for problem in problems)


def measure_missed(problem: Problem) -> float:
    """Return the share of drawn spectra of which the fast search misses the maximum, unawares.

    0 where there is no fast search.
    """
    if problem.landmarks is None:
        return 0.0
    reduced = draw_spectra(problem, np.random.default_rng(0))
    common = make_common(problem, problem.landmarks)
    fast = reach_maxima_fast(common, reduced, (), covariance=False)
    full = reach_maxima(common, reduced, (), covariance=False)
    found, best = (find_log_probability(problem, reduced, p.latent) for p in (fast, full))
    missed = ~fast.fell_back & (best - found > WORSE)
    return float(missed.mean())


def draw_spectra(problem: Problem, rng: np.random.Generator) -> Reduced:
    """Return components of spectra as the model has them: latents of the prior, noise of levels."""
    design: Any = problem.designs[0]
    prior = problem.prior.gaussians()
    precision = np.asarray(prior.precision, float)
    log_share = np.asarray(prior.log_weight) - np.linalg.slogdet(precision)[1] / 2
    share = np.exp(log_share - log_share.max())
    which = rng.choice(share.size, _DRAWN, p=share / share.sum())
    half = np.linalg.cholesky(np.linalg.inv(precision))[which]
    away = rng.standard_normal((_DRAWN, half.shape[1]))
    z = np.asarray(prior.mean, float)[which] + np.einsum("spq,sq->sp", half, away)
    level = np.exp(rng.uniform(*_LEVELS, _DRAWN))
    variance = np.asarray(design.noise.level_variance, float)
    noise = np.sqrt(level[:, None] + variance) * rng.standard_normal((_DRAWN, variance.size))
    if np.isfinite(design.dof):
        noise *= np.sqrt(design.dof / rng.chisquare(design.dof, (_DRAWN, 1)))
    components = np.asarray(design.features(z)) @ np.asarray(design.reduced.weights).T + noise
    return Reduced(
        components=components.astype(np.float32),
        level=level.astype(np.float32),
        wrong=np.zeros(_DRAWN, np.int32),
        complete=np.ones(_DRAWN, bool),
    )


def find_log_probability(problem: Problem, reduced: Reduced, latents: np.ndarray) -> np.ndarray:
    """Return ln p(data, z), but for a constant, in float64: (star,)."""
    design: Any = problem.designs[0]
    prior = problem.prior.gaussians()
    z = np.asarray(latents, float)
    residual = reduced.components - design.features(z) @ np.asarray(design.reduced.weights).T
    variance = reduced.level[:, None] + np.asarray(design.noise.level_variance)
    chi2, dof = (residual**2 / variance).sum(1), float(design.dof)
    away = z[:, None] - prior.mean
    held = np.einsum("skp,kpq,skq->sk", away, prior.precision, away, optimize=True)
    log_prior = special.logsumexp(np.asarray(prior.log_weight) - held / 2, axis=1)
    if np.isinf(dof):
        return np.asarray(log_prior - chi2 / 2)
    heavy = (dof + residual.shape[1]) / 2 * np.log1p(chi2 / dof)
    return np.asarray(log_prior - heavy)
