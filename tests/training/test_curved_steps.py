"""The E-step where few latents curve: maxima of the posterior and covariances as of float64."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from luxscale.model import separable
from luxscale.model.features import PolynomialFeatures
from luxscale.model.jit import use_float64
from luxscale.model.observation import Equations
from luxscale.model.priors import MixturePrior
from luxscale.training.curved_state import State
from luxscale.training.curved_steps import (
    _maximise_posterior,
    expect,
    find_local_prior,
    maximise,
)
from luxscale.training.data import BLOCK, Arrays
from luxscale.training.pixels import Pixels
from luxscale.training.tables import Table

FEATURES = PolynomialFeatures(6, 2)
STARS, PIXELS = BLOCK, 60


@pytest.fixture(scope="module")
def begun():
    """A state after an M-step, of pixels with gaps and two labels, and the data."""
    rng = np.random.default_rng(3)
    z = rng.standard_normal((STARS, 6))
    truth = rng.standard_normal((PIXELS + 2, FEATURES.n_terms)) * np.r_[np.ones(6), [0.3] * 3]
    values = FEATURES(z) @ truth.T + 0.3 * rng.standard_normal((STARS, PIXELS + 2))
    ivar = np.where(rng.random(values.shape) < 0.1, 0, rng.uniform(8, 14, values.shape))
    values = np.where(ivar > 0, values, 0)
    arrays = Arrays.empty(values[:, 2:].astype("f4"), ivar[:, 2:].astype("f4"), PIXELS)
    labels = Table(values=values[:, :2], ivar=ivar[:, :2], scatter=np.zeros(2), dof=4.0)
    half = 0.2 * rng.standard_normal((2, 6, 6))
    state = State(
        features=FEATURES,
        z=z + 0.1 * rng.standard_normal(z.shape),
        covariance=np.tile(0.01 * np.eye(6), (STARS, 1, 1)),
        robust_weights=(rng.uniform(0.3, 1, (STARS, 2)), np.ones((STARS, 1))),
        prior=MixturePrior(
            weight=np.array([0.6, 0.4]),
            mean=0.3 * rng.standard_normal((2, 6)),
            covariance=half @ half.swapaxes(1, 2) + np.eye(6),
        ),
    )
    tables = labels, Pixels(arrays=arrays, rows=np.arange(STARS))
    return maximise(state, tables), tables


def solve(state, tables, star):
    """The maximum of a star's posterior and the covariance there, in float64."""
    mean, precision = (array[0] for array in find_local_prior(state, np.array([star])))
    root = np.linalg.cholesky(precision).T
    labels, pixels = tables
    of_labels, of_pixels = state.fitted
    ivar = pixels.arrays.ivar[star].astype(float)
    weights = [
        state.robust_weights[0][star] * labels.ivar[star],
        ivar / (1 + ivar * of_pixels.noise.scatter.astype(float) ** 2),
    ]
    values = [labels.values[star], pixels.arrays.values[star].astype(float)]

    def residuals(z):
        f = np.r_[1, FEATURES(z[None])[0]]
        parts = [
            np.sqrt(w) * (y - fitted.weights @ f)
            for w, y, fitted in zip(weights, values, (of_labels, of_pixels), strict=True)
        ]
        return np.concatenate([*parts, root @ (z - mean)])

    found = least_squares(residuals, state.z[star], xtol=1e-12, ftol=1e-12, gtol=1e-12)
    return found.x, np.linalg.inv(found.jac.T @ found.jac)


def test_few_steps_end_at_the_maxima_of_float64(begun):
    state, tables = begun
    assert separable.is_mostly_linear(FEATURES)
    found, _ = expect(state, tables, 4, heavy=True)
    for star in range(0, STARS, 10):
        z, covariance = solve(state, tables, star)
        sigma = np.sqrt(np.diagonal(covariance))
        assert np.max(np.abs(found.z[star] - z) / sigma) < 0.02
        size = sigma[:, None] * sigma
        np.testing.assert_allclose(found.covariance[star] / size, covariance / size, atol=0.01)


@pytest.mark.timeout(60)
def test_calls_of_lapack_wait_for_each_other():
    """Two at once stand still for good on two cores (jax 0.10): 50 times were enough."""
    features = PolynomialFeatures(46, 4)
    rng = np.random.default_rng(0)
    equations = Equations(
        precision=np.full((STARS, PIXELS), 50.0),
        pull=50 * rng.standard_normal((STARS, PIXELS)),
        weights=rng.standard_normal((PIXELS, features.n_terms)),
        features=features,
    )
    zero, eye = np.zeros((STARS, 46)), np.tile(np.eye(46), (STARS, 1, 1))
    with use_float64():
        for _ in range(100):
            z, covariance = _maximise_posterior((equations,), zero, eye, zero, 4)
    assert np.isfinite(z).all() and np.isfinite(covariance).all()
