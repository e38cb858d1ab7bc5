"""Stars by a condition, by a mask, at random, or new to a model; lazily."""

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError


@pytest.fixture(scope="module")
def paths(tmp_path_factory, _held_out, small_model):
    folder = tmp_path_factory.mktemp("select")
    store.write_dataset(_held_out.isel(star=slice(0, 90)), folder / "survey.zarr", chunk=30)
    small_model.save(folder / "model.zarr")
    lux.label_survey(
        *(folder / f"{k}.zarr" for k in ("survey", "model", "catalog")), progress=False
    )
    return folder


def test_surveys_and_catalogues_by_path_or_object(paths, held_out):
    held_out = held_out.isel(star=slice(0, 90))
    with np.errstate(invalid="ignore"):
        expected = held_out["label_value"].sel(label="fe_h").values < -0.3
    found = lux.select(held_out, "fe_h < -0.3")
    np.testing.assert_array_equal(found["star"], held_out["star"][expected])
    by_path = lux.select(paths / "survey.zarr", "fe_h < -0.3")
    np.testing.assert_array_equal(by_path["star"], found["star"])
    assert by_path.chunks
    catalog = store.open_dataset(paths / "catalog.zarr")
    bright = lux.select(catalog, "snr > 50 and done", survey=paths / "survey.zarr")
    np.testing.assert_array_equal(bright["star"], held_out["star"][held_out["snr"].values > 50])


def test_an_inferred_catalogue_is_computed_once(held_out, small_model, no_compute):
    catalog = lux.infer(held_out.chunk(star=200), small_model)
    chosen = lux.select(catalog, "teff > 4800 and flags == 0 and chi2 < 60")
    with no_compute():
        assert lux.select(chosen, stars="0:10").sizes["star"] == 10
    values = catalog["label_value"].sel(label="teff").values
    expected = (values > 4800) & (catalog["flags"].values == 0) & (catalog["chi2"].values < 60)
    np.testing.assert_array_equal(chosen["star"], catalog["star"][expected])


def test_a_lazy_mask_selects(paths):
    catalog = store.open_dataset(paths / "catalog.zarr")
    mask = catalog["label_value"].sel(label="fe_h") < -0.3
    found = lux.select(catalog, mask, stars="0:5")
    np.testing.assert_array_equal(found["star"], catalog["star"][mask.values][:5])
    for wrong in (mask.isel(star=slice(3)), catalog["chi2"], mask.rename(star="x")):
        with pytest.raises(InputError, match=r"give one of bool on \(star,\)"):
            lux.select(catalog, wrong)
    with pytest.raises(InputError, match="condition is a list"):
        lux.select(catalog, [True])


def test_flags_are_known_where_stars_were_dropped_before(paths):
    catalog = store.open_dataset(paths / "catalog.zarr").compute()
    bright = catalog.where(catalog["n_pixels"] > 30, drop=True)
    found = lux.select(bright, "not no_data")
    assert found.sizes["star"] and found["flags"].dtype == np.uint16


def test_a_file_that_is_no_store_is_said_to_be_one(tmp_path):
    (tmp_path / "c.nc").write_bytes(b"CDF")
    with pytest.raises(InputError, match=r"c.nc: no Zarr group .*: xarray.open_dataset opens netC"):
        lux.select(tmp_path / "c.nc", "teff < 5000")


def test_training_stars_are_known_to_the_model(paths, world, held_out):
    drawn = lux.select(held_out, stars="random:200")
    model = lux.train(drawn, 3, folds=1, iterations=1, progress=False)
    rest = lux.select(held_out, stars="untrained", model=model)
    assert set(rest["star"].values) == set(held_out["star"].values) - set(drawn["star"].values)
    model.save(paths / "drawn.zarr")
    loaded = lux.load_model(paths / "drawn.zarr")
    assert loaded.training_stars == model.training_stars
    assert loaded.fingerprint == model.fingerprint
    both = lux.select(held_out, "snr > 50", stars="untrained", model=paths / "drawn.zarr")
    assert set(both["star"].values) == set(lux.select(rest, "snr > 50")["star"].values)


def test_models_that_do_not_know_their_stars_still_load(paths, small_model):
    dataset = small_model.to_dataset()
    del dataset.attrs["training_stars"]
    from luxscale.model.file import from_dataset

    with pytest.raises(InputError, match="does not say which stars it was trained on"):
        lux.select(paths / "survey.zarr", stars="untrained", model=from_dataset(dataset))


def test_what_is_no_survey_is_said(small_model):
    with pytest.raises(InputError, match="dataset is a LuxModel"):
        lux.select(small_model, "snr > 1")
    with pytest.raises(InputError, match="no dim 'star'"):
        lux.select(xr.Dataset(), "snr > 1")


def test_a_mask_of_stars_in_another_order_is_refused(held_out):
    mask = (held_out["snr"] > 50).isel(star=slice(None, None, -1))
    with pytest.raises(InputError, match=r"another order; bring it in order by mask\.reindex"):
        lux.select(held_out, mask)
    ordered = mask.reindex(star=held_out.star, fill_value=False)
    assert lux.select(held_out, ordered).equals(lux.select(held_out, "snr > 50"))
