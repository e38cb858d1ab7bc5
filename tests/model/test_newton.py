"""The search for latents under maps that are not linear finds the minimum of float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

from luxscale.model import linalg, newton
from luxscale.model.decoders import (
    KINDS,
    LinearMap,
    QuadraticMap,
    linear_features,
    quadratic_features,
)
from luxscale.model.jit import compile_program
from luxscale.model.priors import GaussianPrior


@pytest.fixture
def problem():
    """Noisy spectra, quadratic in two latents: weights (60, 5), data and ivar (8, 60), prior."""
    rng = np.random.default_rng(4)
    weights = rng.standard_normal((60, 5)) * np.array([1, 1, 0.15, 0.15, 0.15])
    z = rng.standard_normal((8, 2))
    ivar = rng.uniform(20, 100, (8, 60)) * (rng.random((8, 60)) > 0.1)
    data = PolynomialMap.quadratic(weights, 0.0)(z) + rng.standard_normal((8, 60)) / np.sqrt(
        np.where(ivar > 0, ivar, np.inf)
    )
    return weights, data, ivar, np.array([0.5, 2.0])


def minimum(weights, data, ivar, prior):
    """The latents of one star and the Gauss-Newton matrix there, in float64."""
    quadratic = PolynomialMap.quadratic(weights, 0.0)

    def residuals(z):
        return np.r_[np.sqrt(ivar) * (data - quadratic(z[None])[0]), np.sqrt(prior) * z]

    found = least_squares(residuals, np.zeros(2), xtol=1e-12, ftol=1e-12, gtol=1e-12)
    return found.x, found.jac.T @ found.jac


def equations(problem, features=quadratic_features):
    weights, data, ivar, prior = (jnp.asarray(a, jnp.float32) for a in problem)
    part = linalg.normal_equations(ivar, data, weights, linalg.pack(weights).T)
    return compile_program()(lambda p, x: newton.in_latents([p], [features], x))(
        part, GaussianPrior(prior)
    )


def test_the_minimum_and_its_curvature_are_those_of_float64(problem):
    got = equations(problem)
    weights, data, ivar, prior = problem
    expected = [minimum(weights, y, w, prior) for y, w in zip(data, ivar, strict=True)]
    sigma = np.sqrt([np.diag(np.linalg.inv(h)) for _, h in expected])
    assert np.asarray(got.settled).all()
    assert np.max(np.abs(np.asarray(got.start) - [z for z, _ in expected]) / sigma) < 0.02
    np.testing.assert_allclose(got.h, [h for _, h in expected], rtol=0.01, atol=1.0)


def test_linear_equations_are_left_as_they_are(problem):
    weights, data, ivar, prior = problem
    got = equations((weights[:, :2], data, ivar, prior), linear_features)
    h = np.einsum("nd,di,dj->nij", ivar, weights[:, :2], weights[:, :2]) + np.diag(prior)
    np.testing.assert_allclose(got.h, h, rtol=1e-5)
    np.testing.assert_allclose(got.rhs, (ivar * data) @ weights[:, :2], rtol=1e-3, atol=1e-2)
    assert (np.asarray(got.start) == 0).all() and np.asarray(got.settled).all()


def test_a_search_that_does_not_end_says_so(problem, monkeypatch):
    monkeypatch.setattr(newton, "STEPS", 1)
    assert not np.asarray(equations(problem).settled).any()


def test_slope_is_that_of_the_map():
    z, weights = (
        np.array([[0.3, -1.2, 0.5]], np.float32),
        np.random.default_rng(0).standard_normal((4, 9)),
    )
    quadratic = PolynomialMap.quadratic(weights, np.zeros(4))
    step = 1e-5
    expected = [
        (quadratic(z + step * e)[0] - quadratic(z - step * e)[0]) / (2 * step) for e in np.eye(3)
    ]
    np.testing.assert_allclose(quadratic.jacobian(z[0]).T, expected, rtol=1e-4, atol=1e-4)
    got = newton.slope(quadratic_features, jnp.asarray(z), jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(got[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS.values())
@pytest.mark.parametrize("p", [1, 3, 12])
def test_maps_know_their_latents_and_agree_between_numpy_and_jax(kind, p):
    z = np.random.default_rng(1).standard_normal((5, p)).astype("f4")
    terms = kind.features(z)
    assert isinstance(terms, np.ndarray)
    np.testing.assert_allclose(kind.features(jnp.asarray(z)), terms, rtol=1e-6)
    made = kind(np.ones((2, terms.shape[1])), np.array([1.0, 2.0]))
    assert made.latent_dim == p
    np.testing.assert_allclose(
        made(z), np.array([1.0, 2.0]) + terms.sum(1, keepdims=True), rtol=1e-5
    )
    assert jax.tree.structure(made) == jax.tree.structure(jax.tree.map(lambda a: 2 * a, made))


def test_quadratic_terms_are_the_latents_and_their_products():
    assert quadratic_features(np.array([[2.0, 3.0]])).tolist() == [[2, 3, 4, 6, 9]]
    assert LinearMap(np.eye(2), np.zeros(2)).jacobian(np.zeros(2)).tolist() == np.eye(2).tolist()


@pytest.mark.parametrize("kind", KINDS.values())
def test_variances_are_propagated_by_the_slope_of_the_map(kind):
    rng = np.random.default_rng(2)
    z = rng.standard_normal((4, 3))
    decoder = kind(rng.standard_normal((6, kind.features(z).shape[1])), np.zeros(6))
    half = rng.standard_normal((4, 3, 3))
    covariance = half @ half.swapaxes(1, 2)
    slopes = [np.asarray(decoder.jacobian(one)) for one in z]
    expected = [np.diag(j @ c @ j.T) for j, c in zip(slopes, covariance, strict=True)]
    np.testing.assert_allclose(decoder.propagate_variance(z, covariance), expected, rtol=1e-10)
