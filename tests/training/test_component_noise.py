"""The two kinds of noise of components, and what pixels say of components under them."""

import numpy as np

from luxscale.model.correlated import WHITE
from luxscale.training import component_noise, components


def test_both_kinds_of_noise_are_told_apart():
    rng = np.random.default_rng(7)
    d, n = 4, 20_000
    of_data, of_model = (a @ a.T for a in rng.standard_normal((2, d, d)))
    level = np.exp(rng.normal(0, 0.7, n))
    data = rng.multivariate_normal(np.zeros(d), of_data, n) * np.sqrt(level)[:, None]
    values = data + rng.multivariate_normal(np.zeros(d), of_model, n)
    order = np.argsort(level)
    bins = np.array_split(order, components.BINS)
    sums = component_noise.Sums(
        normal=np.array([[[len(b)]] for b in bins], float),
        right=np.array([values[b].sum(0)[None] for b in bins]),
        square=np.array([values[b].T @ values[b] for b in bins]),
        count=np.array([len(b) for b in bins], float),
    )
    mean_level = np.array([level[b].mean() for b in bins])
    weights, noise = component_noise.maximise(sums, mean_level, None)
    for _ in range(300):
        weights, noise = component_noise.maximise(sums, mean_level, noise)
    t = np.linalg.inv(noise.whitener)
    np.testing.assert_allclose(t @ t.T, of_data, atol=0.08 * np.trace(of_data))
    model = t @ np.diag(noise.variance) @ t.T
    np.testing.assert_allclose(model, of_model, atol=0.08 * np.trace(of_model))
    np.testing.assert_allclose(weights[:, 0], values.mean(0), atol=0.1)


def test_what_gapped_pixels_say_is_what_dense_algebra_says(low_rank_spectra):
    values, ivar, gaps = low_rank_spectra
    found = components.find_components(np.where(gaps, 0, values), np.where(gaps, 0, ivar), 5)
    rng = np.random.default_rng(3)
    noise = component_noise.NoiseParts(
        whitener=rng.standard_normal((5, 5)), variance=rng.uniform(0.1, 1, 5)
    )
    row = int(found.gaps.rows[0])
    offset = rng.standard_normal(5)
    precision, pull = component_noise.find_precision(found, noise, np.array([row]), offset)
    t = np.linalg.inv(noise.whitener)
    n = t @ np.diag(found.level[row] + noise.variance) @ t.T
    v = found.vectors[:, ~gaps[row]]
    dense = np.linalg.inv(v.T @ n @ v + WHITE * np.eye(v.shape[1]))
    np.testing.assert_allclose(precision[0], v @ dense @ v.T, rtol=1e-4, atol=1e-6)
    x = values[row][~gaps[row]] / found.unit[~gaps[row]]
    np.testing.assert_allclose(pull[0], v @ dense @ (x - v.T @ offset), rtol=1e-3, atol=1e-4)
