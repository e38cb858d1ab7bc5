"""Errors of labels are right whichever of the outputs of training a star has."""

import dataclasses

import numpy as np
import pytest

import luxscale as lux
from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.progress import Progress
from luxscale.training.calibrate import put_misfit
from luxscale.training.left_out import list_parts, measure_left_out
from luxscale.training.select import read_stars

BOTH = ("flux", "flux_red")


@pytest.fixture(scope="module")
def stars(world, cut):
    """2,400 stars with noise in the red that its errors do not hold, in pixels two by two."""
    survey = cut(world.survey(2400, seed=7))
    noise = 0.05 * np.random.default_rng(1).standard_normal((2400, 10))
    survey["flux_red"] += np.repeat(noise, 2, axis=1).astype("f4")
    return survey


def measure(model, survey):
    """Return the model with the errors that stars tell which it was not trained on."""
    data = read_stars(survey, None, "survey", Progress("", enabled=False), np.inf)
    rows = np.arange(data.n_stars)
    folds = [measure_left_out(model, data, part) for part in np.array_split(rows, 2)]
    return put_misfit(model, folds, exact_labels=False)


@pytest.fixture(scope="module")
def measured(model_of_two, stars):
    return measure(model_of_two, stars.isel(star=slice(900)))


def find_pulls(survey, model, given):
    catalog = lux.infer(survey, model, given=given)
    sigma = np.hypot(catalog["label_err"], survey["label_err"])
    pull = np.abs(catalog["label_value"] - survey["label_value"]) / sigma
    return MAD_TO_SIGMA * np.nanmedian(pull, axis=0)


@pytest.mark.parametrize("given", [BOTH, "flux", "flux_red"])
def test_pulls_are_one_of_both_outputs_and_of_each_alone(given, measured, stars):
    others = stars.isel(star=slice(900, None))
    pulls = find_pulls(others, measured, given)
    assert (abs(pulls - 1) < 0.1).all(), pulls


def test_errors_of_both_outputs_are_not_those_of_one(measured, stars):
    """So that the test above is one."""
    label, *spectra = measured.outputs
    bare = dataclasses.replace(label, part_errors=())
    of_both = dataclasses.replace(measured, outputs=(bare, *spectra))
    others = stars.isel(star=slice(900, None))
    assert (find_pulls(others, of_both, "flux") < 0.9).all()
    assert (find_pulls(others, of_both, "flux_red") > 1.2).all()


def test_what_few_stars_have_alone_is_not_measured(model_of_two, stars):
    few = stars.isel(star=slice(200)).copy(deep=True)
    few["flux_red_ivar"][20:] = 0
    label = measure(model_of_two, few)["label_value"]
    assert label.has_errors_of(["flux"])
    assert not label.has_errors_of(["flux_red"])


def test_a_label_that_few_stars_have_keeps_its_errors_of_all_outputs(model_of_two, stars):
    few = stars.isel(star=slice(200)).copy(deep=True)
    few["label_value"][20:, 1] = np.nan
    label = measure(model_of_two, few)["label_value"]
    for part in label.part_errors:
        same = [a == b for a, b in zip(part.floor, label.errors.floor, strict=True)]
        assert same == [False, True, False, False]


def test_a_label_whose_windows_are_not_given_is_measured_as_it_is_inferred_then(
    model_of_two, stars
):
    label, *spectra = model_of_two.outputs
    red = float(stars["wavelength_red"][0]), float(stars["wavelength_red"][-1])
    label = dataclasses.replace(label, windows=(("teff", (red,)),))
    windowed = dataclasses.replace(model_of_two, outputs=(label, *spectra))
    data = read_stars(
        stars.isel(star=slice(200)), None, "survey", Progress("", enabled=False), np.inf
    )
    rows = np.arange(200)
    of_whole, of_windows = (measure_left_out(m, data, rows) for m in (model_of_two, windowed))
    assert (of_windows.labels[0].formal[:, 0] > of_whole.labels[0].formal[:, 0]).all()
    for found, expected in zip(of_windows.parts, of_whole.parts, strict=True):
        np.testing.assert_allclose(found[0].formal, expected[0].formal, rtol=1e-3)


def test_each_output_alone_and_all_but_each_are_measured():
    assert list_parts(["a"]) == ()
    assert list_parts(["a", "b"]) == (("a",), ("b",))
    three = [("a",), ("b",), ("c",), ("b", "c"), ("a", "c"), ("a", "b")]
    assert list_parts(["a", "b", "c"]) == tuple(three)
    assert len(list_parts("abcd")) == 8
    assert list_parts("abcdefghi") == ()  # more than there are bits
