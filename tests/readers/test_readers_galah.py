"""Files built from the descriptions of GALAH's releases agree with a direct reading of them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from surveyfiles import HERMES, build_galah_dr3, build_galah_dr4

from luxscale.ingest import find_files
from luxscale.prepare import default_recipe, prepare
from luxscale.readers import FORMATS, BadFile, Spectra

DR3, DR4 = FORMATS["galah-dr3"], FORMATS["galah-dr4"]
SOBJECT_ID = 170418003701205


def read(fmt, path, **options) -> Spectra:
    (spectra,) = fmt.read(path, **options)
    return spectra


@pytest.mark.parametrize(("kind", "hdu"), [("normalised", 4), ("observed", 0)])
def test_four_cameras_are_one_spectrum(kind, hdu, tmp_path):
    paths = build_galah_dr3(tmp_path)
    flux, error, wavelength = [], [], []
    for path in paths.values():
        with fits.open(path) as hdus:
            header, values = hdus[hdu].header, hdus[hdu].data.astype(float)
            flux.append(values)
            error.append(values * hdus[1].data[-len(values) :].astype(float))
            wavelength.append(header["CRVAL1"] + header["CDELT1"] * np.arange(len(values)))
    spectra = read(DR3, paths["1"], flux=kind)
    np.testing.assert_array_equal(spectra.flux[0], np.concatenate(flux))
    np.testing.assert_allclose(spectra.ivar[0], np.concatenate(error) ** -2, rtol=1e-12)
    np.testing.assert_allclose(spectra.wavelength, np.concatenate(wavelength), rtol=1e-14)
    assert spectra.star.tolist() == [SOBJECT_ID] and spectra.star.dtype == np.int64
    assert spectra.columns["n_cameras"].tolist() == [4]
    assert (
        (spectra.velocity is None)
        if kind == "normalised"
        else (spectra.velocity.tolist() == [30.0])
    )


def test_normalised_flux_is_at_rest_and_observed_flux_comes_there_by_its_velocity(tmp_path):
    path = build_galah_dr3(tmp_path)["2"]
    at_rest, observed = read(DR3, path), read(DR3, path, flux="observed")
    shifted = observed.wavelength / (1 + observed.velocity[0] / 299792.458)
    np.testing.assert_allclose(shifted[: 3 * 4096], at_rest.wavelength[: 3 * 4096], rtol=1e-9)
    assert (DR3.medium, DR3.units) == ("air", "Angstrom")


def test_any_camera_leads_to_all_of_them(tmp_path):
    paths = build_galah_dr3(tmp_path)
    first = read(DR3, paths["1"])
    np.testing.assert_array_equal(read(DR3, paths["4"]).flux, first.flux)


def test_missing_cameras_are_pixels_without_weight(tmp_path):
    path = build_galah_dr3(tmp_path, cameras="23")["2"]
    spectra = read(DR3, path)
    assert spectra.columns["n_cameras"].tolist() == [2]
    ready = prepare(spectra, DR3, default_recipe(DR3), DR3.grid)
    has = np.unique(np.searchsorted([s for s, *_ in HERMES], DR3.grid[ready.flux_ivar[0] > 0]))
    assert has.tolist() == [2, 3]


def test_a_star_is_found_once_by_any_of_its_files(tmp_path):
    whole = build_galah_dr3(tmp_path)
    partly = build_galah_dr3(tmp_path, SOBJECT_ID + 1, cameras="34")
    expected = (str(whole["1"]), str(partly["3"]))
    assert find_files([tmp_path], DR3) == expected
    assert find_files([whole["3"], partly["4"]], DR3) == expected
    assert find_files([str(tmp_path / "*.fits")], DR3) == expected


def test_the_common_grid():
    assert DR3.grid.size == 14304 and (np.diff(DR3.grid) > 0).all()
    assert DR3.grid[[0, 3915, 7883, 11843]].tolist() == [4715.94, 5650.06, 6480.52, 7693.5]


def test_reference_pixels_from_zero_and_elsewhere(tmp_path):
    path = build_galah_dr3(tmp_path, cameras="1")["1"]
    plain = read(DR3, path).wavelength
    for crpix, moved in ((0, 0), (3, -2)):
        fits.setval(path, "CRPIX1", value=crpix, ext=4)
        np.testing.assert_allclose(
            read(DR3, path).wavelength, plain + moved * np.diff(plain)[0], atol=1e-8
        )


def test_pixels_without_flux_or_error_have_no_weight(tmp_path):
    path = build_galah_dr3(tmp_path, cameras="1")["1"]
    with fits.open(path, mode="update") as hdus:
        hdus[4].data[5:8] = [0, -0.5, np.nan]
        hdus[1].data[8:10] = [0, np.nan]
    spectra = read(DR3, path)
    assert np.flatnonzero(spectra.ivar[0] == 0).tolist() == [5, 7, 8, 9]
    assert np.isnan(spectra.flux[0, 7])


def rewritten(path, change):
    with fits.open(path, memmap=False) as hdus:
        fits.HDUList(change(list(hdus))).writeto(path, overwrite=True)
    return path


def test_what_is_no_file_of_dr3(tmp_path):
    paths = build_galah_dr3(tmp_path, normalised=False)
    with pytest.raises(BadFile, match="camera 1: no normalised flux in HDU 4"):
        read(DR3, paths["1"])
    assert read(DR3, paths["1"], flux="observed").flux.shape == (1, 4 * 4096)
    with pytest.raises(BadFile, match="camera 2: has no HDU 1"):
        read(DR3, rewritten(paths["2"], lambda hdus: hdus[:1]), flux="observed")
    (tmp_path / f"{SOBJECT_ID}2.fits").write_bytes(b"")
    with pytest.raises(BadFile, match="camera 2: empty file"):
        read(DR3, paths["1"], flux="observed")
    with pytest.raises(BadFile, match="which star is it"):
        read(DR3, paths["3"].rename(tmp_path / "star.fits"))
    with pytest.raises(BadFile, match="no such file"):
        read(DR3, tmp_path / f"{SOBJECT_ID + 1}1.fits")


def test_files_of_dr4_cameras_are_not_taken_for_those_of_dr3(tmp_path):
    path = build_galah_dr3(tmp_path, cameras="1")["1"]
    fits.setval(path, "EXTNAME", value="normalized", ext=1)
    with pytest.raises(BadFile, match="DR4, which has other HDUs"):
        read(DR3, path)


@pytest.mark.parametrize("fitted", [True, False])
def test_a_table_of_dr4(fitted, tmp_path):
    path = build_galah_dr4(tmp_path / f"{SOBJECT_ID}_allstar_fit_spectrum.fits", fitted=fitted)
    spectra = read(DR4, path)
    with fits.open(path) as hdus:
        rows = hdus[1].data
        np.testing.assert_array_equal(spectra.flux[0], rows["sob"])
        np.testing.assert_array_equal(spectra.wavelength, rows["wave"])
        np.testing.assert_allclose(spectra.ivar[0], rows["uob"] ** -2.0, rtol=1e-12)
        np.testing.assert_array_equal(
            spectra.mask[0] == 0, rows["mob"] if fitted else np.ones(len(rows), bool)
        )
    assert spectra.star.tolist() == [SOBJECT_ID] and spectra.velocity is None
    assert find_files([tmp_path], DR4) == (str(path),)


def test_what_is_no_table_of_dr4(tmp_path):
    path = build_galah_dr4(tmp_path / f"{SOBJECT_ID}_allstar_fit_spectrum.fits")
    renamed = tmp_path / "spectrum.fits"
    renamed.write_bytes(path.read_bytes())
    with pytest.raises(BadFile, match="which star is it"):
        read(DR4, renamed)
    with pytest.raises(BadFile, match="has no HDU 1"):
        read(DR4, rewritten(path, lambda hdus: hdus[:1]))
    build_galah_dr4(path)
    with pytest.raises(BadFile, match="table without column 'uob'"):
        read(DR4, rewritten(path, without_errors))


def without_errors(hdus):
    return [hdus[0], fits.BinTableHDU.from_columns([c for c in hdus[1].columns if c.name != "uob"])]
