"""The Gaussian prior: its derivatives, what it leaves of a variance, and how it is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luxscale.errors import InputError
from luxscale.model.priors import GaussianPrior, read_prior


@pytest.fixture
def prior():
    return GaussianPrior(2.5).prepare(3)


def penalty(prior, z):
    """-ln p of one star, but for a constant."""
    return 0.5 * jnp.sum(prior.precision * z * z)


def test_gradient_and_hessian_are_those_of_the_penalty(prior):
    z = jnp.asarray([0.3, -1.0, 2.0])
    gradient = jax.grad(lambda x: penalty(prior, x))(z)
    np.testing.assert_allclose(prior.gradient(z[None])[0], gradient, rtol=1e-6)
    hessian = jax.hessian(lambda x: penalty(prior, x))(z)
    np.testing.assert_allclose(prior.hessian(), hessian, rtol=1e-6)


def test_change_is_the_difference_of_penalties(prior):
    old, new = jnp.asarray([[0.3, -1.0, 2.0]]), jnp.asarray([[0.2, 0.5, 1.0]])
    expected = 2 * (penalty(prior, new[0]) - penalty(prior, old[0]))
    np.testing.assert_allclose(prior.penalty_change(old, new)[0], expected, rtol=1e-6)


@pytest.mark.parametrize(("precision", "left"), [(4.0, 0.8), (1.0, 0.2), (0.01, 0.2)])
def test_a_prior_wider_than_the_training_set_is_no_measure(precision, left):
    got = GaussianPrior(precision).prepare(3).remaining(np.array([[0.2]]))
    np.testing.assert_allclose(got, [[left]], rtol=1e-6)


def test_attributes_round_trip():
    prior = GaussianPrior(0.01)
    assert read_prior(prior.to_attributes()) == prior
    assert prior.to_attributes()["latent_prior"] == "normal, mean 0, this precision"
    with pytest.raises(KeyError):
        read_prior({})


def test_a_prior_of_a_later_version_is_refused():
    attributes = GaussianPrior(0.01).to_attributes() | {"latent_prior": "mixture"}
    with pytest.raises(InputError, match="m.zarr: the prior on latents is 'mixture'.* upgrade it"):
        read_prior(attributes, "m.zarr")


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
    assert 3 - prior.hold_back(np.trace(covariance)) == pytest.approx(freed)


def test_weights_in_units_of_the_prior_leave_the_shares_of_variance_as_they_are():
    rng = np.random.default_rng(0)
    b, w = rng.standard_normal((6, 3)), rng.uniform(1, 2, 6)
    prior = GaussianPrior(4.0)
    scaled = (b.T * prior.scale_weights(w)) @ b
    whole = (b.T * w) @ b + prior.make_precision(3)
    np.testing.assert_allclose(np.linalg.inv(scaled + np.eye(3)) / 4.0, np.linalg.inv(whole))


@pytest.mark.parametrize(("precision", "proper"), [(1.0, True), (0.0, False)])
def test_a_prior_without_precision_holds_nothing(precision, proper):
    assert GaussianPrior(precision).is_proper is proper
