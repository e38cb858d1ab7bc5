"""Sums over the stars: whatever the weights, and with the few that many weights come down to."""

import numpy as np
import pytest

from luxscale.model.features import PolynomialFeatures, find_moments
from luxscale.training.evidence import factor_weights, sum_squares

N = 130


@pytest.fixture
def latents():
    """Means and covariances."""
    rng = np.random.default_rng(4)
    half = 0.3 * rng.standard_normal((N, 3, 5))
    return rng.standard_normal((N, 3)), half @ half.swapaxes(1, 2)


@pytest.mark.parametrize("cubic", [0, 2])
def test_each_sum_is_over_its_own_stars(latents, cubic):
    features = PolynomialFeatures(3, 3, cubic)
    rng = np.random.default_rng(5)
    in_bins = np.eye(4)[rng.integers(0, 4, N)] * rng.uniform(0.5, 2, (N, 1))
    labels = rng.uniform(0, 1, (N, 2)) * (rng.uniform(size=(N, 2)) > 0.2)
    weights = np.hstack([in_bins, labels, np.zeros((N, 1))])
    regressors, sums = sum_squares(features, *latents, weights, covariances=True)
    mean, spread = find_moments(features, *latents)
    mean = np.hstack([np.ones((N, 1)), mean])
    np.testing.assert_allclose(regressors.mean, mean, rtol=1e-14)
    covariance = np.zeros((N, mean.shape[1], mean.shape[1]))
    covariance[:, 1:, 1:] = spread.swapaxes(1, 2) @ spread
    i, j = np.tril_indices(mean.shape[1] - 1)
    packed = covariance[:, i + 1, j + 1]
    np.testing.assert_allclose(regressors.packed_covariance, packed, rtol=1e-5, atol=1e-5)
    squares = mean[:, :, None] * mean[:, None] + covariance
    np.testing.assert_allclose(sums, np.tensordot(weights.T, squares, axes=1), atol=1e-11)
    np.testing.assert_array_equal(sums, sums.swapaxes(1, 2))


def test_weights_of_components_come_down_to_few():
    rng = np.random.default_rng(6)
    level, variance = rng.lognormal(0, 1, (N, 1)), np.geomspace(1e-3, 1e3, 60)
    weights = rng.uniform(0.5, 1, (N, 1)) / (level + variance)
    left, right = factor_weights(weights)
    assert left.shape[1] < 30
    # each of its own size, which differ by far
    np.testing.assert_allclose(left @ right, weights, rtol=1e-10)


def test_weights_that_are_all_zero_take_no_column():
    left, right = factor_weights(np.zeros((N, 2)))
    assert left.shape == (N, 0) and right.shape == (0, 2)
    left, right = factor_weights(np.eye(N)[:, :3] * [1, 0, 5])
    np.testing.assert_allclose(left @ right, np.eye(N)[:, :3] * [1, 0, 5], atol=1e-14)
