"""The posterior of latents where it is no Gaussian: curved maps, mixtures, heavy tails.

Under a prior that is a sum of Gaussians, sum_k pi_k N(mu_k, S_k), the posterior is a sum over k
too. Each of its terms is brought to the form of a Gaussian at its own maximum (Laplace's method),
found by damped Gauss-Newton steps from mu_k, and where these creep by Newton's:

    E_k(z) = sum over outputs of chi2(z) + (z - mu_k)^T S_k^-1 (z - mu_k)
    C_k = (J^T N^-1 J + S_k^-1)^-1, J the slope of the outputs at the maximum z_k
    ln omega_k = ln pi_k - ln |S_k| / 2 + ln |C_k| / 2 + ln p(data | z_k) - (the prior's part) / 2

Where few latents curve, the others are eliminated from the search: `luxscale.model.eliminate`.

Only the Gaussians that chi-square at their means favours are tried. Labels are means over all of
them, so that their errors hold two solutions for one spectrum where there are two.

Heavy tails: with nu degrees of freedom an output of D independent values has ln p = -(nu + D) / 2
ln(1 + chi2 / nu), which the search takes as Gaussian with variances divided by
(nu + D) / (nu + chi2).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from luxscale.model import by_star
from luxscale.model.gauss_newton import FIRST_DAMPING, linearise, search
from luxscale.model.observation import Observation
from luxscale.model.priors import Gaussians

#: Gaussians of the prior that are tried for each star, and those that are left after a round.
TRIED, KEPT = 16, 4

#: Gauss-Newton steps of the first round, after which most terms are left, and of the others. After
#: each round the weights of heavy tails are set anew.
FIRST_STEPS, STEPS = 2, 4

#: Most rounds for all stars, and for those that need more.
FEW_ROUNDS, ROUNDS = 2, 25

#: Squared distance to the maximum, in sigma, at which the search has settled: 0.03 sigma. A tenth
#: of it, and three stars in four need the long search, which moves labels by 0.01 of their error.
SETTLED = 1e-3


class Mode(NamedTuple):
    """One term of the posterior, for a block of stars.

    latent (star, P); covariance (star, P, P); damping, distance (star,), that of the next step and
    how far off the maximum still is, in sigma squared; log_weight (star,); chi2 (star,), of all
    outputs together.
    """

    latent: Any
    covariance: Any
    damping: Any
    distance: Any
    log_weight: Any
    chi2: Any


class Local(NamedTuple):
    """The Gaussian that each star's search is held by: log_weight (star,), mean, precision."""

    log_weight: Any
    mean: Any
    precision: Any


def find_modes(
    observations: Sequence[Observation], dofs: Any, prior: Gaussians, rounds: Any = ROUNDS
) -> Mode:
    """Return the terms of the posterior that matter: arrays (term, star, ...).

    Parameters
    ----------
    observations : sequence of Observation
    dofs : array, (output,)
        Degrees of freedom nu of each output; infinite for Gaussian noise.
    prior : Gaussians
    rounds : int
        Most rounds of the search.
    """
    prior = Gaussians(*map(jnp.asarray, prior))
    scores = sum(o.equations.score(prior.mean) for o in observations) - 2 * prior.log_weight
    tried = min(TRIED, prior.mean.shape[0])
    _, chosen = jax.lax.top_k(-scores, tried)

    # where the outputs bend much, Gauss-Newton steps creep; not known until the program runs
    bent = rounds > FEW_ROUNDS

    def improve(which: Any, mode: Mode, active: Any, steps: int = STEPS, bent: Any = bent) -> Mode:
        local = Local(*(a[which] for a in prior))
        new = _run_round(observations, dofs, local, mode, steps=steps, bent=bent)
        # a star that has settled does not move with the others of its block
        return jax.tree.map(functools.partial(by_star.choose, active), new, mode)

    def start(which: Any) -> Mode:
        first = _begin(prior.mean[which])
        return improve(which, first, first.distance == 0, FIRST_STEPS, False)

    begun = jax.lax.map(start, chosen.T)
    best = _pick_best(begun, min(KEPT, tried))
    modes = Mode(*(by_star.pick_terms(a, best) for a in begun))
    by_term = by_star.pick_terms(chosen.T, best)

    def go_on(state: tuple[Any, Mode]) -> tuple[Any, Mode]:
        number, modes = state
        active = is_active(modes)
        improved = jax.lax.map(lambda a: improve(a[0], a[1], active), (by_term, modes))
        return number + 1, improved

    def is_unfinished(state: tuple[Any, Mode]) -> Any:
        number, modes = state
        return (number < rounds) & is_active(modes).any()

    _, modes = jax.lax.while_loop(is_unfinished, go_on, (1, modes))
    return modes


def weigh_modes(modes: Mode) -> Any:
    """Return the share of each term in the posterior, omega: (term, star)."""
    return jax.nn.softmax(modes.log_weight, 0)


def find_distance(modes: Mode) -> Any:
    """Return how far off the search still is, in sigma squared, by the terms' shares: (star,)."""
    share = weigh_modes(modes)
    return jnp.sum(jnp.where(share == 0, 0, share * modes.distance), 0)


def _pick_best(modes: Mode, number: int) -> Any:
    """Return which terms have most weight, for each star: (number, star)."""
    _, best = jax.lax.top_k(modes.log_weight.T, number)
    return best.T


def is_active(modes: Mode) -> Any:
    """Return which stars have not settled: (star,)."""
    # false of NaN, which no step would mend
    return find_distance(modes) > SETTLED / 10


def _begin(mean: Any) -> Mode:
    """Return a term before its first step, at the mean of its Gaussian: (star, latent)."""
    n, p = mean.shape
    zero = jnp.zeros(n, mean.dtype)
    return Mode(
        latent=mean,
        covariance=jnp.zeros((n, p, p), mean.dtype),
        damping=zero + FIRST_DAMPING,
        distance=zero,
        log_weight=zero,
        chi2=zero,
    )


def _run_round(
    observations: Sequence[Observation],
    dofs: Any,
    local: Local,
    mode: Mode,
    *,
    steps: int,
    bent: Any,
) -> Mode:
    """Take a few steps of the search of one term, with the weights of heavy tails as they are."""
    first = mode.covariance[:, 0, 0] == 0
    scaled = []
    for observation, nu in zip(observations, dofs, strict=True):
        factor = find_robust_weight(nu, observation.n_values, observation.chi2(mode.latent))
        scaled.append(observation.equations.scale(jnp.where(first, 1, factor)))
    z, damping = search(
        scaled, local.mean, local.precision, mode.latent, mode.damping, steps, bent=bent
    )
    # covariance and distance are those of the new weights: the first round knows of no heavy tails
    chi2s = [observation.chi2(z) for observation in observations]
    scaled = [
        observation.equations.scale(find_robust_weight(nu, observation.n_values, chi2))
        for observation, nu, chi2 in zip(observations, dofs, chi2s, strict=True)
    ]
    hessian, downhill = linearise(scaled, local.mean, local.precision, z)
    covariance, log_det = invert(hessian)
    step = by_star.multiply(covariance, downhill)
    return Mode(
        latent=z,
        covariance=covariance,
        damping=damping,
        distance=jnp.sum(step * downhill, 1),
        log_weight=weigh(observations, dofs, local, z, log_det, chi2s),
        chi2=sum(chi2s),
    )


def weigh(
    observations: Sequence[Observation],
    dofs: Any,
    local: Local,
    z: Any,
    log_det: Any,
    chi2s: Sequence[Any],
) -> Any:
    """Return ln omega of a term at its maximum: (star,)."""
    away = z - local.mean
    held = by_star.multiply_left(away, local.precision)
    penalty = jnp.sum(held * away, 1)
    log_weight = local.log_weight - 0.5 * log_det - 0.5 * penalty
    for observation, nu, chi2 in zip(observations, dofs, chi2s, strict=True):
        log_weight = log_weight + log_likelihood(nu, observation.n_values, chi2)
    # a term whose search failed must not spoil the others
    return jnp.where(jnp.isnan(log_weight), -jnp.inf, log_weight)


def find_robust_weight(nu: Any, n_values: Any, chi2: Any) -> Any:
    """Return (nu + D) / (nu + chi2), a star's weight under heavy tails; 1 if nu is infinite."""
    finite = jnp.where(jnp.isfinite(nu), nu, 1)
    return jnp.where(jnp.isfinite(nu), (finite + n_values) / (finite + chi2), 1)


def log_likelihood(nu: Any, n_values: Any, chi2: Any) -> Any:
    """Return ln p(data) less what does not depend on latents: (star,)."""
    finite = jnp.where(jnp.isfinite(nu), nu, 1)
    heavy = -0.5 * (finite + n_values) * jnp.log1p(chi2 / finite)
    return jnp.where(jnp.isfinite(nu), heavy, -0.5 * chi2)


def invert(hessian: Any) -> tuple[Any, Any]:
    """Return the inverses of positive definite matrices and ln |H|: (star, P, P) and (star,)."""
    factor = jnp.linalg.cholesky(hessian)
    eye = jnp.broadcast_to(jnp.eye(hessian.shape[1], dtype=hessian.dtype), hessian.shape)
    log_det = 2 * by_star.sum_log_diagonal(factor)
    return cho_solve((factor, True), eye), log_det
