"""apVisit files: what is read agrees with a direct reading, and with the star's lines at rest."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import APSTAR, APVISIT

import luxscale as lux
from luxscale.readers import FORMATS, BadFile


def read(path):
    (spectra,) = FORMATS["apvisit"].read(path)
    return spectra


def test_the_real_file():
    spectra = read(APVISIT)
    with fits.open(APVISIT) as hdus:
        pixels = [np.concatenate([row[::-1] for row in hdus[i].data[::-1]]) for i in range(1, 5)]
        header = hdus[0].header
    flux, error, mask, wavelength = pixels
    np.testing.assert_array_equal(spectra.wavelength, wavelength)
    np.testing.assert_array_equal(spectra.flux[0], flux)
    np.testing.assert_array_equal(spectra.mask[0], mask)
    np.testing.assert_allclose(spectra.ivar[0], error.astype(float) ** -2.0)
    assert spectra.star.tolist() == ["2M00242666+5341178-9518-57729-104"]
    assert spectra.key.tolist() == ["2M00242666+5341178"]
    assert spectra.velocity.tolist() == [header["VRAD"]]
    columns = {name: values[0] for name, values in spectra.columns.items()}
    assert columns == {
        "snr": pytest.approx(89.5949),
        "ra": header["RA"],
        "dec": header["DEC"],
        "bc": header["BC"],
    }


def test_its_lines_are_at_rest():
    """Against another giant of APOGEE, in the rest frame: the best shift is of about a pixel."""
    visit, star = lux.read(APVISIT), lux.read(APSTAR)
    lines = [
        np.where(read.flux_ivar[0] > 0, read.flux[0] - 1, 0).clip(-0.5, 0.1)
        for read in (visit, star)
    ]
    shifts = np.arange(-40, 41)
    products = [(lines[0] * np.roll(lines[1], shift)).sum() for shift in shifts]
    pixel = np.log(10) * 6e-6 * 299792.458  # km/s
    assert abs(shifts[np.argmax(products)]) * pixel < 5


def change_file(path, change):
    with fits.open(APVISIT) as hdus:
        change(hdus)
        hdus.writeto(path)
    return path


def drop_velocity(hdus):
    del hdus[0].header["VRAD"]


@pytest.mark.parametrize("has_table", [True, False])
def test_a_velocity_that_the_header_lacks(has_table, tmp_path):
    def change(hdus):
        drop_velocity(hdus)
        if not has_table:
            del hdus[11]

    path = change_file(tmp_path / "a.fits", change)
    velocity = read(path).velocity[0]
    if has_table:
        assert velocity == pytest.approx(-67.472046)
        return
    assert np.isnan(velocity)
    with pytest.raises(lux.InputError, match="no velocity, which the rest frame needs"):
        lux.read(path)
    assert lux.read(path, recipe={"rest_frame": False}).sizes["star"] == 1


def halve(hdus):
    hdus[2].data = hdus[2].data[:, ::2]


def cut(hdus):
    hdus[1].data = hdus[1].data[:2]


def shift(hdus):
    hdus[4].data[0, 5] = 2000


def unname(hdus):
    hdus[0].header["OBJID"] = ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (halve, "flux, error, mask and wavelength of other numbers of pixels"),
        (cut, "2 rows in HDU 1, where 3 detectors"),
        (shift, "HDU 4 holds no wavelengths of APOGEE"),
        (unname, "no OBJID in the header"),
    ],
)
def test_what_makes_a_file_bad(change, reason, tmp_path):
    with pytest.raises(BadFile, match=reason):
        read(change_file(tmp_path / "a.fits", change))
