"""Errors by the outputs that a star has: which it has, in a catalogue, and in the file."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale.analysis.formal_errors import expected_errors
from luxscale.analysis.visits import read_repeats
from luxscale.errors import InputError
from luxscale.info.describe import describe
from luxscale.model.calibration import Calibration, PartErrors, make_constants, replace_calibration
from luxscale.model.designs import make_head
from luxscale.model.file import FORMAT_VERSION, from_dataset

BOTH = ["flux", "flux_red"]
SCALE, FLOOR = make_constants([1.0, 1.5, 2.0, 3.0]), make_constants([200.0, 0.1, 0.1, 0.1])


@pytest.fixture(scope="module")
def model(model_of_two):
    """Errors of the red alone are larger than those of both."""
    label, *spectra = model_of_two.outputs
    red = PartErrors(outputs=("flux_red",), scale=SCALE, floor=FLOOR)
    label = dataclasses.replace(label, part_errors=(red,))
    return dataclasses.replace(model_of_two, outputs=(label, *spectra))


@pytest.fixture
def survey(held_out, cut):
    """Of ten stars, the second has no blue, the third no red, the fourth one value, another none.

    What the blue of the sixth has is absurd.
    """
    survey = cut(held_out.isel(star=slice(10)))
    survey["flux_ivar"][1] = 0
    survey["flux_red_ivar"][2] = 0
    survey["flux_ivar"][3, np.arange(20) != 7] = 0
    survey["flux_red_ivar"][4] = 0
    survey["flux_ivar"][4] = 0
    survey["flux"][5] = -9999
    return survey


def test_a_star_has_the_errors_of_the_outputs_that_it_has(model, model_of_two, survey):
    found = lux.infer(survey, model, BOTH, covariance=True)
    plain = lux.infer(survey, model_of_two, BOTH, covariance=True)
    assert found["outputs"].values.tolist() == [3, 2, 1, 3, 0, 2, 3, 3, 3, 3]
    assert found["outputs"].dtype == np.uint8
    assert found["outputs"].attrs["flag_meanings"] == "flux flux_red"
    assert found["outputs"].attrs["flag_masks"] == [1, 2]
    assert "outputs" not in plain
    of_red = found["outputs"] == 2
    # in every bit, of those of which nothing else was measured
    xr.testing.assert_identical(
        found.drop_vars("outputs").where(~of_red, drop=True).drop_attrs(),
        plain.where(~of_red, drop=True).drop_attrs(),
    )
    alone = lux.infer(survey, model, "flux_red", covariance=True)
    for name in ("label_err", "label_cov"):
        np.testing.assert_allclose(found[name][1], alone[name][1], rtol=1e-5)
    assert (found["label_err"] > plain["label_err"]).any(
        "label"
    ).values.tolist() == of_red.values.tolist()
    diagonal = np.diagonal(found["label_cov"], axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal, found["label_err"] ** 2, rtol=1e-6)


def test_formal_errors_of_a_catalogue_are_those_it_was_made_of(model, survey):
    label, *spectra = model.outputs
    bare = dataclasses.replace(label, part_errors=(), floor=np.zeros(4))
    formal = lux.infer(survey, dataclasses.replace(model, outputs=(bare, *spectra)), BOTH)
    catalog = lux.infer(survey, model, BOTH).assign(status=("star", np.ones(10, np.uint8)))
    visits = read_repeats(catalog, "star", "catalogue", with_once=True)
    head = make_head(label, model.measured)
    # a star without data has a factor that is less, which is not known
    has_data = catalog["outputs"].values > 0
    found = visits.find_formal(head)[has_data]
    np.testing.assert_allclose(found, formal["label_err"].values[has_data], rtol=2e-3)
    with pytest.raises(InputError, match="no variable 'outputs'"):
        read_repeats(catalog.drop_vars("outputs"), "star", "c", with_once=True).find_formal(head)


def test_expected_errors_are_those_of_catalogues(model, survey):
    stars = survey.isel(star=slice(6, None))
    expected = expected_errors(model, stars["flux_red_ivar"], given="flux_red", floor=True)
    catalog = lux.infer(stars, model, "flux_red")
    np.testing.assert_allclose(expected["posterior"], catalog["label_err"], rtol=1e-3)


def test_calibrated_errors_are_those_of_all_stars(model, survey):
    calibration = Calibration(scale=SCALE, floor=FLOOR)
    calibrated = replace_calibration(model, "label_value", calibration)
    assert not calibrated["label_value"].has_errors_of(["flux_red"])
    head = make_head(calibrated["label_value"], model.measured)
    assert head.parts == ()
    assert replace_calibration(calibrated, "label_value", None) == model


def test_labels_of_labels_have_the_errors_that_they_had(model, model_of_two, survey):
    """But for a star of which none is known, whose errors are those of the outputs that it has."""
    given = ["flux_red", "label_value"]
    found = lux.infer(survey, model, given)
    assert (found["outputs"] == 3).all()
    expected = lux.infer(survey, model_of_two, given)
    xr.testing.assert_identical(found.drop_vars("outputs").drop_attrs(), expected.drop_attrs())
    survey["label_value"][{"star": 1}] = np.nan
    survey["label_err"][{"star": 1}] = np.nan
    found = lux.infer(survey, model, given)
    alone = lux.infer(survey, model, "flux_red")
    for name in "outputs", "label_err":
        np.testing.assert_array_equal(found[name][1], alone[name][1])
        assert (found[name][2] != alone[name][2]).all()


def test_the_file_keeps_them_and_info_shows_them(model, model_of_two, tmp_path):
    model.save(tmp_path / "m.zarr")
    loaded = lux.load_model(tmp_path / "m.zarr")
    assert loaded == model != model_of_two
    assert loaded["label_value"].part_errors == model["label_value"].part_errors
    assert model.to_dataset().attrs["format_version"] == FORMAT_VERSION == 8
    assert model_of_two.to_dataset().attrs["format_version"] < 8
    assert from_dataset(model_of_two.to_dataset())["label_value"].part_errors == ()
    shown = describe(tmp_path / "m.zarr")["label_value"]["part_errors"]
    assert shown == {"flux_red": {"misfit": [200, 0.1, 0.1, 0.1], "inflation": [1, 1.5, 2, 3]}}
