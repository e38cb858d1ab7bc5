"""Refinement of curved maps on the labels that spectra alone tell.

Maximum likelihood gives labels as little say as their few values have beside the spectra. Here
steps of Adam lower what labels inferred without labels miss,

    loss = mean over stars and labels of (nu + 1) ln(1 + r^2 / nu), with E[phi] at z,
    r^2 = (W_l E[phi] - l)^2 / (variance of both)
    z = argmin E(z), E(z) = chi2 of all that is measured + (z - m)^T L (z - m)

with nu the degrees of freedom of labels, and m and L the Gaussian that the prior is near the star.
Through the search the gradient is that of an implicit function: with v = H^-1 d loss / d z, H half
the second derivative of E, it is d loss / d theta at fixed z, less d (v . dE / dz / 2) / d theta.
The parameters theta are the weights of all outputs, W + theta U with G^-1 = U^T U and G = sum of
w E[f f^T], f = (1, phi): in units of how well the training stars know them, so that steps go where
data leave room. In each step stars have noise added, of up to so many times their own variance as
`_MOST_NOISE` says: more than a few of them are faint then, and none is learnt by heart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import gauss_newton, linalg, posterior
from luxscale.model.features import Features, find_mean
from luxscale.model.jit import compile_program, use_float64, use_one_blas_thread
from luxscale.model.moments import find_label_moments
from luxscale.model.observation import Equations
from luxscale.training.curved_state import State, Tables
from luxscale.training.curved_steps import expect, find_local_prior
from luxscale.training.data import TrainingData, assign_folds
from luxscale.training.evidence import Evidence, Fitted, factor_weights, sum_squares
from luxscale.training.tables import Table

#: First rate of the steps, in standard deviations of weights; it falls to 0.
_RATE = 0.4

#: Pull of weights to 0, in stars of unit weight, where their standard deviations are found.
_RIDGE = 1e-3

#: Most variance of the noise that is added to stars, in that which they have. With 1.5 labels of
#: other XP giants are the same to 0.3%; without any their scatter is larger by 1.5%, RMSE by 1%.
_MOST_NOISE = 3.0

#: Stars of a step of refinement, and steps of the search for latents in it.
_BATCH, _SEARCH = 1000, 2

#: Steps of a round of it to forget the labels, and rounds.
_FORGETTING, _ROUNDS = 3, 4

#: Least curvature, in that of Gauss-Newton, at which the whole second derivative is trusted.
_CLEAR = 0.1

#: Called with the number of steps taken.
Tell = Callable[[int], None]


class _Head(NamedTuple):
    """Labels of a batch: weights (label, term + 1), values and ivar (star, label), dof."""

    weights: Any
    values: Any
    ivar: Any
    dof: float


class _Batch(NamedTuple):
    """Stars of a step: of each output equations or labels; the prior near them; latents."""

    parts: tuple[Equations | _Head, ...]
    mean: Any
    precision: Any
    z: Any


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some of the training stars.

    Parameters
    ----------
    tables : sequence of Evidence
        Their data.
    is_label : tuple of bool
        Which outputs are labels.
    stars : array, (star,)
        Identifiers.
    """

    tables: Tables
    is_label: tuple[bool, ...]
    stars: np.ndarray

    @classmethod
    def of(cls, data: TrainingData, tables: Tables, rows: np.ndarray) -> Sample:
        """Return the stars at some positions."""
        some = [table.take(rows) for table in tables]
        return cls(some, tuple(output.is_label for output in data.outputs), data.stars[rows])

    @property
    def without_labels(self) -> Tables:
        """The data with all labels missing."""
        blind: list[Evidence] = []
        for table, is_label in zip(self.tables, self.is_label, strict=True):
            if is_label:
                assert isinstance(table, Table)
                table = table.forget()
            blind.append(table)
        return blind

    def find_told(self) -> np.ndarray:
        """Return which labels any of the stars has: (label,) bool."""
        told = [np.zeros(0, bool)]
        for table, is_label in zip(self.tables, self.is_label, strict=True):
            if is_label:
                assert isinstance(table, Table)
                told.append(np.any(table.ivar > 0, axis=0))
        return np.concatenate(told)


def helps(
    left_out: Sample, seen: State, before: tuple[Fitted, ...], after: tuple[Fitted, ...]
) -> bool:
    """Return whether refinement makes the labels of stars left out better.

    All steps or none: as long as the rate is high, what it adds to the weights hides the gain.

    Parameters
    ----------
    left_out, seen : Sample and State
        Of the stars left out, which have some label, with their latents where training left them:
        from the middle of the prior many would end in other minima.
    before, after : tuple of Fitted
        Parameters that the other stars give, and the same refined on these.
    """
    told = left_out.find_told()
    miss = [
        _measure_misses(dataclasses.replace(seen, fitted=fitted), left_out)[:, told]
        for fitted in (before, after)
    ]
    unit = np.maximum(np.nanmedian(np.abs(miss[0]), axis=0), 1e-12)
    return _measure_loss(miss[1] / unit) < _measure_loss(miss[0] / unit)


def _measure_loss(miss: np.ndarray) -> float:
    return float(np.nanmean(np.log1p(miss**2)))


def refine(state: State, sample: Sample, *, steps: int, tell: Tell = lambda _: None) -> State:
    """Take steps down what labels inferred without labels miss; stars with gaps stand aside.

    Parameters
    ----------
    state : State
    sample : Sample
        Of the same stars; batches are made by their names.
    steps : int
        How many; the rate is 0 after the last.
    tell : callable, optional
        Called after each step.
    """
    import optax  # half a second

    batches = _make_batches(sample)
    if not steps or not batches:
        return state
    blind = _forget_labels(state, sample)
    z, covariance = blind.z.copy(), blind.covariance.copy()
    changes = tuple(np.zeros_like(f.weights) for f in state.fitted)
    with use_one_blas_thread():
        units = _find_units(blind, sample, np.concatenate(batches))
    optimiser = optax.adam(optax.linear_schedule(_RATE, 0.0, steps))
    with use_float64():
        memory = optimiser.init(changes)
    for number in range(steps):
        rows = batches[number % len(batches)]
        at = dataclasses.replace(blind, z=z, covariance=covariance)
        batch = _add_noise(_gather(at, sample, rows), np.random.default_rng(number))
        with use_float64():
            found = _find_gradient(batch, units, changes, state.features)
            gradient, z[rows], covariance[rows] = found
            update, memory = optimiser.update(gradient, memory)
            changes = jax.tree.map(lambda a, b: np.asarray(a + b), changes, update)
        tell(number + 1)
    return _apply(state, units, changes)


def _make_batches(sample: Sample) -> list[np.ndarray]:
    """Return the stars of each step, none that has gaps, in an order by their names."""
    gaps = np.any([table.has_gaps for table in sample.tables], axis=0)
    rows = np.flatnonzero(~gaps)
    if not rows.size:
        return []
    number = max(round(rows.size / _BATCH), 1)
    # batches of one size, so that one program serves all
    size = rows.size // number
    rank = assign_folds(sample.stars[rows], rows.size)
    ordered = rows[np.argsort(rank)]
    return [ordered[i::number][:size] for i in range(number)]


def _forget_labels(state: State, sample: Sample) -> State:
    """Return the state with the latents that all but labels tell."""
    blind = sample.without_labels
    for _ in range(_ROUNDS):
        state, _ = expect(state, blind, _FORGETTING, heavy=True)
    return state


def _measure_misses(state: State, sample: Sample) -> np.ndarray:
    """Return inferred less given labels, NaN where none is given: (star, label)."""
    blind = _forget_labels(state, sample)
    mean = find_mean(state.features, blind.z, blind.covariance)
    misses = []
    for table, fitted, is_label in zip(sample.tables, state.fitted, sample.is_label, strict=True):
        if is_label:
            assert isinstance(table, Table)
            inferred = fitted.weights[:, 0] + mean @ fitted.weights[:, 1:].T
            misses.append(np.where(table.ivar > 0, inferred - table.values, np.nan))
    return np.hstack(misses)


def _find_units(state: State, sample: Sample, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return U of each output, from some of the stars: (value, term + 1, term + 1)."""
    parts = _gather(state, sample, rows).parts
    factors = []
    for part in parts:
        factors.append(factor_weights(part.ivar if isinstance(part, _Head) else part.precision))
    lefts = np.hstack([left for left, _ in factors])
    _, sums = sum_squares(state.features, state.z[rows], state.covariance[rows], lefts)
    ends = np.cumsum([left.shape[1] for left, _ in factors])
    units = []
    for (_, right), own in zip(factors, np.split(sums, ends[:-1]), strict=True):
        normal = np.tensordot(right.T, own, axes=1)
        half = np.linalg.cholesky(normal + _RIDGE * np.eye(sums.shape[-1]))
        units.append(np.linalg.inv(half))
    return tuple(units)


def _gather(state: State, sample: Sample, rows: np.ndarray) -> _Batch:
    parts: list[Equations | _Head] = []
    of_outputs = zip(
        sample.tables, state.fitted, state.robust_weights, sample.is_label, strict=True
    )
    for table, fitted, g, is_label in of_outputs:
        if is_label:
            assert isinstance(table, Table)
            parts.append(_Head(fitted.weights, table.values[rows], table.ivar[rows], table.dof))
        else:
            parts.append(table.make_equations(fitted, rows, g[rows], state.features))
    mean, precision = find_local_prior(state, rows)
    return _Batch(tuple(parts), mean, precision, state.z[rows])


def _add_noise(batch: _Batch, rng: np.random.Generator) -> _Batch:
    """Return the batch with noise of the same colour added, from none to `_MOST_NOISE`."""
    more = rng.uniform(0, _MOST_NOISE, (len(batch.z), 1))
    parts: list[Equations | _Head] = []
    for part in batch.parts:
        if isinstance(part, _Head):
            parts.append(part)
            continue
        drawn = np.sqrt(more * part.precision) * rng.standard_normal(part.pull.shape)
        noisy = dataclasses.replace(
            part, precision=part.precision / (1 + more), pull=(part.pull + drawn) / (1 + more)
        )
        parts.append(noisy)
    return batch._replace(parts=tuple(parts))


def _change_parts(
    batch: _Batch, units: Sequence[Any], changes: Sequence[Any]
) -> tuple[list[Equations], list[_Head]]:
    """Return the equations and the labels of a batch, with changed parameters."""
    equations, heads = [], []
    for part, unit, change in zip(batch.parts, units, changes, strict=True):
        by = jnp.einsum("dk,dkl->dl", change, unit)
        if isinstance(part, _Head):
            heads.append(part._replace(weights=part.weights + by))
            continue
        changed = dataclasses.replace(
            part, pull=part.pull - part.precision * by[:, 0], weights=part.weights + by[:, 1:]
        )
        equations.append(changed)
    return equations, heads


@compile_program()
def _find_gradient(
    batch: _Batch, units: Any, changes: Any, features: Features
) -> tuple[Any, Any, Any]:
    """Return the gradient of the loss, and the latents of the stars with their covariance."""
    equations, heads = _change_parts(batch, units, changes)
    mean, precision = batch.mean, batch.precision
    damping = jnp.full(len(batch.z), gauss_newton.FIRST_DAMPING, batch.z.dtype)
    z, _ = gauss_newton.search(equations, mean, precision, batch.z, damping, _SEARCH)
    hessian, _ = gauss_newton.linearise(equations, mean, precision, z)
    covariance, _ = posterior.invert(hessian)
    variances = []
    for head in heads:
        found = find_label_moments(features, head.weights[:, 1:], z, covariance, full=False)
        variances.append(found[1])

    def measure(heads: Sequence[_Head], z: Any) -> Any:
        moments = find_mean(features, z, covariance)
        total, count = jnp.zeros(()), jnp.zeros(())
        for head, variance in zip(heads, variances, strict=True):
            known = head.ivar > 0
            error2 = 1 / jnp.where(known, head.ivar, 1)
            weight = jnp.where(known, 1 / (variance + error2), 0)
            inferred = head.weights[:, 0] + linalg.dot(moments, head.weights[:, 1:].T)
            miss2 = weight * (inferred - head.values) ** 2
            total += jnp.sum((head.dof + 1) * jnp.log1p(miss2 / head.dof))
            count += jnp.sum(known)
        return total / jnp.maximum(count, 1)

    slope = jax.grad(measure, 1)(heads, z)
    bent = hessian + sum(one.bend(z) for one in equations)
    exact = linalg.follow(bent, covariance)
    clear = jnp.linalg.cholesky(exact - _CLEAR * hessian)
    trusted = ~jnp.isnan(clear).any((1, 2), keepdims=True)
    matrix = jnp.where(trusted, exact, hessian)
    v = jnp.linalg.solve(matrix, slope[..., None])[..., 0]

    def stand_in(changes: Any) -> Any:
        equations, heads = _change_parts(batch, units, changes)
        _, downhill = gauss_newton.linearise(equations, mean, precision, z)
        return measure(heads, z) + jnp.sum(v * downhill)

    return jax.grad(stand_in)(changes), z, covariance


def _apply(state: State, units: Sequence[np.ndarray], changes: Sequence[np.ndarray]) -> State:
    """Return the state with changed parameters."""
    fitted = []
    for old, unit, change in zip(state.fitted, units, changes, strict=True):
        by = np.einsum("dk,dkl->dl", change, unit)
        if old.noise is not None:
            by = np.linalg.solve(old.noise.whitener, by)
        fitted.append(dataclasses.replace(old, weights=old.weights + by))
    return dataclasses.replace(state, fitted=tuple(fitted))
