"""Weights, likelihood and scatter of independent noise."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxscale.model.noise import DiagonalNoise

FEW = settings(max_examples=25)


@FEW
@given(st.floats(1 / 1024, 1e6, width=32), st.floats(0, 1e3, width=32))
def test_weight_is_the_inverse_of_summed_variances(ivar, scatter):
    noise = DiagonalNoise(jnp.full(1, scatter, jnp.float32))
    got = noise.weigh(jnp.full((1, 1), ivar, jnp.float32))
    np.testing.assert_allclose(got, 1 / (1 / ivar + scatter**2), rtol=1e-5)


@FEW
@given(st.floats(1 / 1024, 1e6, width=32))
def test_limits_of_weight(x):
    value = jnp.full((1, 1), x, jnp.float32)
    # a missing value, whatever the scatter; and no scatter: the errors as given
    assert DiagonalNoise(value[0]).weigh(0 * value)[0, 0] == 0
    assert DiagonalNoise(jnp.zeros(1)).weigh(value)[0, 0] == np.float32(x)


def test_total_error_and_likelihood_are_those_of_the_summed_variances():
    rng = np.random.default_rng(1)
    sigma, scatter = rng.uniform(0.1, 1, (4, 6)), rng.uniform(0.1, 1, 6)
    residual = rng.standard_normal((4, 6))
    ivar = sigma**-2
    ivar[:, 2] = 0  # missing
    noise, known = DiagonalNoise(scatter), np.arange(6) != 2
    variance = (sigma**2 + scatter**2)[:, known]
    np.testing.assert_allclose(
        DiagonalNoise(scatter[known]).total_error(ivar[:, known]), np.sqrt(variance), rtol=1e-12
    )
    w, r2 = noise.weigh(ivar), residual[:, known] ** 2
    np.testing.assert_allclose(noise.chi2(w, residual), (r2 / variance).sum(1), rtol=1e-12)
    expected = -0.5 * (r2 / variance + np.log(2 * np.pi * variance)).sum(1)
    got = noise.log_likelihood(jnp.asarray(w, jnp.float32), jnp.asarray(residual, jnp.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_noise_of_some_features():
    noise = DiagonalNoise(np.arange(5.0))
    np.testing.assert_array_equal(noise.select([1, 3]).scatter, [1, 3])


def bisect_scatter(q, ivar):
    """Root in s of sum_n (w^2 q - w), w = 1 / (1 / ivar + s^2), where ivar > 0; 0 without one."""

    def slope(s2):
        w = 1 / (1 / ivar + s2)
        return np.sum(w * w * q - w)

    q, ivar = q[ivar > 0], ivar[ivar > 0]
    if ivar.size == 0 or slope(0.0) <= 0:
        return 0.0
    low, high = 0.0, q.max()  # beyond the largest q every term is negative
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return np.sqrt(low)


def test_fit_scatter_finds_the_root_of_the_likelihood_equation():
    rng = np.random.default_rng(3)
    true = np.array([0.0, 0.02, 0.1, 0.5, 2.0])
    err = 0.1 * rng.uniform(0.5, 2, (400, 5))
    ivar = np.where(rng.random((400, 5)) < 0.2, 0, err**-2)
    q = (np.hypot(err, true) * rng.standard_normal((400, 5))) ** 2
    q = np.where(ivar > 0, q, 1e6)  # residuals of missing values mean nothing
    expected = np.array([bisect_scatter(*column) for column in zip(q.T, ivar.T, strict=True)])
    start, q, ivar = (jnp.asarray(a, jnp.float32) for a in (np.full(5, 0.03), q, ivar))
    got = DiagonalNoise(start).fit(q, ivar, 30).scatter
    np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-3)
    assert expected[4] == pytest.approx(2.0, rel=0.15)  # the reference itself finds what was put in


def test_scatter_is_zero_where_errors_explain_the_residuals_or_nothing_is_known():
    ivar = np.full((50, 2), 100.0, np.float32)
    ivar[:, 1] = 0
    q = np.full((50, 2), 0.005, np.float32)  # half the variance claimed
    start = DiagonalNoise(jnp.asarray([0.3, 0.0], jnp.float32))
    got = start.fit(jnp.asarray(q), jnp.asarray(ivar), 20).scatter
    np.testing.assert_array_equal(got, 0)


def test_a_feature_without_data_keeps_its_scatter():
    got = DiagonalNoise(jnp.asarray([0.25])).fit(jnp.ones((3, 1)), jnp.zeros((3, 1)), 5).scatter
    np.testing.assert_allclose(got, 0.25)


def test_noise_that_bears_gaps_has_every_star_complete():
    assert DiagonalNoise.bears_gaps
    assert DiagonalNoise().find_complete(np.zeros((3, 5))).all()
