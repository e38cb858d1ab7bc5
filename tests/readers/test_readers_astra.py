"""astraStar files, built from the description, agree with a direct reading of them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import write_astrastar, write_mwm

import luxscale as lux
from luxscale.readers import FORMATS, BadFile

NAME = "astraStarASPCAP-0.6.0-99560000.fits"
SPECTRUM = "mwmStar-0.6.0-99560000.fits"


def read(path, instrument="apogee", **options):
    (spectra,) = FORMATS[f"astrastar-{instrument}"].read(path, **options)
    return spectra


@pytest.mark.parametrize("instrument", ["APOGEE", "BOSS"])
def test_the_spectrum_over_the_continuum_of_its_fit(instrument, tmp_path):
    hdu = f"{instrument}/LCO"
    path = write_astrastar(tmp_path / NAME, {hdu: 1})
    spectra = read(path, instrument.lower())
    model = read(path, instrument.lower(), flux="model")
    star, fit = fits.getdata(tmp_path / SPECTRUM, hdu), fits.getdata(path, hdu)
    np.testing.assert_array_equal(spectra.flux, star["flux"])
    np.testing.assert_array_equal(spectra.ivar, star["ivar"])
    np.testing.assert_array_equal(spectra.mask, star["pixel_flags"])
    np.testing.assert_array_equal(spectra.continuum, fit["continuum"])
    np.testing.assert_array_equal(model.flux, fit["model_flux"] * fit["continuum"])
    np.testing.assert_array_equal(model.ivar, spectra.ivar)
    assert spectra.star.tolist() == [99560000]
    assert spectra.columns["rchi2"].tolist() == fit["rchi2"].tolist()
    fmt = FORMATS[f"astrastar-{instrument.lower()}"]
    np.testing.assert_array_equal(spectra.wavelength, fmt.grid)
    survey = lux.read(path, fmt.name, options={"flux": "model"})
    good = survey.flux_ivar.values > 0
    assert good.any()
    np.testing.assert_allclose(survey.flux.values[good], fit["model_flux"][good], rtol=1e-6)


def test_of_two_observatories_the_better_spectrum_that_was_fitted(tmp_path):
    counts = {"APOGEE/APO": 1, "APOGEE/LCO": 1}
    path = write_astrastar(tmp_path / NAME, counts)
    snr = {"APOGEE/APO": {"snr": [50.0]}, "APOGEE/LCO": {"snr": [90.0]}}
    write_mwm(tmp_path / SPECTRUM, "mwmStar", counts, given=snr)
    assert read(path).columns["telescope"].tolist() == ["lco25m"]
    np.testing.assert_array_equal(
        read(path).continuum, fits.getdata(path, "APOGEE/LCO")["continuum"]
    )
    with fits.open(path) as hdus:
        hdus["APOGEE/LCO"].data = hdus["APOGEE/LCO"].data[:0]
        hdus.writeto(path, overwrite=True)
    assert read(path).columns["telescope"].tolist() == ["apo25m"]


def test_folders_as_the_archive_has_them(tmp_path):
    folders = [tmp_path / "0.6.0" / kind / "star" / "00" / "00" for kind in ("results", "spectra")]
    for folder in folders:
        folder.mkdir(parents=True)
    path = write_astrastar(folders[0] / NAME, {"APOGEE/APO": 1})
    (folders[0] / SPECTRUM).rename(folders[1] / SPECTRUM)
    assert read(path).star.tolist() == [99560000]
    (folders[1] / SPECTRUM).unlink()
    with pytest.raises(
        BadFile, match=r"no mwmStar-0.6.0-99560000.fits beside it, nor in .*spectra"
    ):
        read(path)


def test_the_best_fit_of_an_mwmstar_file(tmp_path):
    model = np.random.default_rng(1).uniform(0.6, 1, (1, 8575)).astype("f4")
    given = {"APOGEE/APO": {"nmf_rectified_model_flux": model}}
    path = write_mwm(tmp_path / "a.fits", "mwmStar", {"APOGEE/APO": 1}, given=given)
    (spectra,) = FORMATS["mwmstar-apogee"].read(path, flux="model")
    np.testing.assert_array_equal(spectra.flux, model * spectra.continuum)


def test_what_makes_a_file_bad(tmp_path):
    path = write_astrastar(tmp_path / NAME, {"APOGEE/APO": 1})
    with pytest.raises(BadFile, match="no fit to a spectrum by BOSS"):
        read(path, "boss")
    with pytest.raises(BadFile, match="has no model_flux with a continuum: no astraStar"):
        read(tmp_path / SPECTRUM)
    with pytest.raises(BadFile, match="not named astraStarPIPELINE-VERSION-SDSS_ID"):
        read(path.rename(tmp_path / "mine.fits"))
    write_astrastar(path, {"APOGEE/APO": 1})
    write_mwm(tmp_path / SPECTRUM, "mwmStar", {"APOGEE/LCO": 1})
    with pytest.raises(BadFile, match="of other telescopes than its fits"):
        read(path)
    (tmp_path / SPECTRUM).write_bytes(b"rubbish")
    with pytest.raises(BadFile, match="which has its spectrum: not a FITS file"):
        read(path)
    (tmp_path / SPECTRUM).unlink()
    with pytest.raises(BadFile, match="beside it, which has the spectrum that was fitted; fetch"):
        read(path)
