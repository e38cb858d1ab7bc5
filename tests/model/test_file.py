"""A curved model comes back from its file as it was, and a damaged one does not."""

import json
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr

import luxscale as lux
from luxscale.errors import InputError
from luxscale.model.file import FORMAT_VERSION


@pytest.fixture
def path(curved_model, tmp_path):
    curved_model.save(tmp_path / "curved.zarr")
    return tmp_path / "curved.zarr"


def test_a_curved_model_comes_back_as_it_was(curved_model, curved_survey, path):
    loaded = lux.load_model(path)
    assert loaded.fingerprint == curved_model.fingerprint
    stars = curved_survey.isel(star=slice(0, 30))
    xr.testing.assert_identical(lux.infer(stars, loaded), lux.infer(stars, curved_model))
    assert loaded["flux"].map.features == curved_model["flux"].map.features
    assert (loaded["flux"].dof, loaded["label_value"].dof) == (20.0, np.inf)


def test_plain_xarray_shows_what_is_curved(path):
    plain = xr.open_zarr(path, consolidated=False)
    assert plain.attrs["format_version"] == 2 < FORMAT_VERSION
    assert plain["flux_weights"].dims == ("wavelength", "flux_term")
    assert plain["flux_noise_shapes"].dims == ("wavelength", "flux_component")
    assert plain["prior_covariance"].dims == ("gaussian", "latent", "latent_other")
    (flux,) = [o for o in json.loads(plain.attrs["outputs"]) if o["name"] == "flux"]
    assert (flux["map"], flux["noise_kind"], flux["dof"]) == ("quadratic", "correlated", 20.0)


@pytest.mark.parametrize(
    "array",
    ["flux_noise_shapes", "flux_noise_unit", "flux_noise_variance", "prior_mean", "prior_weight"],
)
def test_a_changed_value_is_noticed(path, array):
    values = zarr.open_group(path, mode="r+")[array]
    values[0] = np.nextafter(values[0], 1)
    with pytest.raises(InputError, match="do not match the model's fingerprint"):
        lux.load_model(path)


@pytest.mark.parametrize("array", ["flux_noise_shapes", "prior_covariance"])
def test_a_missing_array_is_named(path, array):
    shutil.rmtree(path / array)
    with pytest.raises(InputError, match=f"the model lacks .*{array}"):
        lux.load_model(path)


def test_kinds_of_later_versions_are_refused(path):
    attrs = zarr.open_group(path, mode="r+").attrs
    outputs = json.loads(attrs["outputs"])
    outputs[1]["noise_kind"] = "banded"
    attrs["outputs"] = json.dumps(outputs)
    with pytest.raises(InputError, match="'flux' has a noise of kind 'banded'.*upgrade it"):
        lux.load_model(path)
