"""The packaged sample of XP spectra is a valid, believable survey."""

from importlib.resources import files

import numpy as np
import pytest

import luxscale as lux
from luxscale.examples.samples import load_packaged, xp_giants

LIMITS_MB = {"xp_giants.npz": 7, "giants_emulator.npz": 4}


@pytest.fixture(scope="module")
def survey():
    return xp_giants()


@pytest.mark.parametrize("name", LIMITS_MB)
def test_shipped_files_are_small(name):
    assert len((files("luxscale") / "data" / name).read_bytes()) < LIMITS_MB[name] * 1e6


def test_origin_is_beside_the_files():
    text = (files("luxscale") / "data" / "README.md").read_text()
    assert all(name in text for name in LIMITS_MB) and "MIT licence" in text


@pytest.mark.parametrize(
    ("name", "dims", "dtype"),
    [
        ("flux", ("star", "wavelength"), "f4"),
        ("flux_ivar", ("star", "wavelength"), "f4"),
        ("label_value", ("star", "label"), "f8"),
        ("label_err", ("star", "label"), "f8"),
        ("snr", ("star",), "f4"),
        ("gaia_source_id", ("star",), "i8"),
        ("wavelength", ("wavelength",), "f8"),
    ],
)
def test_contract(survey, name, dims, dtype):
    assert survey[name].dims == dims
    assert survey[name].dtype == dtype


def test_sizes_and_units(survey):
    assert dict(survey.sizes) == {"star": 6000, "wavelength": 343, "label": 5}
    assert survey["label"].values.tolist() == ["teff", "logg", "fe_h", "alpha_m", "a_k"]
    assert survey["label_units"].values.tolist() == ["K", "dex(cm s-2)", "dex", "dex", "mag"]
    assert survey["wavelength"].attrs == {"units": "nm", "medium": "vacuum"}
    np.testing.assert_array_equal(survey["wavelength"], np.arange(336, 1021, 2))


def test_identifiers_are_unique_text(survey):
    assert all(
        isinstance(name, str) and name.startswith(("2M", "AP")) for name in survey["star"].values
    )
    assert survey.indexes["star"].is_unique
    assert survey.indexes["label"].is_unique
    assert len(np.unique(survey["gaia_source_id"])) == 6000


def test_values_are_finite_and_in_the_selection(survey):
    assert np.isfinite(survey["flux"]).all()
    assert (np.isfinite(survey["flux_ivar"]) & (survey["flux_ivar"] > 0)).all()
    teff, logg, a_k = (survey["label_value"].sel(label=k) for k in ("teff", "logg", "a_k"))
    assert ((teff > 3500) & (teff < 5500) & (logg > 0) & (logg < 3.5) & (abs(a_k - 1) < 2)).all()
    assert (survey["snr"] > 19.8).all()


def test_missing_labels_miss_value_and_error(survey):
    missing = survey["label_value"].isnull()
    assert 0 < missing.sum() < 100
    np.testing.assert_array_equal(missing, survey["label_err"].isnull())


def test_label_errors_respect_their_floor(survey):
    floor = np.array([30, 0.05, 0.03, 0.02, 0.03])
    assert (survey["label_err"].min("star") >= floor * (1 - 1e-6)).all()
    assert (survey["label_err"].median("star") < 1.5 * floor).all()


def test_flux_is_over_the_median(survey):
    np.testing.assert_allclose(survey["flux"].median("wavelength"), 1, atol=0.02)


def test_files_of_gaia_are_prepared_as_the_sample_was(survey, tmp_path):
    """A model of the sample, such as the demo's, labels files from the archive."""
    some = survey.isel(star=slice(5))
    unit = 3e-16 * np.arange(1, 6)[:, None]
    flux, error = unit * some["flux"].values, unit * some["flux_ivar"].values ** -0.5
    rows = [
        f'{name},"{some_flux.tolist()}","{some_error.tolist()}"'
        for name, some_flux, some_error in zip(
            some["gaia_source_id"].values, flux, error, strict=True
        )
    ]
    path = tmp_path / "sampled.csv"
    path.write_text("\n".join(["source_id,flux,flux_error", *rows]))
    read = lux.read(path, like=survey)
    np.testing.assert_allclose(read["flux"], some["flux"], rtol=0.02, atol=1e-6)
    usual = lux.read(path)["flux"].values  # over the mean
    assert np.median(np.abs(usual - some["flux"].values)) > 0.02


def test_cooler_and_dustier_stars_are_redder(survey):
    """In red giants colour follows teff and extinction; a fit recovers both signs."""
    band = survey["flux"].clip(0.01)
    red, blue = (
        band.sel(wavelength=slice(*edge)).mean("wavelength") for edge in ((800, 900), (500, 600))
    )
    teff, a_k = (survey["label_value"].sel(label=k) for k in ("teff", "a_k"))
    design = np.stack([np.ones(6000), (teff - 4500) / 500, a_k], 1)
    colour = np.log(red / blue).values
    (_, per_teff, per_a_k), residual, *_ = np.linalg.lstsq(design, colour)
    assert per_teff < -0.1 and per_a_k > 0.5
    assert residual[0] / 6000 < 0.25 * colour.var()


def test_caller_may_change_what_it_gets(survey):
    xp_giants()["flux"][:] = 0
    xp_giants()["gaia_source_id"][:] = 0
    assert (xp_giants()["gaia_source_id"] > 0).all()
    assert float(abs(xp_giants()["flux"] - survey["flux"]).max()) == 0


def test_files_hold_no_pickles():
    for name in LIMITS_MB:
        assert not any(values.dtype.hasobject for values in load_packaged(name).values())
