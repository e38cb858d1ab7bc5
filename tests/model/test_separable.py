"""Latents that enter linearly are eliminated: the terms found are those of a search in float64."""

import functools
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

from luxscale.model import eliminate, posterior, separable
from luxscale.model.blocks import Target
from luxscale.model.decoders import PolynomialMap
from luxscale.model.features import PolynomialFeatures
from luxscale.model.jit import compile_program
from luxscale.model.noise import DiagonalNoise
from luxscale.model.priors import Gaussians, MixturePrior

FEATURES = PolynomialFeatures(6, 2)
PIXELS, STARS = 80, 8


@pytest.fixture
def problem():
    """Weights (80, 9), noisy spectra with gaps and a prior of three Gaussians."""
    rng = np.random.default_rng(5)
    weights = rng.standard_normal((PIXELS, FEATURES.n_terms)) * np.r_[np.ones(6), 0.2 * np.ones(3)]
    half = 0.3 * rng.standard_normal((3, 6, 6))
    prior = MixturePrior(
        weight=np.array([0.5, 0.3, 0.2]),
        mean=0.7 * rng.standard_normal((3, 6)),
        covariance=half @ half.swapaxes(1, 2) + 0.5 * np.eye(6),
    )
    z = rng.standard_normal((STARS, 6))
    ivar = rng.uniform(0.5, 3, (STARS, PIXELS)) * (rng.random((STARS, PIXELS)) > 0.1)
    noise = rng.standard_normal(ivar.shape) / np.sqrt(np.where(ivar > 0, ivar, np.inf))
    data = FEATURES(z) @ weights.T + noise
    # a star without data is its prior
    ivar[-1] = 0
    return weights, data, ivar, prior


def observe(weights, data, ivar):
    noise = DiagonalNoise(jnp.zeros(PIXELS, jnp.float32))
    reduced = noise.reduce(weights, weights.shape[1])
    return noise.observe(ivar, jnp.where(ivar > 0, data, 0), reduced, FEATURES, True)


@functools.cache
def compile_search(nearest):
    """The search, which begins with so many Gaussians; ``nearest`` tells programs apart."""
    return compile_program()(functools.partial(eliminate.find_terms, full=True))


@functools.cache
def compile_whole():
    return compile_program()(posterior.find_modes)


def find(problem, dof=np.inf):
    """The terms of each star, with mean and covariance of the latents as labels have them."""
    weights, data, ivar, prior = problem
    seen = observe(weights, data.astype("f4"), ivar.astype("f4"))
    assert separable.is_separable([seen])
    target = Target(np.eye(6, FEATURES.n_terms, dtype="f4"), FEATURES)
    program = compile_search(eliminate.NEAREST)
    modes, (moments,) = program(seen, np.float32(dof), prior.gaussians(), [target])
    return modes._replace(covariance=moments[1]), moments[0]


def find_whole(problem, dof):
    """The terms by the search of all latents."""
    weights, data, ivar, prior = problem
    seen = observe(weights, data.astype("f4"), ivar.astype("f4"))
    return compile_whole()([seen], [np.float32(dof)], prior.gaussians(), posterior.ROUNDS)


def solve(problem, star, k):
    """The maximum of one term, ln omega and the covariance there, in float64."""
    weights, data, ivar, prior = problem
    quadratic = PolynomialMap(weights, 0.0, FEATURES)
    log_weight, mean, precision = (np.asarray(a, float)[k] for a in prior.expand())
    root = np.linalg.cholesky(precision).T

    def residuals(z):
        misfit = np.sqrt(ivar[star]) * (data[star] - quadratic(z[None])[0])
        return np.r_[misfit, root @ (z - mean)]

    found = least_squares(residuals, mean, xtol=1e-12, ftol=1e-12, gtol=1e-12)
    hessian = found.jac.T @ found.jac
    _, log_det = np.linalg.slogdet(hessian)
    return found.x, log_weight - 0.5 * log_det - found.cost, np.linalg.inv(hessian)


def test_terms_are_those_of_float64(problem):
    got, _ = find(problem)
    shares = np.asarray(posterior.weigh_modes(got))
    assert (np.asarray(posterior.find_distance(got)) < posterior.SETTLED).all()
    for star in range(STARS):
        z, log_weight, covariance = zip(*(solve(problem, star, k) for k in range(3)), strict=True)
        order = np.argsort(log_weight)
        expected = np.exp(np.array(log_weight)[order] - np.logaddexp.reduce(log_weight))
        found = np.argsort(got.log_weight[:, star])
        np.testing.assert_allclose(shares[found, star], expected, atol=2e-3)
        best, lead = order[-1], found[-1]
        sigma = np.sqrt(np.diagonal(covariance[best]))
        assert np.max(np.abs(got.latent[lead, star] - z[best]) / sigma) < 0.01
        np.testing.assert_allclose(got.covariance[lead, star], covariance[best], 5e-3, 1e-4)


@pytest.mark.parametrize("dof", [np.inf, 30.0])
def test_the_search_of_all_latents_finds_the_same(problem, dof):
    weights, data, ivar, prior = problem
    # outlying, so that heavy tails count
    problem = weights, data + 2 * np.random.default_rng(0).standard_normal(data.shape), ivar, prior
    eliminated, _ = find(problem, dof)
    whole = find_whole(problem, dof)
    a, b = (np.asarray(posterior.weigh_modes(modes)) for modes in (eliminated, whole))
    np.testing.assert_allclose(np.sort(a, 0), np.sort(b, 0), atol=5e-3)
    stars = np.arange(STARS)
    one, other = eliminated.latent[a.argmax(0), stars], whole.latent[b.argmax(0), stars]
    sigma = np.sqrt(np.diagonal(whole.covariance[b.argmax(0), stars], axis1=1, axis2=2))
    assert np.max(np.abs(one - other) / sigma) < 0.05
    chi2 = (modes.chi2[share.argmax(0), stars] for modes, share in ((eliminated, a), (whole, b)))
    np.testing.assert_allclose(*chi2, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("noise", [1.0, 5.0])
def test_gaussians_that_are_not_searched_with_do_not_matter(problem, monkeypatch, noise):
    weights, _, ivar, _ = problem
    rng = np.random.default_rng(3)
    half = 0.3 * rng.standard_normal((24, 6, 6))
    prior = MixturePrior(
        weight=np.full(24, 1 / 24),
        mean=1.5 * rng.standard_normal((24, 6)),
        covariance=half @ half.swapaxes(1, 2) + 0.2 * np.eye(6),
    )
    ivar = np.tile(ivar[:-1], (9, 1)) / noise**2
    z = prior.mean[rng.integers(24, size=len(ivar))] + 0.5 * rng.standard_normal((len(ivar), 6))
    errors = rng.standard_normal(ivar.shape) / np.sqrt(np.where(ivar > 0, ivar, np.inf))
    problem = weights, FEATURES(z) @ weights.T + errors, ivar, prior
    few, few_means = find(problem)
    monkeypatch.setattr(eliminate, "NEAREST", 24)
    every, every_means = find(problem)
    assert len(every.latent) == len(few.latent) == posterior.KEPT

    def mix(modes, means):
        share = posterior.weigh_modes(modes)[..., None]
        mean = (share * means).sum(0)
        variance = np.diagonal(modes.covariance, axis1=2, axis2=3) + (means - mean) ** 2
        return mean, np.sqrt((share * variance).sum(0))

    (mean, err), (expected, expected_err) = mix(few, few_means), mix(every, every_means)
    np.testing.assert_allclose(err, expected_err, rtol=1e-3)
    assert np.max(np.abs(mean - expected) / expected_err) < 1e-3


def test_a_search_that_fails_leaves_the_others(problem):
    weights, data, ivar, prior = problem
    log_weight, mean, precision = (np.array(a) for a in prior.gaussians())
    # the first that is searched with, of every star, and not positive definite
    log_weight[0] += 1e6
    precision[0] = -1e9 * np.eye(6)
    broken = SimpleNamespace(gaussians=lambda: Gaussians(log_weight, mean, precision))
    without = SimpleNamespace(gaussians=lambda: Gaussians(log_weight[1:], mean[1:], precision[1:]))

    def predict(prior):
        modes, means = find((weights, data, ivar, prior))
        share = np.asarray(posterior.weigh_modes(modes))[..., None]
        return np.sum(share * means, 0, where=share > 0)

    np.testing.assert_allclose(predict(broken), predict(without), atol=1e-4)
