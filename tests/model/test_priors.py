"""Priors: their derivatives, what they leave of a variance, and how they are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from luxscale.errors import InputError
from luxscale.model.priors import GaussianPrior, MixturePrior, read_prior


@pytest.fixture
def prior():
    return GaussianPrior(2.5).prepare(3)


def penalty(prior, z):
    """-ln p of one star, but for a constant."""
    return 0.5 * jnp.sum(prior.precision * z * z)


def test_hessian_is_that_of_the_penalty(prior):
    z = jnp.asarray([0.3, -1.0, 2.0])
    hessian = jax.jit(jax.hessian(lambda x: penalty(prior, x)))(z)
    np.testing.assert_allclose(prior.hessian(), hessian, rtol=1e-6)


def test_as_one_gaussian_it_is_the_same_penalty(prior):
    """What the search for latents minimises changes by as much as -2 ln p."""
    old, new = np.array([0.3, -1.0, 2.0]), np.array([0.2, 0.5, 1.0])
    _, mean, precision = (np.asarray(a)[0] for a in prior.gaussians())
    change = (new - mean) @ precision @ (new - mean) - (old - mean) @ precision @ (old - mean)
    np.testing.assert_allclose(change, 2 * (penalty(prior, new) - penalty(prior, old)), rtol=1e-6)


@pytest.mark.parametrize(("precision", "left"), [(4.0, 0.8), (1.0, 0.2), (0.01, 0.2)])
def test_a_prior_wider_than_the_training_set_is_no_measure(precision, left):
    got = GaussianPrior(precision).prepare(3).remaining(np.array([[0.2]]))
    np.testing.assert_allclose(got, [[left]], rtol=1e-6)


def test_attributes_round_trip():
    prior = GaussianPrior(0.01)
    assert read_prior(prior.to_attributes(), prior.to_variables()) == prior
    assert prior.to_attributes()["latent_prior"] == "normal, mean 0, this precision"
    with pytest.raises(KeyError):
        read_prior({}, {})


def test_a_prior_of_a_later_version_is_refused():
    attributes = GaussianPrior(0.01).to_attributes() | {"latent_prior": "flow"}
    with pytest.raises(InputError, match="m.zarr: the prior on latents is 'flow'.* upgrade it"):
        read_prior(attributes, {}, "m.zarr")


def test_what_the_prior_gives_the_formulas_is_what_the_kernel_takes():
    prior = GaussianPrior(2.5)
    np.testing.assert_allclose(prior.make_precision(3), prior.prepare(3).hessian())
    assert prior.make_precision(3).dtype == np.float64


def test_latents_fixed_and_freed_by_the_data_add_up():
    """P - lambda tr C is the trace of the information over information and prior."""
    prior = GaussianPrior(2.0)
    information = np.diag([0.0, 1.0, 30.0])
    covariance = np.linalg.inv(information + prior.make_precision(3))
    freed = np.trace(covariance @ information)
    assert 3 - np.trace(prior.make_precision(3) @ covariance) == pytest.approx(freed)


@pytest.mark.parametrize(("precision", "proper"), [(1.0, True), (0.0, False)])
def test_a_prior_without_precision_holds_nothing(precision, proper):
    assert GaussianPrior(precision).is_proper is proper


@pytest.fixture
def mixture():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 2, 2))
    return MixturePrior(
        weight=np.array([0.5, 0.3, 0.2]),
        mean=rng.standard_normal((3, 2)),
        covariance=0.2 * np.eye(2) + root @ root.swapaxes(1, 2),
    )


def test_distance_of_a_mixture_is_its_density(mixture):
    z = np.random.default_rng(1).standard_normal((5, 2))
    parts = [
        pi * multivariate_normal(mu, cov).pdf(z)
        for pi, mu, cov in zip(mixture.weight, mixture.mean, mixture.covariance, strict=True)
    ]
    expected = -2 * np.log(sum(parts)) - 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(mixture.distance(z), expected)


def test_precision_of_a_mixture_is_that_of_the_gaussians_that_hold_a_star(mixture):
    """By their shares at the star; a prior that is one Gaussian holds all stars alike."""
    z = 0.3 * mixture.mean[0] + 0.7 * mixture.mean[1]
    density = [
        weight * multivariate_normal(mean, covariance).pdf(z)
        for weight, mean, covariance in zip(
            mixture.weight, mixture.mean, mixture.covariance, strict=True
        )
    ]
    share = np.array(density) / np.sum(density)
    expected = np.tensordot(share, np.linalg.inv(mixture.covariance), axes=1)
    np.testing.assert_allclose(mixture.find_precision(z), expected, rtol=1e-9)
    far = mixture.find_precision(1e3 * z)  # where all densities are 0
    assert np.isfinite(far).all()
    np.testing.assert_array_equal(GaussianPrior(2.5).find_precision(z), 2.5 * np.eye(z.size))


def test_overall_covariance_of_a_mixture_is_that_of_draws(mixture):
    rng = np.random.default_rng(2)
    kind = rng.choice(3, 200_000, p=mixture.weight)
    root = np.linalg.cholesky(mixture.covariance)[kind]
    z = mixture.mean[kind] + np.einsum("nij,nj->ni", root, rng.standard_normal((kind.size, 2)))
    covariance = np.linalg.inv(mixture.make_precision(2))
    np.testing.assert_allclose(covariance, np.cov(z.T), rtol=0.02, atol=0.02)


def test_a_mixture_is_kept_to_the_last_bit(mixture):
    kept = {name: values for name, (_, values) in mixture.to_variables().items()}
    again = read_prior(mixture.to_attributes(), kept)
    assert again.identity == mixture.identity
    other = MixturePrior(
        weight=mixture.weight, mean=mixture.mean + 1e-15, covariance=mixture.covariance
    )
    assert other.identity != mixture.identity
    with pytest.raises(KeyError):
        read_prior(mixture.to_attributes(), {})
