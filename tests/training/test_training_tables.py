"""Outputs whose noise is known: labels with heavy tails."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from luxscale.model.features import PolynomialFeatures
from luxscale.training.evidence import Fitted, sum_squares
from luxscale.training.tables import Table

FEATURES, SIGMA, N = PolynomialFeatures(2, 0), 0.1, 400


@pytest.fixture
def stars():
    """Weights of (1, z), that vector for each star, and labels that follow but for their errors."""
    rng = np.random.default_rng(8)
    first = np.hstack([np.ones((N, 1)), rng.standard_normal((N, 2))])
    weights = rng.standard_normal((3, 3))
    values = first @ weights.T + SIGMA * rng.standard_normal((N, 3))
    ivar = np.full((N, 3), SIGMA**-2)
    ivar[::9, 1] = 0
    return weights, first, Table(values=values, ivar=ivar, scatter=np.zeros(3), dof=3.0)


def regress(table, first, rounds=10):
    """Regress and weigh in turn, at latents that are known."""
    g = np.ones((N, 1))
    covariance = np.zeros((N, 2, 2)) + 1e-12 * np.eye(2)
    for _ in range(rounds):
        f, squares = sum_squares(FEATURES, first[:, 1:], covariance, table.list_weights(g))
        fitted = table.fit(f, squares, g, None)
        g = table.measure(fitted, first).weights
    return fitted.weights, g


def test_the_likelihood_is_that_of_student_t(stars):
    weights, first, table = stars
    found, expected = [], []
    for w in (weights, weights + 0.05):
        found.append(table.measure(Fitted(weights=w), first).logarithm)
        density = stats.t.logpdf(table.values, table.dof, loc=first @ w.T, scale=SIGMA)
        expected.append(np.where(table.ivar > 0, density, 0).sum(1))
    # but for what never changes
    np.testing.assert_allclose(found[1] - found[0], expected[1] - expected[0], rtol=1e-9)


def test_labels_that_are_far_off_weigh_little_and_others_as_their_errors_say(stars):
    weights, first, table = stars
    off = np.arange(N) % 20 == 0
    wrong = dataclasses.replace(table, values=np.where(off[:, None], 5.0, 0) + table.values)
    found, g = regress(wrong, first)
    gaussian, even = regress(dataclasses.replace(wrong, dof=np.inf), first)
    assert (even == 1).all()
    # an offset of 5 in one star of twenty
    assert np.abs(gaussian - weights)[:, 0].min() > 0.2
    assert np.abs(found - weights).max() < 5 * SIGMA / np.sqrt(N)
    assert g[off & (table.ivar > 0).all(1)].max() < 0.01
    right, g = regress(table, first)
    plain, _ = regress(dataclasses.replace(table, dof=np.inf), first)
    assert np.abs(right - plain).max() < SIGMA / np.sqrt(N)
    known = table.ivar > 0
    np.testing.assert_allclose(g[known].mean(), expected_weight(table.dof), rtol=0.05)


def expected_weight(dof):
    """E[(nu + 1) / (nu + x^2)] of a standard normal x, by quadrature."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    return np.sum(w * (dof + 1) / (dof + x**2)) / np.sqrt(2 * np.pi)
