"""mwmStar and mwmVisit files, built from the description, agree with a direct reading of them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import mwm_columns, mwm_hdu, shared, write_mwm

from luxscale.readers import FORMATS, BadFile, Spectra

KINDS = [
    (kind, instrument) for kind in ("mwmStar", "mwmVisit") for instrument in ("APOGEE", "BOSS")
]


def read(kind: str, instrument: str, path, **options) -> Spectra:
    (spectra,) = FORMATS[f"{kind}-{instrument}".lower()].read(path, **options)
    return spectra


@pytest.mark.parametrize("release", ["DR19", "DR20"])
@pytest.mark.parametrize(("kind", "instrument"), KINDS)
def test_the_builder_follows_the_official_description(kind, instrument, release):
    hdus = json.loads(shared(f"datamodel/{kind}.json").read_text())["releases"][release]["hdus"]
    official = hdus["hdu1" if instrument == "BOSS" else "hdu3"]["columns"].values()
    built = mwm_columns(kind, instrument, release)
    if (kind, instrument, release) != (
        "mwmVisit",
        "BOSS",
        "DR19",
    ):  # in its order, and no more is used of it
        assert list(built) == [column["name"] for column in official]
    codes = {"int64": "K", "int32": "J", "float32": "E", "bool": "L", "char": "A"}
    for column in official:
        assert built[column["name"]][-1] == codes[re.match(r"[a-z0-9]+", column["type"])[0]], (
            column["name"]
        )


def test_empty_tables_are_as_described():
    header = mwm_hdu("mwmStar", "APOGEE", "APO", 0).header
    assert (header["NAXIS1"], header["NAXIS2"], header["TFIELDS"], header["TDIM38"]) == (
        158,
        0,
        45,
        "(0)",
    )


@pytest.mark.parametrize("release", ["DR19", "DR20"])
@pytest.mark.parametrize("site", ["APO", "LCO"])
@pytest.mark.parametrize("instrument", ["APOGEE", "BOSS"])
def test_an_mwmstar_file(instrument, site, release, tmp_path):
    path = write_mwm(tmp_path / "a.fits", "mwmStar", {f"{instrument}/{site}": 1}, release=release)
    spectra, format_ = read("mwmStar", instrument, path), FORMATS[f"mwmstar-{instrument.lower()}"]
    with fits.open(path) as hdus:
        row = hdus[f"{instrument}/{site}"].data[0]
        for ours, theirs in (
            ("flux", "flux"),
            ("ivar", "ivar"),
            ("continuum", "continuum"),
            ("mask", "pixel_flags"),
        ):
            np.testing.assert_array_equal(getattr(spectra, ours)[0], row[theirs])
        for name in ("snr", "v_rad", "telescope", "n_visits"):
            assert spectra.columns[name].tolist() == [row[name]]
    assert spectra.mask.dtype.kind == "i"
    np.testing.assert_array_equal(spectra.wavelength, format_.grid)  # not the file's float32
    assert spectra.star.tolist() == [99560000] and spectra.star.dtype == np.int64
    assert spectra.velocity is None and spectra.key is None
    assert spectra.columns["gaia_dr3_source_id"].tolist() == [5593130580092485504]
    assert spectra.columns["apogee_id"].tolist() == ["2M12283021-6635525"]
    assert (spectra.columns["ra"][0], spectra.columns["dec"][0]) == (113.17667, -31.404102)


@pytest.mark.parametrize(
    ("north", "south", "telescope"), [(50, 80, "lco25m"), (80, 50, "apo25m"), (np.nan, 5, "lco25m")]
)
def test_of_two_observatories_the_better_spectrum(north, south, telescope, tmp_path):
    given = {"APOGEE/APO": {"snr": [north]}, "APOGEE/LCO": {"snr": [south]}}
    path = write_mwm(
        tmp_path / "a.fits", "mwmStar", {"APOGEE/APO": 1, "APOGEE/LCO": 1}, given=given
    )
    spectra = read("mwmStar", "APOGEE", path)
    assert spectra.columns["telescope"].tolist() == [telescope]
    assert spectra.columns["n_spectra"].tolist() == [2]
    np.testing.assert_array_equal(
        spectra.flux[0], fits.getdata(path, f"APOGEE/{telescope[:3].upper()}")["flux"][0]
    )


@pytest.mark.parametrize("instrument", ["APOGEE", "BOSS"])
def test_an_mwmvisit_file(instrument, tmp_path):
    given = {f"{instrument}/APO": {"in_stack": [True, False, True]}}
    path = write_mwm(
        tmp_path / "a.fits",
        "mwmVisit",
        {f"{instrument}/APO": 3, f"{instrument}/LCO": 1},
        given=given,
    )
    stacked, all_ = (
        read("mwmVisit", instrument, path),
        read("mwmVisit", instrument, path, rows="all"),
    )
    with fits.open(path) as hdus:
        north, south = (hdus[f"{instrument}/{site}"].data for site in ("APO", "LCO"))
        names = (
            ("flux", "flux"),
            ("ivar", "ivar"),
            ("continuum", "continuum"),
            ("mask", "pixel_flags"),
        )
        for ours, theirs in names:
            both = np.concatenate([north[theirs], south[theirs]])
            np.testing.assert_array_equal(getattr(all_, ours), both)
            np.testing.assert_array_equal(getattr(stacked, ours), both[[0, 2, 3]])
        pk = "spectrum_pk" if instrument == "APOGEE" else "spectrum_pk_id"
        numbers = np.concatenate([north[pk], south[pk]]).tolist()
        velocity = np.concatenate(
            [north[v := "v_rad" if instrument == "APOGEE" else "xcsao_v_rad"], south[v]]
        )
    assert all_.star.tolist() == [f"99560000-{number}" for number in numbers]
    assert stacked.key.tolist() == [99560000] * 3 and stacked.key.dtype == np.int64
    np.testing.assert_array_equal(all_.columns["v_rad"], velocity)
    assert all_.columns["in_stack"].tolist() == [1, 0, 1, 1]
    assert all_.columns["telescope"].tolist() == ["apo25m"] * 3 + ["lco25m"]
    np.testing.assert_array_equal(all_.wavelength, FORMATS[f"mwmvisit-{instrument.lower()}"].grid)


def test_visits_of_a_release_that_does_not_say_which_were_stacked(tmp_path):
    path = write_mwm(tmp_path / "a.fits", "mwmVisit", {"APOGEE/APO": 2}, release="DR19")
    assert read("mwmVisit", "APOGEE", path).columns["in_stack"].tolist() == [-1, -1]


def test_a_wrong_checksum_of_an_empty_table_is_no_matter(tmp_path):
    path = write_mwm(tmp_path / "a.fits", "mwmStar", {"BOSS/LCO": 1})
    raw = path.read_bytes()
    assert b"DATASUM = '0       '" in raw
    path.write_bytes(raw.replace(b"DATASUM = '0       '", b"DATASUM = '42      '"))
    assert read("mwmStar", "BOSS", path).star.tolist() == [99560000]


def test_flags_that_are_no_bits_have_none(tmp_path):
    flags = np.zeros((1, 4648))
    flags[0, :5] = np.nan, np.inf, -1, 1e30, 2**24 + 2
    path = write_mwm(
        tmp_path / "a.fits", "mwmStar", {"BOSS/APO": 1}, given={"BOSS/APO": {"pixel_flags": flags}}
    )
    assert read("mwmStar", "BOSS", path).mask[0, :5].tolist() == [0, 0, 0, 0, 2**24 + 2]


@pytest.mark.parametrize(
    ("kind", "counts", "columns", "reason"),
    [
        ("mwmStar", {"BOSS/APO": 1}, {}, "no spectrum by APOGEE"),
        ("mwmVisit", {}, {}, "no spectrum by APOGEE"),
        ("mwmStar", {"APOGEE/APO": 1}, {"sdss_id": [-1]}, "no sdss_id"),
        ("mwmVisit", {"APOGEE/APO": 2}, {"in_stack": [False, False]}, "none of the 2 visits"),
        ("mwmStar", {"APOGEE/APO": 1}, {"wavelength": np.full((1, 8575), np.nan)}, "wavelengths"),
        (
            "mwmStar",
            {"APOGEE/APO": 1},
            {"wavelength": np.full((1, 8575), 15000.0)},
            "do not ascend",
        ),
    ],
)
def test_what_makes_a_file_bad(kind, counts, columns, reason, tmp_path):
    path = write_mwm(tmp_path / "a.fits", kind, counts, given={"APOGEE/APO": columns})
    with pytest.raises(BadFile, match=reason):
        read(kind, "APOGEE", path)
