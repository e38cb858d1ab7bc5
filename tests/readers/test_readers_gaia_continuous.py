"""Continuous XP spectra agree with GaiaXPy's own samples; what cannot be sampled is told."""

from __future__ import annotations

import builtins
import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import DATA, READABLE, find_real
from surveyfiles import build_xp_continuous, xp_coefficients

import luxscale as lux
from luxscale.ingest import ingest
from luxscale.readers import FORMATS, BadFile
from luxscale.readers import gaia_calibration as calibration

needs_gaiaxpy = pytest.mark.skipif(
    "gaia-xp-continuous" not in READABLE, reason="GaiaXPy is not installed"
)
KINDS = ("csv", "ecsv", "fits", "vot")


def read(path, kind="continuous"):
    (spectra,) = FORMATS[f"gaia-xp-{kind}"].read(path)
    return spectra


def calibrate(path, capsys):
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gaiaxpy import calibrate

        sampled, sampling = calibrate(str(path), save_file=False)
    capsys.readouterr()
    return np.stack(sampled.flux), np.stack(sampled.flux_error), sampling


@needs_gaiaxpy
@pytest.mark.parametrize("ending", ["csv", "fits"])
def test_real_files_are_sampled_as_gaiaxpy_does(ending, capsys):
    path = DATA / f"XP_CONTINUOUS_RAW.{ending}"
    spectra = read(path)
    assert capsys.readouterr() == ("", "")
    flux, error, sampling = calibrate(path, capsys)
    np.testing.assert_array_equal(spectra.wavelength, sampling)
    np.testing.assert_allclose(spectra.flux, flux, rtol=1e-10)
    np.testing.assert_allclose(spectra.ivar, error**-2, rtol=1e-6)  # CSV rounds float32
    assert (
        spectra.star.tolist() == fits.getdata(DATA / "XP_CONTINUOUS_RAW.fits")["source_id"].tolist()
    )
    assert spectra.columns["gaia_release"].tolist() == ["DR3"] * 2
    assert spectra.columns["bands"].tolist() == ["bp+rp"] * 2
    assert spectra.unfit.tolist() == ["", ""]


@needs_gaiaxpy
def test_one_band_is_sampled_as_gaiaxpy_does(tmp_path, capsys):
    columns = xp_coefficients(3)
    for row, band in ((1, "bp"), (2, "rp")):
        for name, values in columns.items():
            if name.startswith(band) and values.dtype.kind == "f":
                values[row] = np.nan
    path = build_xp_continuous(tmp_path / "xp.csv", columns)
    spectra = read(path)
    flux, error, _ = calibrate(path, capsys)
    assert np.isnan(flux).sum(1).tolist() == [0, 150, 189]
    np.testing.assert_allclose(spectra.flux, flux, rtol=1e-10)
    ivar = np.where(np.isnan(error), 0, error**-2.0)
    np.testing.assert_allclose(spectra.ivar, ivar, rtol=1e-10)
    assert spectra.columns["bands"].tolist() == ["bp+rp", "rp", "bp"]
    assert read(path, "coefficients").unfit.tolist() == [
        "",
        *(
            f"no {band} coefficients: one band alone tells no brightness; gaia-xp-continuous "
            "reads it"
            for band in ("BP", "RP")
        ),
    ]


@pytest.mark.parametrize("ending", ["csv", "fits"])
def test_coefficients_of_real_files(ending):
    spectra = read(DATA / f"XP_CONTINUOUS_RAW.{ending}", "coefficients")
    table = fits.getdata(DATA / "XP_CONTINUOUS_RAW.fits")
    for row, source in enumerate(table):
        flux = np.concatenate([source["bp_coefficients"], source["rp_coefficients"]])
        error = np.concatenate([source["bp_coefficient_errors"], source["rp_coefficient_errors"]])
        np.testing.assert_allclose(spectra.flux[row], flux, rtol=1e-14)
        np.testing.assert_allclose(spectra.ivar[row], error.astype(float) ** -2, rtol=1e-6)
        np.testing.assert_allclose(spectra.continuum[row], (flux[0] + flux[55]) / 2, rtol=1e-14)
        snr = (flux[0] + flux[55]) / np.sqrt(error[0].astype(float) ** 2 + error[55] ** 2)
        assert spectra.columns["snr"][row] == pytest.approx(snr, rel=1e-6) and snr > 10
    assert spectra.wavelength.tolist() == list(range(1, 111))


def test_coefficients_without_correlations_and_release():
    path = find_real("18Sco-XP-spectra.csv")
    spectra = read(path, "coefficients")
    assert (spectra.star.tolist(), spectra.unfit.tolist()) == ([4345775217221821312], [""])
    assert spectra.columns["gaia_release"].tolist() == [""]
    survey = lux.read(path, "gaia-xp-coefficients")
    assert survey.wavelength.attrs["units"] == "1"
    assert survey.flux.values[0, [0, 55]].mean() == pytest.approx(1)


def test_no_coefficient_is_masked_for_an_error_that_others_have_not():
    survey = lux.read(DATA / "XP_CONTINUOUS_RAW.csv", "gaia-xp-coefficients")
    assert (survey.flux_ivar.values > 0).all()


@needs_gaiaxpy
@pytest.mark.parametrize("ending", KINDS)
def test_every_kind_of_table(ending, tmp_path):
    columns = xp_coefficients(2)
    spectra = read(build_xp_continuous(tmp_path / f"xp.{ending}", columns))
    expected = read(build_xp_continuous(tmp_path / "other.fits", columns))
    assert spectra.star.tolist() == columns["source_id"].tolist()
    np.testing.assert_allclose(spectra.flux, expected.flux, rtol=1e-12)
    np.testing.assert_allclose(spectra.ivar, expected.ivar, rtol=1e-5)


def spoil(columns, row, name, value):
    columns[name][row] = value


@needs_gaiaxpy
def test_what_cannot_be_sampled_is_put_down_by_its_row(tmp_path):
    columns = xp_coefficients(8)
    for name in ("bp_coefficients", "rp_coefficients"):
        spoil(columns, 1, name, np.nan)
    spoil(columns, 2, "bp_coefficient_correlations", np.nan)
    spoil(columns, 3, "rp_coefficient_correlations", -0.9)
    columns["bp_coefficients"][4, 7] = np.nan
    columns["rp_coefficient_errors"][5, 7] = 0
    spoil(columns, 6, "bp_basis_function_id", 156)
    path = build_xp_continuous(tmp_path / "xp.fits", columns)
    done = ingest("gaia-xp-continuous", [path], tmp_path / "s.zarr", progress=False)
    assert done.n_new == 2
    assert {star: reason for _, star, reason in done.quarantined} == {
        "row 1": "no coefficients in either band",
        "row 2": "no correlations of BP coefficients, which errors of samples depend on; "
        "gaia-xp-coefficients reads it without",
        "row 3": "correlations of RP coefficients that are not positive definite; "
        "gaia-xp-coefficients reads it without",
        "row 4": "BP coefficients that are not all numbers, or errors of them not above 0",
        "row 5": "RP coefficients that are not all numbers, or errors of them not above 0",
        "row 6": "not of DR3: BP coefficients of basis functions 156, where those of DR3 are 56",
    }
    done = ingest("gaia-xp-coefficients", [path], tmp_path / "c.zarr", progress=False)
    assert (done.n_new, len(done.quarantined)) == (4, 4)


def test_what_is_no_table_of_coefficients(tmp_path):
    columns = xp_coefficients(1)
    columns["bp_coefficients"] = columns["bp_coefficients"][:, :54]
    path = build_xp_continuous(tmp_path / "xp.csv", columns)
    other = tmp_path / "other.csv"
    other.write_text("source_id,ra\n1,2\n")
    for kind in ("continuous", "coefficients"):
        with pytest.raises(BadFile, match="bp_coefficients has 54 numbers a source, where DR3"):
            read(path, kind)
        with pytest.raises(BadFile, match="sampled spectra, .*: gaia-xp reads them"):
            read(DATA / "XP_SAMPLED_RAW_dr3int6.fits", kind)
        with pytest.raises(BadFile, match="no column 'bp_coefficients', which continuous XP"):
            read(other, kind)


def test_without_gaiaxpy_it_is_said(monkeypatch):
    found = builtins.__import__

    def refuse(name, *args, **options):
        if name == "gaiaxpy":
            raise ImportError
        return found(name, *args, **options)

    calibration.find_samples.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BadFile, match=r"not installed: pip install 'luxscale\[gaia\]'"):
        read(DATA / "XP_CONTINUOUS_RAW.fits")


def test_correlations_are_the_upper_triangle_by_columns():
    matrix = np.corrcoef(np.random.default_rng(0).normal(size=(55, 100)))
    by_columns = np.concatenate([matrix[:column, column] for column in range(55)])
    np.testing.assert_allclose(
        calibration.expand_correlations(by_columns[None])[0], matrix, rtol=1e-14
    )
    assert calibration.find_positive_definite(
        np.stack([by_columns, by_columns - 0.9])
    ).tolist() == [
        True,
        False,
    ]


def test_samples_of_a_source_do_not_depend_on_those_beside_it(monkeypatch):
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((343, 55))
    monkeypatch.setattr(calibration, "find_samples", lambda band, alone: samples)
    rows = calibration.BandRows(
        rng.standard_normal((300, 55)),
        rng.random((300, 55)),
        0.01 * rng.standard_normal((300, calibration.N_CORRELATIONS)),
    )
    together = calibration.sample_bands({"bp": rows})
    for part in (slice(0, 1), slice(5, 12), slice(60, 200)):
        some = (rows.coefficients[part], rows.errors[part], rows.correlations[part])
        alone = calibration.sample_bands({"bp": calibration.BandRows(*some)})
        for found, of_all in zip(alone, together, strict=True):
            np.testing.assert_array_equal(found, of_all[part])


@needs_gaiaxpy
def test_reading_leaves_the_settings_of_figures_as_they_are():
    script = f"""
import matplotlib as mpl
from luxscale.readers import FORMATS
list(FORMATS["gaia-xp-continuous"].read({str(DATA / "XP_CONTINUOUS_RAW.csv")!r}))
print(mpl.rcParams["text.usetex"])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("False\n", "")
