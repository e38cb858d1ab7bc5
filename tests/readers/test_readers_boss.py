"""A real spec file agrees with a direct reading of it."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import SPEC

from luxscale.prepare import default_recipe, prepare
from luxscale.readers import FORMATS, BadFile, Spectra
from luxscale.readers.boss import compute_wavelength


def read(path=SPEC, **options) -> Spectra:
    (spectra,) = FORMATS["spec"].read(path, **options)
    return spectra


def test_a_real_spec_file():
    spectra = read()
    with fits.open(SPEC, memmap=False) as hdus:
        coadd, about = hdus[1].data, hdus[2].data[0]
        for name in ("flux", "ivar"):
            np.testing.assert_array_equal(getattr(spectra, name)[0], coadd[name])
        np.testing.assert_array_equal(spectra.mask[0], coadd["and_mask"])
        np.testing.assert_array_equal(read(mask="or").mask[0], coadd["or_mask"])
        np.testing.assert_allclose(np.log10(spectra.wavelength), coadd["loglam"], atol=2e-7)
        assert spectra.velocity.tolist() == pytest.approx(
            [299792.458 * float(about["Z"])], rel=1e-12
        )
        assert spectra.velocity[0] == pytest.approx(-30.35, abs=0.01)
        assert spectra.key.tolist() == [str(about["SPECOBJID"])] == ["4037614591814901760"]
        assert spectra.star.tolist() == ["3586-55181-0500"]
        for column, key in (
            ("snr", "SN_MEDIAN_ALL"),
            ("ra", "PLUG_RA"),
            ("dec", "PLUG_DEC"),
            ("zwarning", "ZWARNING"),
        ):
            assert spectra.columns[column].tolist() == [about[key]]
        assert spectra.columns["class"].tolist() == ["STAR"]


def test_its_pixels_are_those_of_the_grid_where_both_have_them():
    spectra, grid = read(), FORMATS["spec"].grid
    np.testing.assert_array_equal(
        spectra.wavelength[7:], grid[: 4625 - 7]
    )  # it begins seven pixels before


def test_its_usual_continuum_follows_the_spectrum_from_blue_to_red():
    spec = FORMATS["spec"]
    prepared = prepare(read(), spec, default_recipe(spec), spec.grid)
    flux = np.where(prepared.flux_ivar > 0, prepared.flux, np.nan)[0]
    level = [np.nanpercentile(part, 75) for part in np.array_split(flux[spec.grid > 4500], 10)]
    np.testing.assert_allclose(level, 1, atol=0.2)


def test_wavelengths_off_the_grid_stay_where_they_are():
    loglam = (3.60003 + 1e-4 * np.arange(50)).astype("f4")
    np.testing.assert_array_equal(compute_wavelength(loglam), 10 ** loglam.astype(float))


def changed(tmp_path, **columns):
    """Write the file with other columns in its tables, None: without; ``rows`` of its catalogue."""
    with fits.open(SPEC, memmap=False) as hdus:
        rows = columns.pop("rows", 1)
        tables = []
        for hdu in hdus[1:3]:
            kept = [c for c in hdu.columns if columns.get(c.name, c) is not None]
            tables.append(fits.BinTableHDU.from_columns(fits.ColDefs(kept), name=hdu.name))
            for name in set(columns) & set(tables[-1].columns.names):
                tables[-1].data[name] = columns[name]
        tables[1].data = tables[1].data[:rows]
        fits.HDUList([hdus[0], *tables]).writeto(tmp_path / "spec.fits")
    return tmp_path / "spec.fits"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"flux": None}, "without column 'flux'"),
        ({"loglam": None}, "without column 'loglam'"),
        ({"loglam": 0.0}, "no logarithm"),
        ({"loglam": 3.7}, "do not ascend"),
        ({"loglam": np.nan}, "no logarithm"),
        ({"PLATE": 0}, "no PLATE"),
        ({"FIBERID": None}, "without column 'FIBERID'"),
        ({"rows": 0}, "0 rows in HDU 2"),
    ],
)
def test_what_makes_a_spec_file_bad(columns, reason, tmp_path):
    with pytest.raises(BadFile, match=reason):
        read(changed(tmp_path, **columns))


def test_what_a_spec_file_may_lack(tmp_path):
    spectra = read(
        changed(
            tmp_path,
            SPECOBJID=None,
            SN_MEDIAN_ALL=None,
            Z=None,
            ZWARNING=None,
            PLUG_RA=None,
            CLASS=None,
        )
    )
    assert (
        spectra.key is None
        and np.isnan(spectra.velocity[0])
        and np.isnan(spectra.columns["snr"][0])
    )
    assert spectra.columns["ra"].tolist() == [fits.getheader(SPEC)["PLUG_RA"]]
    assert spectra.columns["zwarning"].tolist() == [-1] and spectra.columns["class"].tolist() == [
        ""
    ]
