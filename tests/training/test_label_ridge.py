"""Ridges of labels whose errors are large beside their spread."""

import numpy as np
import pytest

from luxscale.schema.outputs import pick_outputs
from luxscale.training import label_ridge
from luxscale.training.load import load_training
from luxscale.training.marginal import Limits, maximise_evidence, train_marginal
from luxscale.training.reporting import Silence

LIMITS = Limits(iterations=2, tolerance=0.0)


def spread_labels(n, chi2):
    """Return labels of +-1, half of them each, and ivar that gives chi2 about their mean."""
    return np.tile([1.0, -1.0], n // 2), np.full(n, float(chi2))


def test_ridge_follows_from_errors_beside_the_spread():
    expected = {2.0: 16, 5.0: 4, 1.5: 32, 4 / 3: 48, 0.4: 48, 17.5: 1}
    columns = [spread_labels(12, chi2) for chi2 in expected]
    values, ivar = (np.stack(arrays, 1) for arrays in zip(*columns, strict=True))
    found = label_ridge.propose_ridges(values, ivar)
    np.testing.assert_allclose(found, list(expected.values()))


def test_ridge_is_about_the_mean_of_the_labels_that_there_are():
    values, ivar = spread_labels(12, 2)
    gaps = np.append(ivar, [0, 0])[:, None]
    found = label_ridge.propose_ridges(np.append(values + 7, [99, 99])[:, None], gaps)
    np.testing.assert_allclose(found, 16)
    np.testing.assert_array_equal(label_ridge.propose_ridges(0 * gaps, 0 * gaps), 1)


@pytest.mark.parametrize(("n", "ridge"), [(78, 4), (82, 1), (8, 1)])
def test_ridge_is_of_few_stars_that_tell_the_spread(n, ridge):
    values, ivar = spread_labels(n, 5)
    found = label_ridge.propose_ridges(values[:, None], ivar[:, None])
    np.testing.assert_allclose(found, ridge)


def test_ridge_is_not_taken_where_stars_left_out_are_clearly_worse():
    """Weighted squares rise by 1 +- 2, 1 +- 0.5 and fall by 1: of 4 stars, and one without labels.

    The standard error of the first is as large as the rise.
    """
    rise = np.array([[3.0, 1.5, -1], [-1, 0.5, -1], [3, 1.5, -1], [-1, 0.5, -1], [9, 9, 9]])
    weights = np.where(np.arange(5)[:, None] < 4, 2.0, 0) * np.ones(3)
    residual = np.full(rise.shape, 2.0)
    pulled = np.sqrt(residual**2 + rise / 2)
    found = label_ridge.find_harmless(residual, pulled, weights, margin=1.01)
    np.testing.assert_array_equal(found, [True, False, True])


@pytest.fixture(scope="module")
def noisy(world):
    """Stars whose second label is given with errors of 3 spreads, the third without noise.

    Errors of the third are given as large as its spread.
    """
    survey = world.survey(300, seed=1)
    spread = survey["label_true"].values.std(axis=0)
    noise = np.random.default_rng(3).standard_normal(300)
    value, error = (survey[name].values.copy() for name in ("label_value", "label_err"))
    value[:, 1:3] = survey["label_true"].values[:, 1:3]
    value[:, 1] += 3 * spread[1] * noise
    error[:, 1:3] = spread[1:3] * [3, 1]
    survey["label_value"][:], survey["label_err"][:] = value, error
    return load_training(survey, pick_outputs(survey, None, "survey"), "survey")


def test_noisy_labels_are_pulled_and_others_stay(noisy, world, float64_ridge):
    plain, _, find_latents = maximise_evidence(noisy, world.latent_dim, LIMITS, Silence())
    said = []
    regression = label_ridge.LabelRegression(noisy, plain, find_latents)
    improved = regression.improve(said.append)
    i = next(i for i, output in enumerate(noisy.outputs) if output.is_label)
    for old, new in zip(plain[1 - i], improved[1 - i], strict=True):
        np.testing.assert_array_equal(old, new)
    others = [0, 2, 3]  # the third because stars left out are worse with it
    np.testing.assert_array_equal(improved[i].weights[others], plain[i].weights[others])
    np.testing.assert_array_equal(improved[i].offset[others], plain[i].offset[others])
    assert said == [
        f"{noisy.outputs[i].grid.values[1]}: errors of these labels are large beside their "
        "spread; their weights are pulled to 0 by up to 48 stars' worth"
    ]
    expected = float64_ridge(plain[i], find_latents(), 1, 48.0)
    found = np.append(improved[i].weights[1], improved[i].offset[1])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.linalg.norm(found[:-1]) < 0.95 * np.linalg.norm(plain[i].weights[1])


def test_folds_are_left_out_with_the_same_ridge(noisy, world, float64_ridge):
    trained = train_marginal(noisy, world.latent_dim, report=Silence(), **LIMITS._asdict())
    find_latents = maximise_evidence(noisy, world.latent_dim, LIMITS, Silence()).find_latents
    i = next(i for i, output in enumerate(noisy.outputs) if output.is_label)
    folds = [np.arange(0, 300, 2), np.arange(1, 300, 2)]
    for rows, fit in zip(folds, trained.leave_out(folds), strict=True):
        arrays = trained.arrays[i]
        ivar = np.array(arrays.ivar)
        ivar[rows] = 0
        expected = float64_ridge(arrays._replace(ivar=ivar), find_latents(), 1, 48.0)
        found = np.append(fit.arrays[i].weights[1], fit.arrays[i].offset[1])
        np.testing.assert_allclose(found, expected, atol=1e-4)
