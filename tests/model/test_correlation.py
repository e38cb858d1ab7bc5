"""What correlated noise says to the analysis is what dense matrices say."""

import functools

import jax
import numpy as np
import pytest

from luxscale.model import correlation
from luxscale.model.correlated import WHITE, CorrelatedNoise
from luxscale.model.noise import DiagonalNoise

D, COMPONENTS = 30, 6


@pytest.fixture
def noise():
    rng = np.random.default_rng(1)
    unit = rng.uniform(0.01, 0.03, D)
    unit[4] = 0  # takes no part
    shapes = rng.standard_normal((D, COMPONENTS)) * np.array([9, 7, 5, 3, 2, 2])
    shapes[4] = 0
    return CorrelatedNoise(shapes=shapes, unit=unit, variance=np.linspace(0.1, 2, COMPONENTS))


@pytest.fixture
def x(noise):
    """What the components can make."""
    mu = np.random.default_rng(2).standard_normal((COMPONENTS, 3))
    return noise.unit[:, None] * (noise.shapes @ mu)


def make_ivar(noise, t, missing=()):
    safe = np.where(noise.unit > 0, noise.unit, 1)
    ivar = np.where(noise.unit > 0, 1 / (t * safe) ** 2, 0)
    ivar[list(missing)] = 0
    return ivar


GAPS = {
    "complete": [],
    "every third": range(0, D, 3),
    "one half": range(15),
    "fewer than components": range(5, D),
}


def make_dense(noise, ivar):
    """Covariance of known pixels and that of errors alone, and which they are."""
    known = (ivar > 0) & (noise.unit > 0)
    white = 0 if known.sum() == (noise.unit > 0).sum() else WHITE
    t2 = np.median(1 / (ivar[known] * noise.unit[known] ** 2))
    unit = noise.unit[known, None]
    shapes, eye = unit * noise.shapes[known], unit * unit.T * np.eye(known.sum())
    total = (shapes * (t2 + noise.variance)) @ shapes.T + white * eye
    errors = t2 * shapes @ shapes.T + white * eye
    return total, errors, known


def invert(matrix, unit):
    """Inverse where noise is less than white by a part that is nothing: pixels equal in units."""
    units = np.outer(unit, unit)
    return np.linalg.pinv(matrix / units, rcond=1e-10) / units


@pytest.mark.parametrize("missing", GAPS.values(), ids=GAPS)
def test_inverse_information_and_repeats_are_those_of_dense_matrices(noise, x, missing):
    ivar = make_ivar(noise, 0.8, missing)
    total, errors, known = make_dense(noise, ivar)
    inverse = invert(total, noise.unit[known])
    expected = np.zeros_like(x)
    expected[known] = inverse @ x[known]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(noise.apply_inverse(ivar, x), expected, atol=1e-7 * scale)
    information = x[known].T @ expected[known]
    found = noise.find_information(np.tile(ivar, (2, 1)), x)
    np.testing.assert_allclose(found, np.stack([information] * 2), rtol=1e-6)
    repeat = expected[known].T @ errors @ expected[known]
    np.testing.assert_allclose(noise.find_repeat(ivar[None], x)[0], repeat, rtol=1e-6)
    white = noise.whiten(ivar, x)
    np.testing.assert_allclose(white.T @ white, information, rtol=1e-6)


def test_the_root_is_symmetric_and_leaves_out_what_is_missing(noise, x):
    ivar = make_ivar(noise, 1.2, range(0, D, 3))
    root = correlation.find_root(correlation.observe_star(noise, ivar, WHITE))
    whole = root @ root.T
    np.testing.assert_allclose(whole[::3], 0, atol=1e-12)
    np.testing.assert_allclose(whole @ x, noise.whiten(ivar, x), rtol=1e-9, atol=1e-9)
    projected = whole @ (whole @ x)
    np.testing.assert_allclose(projected, noise.apply_inverse(ivar, x), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("missing", GAPS.values(), ids=GAPS)
def test_chi2_is_the_number_of_independent_values_on_average(noise, missing):
    rng = np.random.default_rng(3)
    ivar = np.tile(make_ivar(noise, 0.8, missing), (4000, 1))
    total, _, known = make_dense(noise, ivar[0])
    r = np.zeros((4000, D))
    r[:, known] = rng.multivariate_normal(np.zeros(known.sum()), total, 4000, method="eigh")
    chi2, n_values = noise.measure_chi2(ivar, r)
    assert chi2.mean() == pytest.approx(n_values[0], rel=0.05)
    most = min(COMPONENTS, known.sum())
    assert most - 0.1 < n_values[0] <= most + 1e-9


def test_chi2_and_number_are_those_of_the_search(noise):
    """What analysis reports and what catalogues hold do not contradict each other."""
    rng = np.random.default_rng(4)
    t = np.array([0.5, 1.0, 2.0])
    whole = np.stack([make_ivar(noise, s) for s in t])
    gaps = np.where(np.arange(D) % 3, whole, 0)
    r = noise.unit * (rng.standard_normal((3, COMPONENTS)) @ noise.shapes.T)
    weights = np.zeros((D, 2))
    reduced = noise.reduce(weights, 2)

    @functools.partial(jax.jit, static_argnames="complete")
    def search(ivar, r, complete):
        seen = noise.observe(ivar, r, reduced, lambda z: z, complete)
        return seen.chi2(np.zeros((3, 2), np.float32)), seen.n_values

    for ivar, complete in ((whole, True), (gaps, False)):
        chi2, n_values = noise.measure_chi2(ivar, np.where(ivar > 0, r, 0))
        found = search(ivar.astype("f4"), r.astype("f4"), complete)
        np.testing.assert_allclose(found[0], chi2, rtol=0.01)
        np.testing.assert_allclose(found[1], n_values, rtol=1e-3)


def test_a_star_without_data_says_nothing(noise, x):
    ivar = np.zeros(D)
    np.testing.assert_array_equal(noise.apply_inverse(ivar, x), 0)
    np.testing.assert_array_equal(noise.whiten(ivar, x), 0)
    chi2, n_values = noise.measure_chi2(ivar[None], np.zeros((1, D)))
    assert (chi2[0], n_values[0]) == (0, 0)
    assert correlation.measure_level(noise, ivar) == 1


def test_independent_noise_says_the_same_of_its_own_matrices():
    rng = np.random.default_rng(5)
    sigma, scatter = rng.uniform(0.1, 1, 8), rng.uniform(0.1, 1, 8)
    ivar = sigma**-2
    ivar[3] = 0
    noise, x = DiagonalNoise(scatter), rng.standard_normal((8, 3))
    known = ivar > 0
    inverse = np.diag(np.where(known, 1 / (sigma**2 + scatter**2), 0))
    np.testing.assert_allclose(noise.apply_inverse(ivar, x), inverse @ x)
    np.testing.assert_allclose(noise.whiten(ivar, x), np.sqrt(inverse) @ x)
    np.testing.assert_allclose(noise.find_information(ivar[None], x)[0], x.T @ inverse @ x)
    repeat = x.T @ inverse @ np.diag(np.where(known, sigma**2, 0)) @ inverse @ x
    np.testing.assert_allclose(noise.find_repeat(ivar[None], x)[0], repeat)
    chi2, n_values = noise.measure_chi2(ivar[None], x.T[:1])
    np.testing.assert_allclose(chi2, (np.diag(inverse) * x[:, 0] ** 2).sum())
    assert n_values.tolist() == [7]
