"""Errors of the flux in place of its inverse variances give the same labels, at every door."""

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale import store
from luxscale.analysis.precision import draw_precision
from luxscale.plot import spectrum
from luxscale.schema.outputs import find_outputs


def turn_to_errors(survey):
    """The same survey, with NaN where a pixel is missing."""
    ivar = survey["flux_ivar"].astype(float)
    error = (1 / np.sqrt(ivar.where(ivar > 0))).astype("f4")
    return survey.drop_vars("flux_ivar").assign(flux_err=error)


@pytest.fixture
def pair(held_out):
    """A survey with inverse variances, and the same with errors."""
    few = held_out.isel(star=slice(0, 60))
    few["flux_ivar"][3, 5:9] = 0
    return few, turn_to_errors(few)


def assert_same_labels(got, expected):
    for name in ("label_value", "label_err"):
        scale = expected[name].values.std(0) + np.abs(expected["label_err"].values).mean(0)
        difference = np.abs(got[name].values - expected[name].values) / scale
        assert np.nanmax(difference) < 1e-3, name
    np.testing.assert_array_equal(got["flags"], expected["flags"])


def test_infer(pair, small_model):
    got, expected = (lux.infer(survey, small_model) for survey in reversed(pair))
    assert_same_labels(got, expected)


def test_outputs_keep_their_order(pair):
    assert [o.name for o in find_outputs(pair[1])] == [o.name for o in find_outputs(pair[0])]


def test_train(small_survey, held_out):
    few = small_survey.isel(star=slice(0, 200))
    models = []
    for survey in (turn_to_errors(few), few):
        model = lux.train(survey, 4, folds=1, progress=False)
        models.append(lux.infer(held_out.isel(star=slice(0, 50)), model))
    assert_same_labels(*models)


def test_label_survey_as_it_is_stored(pair, small_model, tmp_path):
    small_model.save(tmp_path / "model.zarr")
    catalogs = []
    for name, survey in zip(("ivar", "err"), pair, strict=True):
        store.write_dataset(survey, tmp_path / f"{name}.zarr", chunk=20)
        opened = lux.open_survey(tmp_path / f"{name}.zarr", check="all")
        assert f"flux_{name}" in opened
        catalog = tmp_path / f"{name}-labels.zarr"
        paths = (tmp_path / f"{name}.zarr", tmp_path / "model.zarr", catalog)
        assert lux.label_survey(*paths, progress=False).n_run == 60
        assert lux.label_survey(*paths, progress=False).n_run == 0
        catalogs.append(store.open_dataset(catalog).load())
    assert_same_labels(catalogs[1], catalogs[0])


def test_precision(pair, small_model):
    ours, theirs = (draw_precision(survey, small_model) for survey in pair)
    xr.testing.assert_allclose(theirs, ours, rtol=1e-2)


def test_plot(pair, small_model):
    star = pair[1]["star"].values[3]
    axes = spectrum(pair[1], star)
    assert axes is not None


def test_an_error_whose_square_is_beyond_float32():
    survey = xr.Dataset(
        {
            "flux": (("star", "wavelength"), np.full((1, 2), 1e-20, "f4")),
            "flux_err": (("star", "wavelength"), np.full((1, 2), 1e-21, "f4")),
        },
        {"star": ["a"], "wavelength": [5000.0, 5001.0]},
    )
    (spec,) = find_outputs(survey)
    ivar = spec.ivar(survey["flux"].values, survey["flux_err"].values)
    np.testing.assert_allclose(ivar, 1e42, rtol=1e-6)
