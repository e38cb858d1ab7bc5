import dataclasses

import numpy as np

from luxscale.model.inference import Inference
from luxscale.model.landmarks import Landmarks, find_level
from luxscale.model.products import list_products


def test_only_stars_that_differ_by_the_level_of_noise_have_them(
    curved_model, polynomial_model, small_model
):
    assert Inference.of(polynomial_model).problem.landmarks is not None
    assert Inference.of(small_model).problem.landmarks is None
    assert Inference.of(curved_model, ["flux", "label_value"]).problem.landmarks is None
    assert Inference.of(curved_model, "label_value").problem.landmarks is None


def test_levels_outside_the_grid_have_no_place():
    level = np.array([0.0, find_level(0), 1.0, find_level(3) * 1.2, 1e9, np.nan, np.inf])
    places = Landmarks.find_levels(level)
    assert places.tolist() == [-1, 0, int(Landmarks.find_levels(np.ones(1))[0]), 3, -1, -1, -1]


def test_gram_is_that_of_the_slopes_at_any_level(polynomial_model):
    problem = Inference.of(polynomial_model).problem
    (design,), tables = problem.designs, problem.landmarks
    variance = np.asarray(design.noise.variance, float)
    weights = np.asarray(design.reduced.weights, float)
    z = np.array([0.7, -1.2, 0.4])
    slopes = np.asarray(design.features.jacobian(z)).T @ weights.T
    powers = np.asarray(list_products(design.features).multiply(z[:, None]))
    a, b = np.tril_indices(3)
    for level in (0.01, 0.3, 8.0, 500.0):
        precision = 1 / (level + variance)
        shape = np.asarray(tables.coefficients) @ precision
        got = np.asarray(tables.gram) @ np.outer(shape, powers).ravel()
        expected = ((slopes * precision) @ slopes.T)[a, b]
        np.testing.assert_allclose(got, expected, rtol=5e-3, atol=5e-3 * abs(expected).max())


def test_they_are_of_the_prior_and_the_noise(polynomial_model):
    """Means are where the evidence is linearised: a spectrum like one has q = 0."""
    problem = Inference.of(polynomial_model).problem
    tables = problem.landmarks
    wide = dataclasses.replace(problem, limits=(1.0, 1.0))
    assert wide.landmarks is tables
    k, p = problem.prior.mean.shape
    for place in (0, 7):
        project = np.asarray(tables.project[place]).reshape(k, p, -1)
        shift = np.asarray(tables.shift[place]).reshape(k, p)
        q = np.einsum("kpd,kd->kp", project, np.asarray(tables.spectra)) - shift
        np.testing.assert_allclose(q, 0, atol=1e-2)
