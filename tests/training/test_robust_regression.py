"""Labels are predicted from all other stars, whatever a few of them say."""

import numpy as np

from luxscale.training.robust_regression import find_slopes, make_terms, predict_left_out


def test_terms_are_constant_components_and_products():
    scores = np.random.default_rng(0).standard_normal((100, 10))
    terms, kinds = make_terms(scores)
    np.testing.assert_array_equal(np.bincount(kinds), [1, 10, 36])
    np.testing.assert_allclose(terms[:, 11], scores[:, 0] ** 2, rtol=1e-5)


def test_distances_are_those_of_a_normal_distribution_and_far_labels_count_little():
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((500, 10))
    error = rng.uniform(0.1, 0.4, 500)
    label = scores[:, 0] + 0.3 * scores[:, 1] ** 2 + rng.normal(0, np.hypot(error, 0.2))
    spoilt = label.copy()
    spoilt[:15] += 3
    clean = predict_left_out(label, error**2, scores)
    found = predict_left_out(spoilt, error**2, scores)
    assert 0.9 < np.std(clean.distance * np.sign(clean.residual)) < 1.1
    np.testing.assert_allclose(found.residual[:15], clean.residual[:15] + 3, atol=0.3)
    assert np.abs(found.residual[15:] - clean.residual[15:]).max() < 0.3
    slopes = find_slopes(spoilt, error**2, scores)
    np.testing.assert_allclose(slopes, [1] + 9 * [0], atol=0.15)
