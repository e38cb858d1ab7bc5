"""Surveys and catalogues become netCDF and come back; attributes of older catalogues are read."""

import json
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr

import luxscale as lux
from luxscale import store
from luxscale.export.layout import _describe_provenance
from luxscale.schema.attributes import unpack_attribute


@pytest.fixture(scope="module")
def paths(tmp_path_factory, _held_out, small_model):
    folder = tmp_path_factory.mktemp("netcdf")
    store.write_dataset(_held_out.isel(star=slice(0, 60)), folder / "survey.zarr", chunk=20)
    small_model.save(folder / "model.zarr")
    label(folder / "catalog.zarr")
    return folder


def label(catalog):
    survey, model = (catalog.parent / f"{name}.zarr" for name in ("survey", "model"))
    return lux.label_survey(survey, model, catalog, progress=False)


@pytest.fixture
def old(paths, tmp_path):
    """A catalogue as 0.1.0 wrote it, its attributes no text."""
    for name in ("survey", "model", "catalog"):
        shutil.copytree(paths / f"{name}.zarr", tmp_path / f"{name}.zarr")
    group = zarr.open_group(tmp_path / "catalog.zarr", mode="r+")
    for name in ("identity", "flag_counts", "versions"):
        group.attrs[name] = json.loads(group.attrs[name])
    return tmp_path / "catalog.zarr"


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
@pytest.mark.parametrize("kind", ["survey", "catalogue", "inferred"])
def test_to_netcdf_and_back(paths, small_model, tmp_path, kind, engine):
    if kind == "catalogue":
        made = store.open_dataset(paths / "catalog.zarr")
    else:
        made = lux.open_survey(paths / "survey.zarr")
    if kind == "inferred":
        made = lux.infer(made, small_model)
    made.to_netcdf(tmp_path / "a.nc", engine=engine)
    with xr.open_dataset(tmp_path / "a.nc", engine=engine) as back:
        assert set(back.variables) == set(made.variables)
        assert set(back.attrs) >= set(made.attrs)
        for name, variable in made.variables.items():
            assert back.variables[name].dims == variable.dims
            np.testing.assert_array_equal(back.variables[name].values, variable.values, str(name))
        if kind == "survey":
            again = lux.infer(back, small_model)
            expected = lux.infer(made, small_model)
            np.testing.assert_array_equal(again["label_value"], expected["label_value"])
        else:
            assert lux.select(back, "bad_fit").sizes == lux.select(made, "bad_fit").sizes


def test_older_catalogues_open_go_on_and_become_netcdf(old, tmp_path):
    assert isinstance(zarr.open_group(old, mode="r").attrs["identity"], dict)
    assert label(old).n_run == 0
    opened = store.open_dataset(old)
    opened.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    identity = unpack_attribute(opened.attrs["identity"])
    assert unpack_attribute(identity) == identity
    assert json.loads(identity["given"]) == ["flux"]
    raw = xr.open_zarr(old, consolidated=False)
    assert _describe_provenance(raw) == _describe_provenance(opened)
    assert _describe_provenance(opened)["run_model"] == identity["model"]
