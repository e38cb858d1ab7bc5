"""The terms of a posterior whose latents are mostly linear, by few searches.

As `luxscale.model.posterior` has them, with the search of `luxscale.model.separable`. About the
maximum under one Gaussian of the prior chi-square is nearly a parabola, by which what the others
come to is expected; those that may matter are searched for. Each step is taken of those terms of
stars alone that still move and matter.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from luxscale.model import by_star
from luxscale.model.blocks import Target
from luxscale.model.gauss_newton import FIRST_DAMPING, linearise
from luxscale.model.moments import find_label_moments
from luxscale.model.observation import Observation
from luxscale.model.posterior import (
    FEW_ROUNDS,
    FIRST_STEPS,
    KEPT,
    ROUNDS,
    STEPS,
    TRIED,
    Local,
    Mode,
    find_robust_weight,
    invert,
    is_active,
    weigh,
    weigh_modes,
)
from luxscale.model.priors import Gaussians
from luxscale.model.separable import Projected, prepare, project

#: Gaussians that are searched with: those whose means chi-square favours, and those whose ln omega
#: is expected to lie so far below the greatest at most. What is expected is off by up to 10, and by
#: more where the first steps lead astray: with the two nearest, 8 of 6,000 Gaia XP giants have
#: another solution than with all; with four, 3 have, in up to 15% more time.
NEAREST, FARTHEST = 4, 15.0

#: Least ln share of a term that is searched for further, were it to gain twice what its next step
#: promises, and least share of one that labels are made of.
_MATTERS, _COUNTS = -16.0, 1e-8

#: Terms of stars that are worked on at once.
_PAIRS = 32


class _Terms(NamedTuple):
    """Terms (term, star, ...): the Gaussian of each, and where its search is."""

    gaussian: Any
    mode: Mode


def find_terms(
    observation: Observation,
    dof: Any,
    prior: Gaussians,
    targets: Sequence[Target],
    *,
    full: bool,
) -> tuple[Mode, list[tuple[Any, Any]]]:
    """Return the terms of the posterior that matter, and the moments of each target.

    Parameters
    ----------
    observation : Observation
    dof : float
        Degrees of freedom nu; infinite for Gaussian noise.
    prior : Gaussians
    targets : sequence of Target
    full : bool
        Whether covariances are wanted.

    Returns
    -------
    Mode
        Arrays (term, star, ...), without covariances.
    list of (array, array)
        Means (term, star, label) and variances, or covariances, of each target.
    """
    prior = Gaussians(*map(jnp.asarray, prior))
    observation = prepare(observation)
    terms, observation = _begin(observation, dof, prior)

    def go_on(state: tuple[Any, _Terms]) -> tuple[Any, _Terms]:
        number, terms = state

        def improve(stars: Any, some: _Terms) -> _Terms:
            # where the outputs bend much, Gauss-Newton steps creep
            bent = number >= FEW_ROUNDS
            return _improve(observation.take(stars), dof, prior, some, bent)

        moving = find_moving(number, terms.mode) & _may_matter(terms.mode)
        return number + 1, _map_pairs(improve, moving, terms, terms)

    def is_unfinished(state: tuple[Any, _Terms]) -> Any:
        number, terms = state
        return (number < ROUNDS) & find_moving(number, terms.mode).any()

    def find_moving(number: Any, mode: Mode) -> Any:
        # the first steps are few
        return (number == 1) | is_active(mode)

    _, terms = jax.lax.while_loop(is_unfinished, go_on, (1, terms))
    return terms.mode, _find_moments(observation, dof, prior, terms, targets, full=full)


def _begin(observation: Observation, dof: Any, prior: Gaussians) -> tuple[_Terms, Observation]:
    """Return terms after their first steps, and the observation as the others take it."""
    scores = observation.equations.score(prior.mean) - 2 * prior.log_weight
    _, chosen = jax.lax.top_k(-scores, min(TRIED, len(prior.mean)))
    lead = _choose(prior, chosen[:, 0])
    _, z, _ = _take_steps(observation, lead, lead.mean, _first_damping(lead), FIRST_STEPS)
    # the search with one Gaussian may fail where it does not with another
    z = jnp.where(jnp.isfinite(z).all(1, keepdims=True), z, lead.mean)
    worth = _expect_weights(observation, prior, z, chosen)
    observation = observation.anchor_at(z)
    likely = ~(worth < jnp.nanmax(worth, 1, keepdims=True) - FARTHEST)
    likely = (likely | (jnp.arange(chosen.shape[1]) < NEAREST)).T
    chosen = chosen.T

    def start(stars: Any, gaussian: Any) -> Mode:
        local, some = _choose(prior, gaussian), observation.take(stars)
        projected, z, damping = _take_steps(
            some, local, local.mean, _first_damping(local), FIRST_STEPS
        )
        mode = _judge(some, dof, local, projected, z, damping)
        # heavy tails are not counted yet
        return mode._replace(distance=jnp.where(jnp.isfinite(dof), jnp.inf, mode.distance))

    zero = jnp.zeros(chosen.shape, z.dtype)
    none = Mode(
        latent=jnp.broadcast_to(z, (*zero.shape, z.shape[1])),
        covariance=None,
        damping=zero,
        distance=zero,
        log_weight=zero - jnp.inf,
        chi2=zero,
    )
    terms = _Terms(chosen, _map_pairs(start, likely, chosen, none))
    _, best = jax.lax.top_k(terms.mode.log_weight.T, min(KEPT, len(chosen)))
    return _select(terms, best.T), observation


def _choose(prior: Gaussians, gaussian: Any) -> Local:
    return Local(*(array[gaussian] for array in prior))


def _first_damping(local: Local) -> Any:
    return jnp.full_like(local.log_weight, FIRST_DAMPING)


def _select(terms: _Terms, which: Any) -> _Terms:
    """Return some of the terms of each star: which (number, star)."""
    picked: _Terms = jax.tree.map(lambda array: by_star.pick_terms(array, which), terms)
    return picked


def _take_steps(
    observation: Observation, local: Local, z: Any, damping: Any, steps: int, bent: Any = False
) -> tuple[Projected, Any, Any]:
    """Take steps of one term of each star; return what is left of the equations, z, damping."""
    projected = project(observation.equations, local.mean, local.precision, z)
    v, damping = projected.search(damping, steps, bent=bent)
    return projected, projected.complete(v), damping


def _judge(
    observation: Observation, dof: Any, local: Local, projected: Projected, z: Any, damping: Any
) -> Mode:
    """Return a term at latents, with what it weighs there and how far off the maximum is."""
    chi2 = observation.chi2(z)
    log_det, distance = projected.measure(z)
    return Mode(
        latent=z,
        covariance=None,
        damping=damping,
        distance=distance,
        log_weight=weigh([observation], [dof], local, z, log_det, [chi2]),
        chi2=chi2,
    )


def _improve(
    observation: Observation, dof: Any, prior: Gaussians, terms: _Terms, bent: Any
) -> _Terms:
    """Take a few steps of one term of each star, with the weights of heavy tails as they are."""
    local, mode = _choose(prior, terms.gaussian), terms.mode
    scaled = _scale(observation, dof, mode.chi2)
    projected, z, damping = _take_steps(scaled, local, mode.latent, mode.damping, STEPS, bent)
    # what a term comes to is that of the new weights: the first steps know of no heavy tails
    again = _project_again(observation, dof, local, z, projected)
    return _Terms(terms.gaussian, _judge(observation, dof, local, again, z, damping))


def _scale(observation: Observation, dof: Any, chi2: Any) -> Observation:
    """Return the observation as heavy tails weigh it."""
    factor = find_robust_weight(dof, observation.n_values, chi2)
    return dataclasses.replace(observation, equations=observation.equations.scale(factor))


def _project_again(
    observation: Observation, dof: Any, local: Local, z: Any, projected: Projected
) -> Projected:
    """Return what is left of the equations with the weights of heavy tails at latents."""

    def project_there() -> Projected:
        scaled = _scale(observation, dof, observation.chi2(z))
        return project(scaled.equations, local.mean, local.precision, z)

    return jax.lax.cond(jnp.isfinite(dof), project_there, lambda: projected)


def _expect_weights(observation: Observation, prior: Gaussians, z: Any, nearest: Any) -> Any:
    """Return ln omega of Gaussians if chi-square is a parabola about latents: (star, gaussian).

    Parameters
    ----------
    observation : Observation
    prior : Gaussians
    z : array, (star, latent)
    nearest : array of int, (star, gaussian)
    """
    curvature, slope = observation.equations.linearise(z)

    def expect(gaussian: Any) -> Any:
        local = _choose(prior, gaussian)
        away = local.mean - z
        held = by_star.multiply(local.precision, away)
        root = jnp.linalg.cholesky(curvature + local.precision)
        half = by_star.solve_lower(root, slope + held)
        gain = jnp.sum(half * half, 1) - jnp.sum(held * away, 1)
        half_log_det = by_star.sum_log_diagonal(root)
        return local.log_weight - half_log_det + 0.5 * gain

    found: Any = jax.lax.map(expect, nearest.T)
    return found.T


def _may_matter(mode: Mode) -> Any:
    """Return which terms matter, or would if they gained more than they promise: (term, star)."""
    promised = mode.log_weight + mode.distance
    found: Any = promised - jnp.max(mode.log_weight, 0) > _MATTERS
    return found


def _find_moments(
    observation: Observation,
    dof: Any,
    prior: Gaussians,
    terms: _Terms,
    targets: Sequence[Target],
    *,
    full: bool,
) -> list[tuple[Any, Any]]:
    """Return mean and variance of each target by the terms that count, 0 by others."""

    def find(stars: Any, some: _Terms) -> list[tuple[Any, Any]]:
        local, mode = _choose(prior, some.gaussian), some.mode
        scaled = _scale(observation.take(stars), dof, mode.chi2)
        # of all latents: what is left of the equations is rounded where products are large
        hessian, _ = linearise([scaled.equations], local.mean, local.precision, mode.latent)
        covariance, _ = invert(hessian)
        return [
            find_label_moments(t.features, t.weights, mode.latent, covariance, full=full)
            for t in targets
        ]

    shape = terms.gaussian.shape
    nothing = []
    for target in targets:
        labels = len(target.weights)
        mean = jnp.zeros((*shape, labels), terms.mode.latent.dtype)
        spread = jnp.zeros((*shape, *[labels] * (1 + full)), mean.dtype)
        nothing.append((mean, spread))
    return _map_pairs(find, weigh_modes(terms.mode) > _COUNTS, terms, nothing)


def _map_pairs(function: Callable[..., Any], wanted: Any, given: Any, others: Any) -> Any:
    """Apply a function to some terms of some stars, a few at a time; no other costs anything.

    Parameters
    ----------
    function : callable
        Called with positions of stars, (pair,), and what is given of them, (pair, ...).
    wanted : array, (term, star)
    given, others : pytree of array, (term, star, ...)
        What the function takes, and what stays where it is not applied.
    """
    n = wanted.shape[1]
    size = math.gcd(n, _PAIRS)
    order = jnp.argsort(~wanted.ravel(), stable=True).astype(jnp.int32)
    number = wanted.sum(dtype=jnp.int32)

    def gather(array: Any) -> Any:
        return array.reshape(-1, *array.shape[2:])[order]

    first = jax.tree.map(gather, given)

    def is_left(state: tuple[Any, Any]) -> Any:
        return state[0] < number

    def go_on(state: tuple[Any, Any]) -> tuple[Any, Any]:
        start, out = state

        def cut(array: Any) -> Any:
            return jax.lax.dynamic_slice_in_dim(array, start, size)

        def put(whole: Any, part: Any) -> Any:
            return jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)

        found = function(cut(order) % n, jax.tree.map(cut, first))
        return start + size, jax.tree.map(put, out, found)

    begun = jax.tree.map(gather, others)
    _, done = jax.lax.while_loop(is_left, go_on, (jnp.int32(0), begun))
    place = jnp.argsort(order)

    def spread(new: Any, old: Any) -> Any:
        back = new[place].reshape(old.shape)
        return by_star.choose(wanted, back, old)

    return jax.tree.map(spread, done, others)
