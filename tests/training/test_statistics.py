"""Statistics of stars add up, and parameters follow from them as they do from the stars."""

import jax
import numpy as np
import pytest

from luxscale.training.latents import Latents
from luxscale.training.statistics import Moments, compute_moments, expect, maximise

N, D, P = 300, 6, 3


@pytest.fixture
def stars():
    """Values, weights (some 0), and uncertain latents."""
    rng = np.random.default_rng(2)
    z = rng.standard_normal((N, P)).astype("f4")
    half = 0.5 * rng.standard_normal((N, P, P))
    cov = (half @ half.swapaxes(1, 2))[:, *np.tril_indices(P)].astype("f4")
    values = (z @ rng.standard_normal((P, D)) + 0.3 * rng.standard_normal((N, D))).astype("f4")
    weights = (rng.uniform(1, 9, (N, D)) * (rng.random((N, D)) > 0.2)).astype("f4")
    return values, weights, Latents(z, cov, np.zeros(N, "f4"))


def expect_of(stars, rows):
    values, weights, latents = stars
    moments = compute_moments(latents)
    part = Moments(*(np.asarray(m)[rows] for m in moments))
    return expect(values[rows], weights[rows], part)


def test_statistics_of_chunks_add_up_to_those_of_all_stars(stars):
    """Whatever the chunks, one that is empty of data among them."""
    whole = expect_of(stars, np.arange(N))
    stars[1][250:] = 0
    cut = expect_of(stars, np.arange(N))
    chunks = [expect_of(stars, rows) for rows in np.split(np.arange(N), [40, 41, 250])]
    first, *rest = chunks
    total = sum(rest, start=first)
    for a, b in zip(jax.tree.leaves(total), jax.tree.leaves(cut), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-3)
    assert not np.allclose(whole.weight, cut.weight)
    np.testing.assert_array_equal(total.count, (stars[1] > 0).sum(0))


def test_parameters_from_chunks_are_those_of_weighted_regression(stars):
    values, weights, latents = stars
    start = np.zeros((D, P), "f4")
    halves = [expect_of(stars, rows) for rows in np.split(np.arange(N), 2)]
    got, offset = maximise(halves[0] + halves[1], start, 1.0)
    z1 = np.column_stack([latents.mean, np.ones(N)]).astype(float)
    second = z1[:, :, None] * z1[:, None, :]
    i, j = np.tril_indices(P)
    second[:, i, j] += latents.cov
    second[:, j, i] += latents.cov * (i != j)
    for d in range(D):
        w = weights[:, d].astype(float)
        ridge = w.sum() / (w > 0).sum() * np.diag([1] * P + [1e-6])
        normal = np.einsum("n,nij->ij", w, second) + ridge
        expected = np.linalg.solve(normal, z1.T @ (w * values[:, d]))
        np.testing.assert_allclose(np.append(got[d], offset[d]), expected, atol=1e-4)


def test_a_feature_without_data_stays_at_its_start(stars):
    stars[1][:, 2] = 0
    start = np.full((D, P), 0.7, "f4")
    weights, offset = maximise(expect_of(stars, np.arange(N)), start, 1.0)
    np.testing.assert_allclose(weights[2], 0.7, rtol=1e-6)
    assert offset[2] == 0
