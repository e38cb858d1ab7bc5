"""Maps are what their formulas say, in NumPy and in JAX, and so are their slopes and moments."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luxscale.model.decoders import LinearMap, PolynomialMap, read_decoder
from luxscale.model.features import (
    PolynomialFeatures,
    find_mean,
    find_moments,
    linear_features,
    quadratic_features,
)


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
    slopes = jax.jit(quadratic.features.slopes)
    got = slopes(jnp.asarray(z), jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(got[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "quadratic", "polynomial"])
@pytest.mark.parametrize("p", [2, 3, 12])
def test_maps_know_their_latents_and_agree_between_numpy_and_jax(kind, p):
    z = np.random.default_rng(1).standard_normal((5, p)).astype("f4")
    features = {
        "linear": linear_features,
        "quadratic": PolynomialFeatures(p, p),
        "polynomial": PolynomialFeatures(p, 2, 1),
    }[kind]
    terms = features(z)
    assert isinstance(terms, np.ndarray)
    np.testing.assert_allclose(jax.jit(features)(z), terms, rtol=1e-6)
    entry = {"map": kind}
    if kind == "polynomial":
        entry["features"] = dataclasses.asdict(features)
    made = read_decoder(entry, np.ones((2, terms.shape[1])), np.array([1.0, 2.0]), {}.get)
    assert (made.latent_dim, made.kind, made.features) == (p, kind, features)
    np.testing.assert_allclose(
        made(z), np.array([1.0, 2.0]) + terms.sum(1, keepdims=True), rtol=1e-5
    )
    assert jax.tree.structure(made) == jax.tree.structure(jax.tree.map(lambda a: 2 * a, made))


def test_quadratic_terms_are_the_latents_and_their_products():
    assert quadratic_features(np.array([[2.0, 3.0]])).tolist() == [[2, 3, 4, 6, 9]]
    assert LinearMap(np.eye(2), np.zeros(2)).jacobian(np.zeros(2)).tolist() == np.eye(2).tolist()


def test_cubes_are_those_of_the_first_latents():
    features = PolynomialFeatures(3, 2, 1)
    assert features(np.array([[2.0, 3.0, 5.0]])).tolist() == [[2, 3, 5, 4, 6, 9, 8]]
    assert features.n_terms == 7


@pytest.mark.parametrize(("q", "r"), [(3, 3), (2, 1), (2, 0)])
def test_slopes_are_those_of_automatic_differentiation(q, r):
    rng = np.random.default_rng(3)
    features = PolynomialFeatures(3, q, r)
    made = PolynomialMap(rng.standard_normal((4, features.n_terms)), np.zeros(4), features)
    z = rng.standard_normal(3)
    differentiate = jax.jit(jax.jacfwd(lambda x: made(x[None])[0]))
    expected = differentiate(jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(made.jacobian(z), expected, rtol=1e-4, atol=1e-4)
    slopes = jax.jit(features.slopes)(z[None].astype("f4"), made.weights)
    np.testing.assert_allclose(slopes[0].T, expected, rtol=1e-4, atol=1e-4)


def test_moments_of_products_of_two_are_those_of_a_gaussian():
    rng = np.random.default_rng(5)
    features = PolynomialFeatures(2, 2)
    z, root = rng.standard_normal((1, 2)), np.array([[0.4, 0.0], [0.1, 0.2]])
    mean, rows = find_moments(features, z, (root @ root.T)[None])
    draws = features(z + rng.standard_normal((400_000, 2)) @ root.T)
    np.testing.assert_allclose(mean[0], draws.mean(0), atol=3e-3)
    # the product of both latents lacks what is curved across them
    np.testing.assert_allclose(rows[0].T @ rows[0], np.cov(draws.T), atol=1.5e-2)
    in_jax, _ = jax.jit(find_moments, static_argnums=0)(features, z, (root @ root.T)[None])
    np.testing.assert_allclose(in_jax, mean, rtol=1e-5)


@pytest.mark.parametrize("cubic", [0, 2])
def test_moments_of_products_are_those_of_points(cubic):
    rng = np.random.default_rng(6)
    features = PolynomialFeatures(4, 3, cubic)
    z, roots = rng.standard_normal((5, 4)), rng.standard_normal((5, 4, 4))
    covariance = roots @ roots.swapaxes(1, 2)
    known = find_moments(features, z, covariance)
    of_points = find_moments(lambda z: features(z), z, covariance)
    for found, expected in zip(known, of_points, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(find_mean(features, z, covariance), known[0], rtol=1e-9, atol=1e-9)
