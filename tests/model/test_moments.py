import numpy as np
import pytest

from luxscale.model.features import PolynomialFeatures, linear_features
from luxscale.model.jit import compile_program
from luxscale.model.moments import find_label_moments


def draw(rng, p, n=2):
    """Weights' features, latents and covariances."""
    half = 0.6 * rng.standard_normal((n, p, p))
    return rng.standard_normal((n, p)), half @ half.swapaxes(1, 2) + 0.1 * np.eye(p)


@pytest.mark.parametrize(("quadratic", "cubic"), [(0, 0), (2, 0), (3, 0), (3, 1), (2, 2), (3, 3)])
def test_moments_of_products_are_those_of_hermite_quadrature(quadratic, cubic):
    """Five points a dimension are exact to degree nine, and the square of a label has six."""
    rng = np.random.default_rng(3)
    features = PolynomialFeatures(3, quadratic, cubic)
    weights = rng.standard_normal((2, features.n_terms))
    z, covariance = draw(rng, 3)
    points, share = np.polynomial.hermite_e.hermegauss(5)
    share = share / share.sum()
    grid = np.stack(np.meshgrid(points, points, points), -1).reshape(-1, 3)
    weight = np.prod(np.stack(np.meshgrid(share, share, share), -1).reshape(-1, 3), 1)
    program = compile_program(static_argnames=("full",))(find_label_moments)
    given = [a.astype("f4") for a in (weights, z, covariance)]
    mean, full = program(features, *given, full=True)
    same, variance = program(features, *given, full=False)
    for star in range(len(z)):
        labels = features(z[star] + grid @ np.linalg.cholesky(covariance[star]).T) @ weights.T
        expected = weight @ labels
        away = labels - expected
        np.testing.assert_allclose(mean[star], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(full[star], (weight * away.T) @ away, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(same, mean)
    np.testing.assert_allclose(variance, np.diagonal(full, axis1=1, axis2=2), rtol=1e-4, atol=1e-4)


def test_moments_of_latents_are_their_own():
    z, covariance = draw(np.random.default_rng(0), 3)
    given = [a.astype("f4") for a in (np.eye(3), z, covariance)]
    program = compile_program(static_argnames=("full",))(find_label_moments)
    mean, spread = program(linear_features, *given, full=True)
    np.testing.assert_allclose(mean, z, rtol=1e-5)
    np.testing.assert_allclose(spread, covariance, rtol=1e-4, atol=1e-5)
