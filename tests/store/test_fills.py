"""Fill values of containers take no value that is there."""

import numpy as np
import pytest
import xarray as xr
import zarr

import luxscale as lux
from luxscale import store
from luxscale.store.fills import open_exactly


def write_plainly(path, zarr_format, star, attributes=()):
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    ivar = np.ones((3, 4), np.float32)
    ivar[0, 0] = 0
    arrays = {
        "flux": (np.ones((3, 4), np.float32), ["star", "wavelength"], {}),
        "flux_ivar": (ivar, ["star", "wavelength"], {}),
        "wavelength": (5000.0 + np.arange(4), ["wavelength"], {"units": "Angstrom"}),
        "star": (star, ["star"], dict(attributes)),
    }
    for name, (values, dims, attrs) in arrays.items():
        if zarr_format == 2:
            array = group.create_array(name, data=values)
            attrs = {**attrs, "_ARRAY_DIMENSIONS": dims}
        else:
            array = group.create_array(name, data=values, dimension_names=dims)
        array.attrs.update(attrs)
    return path


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zeros_and_identifiers_stay(zarr_format, tmp_path):
    path = write_plainly(tmp_path / "s.zarr", zarr_format, np.array([0, 2**60 + 1, 7]))
    survey = lux.open_survey(path)
    assert survey.star.values.tolist() == [0, 2**60 + 1, 7]
    assert survey.flux_ivar.values[0, 0] == 0


def test_identifiers_with_a_fill_value_keep_their_digits(tmp_path):
    ids = np.array([-1, 2**60 + 1, 7])
    survey = lux.open_survey(write_plainly(tmp_path / "s.zarr", 3, ids)).load().drop_encoding()
    survey.to_zarr(tmp_path / "t.zarr", encoding={"star": {"_FillValue": -1}}, consolidated=False)
    assert lux.open_survey(tmp_path / "t.zarr").star.values.tolist() == ids.tolist()


def test_packed_fluxes_are_unpacked_as_ever(tmp_path):
    path = write_plainly(tmp_path / "s.zarr", 3, np.arange(3))
    survey = lux.open_survey(path).load().drop_encoding()
    survey.flux[0, 0] = np.nan
    survey.flux_ivar[0, 0] = 0
    packed = {"dtype": "int16", "scale_factor": 1e-3, "_FillValue": 0}
    survey.to_zarr(tmp_path / "t.zarr", encoding={"flux": packed}, zarr_format=2)
    again = lux.open_survey(tmp_path / "t.zarr")
    np.testing.assert_allclose(again.flux, survey.flux)


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    survey = lux.open_survey(write_plainly(tmp_path / "s.zarr", 3, np.arange(3)))
    store.write_dataset(survey, "~/t.zarr")
    assert (tmp_path / "t.zarr").is_dir()
    assert lux.open_survey("~/t.zarr").sizes["star"] == 3


def test_regions_are_labelled_with_zeros_that_are_zeros(small_survey, small_model, tmp_path):
    stars = small_survey.isel(star=slice(0, 20)).load()
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=2)
    stars.flux_ivar[3, 5] = 0
    for name in ("flux", "flux_ivar", "wavelength"):
        array = group.create_array(name, data=stars[name].values)
        array.attrs.update({**stars[name].attrs, "_ARRAY_DIMENSIONS": list(stars[name].dims)})
    group.create_array("star", data=np.arange(20)).attrs["_ARRAY_DIMENSIONS"] = ["star"]
    small_model.save(tmp_path / "m.zarr")
    paths = [str(tmp_path / f"{name}.zarr") for name in "smc"]
    lux.label_survey(*paths, progress=False)
    catalog = store.open_dataset(paths[2])
    expected = lux.infer(stars, small_model)
    np.testing.assert_array_equal(catalog.flags, expected.flags)
    np.testing.assert_allclose(catalog.label_value, expected.label_value, rtol=1e-5)


def test_whole_numbers_with_an_offset_alone_are_unpacked(tmp_path):
    survey = xr.Dataset({"visits": ("star", np.array([10.0, 11.0, 12.0]))})
    encoding = {"visits": {"dtype": "i2", "add_offset": 10.0, "_FillValue": -99}}
    survey.to_zarr(tmp_path / "a.zarr", encoding=encoding, zarr_format=3, consolidated=False)
    found = open_exactly(str(tmp_path / "a.zarr"), consolidated=False, chunks=None)
    assert found["visits"].values.tolist() == [10, 11, 12]
