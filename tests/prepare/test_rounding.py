"""Rounded spectra take fewer bytes, change by no more than they say, and keep their labels."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.errors import InputError
from luxscale.examples.simulate import simulate, simulate_survey
from luxscale.ingest import ingest
from luxscale.prepare import round_spectra

FILE = Path(__file__).parents[1] / "data/apStar-dr17-2M19485057+5005279.fits"
FLUX = arrays(
    np.float32, (2, 9), elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)
)
IVAR = arrays(np.float32, (2, 9), elements=st.floats(0, 2.0**100, width=32, allow_subnormal=False))


@given(FLUX, IVAR, st.floats(0.001, 0.5))
def test_no_pixel_changes_by_more_than_its_fraction(flux, ivar, rounding):
    rounded, weights = round_spectra(flux, ivar, rounding)
    assert rounded.dtype == weights.dtype == np.float32
    good = ivar > 0
    np.testing.assert_array_equal(weights > 0, good)
    np.testing.assert_array_equal(rounded[~good], flux[~good])
    moved = np.abs(rounded[good].astype(float) - flux[good])
    sigma = 1 / np.sqrt(weights[good].astype(float))
    assert (moved <= rounding * sigma * (1 + 1e-6)).all()
    np.testing.assert_allclose(weights, ivar, rtol=2.0**-7)


@given(FLUX, IVAR, st.floats(0.001, 0.5))
def test_rounding_again_changes_nothing(flux, ivar, rounding):
    once = round_spectra(flux, ivar, rounding)
    for values, again in zip(once, round_spectra(*once, rounding), strict=True):
        np.testing.assert_array_equal(values, again)


def test_rounding_has_no_preference():
    rng = np.random.default_rng(0)
    flux = rng.normal(1, 0.01, (50, 4000)).astype("f4")
    ivar = rng.uniform(5e3, 2e4, flux.shape).astype("f4")
    rounded, weights = round_spectra(flux, ivar, 0.1)
    in_errors = (rounded - flux) * np.sqrt(ivar)
    assert abs(in_errors.mean()) < 4 * in_errors.std() / np.sqrt(flux.size)
    assert abs(np.mean(weights / ivar) - 1) < 1e-4


@pytest.mark.parametrize("rounding", [0, -0.1, 0.6, np.nan, np.inf, "0.1", True])
def test_what_is_no_fraction_is_refused(rounding):
    ones = np.ones((1, 2), "f4")
    with pytest.raises(InputError, match="rounding = .* must be a fraction"):
        round_spectra(ones, ones, rounding)
    with pytest.raises(InputError, match="rounding = .* must be a fraction"):
        simulate(2, n_pixels=5, rounding=rounding)


def count_bytes(path):
    """Return the bytes of the spectra of a survey on disk."""
    names = ("flux", "flux_ivar")
    files = [f for name in names for f in (Path(path) / name / "c").rglob("*") if f.is_file()]
    return sum(f.stat().st_size for f in files)


def draw_apogee(n_stars):
    """Return spectra with the flux, errors and gaps of a real one, at other S/N."""
    star = lux.read(FILE)
    rng = np.random.default_rng(0)
    ivar = (star["flux_ivar"].values * rng.uniform(0.2, 2, (n_stars, 1))).astype("f4")
    sigma = np.divide(1, np.sqrt(ivar), where=ivar > 0, out=np.zeros_like(ivar))
    flux = star["flux"].values + sigma * rng.standard_normal(ivar.shape, dtype="f4")
    return flux, ivar


@pytest.mark.parametrize("draw", ["real", "simulated"])
def test_spectra_take_half_the_bytes(draw, tmp_path):
    if draw == "real":
        flux, ivar = draw_apogee(256)
    else:
        stars = simulate(256, n_pixels=8575)
        flux, ivar = stars["flux"].values, stars["flux_ivar"].values
    sizes = []
    for number, spectra in enumerate([(flux, ivar), round_spectra(flux, ivar, 0.01)]):
        arrays = dict(zip(("flux", "flux_ivar"), spectra, strict=True))
        survey = xr.Dataset(
            {name: (("star", "wavelength"), values) for name, values in arrays.items()},
            {"star": np.arange(256), "wavelength": np.linspace(15e3, 17e3, 8575)},
        )
        store.write_dataset(survey, tmp_path / f"{number}.zarr")
        sizes.append(count_bytes(tmp_path / f"{number}.zarr"))
    assert sizes[0] > 2 * sizes[1]


def test_a_simulated_survey_says_so(tmp_path):
    simulate_survey(tmp_path / "s.zarr", 30, n_pixels=50, rounding=0.01)
    survey = lux.open_survey(tmp_path / "s.zarr")
    assert survey["flux"].attrs["rounding"] == "to 0.01 of its error"
    assert survey["flux_ivar"].attrs["rounding"] == "to 1%"
    expected = simulate(30, n_pixels=50, rounding=0.01)
    for name in ("flux", "flux_ivar"):
        np.testing.assert_array_equal(survey[name], expected[name])


def test_labels_change_by_less_than_a_fiftieth_of_their_error():
    settings = {"n_pixels": 1500, "seed": 4}
    plain, rounded = (simulate(700, rounding=r, **settings) for r in (None, 0.01))
    model = lux.train(plain.isel(star=slice(400)), method="marginal", latent_dim=16)
    before, after = (lux.infer(s.isel(star=slice(400, None)), model) for s in (plain, rounded))
    moved = (after["label_value"] - before["label_value"]) / before["label_err"]
    assert float(abs(moved).max()) < 0.02
    assert float(abs(after["label_err"] / before["label_err"] - 1).max()) < 0.01


def test_files_are_rounded_on_request(tmp_path):
    survey = tmp_path / "s.zarr"
    ingest("apstar", [FILE], survey, recipe={"rounding": 0.01}, progress=False)
    found = lux.open_survey(survey)
    assert found["flux"].attrs["rounding"] == "to 0.01 of its error"
    plain = lux.read(FILE)
    flux, ivar = round_spectra(plain["flux"].values, plain["flux_ivar"].values, 0.01)
    np.testing.assert_array_equal(found["flux"], flux)
    np.testing.assert_array_equal(found["flux_ivar"], ivar)
    with pytest.raises(InputError, match=r"recipe.rounding was 0.01, is None now"):
        ingest("apstar", [FILE], survey, progress=False)
    told = CliRunner().invoke(main, ["info", str(survey)])
    assert "rounded" in told.output and "flux to 0.01 of its error, ivar to 1%" in told.output


def test_the_smallest_weights_stay():
    ivar = np.float32([[1e-45, 1e-40, 1e-38, 3e38]])
    _, weights = round_spectra(np.ones_like(ivar), ivar, 0.5)
    np.testing.assert_array_equal(weights[:, :3], ivar[:, :3])
    np.testing.assert_allclose(weights, ivar, rtol=2.0**-7)
