"""Synthetic spectra of measured labels."""

import numpy as np

from luxscale.giants import LABELS, load_emulator, render
from luxscale.paper.synthetic import ERROR, split, synthesise
from luxscale.simulate import REPORTED, simulate


def test_spectra_are_those_of_the_measured_labels():
    survey = simulate(40, n_pixels=120, missing_labels=0.3, seed=2)
    made = synthesise(survey, 120)
    value, true = survey["label_value"].values, survey["label_true"].values
    given = np.where(np.isnan(value), true, value)
    labels = np.zeros((40, len(LABELS)))
    for j, name in enumerate(REPORTED):
        labels[:, LABELS.index(name)] = given[:, j]
    np.testing.assert_allclose(made["flux"].values, render(labels, load_emulator(120)), atol=1e-6)
    np.testing.assert_allclose(made["flux_ivar"].values, 1 / ERROR**2, rtol=1e-6)
    np.testing.assert_array_equal(made["label_true"].values, given)
    np.testing.assert_array_equal(made["label_value"].values, value)  # what is missing stays missing in training
    assert np.isnan(value).any()


def test_no_star_is_trained_on_and_tested_with():
    train, test = split(simulate(50, n_pixels=100))
    assert (train.sizes["star"], test.sizes["star"]) == (40, 10)
    assert not set(train["star"].values) & set(test["star"].values)
