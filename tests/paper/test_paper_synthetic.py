"""Synthetic spectra of measured labels."""

import numpy as np
import pytest

from luxscale.examples.drawing import REPORTED
from luxscale.examples.giants import LABELS, load_emulator, render
from luxscale.examples.simulate import simulate
from luxscale.paper.synthetic import ERROR, describe_pull, measure_pull, split_stars, synthesise


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
    np.testing.assert_array_equal(
        made["label_value"].values, value
    )  # what is missing stays missing in training
    assert np.isnan(value).any()


@pytest.mark.parametrize(
    ("off", "words"), [(2.0, "too small"), (1.0, "about right"), (0.5, "too large")]
)
def test_the_pull_is_said_in_words(off, words):
    truth = simulate(2000, n_pixels=100, missing_labels=0)[["label_true"]]
    noise = np.random.default_rng(0).normal(size=truth["label_true"].shape)
    found = truth.rename(label_true="label_value").assign(label_err=0.1 + 0 * truth["label_true"])
    found["label_value"] = found["label_value"] + 0.1 * off * noise
    assert measure_pull(found, truth) == pytest.approx(off, rel=0.05)
    assert describe_pull(measure_pull(found, truth)).startswith(f"errors are {words}")


def test_no_star_is_trained_on_and_tested_with():
    train, test = split_stars(simulate(50, n_pixels=100))
    assert (train.sizes["star"], test.sizes["star"]) == (40, 10)
    assert not set(train["star"].values) & set(test["star"].values)
