"""Catalogues as tables of astropy and pandas, with the columns of an export."""

import numpy as np
import pytest
from astropy import units as u
from test_export import make_catalog

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError
from luxscale.export import export_catalog


def to_table(catalog, **options):
    return lux.to_table(catalog, progress=False, **options)


def test_columns_are_those_of_an_export(tmp_path):
    catalog = make_catalog(40)
    table = to_table(catalog)
    made = export_catalog(catalog, tmp_path / "c.ecsv", progress=False)
    assert tuple(table.colnames) == made.columns
    assert table["teff"].unit == u.K and table["teff_err"].unit == u.K
    assert table["teff"].description == "teff: inferred label"
    np.testing.assert_array_equal(table["fe_h"], catalog.label_value[:, 1])
    np.testing.assert_array_equal(table["latent"], catalog.latent)
    np.testing.assert_array_equal(table["flags"], catalog.flags)
    assert table["star"][3] == "star 3"
    assert table.meta["run_given"] == "flux"


def test_tables_of_paths_and_of_what_is_inferred(tmp_path, held_out, small_model):
    store.write_dataset(make_catalog(40).assign_attrs(format="luxscale-catalog"), tmp_path / "c")
    assert len(to_table(tmp_path / "c", latents=False)) == 40
    inferred = lux.infer(held_out.chunk(star=200), small_model)
    frame = to_table(lux.select(inferred, "teff > 4800"), survey=None, latents=False).to_pandas(
        index="star"
    )
    assert (frame["teff"] > 4800).all() and (frame["status"] == 1).all()
    bright = to_table(inferred, survey=held_out, columns=["snr"])
    np.testing.assert_array_equal(bright["snr"], held_out["snr"])


def test_stars_that_where_selects_are_as_others():
    catalog = make_catalog(40).compute()
    inside = catalog.chi2 < catalog.chi2.median()
    kept = to_table(catalog.where(inside, drop=True))
    expected = to_table(lux.select(catalog, inside))
    assert kept.dtype == expected.dtype and len(kept) == 20
    np.testing.assert_array_equal(kept["flags"], expected["flags"])
    with pytest.raises(InputError, match=r"'n_pixels' has dtype float64.* by lux.select"):
        to_table(catalog.where(inside))


def test_outputs_are_a_column_whatever_is_said_of_them():
    outputs = np.resize([1, 2, 3], 40).astype("u1")
    table = to_table(make_catalog(40).assign(outputs=("star", outputs)))
    np.testing.assert_array_equal(table["outputs"], outputs)


def test_stars_that_are_not_done_are_asked_for():
    catalog = make_catalog(40)
    catalog["status"] = "star", np.where(np.arange(40) < 5, 0, 1).astype("u1")
    with pytest.raises(InputError, match="5 of 40 stars are not done"):
        to_table(catalog)
    assert np.isnan(to_table(catalog, unfinished=True)["teff"][:5]).all()


def test_labels_as_frames_of_pandas(tmp_path):
    catalog = make_catalog(40)
    store.write_dataset(catalog.assign_attrs(format="luxscale-catalog"), tmp_path / "c")
    for each in (catalog, store.open_dataset(tmp_path / "c")):
        wide = each.label_value.to_pandas()
        assert wide.index.name == "star" and wide.columns.tolist() == ["teff", "fe_h", "a_k"]
        assert wide.loc["star 7", "teff"] == float(catalog.label_value[7, 0])
        long = each.label_value.to_dataframe()
        assert long.loc[("star 7", "fe_h"), "label_value"] == float(catalog.label_value[7, 1])
        assert long.loc[("star 7", "fe_h"), "label_units"] == "dex"


def test_no_stars_are_an_empty_table(tmp_path):
    catalog = make_catalog(40)
    none = to_table(lux.select(catalog, "teff < -1e9"))
    assert len(none) == 0 and none.colnames == to_table(catalog).colnames
    assert none["latent"].shape == (0, *catalog.latent.shape[1:])
    export_catalog(lux.select(catalog, "teff < -1e9"), tmp_path / "c.csv", progress=False)


def test_what_is_no_catalogue_is_said():
    for given in (3, None):
        with pytest.raises(InputError, match="the catalogue is a .*, not a Dataset or the path"):
            lux.to_table(given, progress=False)
    catalog = make_catalog(4)
    for out in (None, catalog):
        with pytest.raises(InputError, match="the path of the export is a .*; give it as text"):
            export_catalog(catalog, out, progress=False)
