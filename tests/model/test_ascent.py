import jax
import numpy as np
import pytest

from luxscale.model import ascent
from luxscale.model.ascent import Around, Common, Terms, find_covariance, invert, take_steps
from luxscale.model.inference import Inference
from luxscale.model.jit import compile_program

take_step, expect_terms = (compile_program()(f) for f in (ascent.take_step, ascent.expect_terms))


@pytest.fixture(scope="module")
def common(polynomial_model):
    problem = Inference.of(polynomial_model).problem
    (design,) = problem.designs
    return Common(design.dof, problem.prior.gaussians(), problem.landmarks)


@pytest.fixture
def terms(common):
    """Noisy components of latents near the means, and where to look: 8 terms."""
    rng = np.random.default_rng(5)
    gaussian = np.arange(8, dtype=np.int32) % 4
    z = common.prior.mean[gaussian] + 0.3 * rng.standard_normal((8, 3))
    values = common.landmarks.features(z) @ np.asarray(common.landmarks.weights).T
    level = rng.uniform(0.3, 3, 8)
    error = np.sqrt(level[:, None] + np.asarray(common.landmarks.variance))
    values = values + error * rng.standard_normal(values.shape)
    start = z + 0.1 * rng.standard_normal(z.shape)
    return Terms(values.astype("f4"), level.astype("f4"), gaussian, start.astype("f4"))


def measure_energy(common, terms, star, z):
    """Return -ln p(data, z) of one term, in float64."""
    weights, variance = (
        np.asarray(common.landmarks.weights, float),
        np.asarray(common.landmarks.variance, float),
    )
    residual = terms.components[star] - common.landmarks.features(z[None])[0] @ weights.T
    chi2 = (residual**2 / (terms.level[star] + variance)).sum()
    nu, k = float(common.dof), terms.gaussian[star]
    away = z - common.prior.mean[k]
    held = away @ common.prior.precision[k] @ away
    return 0.5 * (nu + residual.size) * np.log1p(chi2 / nu) + 0.5 * held


def test_inverse_and_determinant():
    rng = np.random.default_rng(2)
    half = rng.standard_normal((6, 5, 9)) * np.array([1e2, 1, 1, 1, 1e-2])[:, None]
    matrices = half @ half.swapaxes(1, 2)
    inverse, log_det = compile_program()(invert)(matrices.transpose(1, 2, 0).astype("f4"))
    product = np.asarray(inverse).transpose(2, 0, 1) @ matrices
    np.testing.assert_allclose(product, np.tile(np.eye(5), (6, 1, 1)), atol=0.05)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrices)[1], rtol=1e-4)


def test_steps_lead_to_the_minimum(common, terms):
    for _ in range(8):
        found = take_step(common, terms)
        last, terms = terms, terms._replace(latent=terms.latent + np.asarray(found.step))
    assert (np.asarray(found.distance) < 1e-4).all()
    covariance = compile_program()(find_covariance)(common, found.hessian, terms.gaussian)
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    for star in range(8):
        z = last.latent[star].astype(float)
        least = measure_energy(common, terms, star, z)
        assert found.energy[star] == pytest.approx(least, rel=1e-4)
        for direction in np.eye(3):
            for sign in (-0.1, 0.1):
                other = z + sign * sigma[star] * direction
                assert measure_energy(common, terms, star, other) > least


def test_a_term_does_not_depend_on_the_others(common, terms):
    together = take_step(common, terms)
    alone = take_step(common, jax.tree.map(lambda array: np.repeat(array[:1], 8, 0), terms))
    np.testing.assert_array_equal(together.step[0], alone.step[0])


def test_steps_are_taken_of_the_terms_that_are_meant(common, terms):
    expected = take_step(common, terms)
    found = take_steps(common, terms, 5)
    for got, whole in zip(found, expected, strict=True):
        np.testing.assert_allclose(got[:5], whole[:5], rtol=1e-4, atol=1e-5)


def test_a_term_that_is_no_number_spoils_no_other(common, terms):
    before = take_step(common, terms)
    terms.components[3] = np.nan
    after = take_step(common, terms)
    assert not np.isfinite(after.energy[3])
    others = np.delete(np.arange(8), 3)
    np.testing.assert_array_equal(before.step[others], after.step[others])


def test_a_term_is_expected_where_its_own_step_leads(common, terms):
    """Of a term that stands there already, and of others where the spectrum is hardly bent."""
    found = take_step(common, terms)
    around = Around(terms.latent, found.chi2, found.slope, found.hessian)
    step, distance, log_weight = expect_terms(common, around, terms.gaussian)
    others = (terms.gaussian + 1) % 4
    elsewhere = take_step(common, terms._replace(gaussian=others))
    expected = expect_terms(common, around, others)
    # the steps of Newton's series, which the other lacks, differ where the spectrum is bent
    for own, got in ((found, (step, distance, log_weight)), (elsewhere, expected)):
        pull = np.linalg.norm(own.step, axis=1)
        miss = np.linalg.norm(own.step - np.asarray(got[0]), axis=1)
        assert np.median(miss / pull) < 0.2
        gain = np.asarray(own.log_weight) - np.asarray(got[2])
        assert np.median(abs(gain) / np.maximum(own.distance, 0.01)) < 0.2
