"""The search for latents under maps that are not linear finds the maximum of float64."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

from luxscale.model import posterior
from luxscale.model.decoders import PolynomialMap
from luxscale.model.features import PolynomialFeatures, linear_features
from luxscale.model.jit import compile_program
from luxscale.model.noise import DiagonalNoise
from luxscale.model.priors import GaussianPrior, Gaussians, MixturePrior


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


QUADRATIC = PolynomialFeatures(2, 2)


@compile_program(static_argnames="features")
def search(reduced, data, ivar, dof, gaussians, rounds, features):
    """Find the terms of the posterior, by a program that problems of one shape share."""
    noise = DiagonalNoise(jnp.zeros(data.shape[1], jnp.float32))
    seen = noise.observe(ivar, jnp.where(ivar > 0, data, 0), reduced, features, True)
    return posterior.find_modes([seen], [dof], Gaussians(*gaussians), rounds)


def find(problem, features=QUADRATIC, prior=None, dof=np.inf, rounds=posterior.ROUNDS):
    """The terms of the posterior of a block of stars."""
    weights, data, ivar, precision = (np.asarray(a, np.float32) for a in problem)
    reduced = DiagonalNoise().reduce(weights, weights.shape[1])
    prior = GaussianPrior(precision) if prior is None else prior
    return search(reduced, data, ivar, dof, prior.gaussians(), rounds, features=features)


@pytest.mark.parametrize("pixels", [60, 8])  # summed, and one by one
def test_the_maximum_and_its_curvature_are_those_of_float64(problem, pixels):
    weights, data, ivar, prior = problem
    problem = weights[:pixels], data[:, :pixels], ivar[:, :pixels], prior
    got = find(problem)
    weights, data, ivar, prior = problem
    expected = [minimum(weights, y, w, prior) for y, w in zip(data, ivar, strict=True)]
    covariance = np.linalg.inv([h for _, h in expected])
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    assert (np.asarray(posterior.find_distance(got)) < posterior.SETTLED).all()
    assert np.max(np.abs(np.asarray(got.latent[0]) - [z for z, _ in expected]) / sigma) < 0.02
    np.testing.assert_allclose(got.covariance[0], covariance, rtol=0.02, atol=1e-5)


def test_with_linear_maps_each_term_is_the_exact_posterior_under_its_gaussian(problem):
    weights, data, ivar, _ = problem
    weights = weights[:, :2]
    mean = np.array([[0.0, 0.0], [1.0, -1.0], [-2.0, 0.5]])
    covariance = np.array([np.eye(2), np.eye(2) / 4, [[1.0, 0.3], [0.3, 0.5]]])
    share = np.array([0.5, 0.2, 0.3])
    prior = MixturePrior(weight=share, mean=mean, covariance=covariance)
    got = find((weights, data, ivar, np.ones(2)), linear_features, prior)
    found = np.asarray(posterior.weigh_modes(got))
    h = np.einsum("nd,di,dj->nij", ivar, weights, weights)
    for star in range(len(data)):
        evidence = []
        for pi, mu, cov in zip(share, mean, covariance, strict=True):
            known = ivar[star] > 0
            total = np.diag(1 / ivar[star][known]) + weights[known] @ cov @ weights[known].T
            away = data[star][known] - weights[known] @ mu
            _, log_det = np.linalg.slogdet(total)
            evidence.append(np.log(pi) - 0.5 * (log_det + away @ np.linalg.solve(total, away)))
        expected = np.exp(np.array(evidence) - np.logaddexp.reduce(evidence))
        np.testing.assert_allclose(np.sort(found[:, star]), np.sort(expected), atol=2e-3)
        best = int(np.argmax(expected))
        c = np.linalg.inv(h[star] + np.linalg.inv(covariance[best]))
        z = c @ (
            weights.T @ (ivar[star] * np.where(ivar[star] > 0, data[star], 0))
            + np.linalg.solve(covariance[best], mean[best])
        )
        np.testing.assert_allclose(got.latent[int(np.argmax(found[:, star])), star], z, atol=1e-3)


def test_a_star_does_not_depend_on_the_others_of_its_block(problem):
    weights, data, ivar, prior = problem
    together = find(problem)
    alone = find((weights, np.tile(data[:1], (8, 1)), np.tile(ivar[:1], (8, 1)), prior))
    assert np.asarray(together.latent[0, 0]).tolist() == np.asarray(alone.latent[0, 0]).tolist()


def test_heavy_tails_keep_an_outlying_star_from_being_sure(problem):
    """Whichever minimum a star is in, its covariance is that of variances scaled for it."""
    weights, data, ivar, prior = problem
    quadratic = PolynomialMap.quadratic(weights, 0.0)
    data = data + 3 * np.random.default_rng(0).standard_normal(data.shape)
    heavy = find((weights, data, ivar, prior), dof=20.0)
    for star in range(len(data)):
        z = np.asarray(heavy.latent[0, star], float)
        chi2 = (ivar[star] * (data[star] - quadratic(z[None])[0]) ** 2).sum()
        factor = (20 + (ivar[star] > 0).sum()) / (20 + chi2)
        assert factor < 0.02, "the star is outlying"
        slopes = quadratic.jacobian(z)
        expected = np.linalg.inv(factor * (slopes.T * ivar[star]) @ slopes + np.diag(prior))
        np.testing.assert_allclose(heavy.covariance[0, star], expected, rtol=0.02, atol=1e-4)


def test_a_search_that_does_not_end_says_so(problem):
    """Outlying stars settle, but not in the first round."""
    weights, data, ivar, prior = problem
    data = data + 3 * np.random.default_rng(0).standard_normal(data.shape)
    first, whole = (
        np.asarray(posterior.find_distance(find((weights, data, ivar, prior), rounds=n)))
        for n in (1, posterior.ROUNDS)
    )
    assert (first > posterior.SETTLED).any()
    assert (whole < posterior.SETTLED).all()


def test_a_term_whose_search_fails_leaves_the_others_alone(problem):
    weights, data, ivar, _ = problem
    good = MixturePrior(weight=np.ones(1), mean=np.zeros((1, 2)), covariance=np.eye(2)[None])
    log_weight, mean, precision = good.gaussians()
    # the second has no precision: its search is all NaN
    doubled = Gaussians(
        np.tile(log_weight, 2),
        np.tile(mean, (2, 1)),
        np.concatenate([precision, np.full_like(precision, np.nan)]),
    )
    both = SimpleNamespace(gaussians=lambda: doubled)
    alone = find((weights, data, ivar, np.ones(2)), prior=good)
    beside = find((weights, data, ivar, np.ones(2)), prior=both)
    share = np.asarray(posterior.weigh_modes(beside))
    assert np.sort(share, axis=0).tolist() == [[0.0] * 8, [1.0] * 8]
    found = np.asarray(beside.latent)[share.argmax(0), np.arange(8)]
    np.testing.assert_allclose(found, alone.latent[0], atol=1e-5)
    assert (np.asarray(posterior.find_distance(beside)) < posterior.SETTLED).all()


@pytest.mark.slow
def test_the_search_ends_where_gauss_newton_steps_creep():
    """Residuals that bend with the latent leave a thirtieth of the Gauss-Newton curvature."""
    features = PolynomialFeatures(1, 1)
    weights = np.array([[1.0, 0.0], [0.0, 1.0]])
    # at z = 1: slope 1 of the first, 2 of the second, whose residual is 2.45 to 2.49
    lack = np.linspace(2.45, 2.49, 8)
    data = np.stack([1 - 2 * lack, 1 + lack], 1)
    ivar = np.full((8, 2), 100.0)
    prior = MixturePrior(weight=np.ones(1), mean=np.array([[1.2]]), covariance=np.array([[[1e4]]]))
    found = find((weights, data, ivar, np.ones(1)), features, prior)
    few = find((weights, data, ivar, np.ones(1)), features, prior, rounds=posterior.FEW_ROUNDS)
    assert (np.asarray(posterior.find_distance(few)) > posterior.SETTLED).any()
    assert (np.asarray(posterior.find_distance(found)) < posterior.SETTLED).all()
    np.testing.assert_allclose(found.latent[0, :, 0], 1, atol=2e-2)
