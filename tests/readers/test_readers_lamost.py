"""Files of LAMOST, a real one and built ones, agree with a direct reading of them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import shared
from surveyfiles import build_lrs, build_mrs

from luxscale.prepare import default_recipe, prepare
from luxscale.readers import FORMATS, BadFile, Spectra

LIGHT = 299792.458


def read(name, path, **options) -> Spectra:
    (spectra,) = FORMATS[name].read(path, **options)
    return spectra


def same_values(spectra: Spectra, *, flux, ivar, mask) -> None:
    np.testing.assert_array_equal(spectra.flux[0], flux)
    np.testing.assert_array_equal(spectra.ivar[0], ivar)
    np.testing.assert_array_equal(spectra.mask[0], mask)
    assert spectra.mask.dtype.kind == "i"


def test_a_real_file_of_the_first_release():
    path = shared("lamost/spec-55862-B6212_sp06-003.fits")
    spectra = read("lamost-lrs", path)
    with fits.open(path, memmap=False) as hdus:
        rows, header = hdus[0].data, hdus[0].header
        same_values(spectra, flux=rows[0], ivar=rows[1], mask=rows[3])
        np.testing.assert_array_equal(read("lamost-lrs", path, mask="or").mask[0], rows[4])
        start, step = (
            header["COEFF0"],
            header["COEFF1"],
        )  # the third row is no wavelength in this release
        np.testing.assert_allclose(
            spectra.wavelength, 10 ** (start + step * np.arange(3904)), rtol=1e-12
        )
        assert spectra.velocity.tolist() == pytest.approx([LIGHT * header["Z"]])
        for band in "ugriz":
            assert spectra.columns[f"snr{band}"].tolist() == [header[f"SN_{band.upper()}"]]
        assert spectra.columns["snr"].tolist() == [71.41]
        assert spectra.columns["ra"].tolist() == [header["RA"]]
        assert (
            spectra.key.tolist() == spectra.columns["designation"].tolist() == [header["DESIG"]]
        )  # it has no OBSID
    assert spectra.star.tolist() == [path.stem]
    np.testing.assert_array_equal(spectra.wavelength, FORMATS["lamost-lrs"].grid[:3904])


@pytest.mark.parametrize("layout", ["old", "new"])
def test_low_resolution_layouts(layout, tmp_path):
    path = build_lrs(tmp_path / "spec-57287-KP19_sp10-161.fits", layout=layout)
    spectra = read("lamost-lrs", path)
    with fits.open(path) as hdus:
        rows = (
            hdus[0].data if layout == "old" else [hdus[1].data[n][0] for n in hdus[1].columns.names]
        )
        same_values(spectra, flux=rows[0], ivar=rows[1], mask=rows[3])
        np.testing.assert_array_equal(read("lamost-lrs", path, mask="or").mask[0], rows[4])
        np.testing.assert_allclose(spectra.wavelength, rows[2], rtol=1e-7)
    np.testing.assert_array_equal(
        spectra.wavelength, FORMATS["lamost-lrs"].grid
    )  # float32 rounding taken out
    assert spectra.velocity.tolist() == pytest.approx([LIGHT * -0.0002])
    assert spectra.star.tolist() == ["spec-57287-KP19_sp10-161"]
    assert spectra.key.tolist() == ["101003"]
    assert read("lamost-lrs", path, key="designation").key.tolist() == [
        "LAMOST J063715.90+271356.5"
    ]
    assert [spectra.columns[f"snr{b}"][0] for b in "ugriz"] == [20, 21, 22, 23, 24]
    assert spectra.columns["snr"].tolist() == [21]


@pytest.mark.parametrize("layout", ["old", "new"])
def test_medium_resolution_layouts(layout, tmp_path):
    path = build_mrs(tmp_path / "med-58625-TD19_sp12-076.fits", layout=layout)
    spectra = read("lamost-mrs", path)
    with fits.open(path) as hdus:
        arms = [hdus["COADD_B"].data, hdus["COADD_R"].data]
        joined = {
            n: np.concatenate([np.ravel(a[n]) for a in arms])
            for n in ("FLUX", "IVAR", "ANDMASK", "ORMASK")
        }
        same_values(spectra, flux=joined["FLUX"], ivar=joined["IVAR"], mask=joined["ANDMASK"])
        np.testing.assert_array_equal(read("lamost-mrs", path, mask="or").mask[0], joined["ORMASK"])
    ends = 10 ** np.array([3.6946, 3.6946 + 3369e-5, 3.7994, 3.7994 + 3309e-5])
    np.testing.assert_allclose(spectra.wavelength[[0, 3369, 3370, -1]], ends, rtol=1e-6)
    assert np.isnan(spectra.velocity).all()  # no redshift in such files
    assert spectra.columns["snr"].tolist() == [50] and spectra.columns["snr_b"].tolist() == [40]
    assert spectra.star.tolist() == ["med-58625-TD19_sp12-076"] and spectra.key.tolist() == [
        "101003"
    ]


def test_medium_resolution_with_one_arm_or_a_redshift(tmp_path):
    spectra = read("lamost-mrs", build_mrs(tmp_path / "med-1.fits", arms="R", Z=0.0001))
    assert spectra.flux.shape == (1, 3310) and spectra.wavelength[0] > 6300
    assert np.isnan(spectra.columns["snr_b"]).all() and spectra.columns["snr"].tolist() == [60]
    assert spectra.velocity.tolist() == pytest.approx([LIGHT * 0.0001])


def test_pixels_of_an_arm_in_any_order(tmp_path):
    path = build_mrs(tmp_path / "med-1.fits", layout="old", arms="B")
    ordered = read("lamost-mrs", path)
    with fits.open(path, mode="update") as hdus:
        hdus["COADD_B"].data = hdus["COADD_B"].data[::-1].copy()
    np.testing.assert_array_equal(read("lamost-mrs", path).flux, ordered.flux)


def test_a_bright_sky_is_no_bad_pixel_unless_it_is_asked_to_be(tmp_path):
    fmt = FORMATS["lamost-lrs"]
    spectra = read("lamost-lrs", build_lrs(tmp_path / "spec-1.fits"))
    for changes, bright in (({}, 0), ({"bad": ("BRIGHTSKY",)}, int((spectra.mask == 8).sum()))):
        recipe = default_recipe(fmt, rest_frame=False, continuum="none", **changes)
        assert prepare(spectra, fmt, recipe, fmt.grid).masked.get("BRIGHTSKY", 0) == bright


def test_values_that_are_none_stay_as_they_are(tmp_path):
    path = build_lrs(tmp_path / "spec-1.fits", Z=-9999.0, SNRG=None)
    with fits.open(path, mode="update") as hdus:
        hdus[1].data["FLUX"][0, 7] = np.nan
        hdus[1].data["ANDMASK"][0, 7] = np.nan
    spectra = read("lamost-lrs", path)
    assert np.flatnonzero(np.isnan(spectra.flux[0])).tolist() == [7] and spectra.mask[0, 7] == 0
    assert spectra.velocity.tolist() == [LIGHT * -9999.0] and np.isnan(spectra.columns["snr"]).all()


def without(path, *, column=None, hdu=None):
    with fits.open(path, memmap=False) as hdus:
        kept = [h for h in hdus if h.name != hdu]
        if column:
            kept[1] = fits.BinTableHDU.from_columns(
                [c for c in hdus[1].columns if c.name != column], name="COADD"
            )
        fits.HDUList(kept).writeto(path, overwrite=True)
    return path


def test_what_is_no_file_of_lamost(tmp_path):
    path = tmp_path / "spec-1.fits"
    fits.PrimaryHDU(np.ones((4, 50), "f4")).writeto(path)
    with pytest.raises(BadFile, match="4 rows in HDU 0; five are"):
        read("lamost-lrs", path)
    with pytest.raises(BadFile, match="no wavelengths: neither a row of them"):
        read("lamost-lrs", _without_wavelengths(path))
    for column in ("FLUX", "WAVELENGTH", "ANDMASK"):
        with pytest.raises(BadFile, match=f"table without column '{column}'"):
            read("lamost-lrs", without(build_lrs(path), column=column))
    with pytest.raises(BadFile, match="has no HDU 1"):
        read("lamost-lrs", without(build_lrs(path), hdu="COADD"))
    with pytest.raises(BadFile, match="neither COADD_B nor COADD_R"):
        read("lamost-mrs", build_lrs(path))
    with pytest.raises(BadFile, match="which spectrum is it"):
        read("lamost-lrs", build_lrs(path, FILENAME=None, OBSID=None))


def _without_wavelengths(path):
    fits.PrimaryHDU(np.ones((5, 50), "f4")).writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("layout", ["old", "new"])
def test_lrs_refuses_files_of_the_medium_resolution(layout, tmp_path):
    with pytest.raises(BadFile, match="has the arms of a file of the medium resolution"):
        read("lamost-lrs", build_mrs(tmp_path / "med.fits", layout=layout))
