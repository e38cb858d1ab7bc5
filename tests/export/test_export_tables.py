"""Catalogues as CSV, ECSV and VOTable, without latents, and with more columns than FITS has."""

import warnings

import numpy as np
import pytest
from astropy.table import Table
from test_export import make_catalog

from luxscale.errors import InputError
from luxscale.export import export_catalog


def export(catalog, out, **options):
    return export_catalog(catalog, out, progress=False, **options)


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "vot"])
def test_other_programs_read_it(suffix, tmp_path):
    catalog = make_catalog(40)
    path = tmp_path / f"c.{suffix}"
    export(catalog, path)
    with pytest.raises(InputError, match="is there already"):
        export(catalog, path)
    export(catalog, path, overwrite=True)
    formats = {"csv": "ascii.csv", "ecsv": "ascii.ecsv", "vot": "votable"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = Table.read(path, format=formats[suffix])
    assert table["star"][3] == "star 3"
    np.testing.assert_allclose(table["teff"], catalog.label_value[:, 0])
    if suffix == "csv":
        np.testing.assert_allclose(table["latent_2"], catalog.latent[:, 2], rtol=1e-6)
    else:
        assert str(table["teff"].unit) == "K"
        np.testing.assert_allclose(table["latent"], catalog.latent, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "ecsv"])
def test_blanks_around_a_name_stay(suffix, tmp_path):
    catalog = make_catalog(5, star=np.array(["x", "y", "z", " a", "a "], object))
    export(catalog, tmp_path / f"c.{suffix}")
    rows = (tmp_path / f"c.{suffix}").read_text().splitlines()[-2:]
    assert [row.replace('"', "")[:2] for row in rows] == [" a", "a "]


def test_latents_may_stay_out(tmp_path):
    made = export(make_catalog(10), tmp_path / "c.csv", latents=False)
    assert "latent" not in made.columns
    assert "latent" not in (tmp_path / "c.csv").read_text()


def test_more_columns_than_fits_has_are_refused_at_once(tmp_path):
    names = [f"l{i}" for i in range(510)]
    catalog = make_catalog(4, labels=names, units=["dex"] * 510)
    with pytest.raises(InputError, match="columns, of which FITS tables hold 999; export to .parq"):
        export(catalog, tmp_path / "c.fits")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([-3, 5, 0, 7], "i1"), [-3, 5, 0, 7]),
        (np.array([3, 2**60, 0, 7], "u8"), [3, 2**60, 0, 7]),
        (np.array([3, 2**63, 0, 7], "u8"), ["3", str(2**63), "0", "7"]),
    ],
)
def test_whole_numbers_that_votable_has_not(values, expected, tmp_path):
    catalog = make_catalog(4)
    survey = catalog[["chi2"]].assign(number=("star", values))
    export(catalog, tmp_path / "c.vot", survey=survey, columns=["number"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = Table.read(tmp_path / "c.vot", format="votable")
    assert table["number"].tolist() == expected
