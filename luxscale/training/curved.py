"""Curved maps under a mixture of Gaussians, by expectation-maximisation.

Outputs are W phi(z), phi with products of latents (`luxscale.model.decoders`); spectra have
correlated noise (`luxscale.training.components`) or independent; labels and bands are independent.
In the first iterations z ~ N(0, I), with the latents brought to mean 0 and covariance 1 before each
M-step; in the later ones z ~ sum_k pi_k N(mu_k, S_k), fitted along (`luxscale.training.mixture`).

- E-step: the maximum of each star's posterior by damped Gauss-Newton from where it was, C the
  inverse of the matrix there; under the mixture with the Gaussian that it is near the star.
- M-step: regression on E[f] with E[f f^T], f = (1, phi), both from N(z, C).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import posterior
from luxscale.model.decoders import PolynomialFeatures, PolynomialMap, find_moments
from luxscale.model.jit import compile_program, use_float64
from luxscale.model.observation import Equations
from luxscale.model.priors import MixturePrior
from luxscale.training import components, mixture
from luxscale.training.components import Components, NoiseParts
from luxscale.training.data import Fit, Report, Tails, Trained, TrainingData, TrainingOutput

#: Iterations under one Gaussian.
_PLAIN = 6

#: Iteration from which stars that the model does not describe have less weight in the E-step.
_HEAVY_FROM = 3

#: Degrees of freedom of spectra.
DOF = 20.0

#: Factor on the catalogue's errors of the training labels.
LABEL_ERROR = 1.2

#: Variance of the latents at the start.
_START_VARIANCE = 0.05

#: Steps of the search in the first E-step, and in later ones.
_FIRST_STEPS, _STEPS = 14, 4

#: Pull of weights to 0, in stars of unit weight.
_RIDGE = 1e-3

#: Iterations in which the stars of a fold are forgotten; with three, misfits differ by 3 to 9%.
_FOLD_ITERATIONS = 1

#: Stars in one call of the compiled E-step, and in one piece of the sums.
_BLOCK, _PIECE = 256, 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """The size of a curved model.

    Parameters
    ----------
    latent_dim, quadratic, cubic : int
        P, and of how many of the first latents phi has products of two, and of three.
    components : int
        D, that stand for a spectrum.
    gaussians : int
        Of the prior.
    """

    latent_dim: int
    quadratic: int
    cubic: int
    components: int
    gaussians: int

    @property
    def features(self) -> PolynomialFeatures:
        """Phi."""
        return PolynomialFeatures(self.latent_dim, self.quadratic, self.cubic)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """An output of independent noise in training: labels or bands.

    Parameters
    ----------
    values, ivar : array, (star, feature)
    """

    values: np.ndarray
    ivar: np.ndarray
    is_label: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """Parameters of one output.

    Parameters
    ----------
    weights : array, (value, term + 1)
        Of (1, phi).
    noise : NoiseParts, optional
        Of a spectrum's components.
    """

    weights: np.ndarray
    noise: NoiseParts | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """Where expectation-maximisation is.

    Parameters
    ----------
    z : array, (star, latent)
    covariance : array, (star, latent, latent)
    softness : array, (star,)
        Weight g of each star's spectra under heavy tails.
    fitted : tuple of Fitted
        One for each output; none before the first M-step.
    prior : MixturePrior, optional
        N(0, I) if not there.
    """

    z: np.ndarray
    covariance: np.ndarray
    softness: np.ndarray
    fitted: tuple[Fitted, ...] = ()
    prior: MixturePrior | None = None


Tables = Sequence[Components | Table]


def train_curved(
    data: TrainingData,
    latent_dim: int,
    *,
    iterations: int,
    quadratic: int,
    cubic: int,
    components: int,
    gaussians: int,
    report: Report,
) -> Trained:
    """Fit curved maps, noise and prior.

    Parameters
    ----------
    data : TrainingData
    latent_dim, quadratic, cubic, components, gaussians : int
        See `Shape`.
    iterations : int
        The first 6 under one Gaussian.
    report : callable
        Called with (method, iteration, objective per star).

    Returns
    -------
    Trained
        The objective is the log-likelihood of the data at the latents found, per star.
    """
    shape = Shape(
        latent_dim=latent_dim,
        quadratic=min(quadratic, latent_dim),
        cubic=min(cubic, latent_dim),
        components=components,
        gaussians=gaussians,
    )
    tables = [_load(output, shape.components) for output in data.outputs]
    state = _start(data, tables, shape)
    history: list[float] = []
    for number in range(iterations):
        if number < _PLAIN:
            state = _standardise(state)
        elif number == _PLAIN:
            prior = mixture.fit_mixture(state.z, state.covariance, shape.gaussians)
            state = dataclasses.replace(state, prior=prior)
        state = _maximise(state, tables, shape)
        steps = _STEPS if number else _FIRST_STEPS
        state, objective = _expect(state, tables, shape, steps, heavy=number >= _HEAVY_FROM)
        state = _update_prior(state)
        history.append(objective)
        report("curved", number, objective)
    state = _maximise(state, tables, shape)

    def leave_out(folds: Sequence[np.ndarray]) -> Iterator[Fit]:
        for fold in folds:
            others = np.setdiff1d(np.arange(data.n_stars), fold)
            yield _describe(data, tables, shape, _refit(state, tables, shape, others))

    fit = _describe(data, tables, shape, state)
    makers = [_make_map(shape)] * len(data.outputs)
    return Trained(fit.arrays, history, leave_out, tuple(makers), fit.prior, fit.noises)


def _make_map(shape: Shape) -> Callable[[Any, Any], PolynomialMap]:
    features = shape.features
    return lambda weights, offset: PolynomialMap(weights, offset, features)


def _load(output: TrainingOutput, number: int) -> Components | Table:
    values, ivar = (array.astype(float) for array in output.read_table())
    if output.is_spectrum:
        return components.find_components(values, ivar, number)
    if output.is_label:
        ivar = ivar / LABEL_ERROR**2
    return Table(values=values, ivar=ivar, is_label=output.is_label)


def _refit(state: State, tables: Tables, shape: Shape, rows: np.ndarray) -> State:
    """Go on for a few iterations without the other stars, so that what they taught is forgotten."""
    some = [_take(table, rows) for table in tables]
    part = dataclasses.replace(
        state,
        z=state.z[rows],
        covariance=state.covariance[rows],
        softness=state.softness[rows],
    )
    for _ in range(_FOLD_ITERATIONS):
        part = _maximise(_update_prior(part), some, shape)
        part, _ = _expect(part, some, shape, _STEPS, heavy=True)
    return _maximise(_update_prior(part), some, shape)


def _take(table: Components | Table, rows: np.ndarray) -> Components | Table:
    """Return the data of some of the stars."""
    if isinstance(table, Components):
        return table.take(rows)
    return dataclasses.replace(table, values=table.values[rows], ivar=table.ivar[rows])


def _start(data: TrainingData, tables: Tables, shape: Shape) -> State:
    """Begin with the labels as latents, and the leading components of what they leave.

    Labels that are missing are predicted from the components, by ridge regression.
    """
    labels = [t for t in tables if isinstance(t, Table) and t.is_label]
    measured = [t for o, t in zip(data.outputs, tables, strict=True) if not o.is_label]
    spectra = np.hstack([_standardise_table(t) for t in measured])
    n, p = data.n_stars, shape.latent_dim
    known = np.zeros((n, 0))
    for table in labels:
        filled = _fill_labels(table, spectra)
        known = np.hstack([known, filled])
    known = _lead(known, spectra)[:, : p - 1]
    products = PolynomialFeatures(known.shape[1], known.shape[1])(known)
    design = np.hstack([np.ones((n, 1)), products])
    rest = spectra - design @ np.linalg.lstsq(design, spectra, rcond=None)[0]
    left, _, _ = np.linalg.svd(rest, full_matrices=False)
    free = p - known.shape[1]
    more = left[:, :free] * np.sqrt(n)
    z = np.hstack([known, more, np.zeros((n, free - more.shape[1]))])
    return State(
        z=z,
        covariance=np.tile(_START_VARIANCE * np.eye(p), (n, 1, 1)),
        softness=np.ones(n),
    )


def _standardise_table(table: Components | Table) -> np.ndarray:
    """Return data weighted by the noise of their stars: (star, value)."""
    if isinstance(table, Components):
        share = components.MODEL_SHARE
        ratio = table.level / np.median(table.level)
        return table.values / np.sqrt(share + (1 - share) * ratio)[:, None]
    return np.where(table.ivar > 0, table.values, 0)


def _fill_labels(table: Table, spectra: np.ndarray) -> np.ndarray:
    filled = table.values.copy()
    design = np.hstack([np.ones((len(spectra), 1)), spectra])
    ridge = 1e-2 * np.trace(spectra.T @ spectra) / spectra.shape[1] / len(spectra)
    for i, known in enumerate((table.ivar > 0).T):
        if known.all():
            continue
        x = design[known]
        normal = x.T @ x + ridge * len(x) * np.eye(x.shape[1])
        slope = np.linalg.solve(normal, x.T @ table.values[known, i])
        filled[~known, i] = design[~known] @ slope
    return filled / np.maximum(filled.std(0), 1e-9)


def _lead(known: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Turn labels so that the first explain most of the spectra: (star, label), of variance 1."""
    if not known.shape[1]:
        return known
    centred = known - known.mean(0)
    left, _, _ = np.linalg.svd(centred, full_matrices=False)
    _, _, turn = np.linalg.svd(spectra.T @ left, full_matrices=False)
    led = left @ turn.T
    largest = led[np.abs(led).argmax(0), np.arange(led.shape[1])]
    return led * np.sign(largest) * np.sqrt(len(known))


def _standardise(state: State) -> State:
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


def _update_prior(state: State) -> State:
    if state.prior is None:
        return state
    pooled = mixture.pool(state.prior)
    prior = mixture.update_mixture(state.prior, state.z, state.covariance, pooled)
    return dataclasses.replace(state, prior=prior)


def _maximise(state: State, tables: Tables, shape: Shape) -> State:
    """Regress every output on the features, and fit its noise."""
    features = shape.features
    columns, owners = _collect_weights(state, tables)
    k = features.n_terms + 1
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
            weights[np.arange(len(state.z)), table.bins] = state.softness
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
        values, filled = components.complete(table, noise, first @ old.weights.T)
    n_bins, d = len(table.bin_level), values.shape[1]
    right = np.zeros((n_bins, first.shape[1], d))
    square = np.zeros((n_bins, d, d))
    for i in range(n_bins):
        rows = table.bins == i
        g = state.softness[rows, None]
        right[i] = (g * first[rows]).T @ values[rows]
        square[i] = (g * values[rows]).T @ values[rows]
    if filled is not None:
        np.add.at(square, table.bins[table.gaps.rows], filled)
    count = np.bincount(table.bins, minlength=n_bins).astype(float)
    sums = components.Sums(normal=normal, right=right, square=square, count=count)
    weights, noise = components.maximise(sums, table.bin_level, noise)
    return Fitted(weights=weights, noise=noise)


def _fit_table(table: Table, first: np.ndarray, normal: np.ndarray) -> Fitted:
    k = first.shape[1]
    right = (table.ivar * table.values).T @ first
    ridge = _RIDGE * np.diag(np.arange(k) > 0) + 1e-9 * np.eye(k)
    return Fitted(weights=np.linalg.solve(normal + ridge, right[..., None])[..., 0])


def _expect(
    state: State, tables: Tables, shape: Shape, steps: int, *, heavy: bool
) -> tuple[State, float]:
    """Search for the latents of all stars from where they were; return the objective too."""
    n, p = state.z.shape
    mean, precision = np.zeros((n, p)), np.tile(np.eye(p), (n, 1, 1))
    if state.prior is not None:
        mean, precision = mixture.find_local_gaussians(state.prior, state.z, state.covariance)
    gaps = np.zeros(n, bool)
    for table in tables:
        if isinstance(table, Components):
            gaps[table.gaps.rows] = True
    g = state.softness if heavy else np.ones(n)
    z, covariance = state.z.copy(), state.covariance.copy()
    for rows in (np.flatnonzero(~gaps), np.flatnonzero(gaps)):
        for block in _split_rows(rows):
            equations = []
            for table, fitted in zip(tables, state.fitted, strict=True):
                equations.append(_make_equations(table, fitted, block, g[block], shape.features))
            with use_float64():
                found = _climb(
                    tuple(equations), mean[block], precision[block], z[block], steps=steps
                )
            z[block], covariance[block] = (np.asarray(a) for a in found)
    new = dataclasses.replace(state, z=z, covariance=covariance)
    softness, objective = _weigh_stars(new, tables, shape)
    return dataclasses.replace(new, softness=softness), objective


def _split_rows(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows in blocks of one size; the last is filled up with rows of its own."""
    for start in range(0, rows.size, _BLOCK):
        block = rows[start : start + _BLOCK]
        yield np.resize(block, _BLOCK)


def _make_equations(
    table: Components | Table,
    fitted: Fitted,
    rows: np.ndarray,
    softness: np.ndarray,
    features: PolynomialFeatures,
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
        precision = softness[:, None] / variance
        pull = precision * ((table.values[rows] - offset) @ t.T)
        return Equations(precision=precision, pull=pull, weights=t @ weights, features=features)
    precision, seen = components.find_precision(table, fitted.noise, rows, offset)
    return Equations(
        precision=softness[:, None, None] * precision,
        pull=softness[:, None] * seen,
        weights=weights,
        features=features,
    )


@compile_program(static_argnames=("steps",))
def _climb(
    equations: tuple[Equations, ...], mean: Any, precision: Any, z: Any, steps: int
) -> tuple[Any, Any]:
    """Return the maximum of each star's posterior, and the covariance there."""
    damping = jnp.full(len(z), 1e-2, z.dtype)
    z, _ = posterior.search(equations, mean, precision, z, damping, steps)
    hessian, _ = posterior.linearise(equations, mean, precision, z)
    factor = jnp.linalg.cholesky(hessian)
    eye = jnp.broadcast_to(jnp.eye(z.shape[1], dtype=z.dtype), hessian.shape)
    return z, jax.scipy.linalg.cho_solve((factor, True), eye)


def _weigh_stars(state: State, tables: Tables, shape: Shape) -> tuple[np.ndarray, float]:
    """Return the weight of each star under heavy tails, and the log-likelihood per star."""
    f = np.hstack([np.ones((len(state.z), 1)), shape.features(state.z)])
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
        own, number, log_norm = components.measure_chi2(table, fitted.noise, predicted)
        chi2 += own
        values += number
        objective += log_norm + posterior.log_heavy(DOF, number, own)
    return (DOF + values) / (DOF + chi2), float(objective.mean())


def _describe(data: TrainingData, tables: Tables, shape: Shape, state: State) -> Fit:
    """Return the parameters as those of pixels, bands and labels, in units of training."""
    arrays, noises = [], []
    for output, table, fitted in zip(data.outputs, tables, state.fitted, strict=True):
        weights, noise, scatter = fitted.weights, Tails(), np.zeros(output.size)
        if isinstance(table, Components):
            assert fitted.noise is not None
            weights = table.unit[:, None] * (table.vectors.T @ weights)
            correlation = fitted.noise.describe(table)
            noise = Tails(correlation=correlation, dof=DOF)
            scatter = correlation.scatter
        arrays.append(
            output.arrays._replace(weights=weights[:, 1:], offset=weights[:, 0], scatter=scatter)
        )
        noises.append(noise)
    return Fit(tuple(arrays), state.prior, tuple(noises))
