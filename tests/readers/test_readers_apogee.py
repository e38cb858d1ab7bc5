"""apStar and aspcapStar files, real ones and built ones, agree with a direct reading of them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import APSTAR, SPEC, shared, write_apstar, write_aspcapstar, write_mwm

from luxscale.errors import InputError
from luxscale.readers import FORMATS, BadFile, Spectra, get_format

APSTARS = [
    "apStar-dr17-2M19485057+5005279",
    "apStar-r6-2M03290406+3117075",
    "apStar-r6-2M14305591+0858023",
]
ASPCAPSTARS = ["aspcapStar-r6-l30e.2-2M06521977-2534505", "aspcapStar-r6-l30e.2-2M14305591+0858023"]


def read(name: str, path, **options) -> Spectra:
    (spectra,) = FORMATS[name].read(path, **options)
    return spectra


def direct(path) -> tuple[fits.Header, list[np.ndarray]]:
    with fits.open(path, memmap=False) as hdus:
        return hdus[0].header, [np.atleast_2d(hdu.data) for hdu in hdus[1:4]]


def expected_ivar(error: np.ndarray) -> np.ndarray:
    return np.array(
        [[1 / float(e) ** 2 if np.isfinite(e) and e > 0 else 0.0 for e in row] for row in error]
    )


@pytest.mark.parametrize("name", APSTARS)
def test_the_coadd_of_real_apstar_files(name):
    path = APSTAR if name == APSTAR.stem else shared(f"apogee/{name}.fits")
    spectra, (header, (flux, error, mask)) = read("apstar", path), direct(path)
    np.testing.assert_array_equal(spectra.flux, flux[:1])
    np.testing.assert_array_equal(spectra.mask, mask[:1])
    np.testing.assert_allclose(spectra.ivar, expected_ivar(error[:1]), rtol=1e-15)
    np.testing.assert_array_equal(spectra.wavelength, FORMATS["apstar"].grid)
    assert spectra.star.tolist() == [header["OBJID"]] == [name.split("-")[-1]]
    assert spectra.velocity is None and spectra.continuum is None and spectra.key is None
    for column, key in (("snr", "SNR"), ("ra", "RA"), ("dec", "DEC"), ("n_visits", "NVISITS")):
        assert spectra.columns[column].tolist() == [header[key]]


def test_the_visits_of_a_real_apstar_file():
    path = shared(f"apogee/{APSTARS[2]}.fits")
    spectra, (header, (flux, error, mask)) = read("apstar", path, rows="visits"), direct(path)
    assert spectra.star.tolist() == [f"2M14305591+0858023-{i}" for i in (1, 2, 3)]
    assert spectra.key.tolist() == ["2M14305591+0858023"] * 3
    np.testing.assert_array_equal(spectra.flux, flux[2:])
    np.testing.assert_array_equal(spectra.mask, mask[2:])
    np.testing.assert_allclose(spectra.ivar, expected_ivar(error[2:]), rtol=1e-15)
    assert spectra.columns["snr"].tolist() == [header[f"SNRVIS{i}"] for i in (1, 2, 3)]


def test_of_a_star_seen_once_the_coadd_is_the_visit():
    visit, coadd = read("apstar", APSTAR, rows="visits"), read("apstar", APSTAR)
    np.testing.assert_array_equal(visit.flux, coadd.flux)
    assert visit.star.tolist() == ["2M19485057+5005279-1"] and visit.columns["visit"].tolist() == [
        1
    ]


@pytest.mark.parametrize("name", ASPCAPSTARS)
def test_real_aspcapstar_files(name):
    path = shared(f"apogee/{name}.fits")
    spectra, (header, (flux, error, _)) = read("aspcapstar", path), direct(path)
    np.testing.assert_array_equal(spectra.flux, flux)
    np.testing.assert_allclose(spectra.ivar, expected_ivar(error), rtol=1e-15)
    np.testing.assert_array_equal(spectra.wavelength, FORMATS["aspcapstar"].grid)
    with fits.open(path) as hdus:
        assert spectra.star.tolist() == [hdus[4].data["APOGEE_ID"][0].strip()]
    assert spectra.columns["snr"].tolist() == [header["SNR"]]
    assert spectra.mask is None


@pytest.mark.parametrize("key", ["OBJID", "OBJ", "APOGEE_ID"])
def test_where_an_aspcapstar_file_has_its_name(key, tmp_path):
    assert read("aspcapstar", write_aspcapstar(tmp_path / "a.fits", id_in=key)).star.tolist() == [
        "2M14305591+0858023"
    ]


def test_errors_that_are_none_have_no_weight(tmp_path):
    path = write_apstar(tmp_path / "a.fits")
    with fits.open(path, mode="update") as hdus:
        hdus[2].data[0, :4] = 0, -1, np.nan, np.inf
        hdus[1].data[0, 4] = np.nan
    spectra = read("apstar", path)
    assert spectra.ivar[0, :4].tolist() == [0, 0, 0, 0]
    assert spectra.ivar[0, 4] > 0 and np.isnan(
        spectra.flux[0, 4]
    )  # for `prepare` to see, and to count


def other_header(path, hdu: int, **cards):
    with fits.open(path, mode="update") as hdus:
        for key, value in cards.items():
            hdus[hdu].header[key] = value
    return path


@pytest.mark.parametrize(
    ("hdu", "cards", "reason"),
    [
        (0, {"OBJID": ""}, "no OBJID"),
        (0, {"OBJID": None}, "no OBJID"),
        (1, {"CDELT1": -6e-6}, "no logarithmic wavelength grid"),
        (1, {"CDELT1": 0.09}, "no logarithmic wavelength grid"),
        (1, {"CRVAL1": "x"}, "no logarithmic wavelength grid"),
        (1, {"CRPIX1": 2}, "no logarithmic wavelength grid"),
    ],
)
def test_what_makes_an_apstar_file_bad(hdu, cards, reason, tmp_path):
    path = other_header(write_apstar(tmp_path / "a.fits"), hdu, **cards)
    with pytest.raises(BadFile, match=reason):
        read("apstar", path)


def test_arrays_that_do_not_go_together(tmp_path):
    path = write_apstar(tmp_path / "a.fits")
    with fits.open(path) as hdus:
        hdus[2].data = hdus[2].data[:3]
        hdus.writeto(tmp_path / "rows.fits")
        hdus[2].data = np.ones((5, 8574), "f4")
        hdus.writeto(tmp_path / "pixels.fits")
    with pytest.raises(BadFile, match="5 rows of flux, 3 of errors, 5 of masks"):
        read("apstar", tmp_path / "rows.fits")
    with pytest.raises(BadFile, match="ivar has shape"):
        read("apstar", tmp_path / "pixels.fits")


def test_no_file_is_read_as_one_of_another_format(tmp_path):
    files = {
        "apstar": [
            APSTAR,
            write_apstar(tmp_path / "apStar.fits"),
            write_apstar(tmp_path / "apStar1.fits", 1),
        ],
        "aspcapstar": [write_aspcapstar(tmp_path / "aspcapStar.fits")],
        "spec": [SPEC],
        "mwmstar-apogee": [write_mwm(tmp_path / "sa.fits", "mwmStar", {"APOGEE/APO": 1})],
        "mwmstar-boss": [write_mwm(tmp_path / "sb.fits", "mwmStar", {"BOSS/LCO": 1})],
        "mwmvisit-apogee": [write_mwm(tmp_path / "va.fits", "mwmVisit", {"APOGEE/LCO": 2})],
        "mwmvisit-boss": [write_mwm(tmp_path / "vb.fits", "mwmVisit", {"BOSS/APO": 2})],
    }
    for own, paths in files.items():
        for other in files:
            for path in paths:
                if other == own:
                    assert list(FORMATS[own].read(path))
                    continue
                with pytest.raises(BadFile):
                    list(FORMATS[other].read(path))


def test_a_format_that_is_none():
    with pytest.raises(InputError, match=r"no format 'x'; there are: apstar, "):
        get_format("x")
