"""The posterior of linear models, which is one Gaussian: two ways to it.

The exact way makes the normal matrix H of every star, for which it multiplies all weights with all
products of the model's columns. Where that is most of the work, the fast way makes an H_0 that is
nearly H (`luxscale.model.components`), and solves the exact equations with it by iterative
refinement: what is left of them is computed from the residuals, to float32's last digit, and solved
with H_0, and so on. Latents are exact to a tolerance; covariances are H_0^-1. Each step also says
how far H_0 is from H. A star for which either is too far goes the exact way.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.blocks import (
    BLOCK,
    Data,
    Posterior,
    Target,
    Weighed,
    run_blocks,
    weigh_outputs,
)
from luxscale.model.jit import compile_program
from luxscale.model.lowered import keep_lowered, register_result
from luxscale.model.priors import GaussianPrior
from luxscale.model.problem import Problem
from luxscale.model.refine import System, refine

#: Where fewer than this of the first block's stars are well enough described, no other is tried:
#: both ways for many take longer than the exact one for all.
_WORTH_TRYING = 0.6

#: Where so many stars of a region go the exact way after the fast one, it takes longer to multiply
#: the weights with all products than to do without these; and stars of a block until then.
_FEW, _BLOCK_OF_FEW = 48, 8


@register_result
class _Approximate(NamedTuple):
    """A posterior of the fast way, and of which stars it is good enough: (star,)."""

    posterior: Posterior
    good: Any


def solve_stars(
    problem: Problem, data: Sequence[Data], targets: Sequence[Target], *, covariance: bool
) -> Posterior:
    """Return the posterior of z of every star of a linear model."""
    n = data[0].value.shape[0]
    run = functools.partial(run_blocks, targets=targets, prior=problem.prior, covariance=covariance)
    if all(d.components is None for d in problem.designs):
        return run(solve_exactly, problem.multiplied, data, n=n)
    approximate = functools.partial(run, _solve_approximately, problem)
    found: _Approximate = approximate(_take(data, slice(BLOCK)), n=min(n, BLOCK))
    if found.good.sum() < _WORTH_TRYING * found.good.size:  # which may be 0
        exact = run(solve_exactly, problem.multiplied, data, n=n)
        return exact._replace(fell_back=np.ones(n, bool))
    if n > BLOCK:
        others = approximate(_take(data, slice(BLOCK, None)), n=n - BLOCK)
        found = jax.tree.map(lambda *parts: np.concatenate(parts), found, others)
    rest = np.flatnonzero(~found.good)
    if not rest.size:
        return found.posterior
    are_few = rest.size <= _FEW
    exact = run(
        solve_exactly,
        problem if are_few else problem.multiplied,
        _take(data, rest),
        n=rest.size,
        size=_BLOCK_OF_FEW if are_few else BLOCK,
    )
    replace = functools.partial(_replace_rows, rest)
    posterior: Posterior = jax.tree.map(replace, found.posterior, exact)
    return posterior._replace(fell_back=~found.good)


def _take(data: Sequence[Data], rows: Any) -> list[Data]:
    return [Data(value[rows], ivar[rows]) for value, ivar in data]


def _replace_rows(rows: np.ndarray, whole: np.ndarray, part: np.ndarray) -> np.ndarray:
    out = np.array(whole)
    out[rows] = part
    return out


@compile_program(static_argnames=("covariance",))
@keep_lowered
def solve_exactly(
    designs: tuple[Any, ...],
    data: tuple[Data, ...],
    targets: tuple[Target, ...],
    prior: GaussianPrior,
    covariance: bool,
) -> Posterior:
    """Equation 10: the posterior of z for a block of stars, and what follows from it."""
    weighed = weigh_outputs(designs, data)
    parts = [
        d.noise.normal_equations(w, r, d.weights, d.packed)
        for d, w, r in zip(designs, weighed.weights, weighed.residuals, strict=True)
    ]
    h, rhs = sum(f for f, _ in parts), sum(g for _, g in parts)
    hessian = linalg.unpack(h, rhs.shape[1]) + prior.hessian()
    solution = linalg.solve(hessian, rhs, _join(targets, rhs.shape[1]))
    # what float32 left of the equations, it measures from residuals to its last digit
    left = [
        r - linalg.dot(d.features(solution.x), d.weights.T)
        for d, r in zip(designs, weighed.residuals, strict=True)
    ]
    outputs = list(zip(designs, weighed.weights, left, strict=True))
    pull = sum(d.noise.normal_equations(w, x, d.weights, d.packed)[1] for d, w, x in outputs)
    change = solution.solve_again(pull - prior.precision * solution.x)
    chi2 = sum(d.noise.chi2(w, x) for d, w, x in outputs)
    z, chi2 = _move(solution.x, change, chi2, pull, prior)
    return _describe(weighed, z, chi2, _find_spread(solution.half, targets, covariance))


def _move(z: Any, change: Any, chi2: Any, pull: Any, prior: GaussianPrior) -> tuple[Any, Any]:
    """Return z + change, which solves the equations, and its chi2, from those at z."""
    z = z + change
    chi2 = chi2 - jnp.sum(change * (pull + prior.precision * z), 1)
    return z, jnp.maximum(chi2, 0)


@compile_program(static_argnames=("covariance",))
@keep_lowered
def _solve_approximately(
    designs: tuple[Any, ...],
    data: tuple[Data, ...],
    targets: tuple[Target, ...],
    prior: GaussianPrior,
    covariance: bool,
) -> _Approximate:
    """Refine the solution of approximate normal equations; see the module."""
    weighed = weigh_outputs(designs, data)
    outputs = zip(designs, weighed.weights, weighed.residuals, strict=True)
    parts = [d.approximate_equations(w, w * r) for d, w, r in outputs]
    matrices, rights, sums = zip(*parts, strict=True)
    rhs, of_prior = sum(rights), linalg.pack_symmetric(prior.hessian())
    inverse = linalg.invert_root(linalg.unpack(sum(matrices) + of_prior, rhs.shape[1]))
    slopes = _join(targets, rhs.shape[1])
    half = linalg.dot(inverse, slopes)
    error = jnp.sqrt(jnp.sum(half * half, 1))
    angle = _find_angles(designs, sums, [*matrices, of_prior[None]], error)
    values = tuple(d.value for d in data)
    system = System(designs, weighed.weights, values, prior, inverse, slopes, error, angle)
    end = refine(system, rhs)
    # H_0 for H is good enough for the length of the last step
    pull = system.find_pull(end.z, end.rest)
    z, chi2 = _move(end.z, end.direction, end.chi2, pull, prior)
    posterior = _describe(weighed, z, chi2, _find_spread(half, targets, covariance))
    return _Approximate(posterior, end.good)


def _find_angles(
    designs: Sequence[Any], sums: Sequence[Any], matrices: Sequence[Any], error: Any
) -> Any:
    """Return how far each label's sums of components are from what is needed: (star, label).

    matrices (star, K) are those that the normal matrix is the sum of, those of designs first.
    """
    found = []
    for i, (design, taken) in enumerate(zip(designs, sums, strict=True)):
        if taken is not None:
            others = sum([*matrices[:i], *matrices[i + 1 :]])
            found.append(design.components.find_angles(taken, others, error))
    return functools.reduce(jnp.maximum, found)


def _join(targets: Sequence[Target], latent_dim: int) -> Any:
    """Return the directions of all labels in the space of latents: (latent, label)."""
    slopes = [t.weights.T for t in targets]
    return jnp.concatenate(slopes, -1) if slopes else jnp.zeros((latent_dim, 0))


def _find_spread(half: Any, targets: Sequence[Target], covariance: bool) -> tuple[Any, ...]:
    """Return the variances, or covariances, of each target."""
    edges = np.cumsum([t.weights.shape[0] for t in targets])[:-1]
    halves = jnp.split(half, edges, -1) if targets else []
    return tuple(linalg.square(h) if covariance else jnp.sum(h * h, 1) for h in halves)


def _describe(weighed: Weighed, z: Any, chi2: Any, spread: tuple[Any, ...]) -> Posterior:
    no = jnp.zeros(len(z), bool)
    return Posterior(
        latent=z,
        chi2=chi2,
        n_values=weighed.n_values,
        wrong=weighed.wrong,
        settled=jnp.ones(len(z), bool),
        spread=spread,
        mean=(),
        apart=no,
        fell_back=no,
    )
