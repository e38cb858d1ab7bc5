"""The steps of curved training: regression, and the search for latents.

See `luxscale.training.curved` for the equations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from luxscale.model import gauss_newton, posterior, separable
from luxscale.model.jit import compile_program, use_float64, use_one_blas_thread
from luxscale.model.observation import Equations
from luxscale.training import mixture
from luxscale.training.curved_state import State, Tables
from luxscale.training.evidence import DOF, sum_squares

#: Stars in one call of the compiled E-step.
_BLOCK = 256


def standardise(state: State) -> State:
    """Bring the latents to mean 0 and covariance 1, that of each star's own included.

    By the Cholesky factor, so that the first latents stay among themselves.
    """
    p = state.z.shape[1]
    overall = np.cov(state.z.T, bias=True).reshape(p, p) + state.covariance.mean(0)
    turn = np.linalg.inv(np.linalg.cholesky(overall))
    return dataclasses.replace(
        state,
        z=(state.z - state.z.mean(0)) @ turn.T,
        covariance=turn @ state.covariance @ turn.T,
    )


def update_prior(state: State) -> State:
    """Fit the mixture to the latents as they are, if there is one."""
    if state.prior is None:
        return state
    rows = state.labelled
    prior = mixture.update_mixture(state.prior, state.z[rows], state.covariance[rows])
    return dataclasses.replace(state, prior=prior)


def maximise(state: State, tables: Tables) -> State:
    """Regress every output on the features, and fit its noise."""
    weights = state.robust_weights
    columns = [table.list_weights(g) for table, g in zip(tables, weights, strict=True)]
    ends = np.cumsum([column.shape[1] for column in columns])
    olds = state.fitted or (None,) * len(tables)
    with use_one_blas_thread():
        f, sums = sum_squares(
            state.features,
            state.z,
            state.covariance,
            np.hstack(columns),
            covariances=any(table.needs_covariances for table in tables),
        )
        squares = np.split(sums, ends[:-1])
        fitted = tuple(
            table.fit(f, own, g, old)
            for table, own, g, old in zip(tables, squares, weights, olds, strict=True)
        )
    return dataclasses.replace(state, fitted=fitted)


def expect(state: State, tables: Tables, steps: int, *, heavy: bool) -> tuple[State, float]:
    """Search for the latents of all stars from where they were; return the objective too."""
    n = len(state.z)
    mean, precision = find_local_prior(state, np.arange(n))
    gaps = np.any([table.has_gaps for table in tables], axis=0)
    weights = state.robust_weights if heavy else (np.ones((n, 1)),) * len(tables)
    z, covariance = state.z.copy(), state.covariance.copy()
    for rows in (np.flatnonzero(~gaps), np.flatnonzero(gaps)):
        for block in split_rows(rows):
            equations = []
            for table, fitted, g in zip(tables, state.fitted, weights, strict=True):
                equations.append(table.make_equations(fitted, block, g[block], state.features))
            with use_float64():
                found = _maximise_posterior(
                    tuple(equations), mean[block], precision[block], z[block], steps=steps
                )
            z[block], covariance[block] = (np.asarray(a) for a in found)
    new = dataclasses.replace(state, z=z, covariance=covariance)
    weights, objective = _weigh_values(new, tables)
    return dataclasses.replace(new, robust_weights=weights), objective


def find_local_prior(state: State, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and precision of the Gaussian that the prior is near some of the stars."""
    z = state.z[rows]
    if state.prior is None:
        return np.zeros_like(z), np.tile(np.eye(z.shape[1]), (len(z), 1, 1))
    return mixture.find_local_gaussians(state.prior, z, state.covariance[rows])


def split_rows(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows in blocks of one size; the last is filled up with rows of its own."""
    for start in range(0, rows.size, _BLOCK):
        block = rows[start : start + _BLOCK]
        yield np.resize(block, _BLOCK)


@compile_program()
def _maximise_posterior(
    equations: tuple[Equations, ...], mean: Any, precision: Any, z: Any, steps: Any
) -> tuple[Any, Any]:
    """Return the maximum of each star's posterior, and the covariance there."""
    damping = jnp.full(len(z), gauss_newton.FIRST_DAMPING, z.dtype)
    if separable.is_mostly_linear(equations[0].features):
        projected = separable.project(separable.add_up(equations), mean, precision, z)
        v, _ = projected.search(damping, steps, bent=False)
        z = projected.complete(v)
        return z, projected.find_covariance(z)
    z, _ = gauss_newton.search(equations, mean, precision, z, damping, steps)
    hessian, _ = gauss_newton.linearise(equations, mean, precision, z)
    covariance, _ = posterior.invert(hessian)
    return z, covariance


def _weigh_values(state: State, tables: Tables) -> tuple[tuple[np.ndarray, ...], float]:
    """Return the weights of each output under heavy tails, and the log-likelihood per star."""
    n = len(state.z)
    f = np.hstack([np.ones((n, 1)), state.features(state.z)])
    chi2, values, objective = np.zeros((3, n))
    own = []
    for table, fitted in zip(tables, state.fitted, strict=True):
        likelihood = table.measure(fitted, f)
        chi2 += likelihood.chi2
        values += likelihood.n_values
        objective += likelihood.logarithm
        own.append(likelihood.weights)
    shared = ((DOF + values) / (DOF + chi2))[:, None]
    return tuple(shared if g is None else g for g in own), float(objective.mean())
