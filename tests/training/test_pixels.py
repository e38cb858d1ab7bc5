"""Values of independent noise in curved training: regression, and what they say of latents."""

import dataclasses

import numpy as np
import pytest

from luxscale.model import components
from luxscale.model.features import PolynomialFeatures, find_moments
from luxscale.training import approximation, regression_near
from luxscale.training import pixels as pixels_module
from luxscale.training.data import BLOCK, Arrays
from luxscale.training.evidence import sum_squares
from luxscale.training.pixels import Pixels

FEATURES = PolynomialFeatures(3, 2)
SCATTER = 0.2


def make_problem(d, seed=0):
    """Return pixels of a quadratic model with gaps, latents and their covariances."""
    rng = np.random.default_rng(seed)
    n = 2 * BLOCK
    z = rng.standard_normal((n, 3))
    half = 0.2 * rng.standard_normal((n, 3, 3))
    truth = rng.standard_normal((d, 1 + FEATURES.n_terms)) * 0.5
    sigma = rng.uniform(0.05, 0.3, (n, d))
    noise = np.hypot(sigma, SCATTER) * rng.standard_normal((n, d))
    values = truth[:, 0] + FEATURES(z) @ truth[:, 1:].T + noise
    ivar = np.where(rng.random((n, d)) < 0.2, 0, 1 / sigma**2)
    values = np.where(ivar > 0, values, 0)
    arrays = Arrays.empty(values.astype("f4"), ivar.astype("f4"), d)
    covariance = half @ half.swapaxes(1, 2) + 1e-4 * np.eye(3)
    return Pixels(arrays=arrays, rows=np.arange(n)), z, covariance


def fit(pixels, z, covariance, old=None):
    """Fit pixels once."""
    regressors, sums = sum_squares(FEATURES, z, covariance, np.zeros((len(z), 0)), covariances=True)
    return pixels.fit(regressors, sums, np.ones(len(z)), old)


def record(monkeypatch, name):
    """Return what a function of `approximation` gives to `Pixels`, however little work it saves."""
    given, function = [], getattr(approximation, name)

    def keep(*args):
        given.append(function(*args))
        return given[-1]

    monkeypatch.setattr(components, "_LEAST_WORK", 0)
    monkeypatch.setattr(pixels_module, name, keep)
    return given


def test_weights_are_those_of_float64_and_scatter_is_found():
    pixels, z, covariance = make_problem(6)
    rows = np.arange(0, len(z), 2)
    some = pixels.take(rows)
    exact = 1e-9 * np.tile(np.eye(3), (rows.size, 1, 1))
    fitted = fit(some, z[rows], exact, fit(some, z[rows], exact))
    np.testing.assert_allclose(fitted.noise.scatter, SCATTER, rtol=0.15)

    fitted = fit(some, z[rows], covariance[rows], fitted)
    mean, spread = find_moments(FEATURES, z[rows], covariance[rows])
    f = np.hstack([np.ones((rows.size, 1)), mean])
    extra = np.zeros((rows.size, f.shape[1], f.shape[1]))
    extra[:, 1:, 1:] = spread.swapaxes(1, 2) @ spread
    ivar = pixels.arrays.ivar[rows].astype(float)
    w = ivar / (1 + ivar * fitted.noise.scatter.astype(float) ** 2)
    for i, weights in enumerate(fitted.weights):
        normal = (f * w[:, i, None]).T @ f + np.tensordot(w[:, i], extra, axes=1)
        ridge = w[:, i].sum() / (w[:, i] > 0).sum() * np.eye(f.shape[1])
        ridge[0, 0] *= 1e-6
        expected = np.linalg.solve(normal + ridge, f.T @ (w[:, i] * pixels.arrays.values[rows, i]))
        np.testing.assert_allclose(weights, expected, atol=2e-5)


def test_few_directions_of_covariances_give_the_same_scatter(monkeypatch):
    rng = np.random.default_rng(4)
    n, d, features = 4 * BLOCK, 40, PolynomialFeatures(24, 2)
    z, truth = rng.standard_normal((n, 24)), rng.standard_normal((d, features.n_terms))
    level = rng.uniform(0.05, 0.5, (n, 1))
    values = features(z) @ truth.T + np.hypot(level, SCATTER) * rng.standard_normal((n, d))
    ivar = np.tile(level**-2, (1, d)).astype("f4")
    # as a posterior has them: wider where noise is
    half = rng.standard_normal((24, 24))
    covariance = np.linalg.inv((half @ half.T + np.eye(24)) / level[:, :, None] ** 2 + np.eye(24))
    pixels = Pixels(arrays=Arrays.empty(values.astype("f4"), ivar, d), rows=np.arange(0, n, 2))
    given = z[::2], covariance[::2]
    regressors, sums = sum_squares(features, *given, np.zeros((n // 2, 0)), covariances=True)
    old = pixels.fit(regressors, sums, np.ones(n // 2), None)
    exact = pixels.fit(regressors, sums, np.ones(n // 2), old)
    taken = record(monkeypatch, "approximate")
    monkeypatch.setattr(regression_near, "expect_tile", None)  # no tile is solved exactly
    found = pixels.fit(regressors, sums, np.ones(n // 2), old)
    (few,) = taken
    assert few.sums.shape == (n, 3 * features.n_terms)
    assert (found.noise.scatter != exact.noise.scatter).any()
    np.testing.assert_allclose(found.noise.scatter, exact.noise.scatter, rtol=2e-3)
    np.testing.assert_allclose(found.weights, exact.weights, atol=2e-4)
    # the directions are taken again, as long as they describe the covariances
    again = pixels.fit(regressors, sums, np.ones(n // 2), found)
    assert again.noise.directions is found.noise.directions
    half = rng.standard_normal((24, 24))
    covariance = np.linalg.inv((half @ half.T + np.eye(24)) / level[:, :, None] ** 2 + np.eye(24))
    regressors, sums = sum_squares(
        features, z[::2], covariance[::2], np.zeros((n // 2, 0)), covariances=True
    )
    others = pixels.fit(regressors, sums, np.ones(n // 2), found)
    assert others.noise.directions is not found.noise.directions


def test_covariances_that_few_directions_do_not_describe_are_taken_whole(monkeypatch):
    rng = np.random.default_rng(5)
    n, d, features = 4 * BLOCK, 40, PolynomialFeatures(24, 2)
    z, truth = rng.standard_normal((n, 24)), rng.standard_normal((d, features.n_terms))
    values = features(z) @ truth.T + 0.1 * rng.standard_normal((n, d))
    pixels = Pixels(
        arrays=Arrays.empty(values.astype("f4"), np.full((n, d), 100, "f4"), d), rows=np.arange(n)
    )
    # each star's own, as of errors of pixels over decades
    half = 0.1 * rng.standard_normal((n, 24, 24))
    regressors, sums = sum_squares(
        features, z, half @ half.swapaxes(1, 2), np.zeros((n, 0)), covariances=True
    )
    old = pixels.fit(regressors, sums, np.ones(n), None)
    exact = pixels.fit(regressors, sums, np.ones(n), old)
    asked = record(monkeypatch, "are_described")
    found = pixels.fit(regressors, sums, np.ones(n), old)
    assert asked == [False]
    np.testing.assert_array_equal(found.noise.scatter, exact.noise.scatter)
    np.testing.assert_array_equal(found.weights, exact.weights)


@pytest.mark.parametrize("d", [6, 40])
def test_equations_are_chi_square_of_the_pixels(d):
    """Pixel by pixel where they are few, summed where they are many."""
    pixels, z, covariance = make_problem(d)
    fitted = fit(pixels, z, covariance)
    rows = np.array([5, 300, 7])
    equations = pixels.make_equations(fitted, rows, np.ones(3), FEATURES)
    other = z[rows] + 0.3
    found = np.asarray(equations.measure_change(z[rows], other))
    ivar = pixels.arrays.ivar[rows].astype(float)
    w = ivar / (1 + ivar * fitted.noise.scatter.astype(float) ** 2)

    def chi2(at):
        rest = pixels.arrays.values[rows] - fitted.weights[:, 0]
        return (w * (rest - FEATURES(at) @ fitted.weights[:, 1:].T) ** 2).sum(1)

    np.testing.assert_allclose(found, chi2(other) - chi2(z[rows]), rtol=1e-4)
    narrow = equations.precision.ndim == 2
    assert narrow == (d == 6)


def test_the_likelihood_is_that_of_measured_values():
    pixels, z, covariance = make_problem(6)
    fitted = fit(pixels, z, covariance)
    few = dataclasses.replace(pixels, rows=np.array([3, 400]))
    f = np.hstack([np.ones((2, 1)), FEATURES(z[few.rows])])
    found = few.measure(fitted, f)
    ivar = pixels.arrays.ivar[few.rows].astype(float)
    w = ivar / (1 + ivar * fitted.noise.scatter.astype(float) ** 2)
    rest = pixels.arrays.values[few.rows] - f @ fitted.weights.T
    expected = np.where(w > 0, np.log(np.where(w > 0, w, 1) / 2 / np.pi) - w * rest**2, 0)
    np.testing.assert_allclose(found.logarithm, 0.5 * expected.sum(1), rtol=1e-4)
    assert not found.n_values.any()  # its tails are Gaussian
