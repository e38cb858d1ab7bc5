"""Formal errors that are too small get a factor where stars left out say so, and only there."""

import contextlib
import dataclasses
import io

import numpy as np
import pytest

import luxscale as lux
from luxscale.training.calibrate import Residuals
from luxscale.training.held_out import describe_inflation
from luxscale.training.inflation import measure_inflation


def draw_folds(factor, misfit, n=3000, seed=0):
    """Residuals in five folds, with heavy tails; formal errors from a quarter to four times 1."""
    rng = np.random.default_rng(seed)
    shape = (n, len(factor))
    formal = np.exp(rng.uniform(-1.4, 1.4, shape))
    label_err = np.full(shape, 0.3)
    heavy = rng.standard_t(10, shape) / 1.04
    sigma = np.sqrt((factor * formal) ** 2 + np.square(misfit) + label_err**2)
    parts = np.array_split(np.arange(n), 5)
    return [Residuals(*(a[rows] for a in (sigma * heavy, formal, label_err))) for rows in parts]


def test_factor_and_misfit_are_found():
    factor, misfit = np.array([1.5, 2.5]), np.array([0.5, 0.0])
    inflation, beside = measure_inflation(draw_folds(factor, misfit), np.ones(2))
    np.testing.assert_allclose(inflation, factor, rtol=0.08)
    np.testing.assert_allclose(beside, misfit, atol=0.12)


def test_right_and_too_large_formal_errors_are_left_as_they_are():
    given = np.array([0.7, 0.1])
    inflation, beside = measure_inflation(draw_folds(np.array([1, 0.6]), [0.7, 0.1]), given)
    assert inflation.tolist() == [1, 1]
    assert beside.tolist() == given.tolist()


def test_few_stars_or_none_have_no_factor():
    folds = draw_folds(np.array([3.0, 3.0]), [0, 0], n=1000)
    for part in folds:
        part.residual[60:, 0] = np.nan
        part.residual[:, 1] = np.nan
    assert measure_inflation(folds, np.zeros(2))[0].tolist() == [1, 1]


def test_units_do_not_matter():
    folds = draw_folds(np.array([2.0, 2.0]), [0.5, 0.5], n=1000)
    unit = np.array([1e3, 1e-4])
    scaled = [Residuals(*(a * unit for a in part)) for part in folds]
    inflation, misfit = measure_inflation(folds, np.ones(2))
    again, in_units = measure_inflation(scaled, unit)
    np.testing.assert_allclose(again, inflation, rtol=1e-4)
    np.testing.assert_allclose(in_units, misfit * unit, rtol=1e-3)


@pytest.fixture(scope="module")
def measured(world):
    """Stars whose pixels share noise, S/N over a range of 20, and a model of some of them."""
    survey = world.survey(1600, seed=5, missing_pixels=0, label_noise=0.02)
    rng = np.random.default_rng(5)
    said = 0.02 * np.exp(rng.uniform(-1.5, 1.5, (1600, 1))) * np.ones(40)
    z = np.linalg.solve(world.label_weights, (survey["label_true"].values - world.label_offset).T).T
    clean = world.flux_offset + z @ world.flux_weights.T
    # noise that looks as other latents would
    shared = 5 * rng.standard_normal(z.shape) @ world.flux_weights.T
    survey["flux"].values[:] = clean + said * (rng.standard_normal(said.shape) + shared)
    survey["flux_ivar"].values[:] = said**-2
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        model = lux.train(survey.isel(star=slice(0, 600)), 4, iterations=6)
    return model, survey.isel(star=slice(600, None)), said[600:, 0], told.getvalue()


def measure_pulls(model, survey, said):
    """Robust pulls of the labels in each third of S/N: (third, label)."""
    catalog = lux.infer(survey, model)
    error = np.hypot(catalog["label_err"].values, survey["label_err"].values)
    pull = (catalog["label_value"].values - survey["label_value"].values) / error
    thirds = np.array_split(np.argsort(said), 3)
    return np.array([1.4826 * np.nanmedian(np.abs(pull[rows]), axis=0) for rows in thirds])


def test_errors_are_right_for_bright_and_for_faint_stars(measured):
    model, survey, said, _ = measured
    label = model["label_value"]
    assert min(label.inflation) > 1.3
    pulls = measure_pulls(model, survey, said)
    np.testing.assert_allclose(pulls.mean(1), 1, atol=0.1)
    # with one misfit for all, which was measured too, they are not
    alone = dataclasses.replace(label, inflation=(), floor=label.scatter)
    without = dataclasses.replace(model, outputs=(alone, model["flux"]))
    bright, _, faint = measure_pulls(without, survey, said).mean(1)
    assert bright < 0.7
    assert faint > 1.3


def test_the_table_of_stars_left_out_has_the_errors_of_catalogues(measured):
    model, survey, *_ = measured
    catalog = lux.infer(survey, model)
    told = [record["median_err"] for record in model.held_out]
    np.testing.assert_allclose(catalog["label_err"].median("star"), told, rtol=0.2)
    assert all(record["formal_err"] < record["median_err"] for record in model.held_out)


def test_training_says_which_formal_errors_are_multiplied(measured, small_model):
    model, *_, told = measured
    said = describe_inflation(model.labels)
    assert all(f"{label} 2." in said for label in model["label_value"].coord)
    assert f"training: {said}\n" in told
    assert describe_inflation(small_model.labels) == ""
