"""The steps of curved training: regression, and the search for latents.

See `luxscale.training.curved` for the equations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from luxscale.model import posterior
from luxscale.model.features import Features, find_moments
from luxscale.model.jit import compile_program, use_float64
from luxscale.model.observation import Equations
from luxscale.training import component_noise, mixture
from luxscale.training.components import Components
from luxscale.training.curved_state import Fitted, State, Table, Tables

#: Degrees of freedom of spectra.
DOF = 20.0

#: Pull of weights to 0, in stars of unit weight.
_RIDGE = 1e-3

#: Stars in one call of the compiled E-step, and in one piece of the sums.
_BLOCK, _PIECE = 256, 200


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
    pooled = mixture.pool(state.prior)
    prior = mixture.update_mixture(state.prior, state.z, state.covariance, pooled)
    return dataclasses.replace(state, prior=prior)


def maximise(state: State, tables: Tables) -> State:
    """Regress every output on the features, and fit its noise."""
    features = state.features
    columns, owners = _collect_weights(state, tables)
    k = features(state.z[:1]).shape[-1] + 1
    normal = np.zeros((columns.shape[1], k, k))
    first = np.empty((len(state.z), k))
    for rows in np.array_split(np.arange(len(state.z)), len(state.z) // _PIECE + 1):
        mean, spread = find_moments(features, state.z[rows], state.covariance[rows])
        first[rows] = np.hstack([np.ones((len(rows), 1)), mean])
        both = np.zeros((len(rows), 1 + spread.shape[1], k))
        both[:, 0] = first[rows]
        both[:, 1:, 1:] = spread
        products = (both.swapaxes(1, 2) @ both).reshape(len(rows), -1)
        normal += (columns[rows].T @ products).reshape(normal.shape)
    fitted = []
    for i, (table, owner) in enumerate(zip(tables, owners, strict=True)):
        old = state.fitted[i] if state.fitted else None
        if isinstance(table, Components):
            fitted.append(_fit_spectrum(table, state, first, normal[owner], old))
        else:
            fitted.append(_fit_table(table, first, normal[owner]))
    return dataclasses.replace(state, fitted=tuple(fitted))


def _collect_weights(state: State, tables: Tables) -> tuple[np.ndarray, list[slice]]:
    """Return the weights of the stars in every sum that is needed, and which are whose."""
    columns, owners, start = [], [], 0
    for table in tables:
        if isinstance(table, Components):
            number = len(table.bin_level)
            weights = np.zeros((len(state.z), number))
            weights[np.arange(len(state.z)), table.bins] = state.robust_weight
        else:
            weights = table.ivar
        columns.append(weights)
        owners.append(slice(start, start + weights.shape[1]))
        start += weights.shape[1]
    return np.hstack(columns), owners


def _fit_spectrum(
    table: Components, state: State, first: np.ndarray, normal: np.ndarray, old: Fitted | None
) -> Fitted:
    values, filled, noise = table.values, None, None
    if old is not None and old.noise is not None:
        noise = old.noise
        values, filled = component_noise.complete(table, noise, first @ old.weights.T)
    n_bins, d = len(table.bin_level), values.shape[1]
    right = np.zeros((n_bins, first.shape[1], d))
    square = np.zeros((n_bins, d, d))
    for i in range(n_bins):
        rows = table.bins == i
        g = state.robust_weight[rows, None]
        right[i] = (g * first[rows]).T @ values[rows]
        square[i] = (g * values[rows]).T @ values[rows]
    if filled is not None:
        np.add.at(square, table.bins[table.gaps.rows], filled)
    count = np.bincount(table.bins, minlength=n_bins).astype(float)
    sums = component_noise.Sums(normal=normal, right=right, square=square, count=count)
    weights, noise = component_noise.maximise(sums, table.bin_level, noise)
    return Fitted(weights=weights, noise=noise)


def _fit_table(table: Table, first: np.ndarray, normal: np.ndarray) -> Fitted:
    k = first.shape[1]
    right = (table.ivar * table.values).T @ first
    ridge = _RIDGE * np.diag(np.arange(k) > 0) + 1e-9 * np.eye(k)
    return Fitted(weights=np.linalg.solve(normal + ridge, right[..., None])[..., 0])


def expect(state: State, tables: Tables, steps: int, *, heavy: bool) -> tuple[State, float]:
    """Search for the latents of all stars from where they were; return the objective too."""
    n, p = state.z.shape
    mean, precision = np.zeros((n, p)), np.tile(np.eye(p), (n, 1, 1))
    if state.prior is not None:
        mean, precision = mixture.find_local_gaussians(state.prior, state.z, state.covariance)
    gaps = np.zeros(n, bool)
    for table in tables:
        if isinstance(table, Components):
            gaps[table.gaps.rows] = True
    g = state.robust_weight if heavy else np.ones(n)
    z, covariance = state.z.copy(), state.covariance.copy()
    for rows in (np.flatnonzero(~gaps), np.flatnonzero(gaps)):
        for block in _split_rows(rows):
            equations = []
            for table, fitted in zip(tables, state.fitted, strict=True):
                equations.append(_make_equations(table, fitted, block, g[block], state.features))
            with use_float64():
                found = _maximise_posterior(
                    tuple(equations), mean[block], precision[block], z[block], steps=steps
                )
            z[block], covariance[block] = (np.asarray(a) for a in found)
    new = dataclasses.replace(state, z=z, covariance=covariance)
    robust_weight, objective = _weigh_stars(new, tables)
    return dataclasses.replace(new, robust_weight=robust_weight), objective


def _split_rows(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows in blocks of one size; the last is filled up with rows of its own."""
    for start in range(0, rows.size, _BLOCK):
        block = rows[start : start + _BLOCK]
        yield np.resize(block, _BLOCK)


def _make_equations(
    table: Components | Table,
    fitted: Fitted,
    rows: np.ndarray,
    robust_weight: np.ndarray,
    features: Features,
) -> Equations:
    """Return what the data of some stars say of their latents, in float64."""
    offset, weights = fitted.weights[:, 0], fitted.weights[:, 1:]
    if isinstance(table, Table):
        precision = table.ivar[rows]
        pull = precision * (table.values[rows] - offset)
        return Equations(precision=precision, pull=pull, weights=weights, features=features)
    assert fitted.noise is not None
    t = fitted.noise.whitener
    places = table.find_gaps(rows)
    if (places < 0).all():
        variance = fitted.noise.find_variance(table.level[rows])
        precision = robust_weight[:, None] / variance
        pull = precision * ((table.values[rows] - offset) @ t.T)
        return Equations(precision=precision, pull=pull, weights=t @ weights, features=features)
    precision, seen = component_noise.find_precision(table, fitted.noise, rows, offset)
    return Equations(
        precision=robust_weight[:, None, None] * precision,
        pull=robust_weight[:, None] * seen,
        weights=weights,
        features=features,
    )


@compile_program(static_argnames=("steps",))
def _maximise_posterior(
    equations: tuple[Equations, ...], mean: Any, precision: Any, z: Any, steps: int
) -> tuple[Any, Any]:
    """Return the maximum of each star's posterior, and the covariance there."""
    damping = jnp.full(len(z), posterior.FIRST_DAMPING, z.dtype)
    z, _ = posterior.search(equations, mean, precision, z, damping, steps)
    hessian, _ = posterior.linearise(equations, mean, precision, z)
    covariance, _ = posterior.invert(hessian)
    return z, covariance


def _weigh_stars(state: State, tables: Tables) -> tuple[np.ndarray, float]:
    """Return the weight of each star under heavy tails, and the log-likelihood per star."""
    f = np.hstack([np.ones((len(state.z), 1)), state.features(state.z)])
    chi2, values, objective = np.zeros(len(f)), np.zeros(len(f)), np.zeros(len(f))
    for table, fitted in zip(tables, state.fitted, strict=True):
        predicted = f @ fitted.weights.T
        if isinstance(table, Table):
            known = table.ivar > 0
            log_ivar = np.log(np.where(known, table.ivar, 1))
            distance = table.ivar * (table.values - predicted) ** 2
            objective += 0.5 * (np.where(known, log_ivar - np.log(2 * np.pi), 0) - distance).sum(1)
            continue
        assert fitted.noise is not None
        own, number, log_norm = component_noise.measure_chi2(table, fitted.noise, predicted)
        chi2 += own
        values += number
        objective += log_norm - 0.5 * (DOF + number) * np.log1p(own / DOF)
    return (DOF + values) / (DOF + chi2), float(objective.mean())
