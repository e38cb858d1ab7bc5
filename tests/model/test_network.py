"""A network's features are those of its formula, and a model with them is like any other."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale.analysis.interpret import derivatives
from luxscale.info.describe import describe
from luxscale.model.decoders import NetworkMap
from luxscale.model.features import PolynomialFeatures, find_moments
from luxscale.model.network import NetworkFeatures


def make_features(rng, p=3, quadratic=2, units=(5, 4), size=0.5):
    sizes = [p, *units]
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers.append((size * rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs)))
    return NetworkFeatures(PolynomialFeatures(p, quadratic), tuple(layers))


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.fixture
def features(rng):
    return make_features(rng)


def test_features_are_those_of_the_formula_in_numpy_and_jax(rng, features):
    z = rng.standard_normal((6, 3))
    (a, b), (c, d) = features.layers
    hidden = np.tanh(np.tanh(z @ a.T + b) @ c.T + d)
    expected = np.hstack([z, z[:, :1] ** 2, z[:, 1:2] * z[:, :2], hidden])
    np.testing.assert_allclose(features(z), expected, rtol=1e-12)
    assert features.n_terms == expected.shape[1]
    np.testing.assert_allclose(jax.jit(lambda x: features(x))(z), expected, rtol=1e-4, atol=1e-5)


def test_slopes_are_those_of_automatic_differentiation(rng, features):
    made = NetworkMap(rng.standard_normal((4, features.n_terms)), np.zeros(4), features)
    z = rng.standard_normal(3)
    expected = jax.jit(jax.jacfwd(lambda x: made(x[None])[0]))(z.astype("f4"))
    np.testing.assert_allclose(made.jacobian(z), expected, rtol=1e-4, atol=1e-4)
    slopes = jax.jit(features.slopes)(z[None].astype("f4"), made.weights)
    np.testing.assert_allclose(slopes[0].T, expected, rtol=1e-4, atol=1e-4)


def test_moments_are_those_of_draws(rng, features):
    z, root = rng.standard_normal((1, 3)), 0.1 * np.tril(rng.standard_normal((3, 3)))
    mean, rows = find_moments(features, z, (root @ root.T)[None])
    draws = features(z + rng.standard_normal((400_000, 3)) @ root.T)
    covariance = np.cov(draws.T)
    size = np.sqrt(np.diag(covariance))
    away = (mean[0] - draws.mean(0)) / size
    assert np.abs(away).max() < 0.01
    np.testing.assert_allclose(rows[0].T @ rows[0], covariance, atol=0.02 * size.max() ** 2)
    # what the value at the mean gets wrong
    assert np.abs((features(z)[0] - draws.mean(0)) / size).max() > 0.05


@pytest.fixture(scope="module")
def network_model(curved_model):
    """The curved model, with a small network beside its products."""
    rng = np.random.default_rng(8)
    outputs = []
    features = make_features(rng, quadratic=3)
    for output in curved_model.outputs:
        more = 0.05 * output.scale[:, None] * rng.standard_normal((len(output.coord), 4))
        weights = np.hstack([output.map.weights, np.where(output.used[:, None], more, 0)])
        outputs.append(
            dataclasses.replace(output, map=NetworkMap(weights, output.map.offset, features))
        )
    return dataclasses.replace(curved_model, outputs=tuple(outputs))


@pytest.mark.slow
def test_the_file_keeps_the_network(network_model, curved_survey, tmp_path):
    network_model.save(tmp_path / "model.zarr")
    loaded = lux.load_model(tmp_path / "model.zarr")
    assert loaded.fingerprint == network_model.fingerprint
    stars = curved_survey.isel(star=slice(0, 30))
    catalogs = [lux.infer(stars, m, covariance=True) for m in (loaded, network_model)]
    xr.testing.assert_identical(*catalogs)
    spectra = [lux.predict(catalogs[0], m) for m in (loaded, network_model)]
    xr.testing.assert_identical(*spectra)
    facts = describe(tmp_path / "model.zarr")
    assert facts["flux"]["map"] == (
        "linear, and products of two of all 3 latents, and a network of 5-4 units"
    )


def test_the_fingerprint_is_that_of_the_network_too(network_model):
    (flux,) = [o for o in network_model.outputs if o.name == "flux"]
    (a, b), last = flux.map.features.layers
    changed = dataclasses.replace(flux.map.features, layers=((np.nextafter(a, 9), b), last))
    outputs = [
        dataclasses.replace(o, map=dataclasses.replace(o.map, features=changed))
        for o in network_model.outputs
    ]
    other = dataclasses.replace(network_model, outputs=tuple(outputs))
    assert other.fingerprint != network_model.fingerprint


def test_derivatives_are_taken_through_the_network(network_model):
    z = np.array([0.3, -0.2, 0.5])
    label, flux = network_model.outputs
    step = 1e-5 * np.eye(3)
    slopes = (label.map(z + step) - label.map(z - step)).T / 2e-5
    np.testing.assert_allclose(label.map.jacobian(z), slopes, rtol=1e-6, atol=1e-6)
    gain = derivatives(network_model, latent=z)
    expected = slopes @ np.linalg.pinv(flux.map.jacobian(z)[flux.used])
    np.testing.assert_allclose(gain.values[:, flux.used], expected, rtol=1e-6, atol=1e-6)
