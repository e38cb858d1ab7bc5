"""Weights, offsets and scatter regressed on latents, against float64."""

import numpy as np

from luxscale.training.data import BLOCK
from luxscale.training.regression import regress_folds, regress_weights


def test_regression_counts_the_uncertainty_of_latents(step_problem):
    """E[z z^T] = z z^T + C: without C, weights shrink where latents are poorly known."""
    output, latents, cov = step_problem
    got = regress_weights(
        output, latents, np.zeros_like(output.weights), np.ones(2 * BLOCK, "f4"), tile=6
    )
    y, ivar, _, _, s = (np.asarray(a, float) for a in output)
    z1 = np.concatenate([np.asarray(latents.mean, float), np.ones((len(y), 1))], 1)
    second = z1[:, :, None] * z1[:, None, :]
    second[:, :3, :3] += cov
    for d in range(6):
        w = ivar[:, d] / (1 + ivar[:, d] * s[d] ** 2)
        ridge = w.sum() / (w > 0).sum() * np.diag([1, 1, 1, 1e-6])
        expected = np.linalg.solve(np.einsum("n,nij->ij", w, second) + ridge, z1.T @ (w * y[:, d]))
        np.testing.assert_allclose(np.append(got.weights[d], got.offset[d]), expected, atol=1e-4)
    np.testing.assert_array_equal(got.scatter, output.scatter)  # kept unless asked for


def test_features_have_ridges_of_their_own(step_problem, float64_ridge):
    """In tiles of which the last overlaps, and of one that is wider than the output."""
    output, latents, _ = step_problem
    ridges = np.array([1, 40, 3, 0.5, 200, 7.0])
    zero, everyone = np.zeros_like(output.weights), np.ones(2 * BLOCK, "f4")
    expected = [float64_ridge(output, latents, d, ridge) for d, ridge in enumerate(ridges)]
    for tile in (4, 256):
        got = regress_weights(output, latents, zero, everyone, tile=tile, ridge=ridges)
        found = np.column_stack([got.weights, got.offset])
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_regression_does_not_see_stars_that_take_no_part(step_problem):
    output, latents, _ = step_problem
    stars = (np.arange(2 * BLOCK) % 3 > 0).astype("f4")
    spoiled = output._replace(values=np.where(stars[:, None] > 0, output.values, 1e3).astype("f4"))
    a, b = (
        regress_weights(o, latents, 0 * o.weights, stars, tile=6, scatter_steps=3)
        for o in (output, spoiled)
    )
    for x, y in zip(a[2:], b[2:], strict=True):
        np.testing.assert_array_equal(x, y)


def test_folds_are_regressed_as_each_would_be_alone(step_problem):
    """Folds of unequal size; the first feature has data in the first fold alone."""
    output, latents, _ = step_problem
    folds = [np.arange(0, 100), np.arange(100, 350), np.arange(350, 2 * BLOCK)]
    output = output._replace(
        ivar=np.where(
            np.arange(2 * BLOCK)[:, None] < np.where(np.arange(6) == 0, 100, 9999), output.ivar, 0
        )
    )
    spoiled = output._replace(
        values=np.where(np.arange(2 * BLOCK)[:, None] < 100, 1e5, output.values).astype("f4")
    )
    start = np.full_like(output.weights, 0.5)
    got = regress_folds(output, latents, start, folds, tile=4)
    assert len(got) == 3
    for k, (fold, found) in enumerate(zip(folds, got, strict=True)):
        stars = np.ones(2 * BLOCK, "f4")
        stars[fold] = 0
        expected = regress_weights(output, latents, start, stars, tile=6)
        for x, y in zip(found[2:], expected[2:], strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-5)
        if k == 0:
            np.testing.assert_array_equal(
                found.weights[0], 0.5
            )  # nothing is left of it: the start stays
    np.testing.assert_array_equal(
        regress_folds(spoiled, latents, start, folds, tile=4)[0].weights, got[0].weights
    )
    for a, b in zip(
        got, regress_folds(output, latents, start, folds, tile=6), strict=True
    ):  # by another way
        np.testing.assert_allclose(a.weights, b.weights, rtol=0, atol=1e-5)


def test_regression_fits_scatter_to_expected_residuals(step_problem):
    output, latents, cov = step_problem
    got = regress_weights(
        output,
        latents,
        np.zeros_like(output.weights),
        np.ones(2 * BLOCK, "f4"),
        tile=6,
        scatter_steps=30,
    )
    y, ivar, x, offset, _ = (np.asarray(a, float) for a in output)
    q = (y - offset - np.asarray(latents.mean, float) @ x.T) ** 2 + np.einsum(
        "di,nij,dj->nd", x, cov, x
    )
    w = ivar / (1 + ivar * np.asarray(got.scatter, float) ** 2)
    np.testing.assert_allclose(
        (w * w * q).sum(0) / w.sum(0), 1, atol=1e-3
    )  # the likelihood equation
