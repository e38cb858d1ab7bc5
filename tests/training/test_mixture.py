"""A mixture of Gaussians is that of the latents, whatever their order."""

import numpy as np
import pytest

from luxscale.training import mixture


@pytest.fixture
def clusters():
    """Latents of two kinds of stars, (600, 2), and what is unknown of each."""
    rng = np.random.default_rng(2)
    near = rng.standard_normal((400, 2)) * [0.3, 1.0]
    far = rng.standard_normal((200, 2)) * 0.5 + [6.0, 0.0]
    covariance = np.tile(0.01 * np.eye(2), (600, 1, 1))
    return np.concatenate([near, far]), covariance


def test_gaussians_are_those_of_the_clusters(clusters):
    prior = mixture.fit_mixture(*clusters, gaussians=2)
    order = np.argsort(prior.mean[:, 0])
    np.testing.assert_allclose(prior.mean[order], [[0, 0], [6, 0]], atol=0.15)
    np.testing.assert_allclose(prior.weight[order], [2 / 3, 1 / 3], atol=0.01)
    # ten stars' worth of what both have in common is in each
    np.testing.assert_allclose(np.diag(prior.covariance[order[0]]), [0.11, 1.0], rtol=0.2)


def test_the_order_of_stars_does_not_matter(clusters):
    z, covariance = clusters
    shuffled = np.random.default_rng(0).permutation(len(z))
    one = mixture.fit_mixture(z, covariance, 5)
    other = mixture.fit_mixture(z[shuffled], covariance[shuffled], 5)
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-8)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-8)
    assert len(one.weight) == 5 and one.weight.sum() == pytest.approx(1)


def test_more_gaussians_describe_the_latents_better(clusters):
    fits = [mixture.fit_mixture(*clusters, gaussians=k) for k in (1, 2)]
    unusual = [fit.distance(clusters[0]).mean() for fit in fits]
    assert unusual[1] < unusual[0] - 1


def test_one_gaussian_is_near_every_star_itself(clusters):
    z, covariance = clusters
    prior = mixture.fit_mixture(z, covariance, 1)
    mean, precision = mixture.find_local_gaussians(prior, z[:3], covariance[:3])
    np.testing.assert_allclose(mean, np.tile(z.mean(0), (3, 1)), atol=1e-9)
    overall = np.cov(z.T, bias=True) + 0.01 * np.eye(2)
    np.testing.assert_allclose(np.linalg.inv(precision[0]), overall, rtol=1e-9)


def test_a_gaussian_without_stars_stays_where_it_is(clusters):
    z, covariance = clusters
    prior = mixture.fit_mixture(z, covariance, 2)
    mean = prior.mean.copy()
    mean[0] = [500.0, 500.0]
    lonely = mixture.update_mixture(
        mixture.MixturePrior(weight=prior.weight, mean=mean, covariance=prior.covariance),
        z,
        covariance,
    )
    assert lonely.mean[0].tolist() == [500.0, 500.0]
    assert np.isfinite(lonely.covariance).all()
