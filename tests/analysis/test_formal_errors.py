"""Formal errors by S/N: formulas against loops in float64."""

import dataclasses

import numpy as np
import pytest
import xarray as xr
from influence import sandwich

import luxscale as lux
from luxscale.analysis.formal_errors import expected_errors, ivar_at_snr
from luxscale.errors import InputError


def test_spectra_of_given_snr(small_model):
    got = ivar_at_snr(small_model, [30, 100])
    assert got.dims == ("snr", "wavelength") and got["snr"].values.tolist() == [30, 100]
    assert (
        got["wavelength"].attrs["units"] == "Angstrom" and got.attrs["units"] == "1 / (as flux)^2"
    )
    np.testing.assert_allclose(got[1], (100 / small_model["flux"].map.offset) ** 2)
    assert ivar_at_snr(small_model, 50).dims == ("wavelength",)


def test_a_pattern_sets_the_shape_and_snr_the_level(small_model, held_out):
    pattern = held_out["flux_ivar"][0] * np.linspace(1, 9, 40)
    pattern[[4, 5]] = 0
    got = ivar_at_snr(small_model, 80, pattern=pattern)
    ratio = (got / pattern).where(pattern > 0)
    assert float(ratio.max()) == pytest.approx(float(ratio.min()))
    assert got[4] == 0 and got[5] == 0
    seen = (got > 0).values
    assert np.median((small_model["flux"].map.offset * np.sqrt(got.values))[seen]) == pytest.approx(
        80
    )


@pytest.mark.parametrize(
    ("snr", "pattern", "message"),
    [
        (0, None, "snr is 0; give positive numbers"),
        ([30, np.nan], None, "snr is .*; give positive numbers"),
        (30, np.zeros(40), r"no positive value; give one star's, \(40,\)"),
        (30, np.ones((2, 40)), r"pattern has shape \(2, 40\)"),
    ],
)
def test_what_is_no_snr_or_pattern_is_refused(small_model, snr, pattern, message):
    with pytest.raises(InputError, match=message):
        ivar_at_snr(small_model, snr, pattern=pattern)


def test_an_average_flux_of_zero_needs_a_pattern(small_model):
    flux = small_model["flux"]
    offset = flux.map.offset.copy()
    offset[3] = 0
    flux = dataclasses.replace(flux, map=dataclasses.replace(flux.map, offset=offset))
    model = dataclasses.replace(small_model, outputs=(small_model["label_value"], flux))
    with pytest.raises(InputError, match="the average 'flux' is 0 in a pixel.*give a pattern"):
        ivar_at_snr(model, 30)
    assert np.isfinite(ivar_at_snr(model, 30, pattern=1.0)).all()


def test_both_formal_errors_are_those_of_a_loop_in_float64(small_model, held_out):
    ivar = held_out["flux_ivar"][:30]
    ivar[0] = 0
    got = expected_errors(small_model, ivar)
    posterior, noise = np.array([sandwich(small_model, row.values) for row in ivar]).swapaxes(0, 1)
    np.testing.assert_allclose(got["posterior"], posterior, rtol=1e-6)
    np.testing.assert_allclose(got["noise"], noise, rtol=1e-6)
    assert got["noise"].dims == ("star", "label") and got["noise"].attrs["units"] == "label_units"
    assert got["star"].values.tolist() == ivar["star"].values.tolist()
    assert got["label_units"].values.tolist() == ["K", "dex(cm s-2)", "dex", "dex"]
    np.testing.assert_array_equal(got["noise"][0], 0)
    assert (got["noise"] < got["posterior"]).all()


def test_the_pixels_may_come_first(small_model):
    ivar = ivar_at_snr(small_model, [30, 100])
    got = expected_errors(small_model, ivar.transpose())
    xr.testing.assert_identical(got, expected_errors(small_model, ivar))


def test_with_floors_they_are_the_errors_of_the_catalogue(small_model, held_out):
    got = expected_errors(small_model, held_out["flux_ivar"], floor=True)
    np.testing.assert_allclose(
        got["posterior"], lux.infer(held_out, small_model)["label_err"], rtol=1e-3
    )
    np.testing.assert_array_equal(
        got["noise"], expected_errors(small_model, held_out["flux_ivar"])["noise"]
    )


def test_floors_are_not_those_of_one_member_of_an_ensemble(small_model, held_out):
    both = dataclasses.replace(small_model, others=(small_model,))
    ivar = held_out["flux_ivar"]
    with pytest.raises(InputError, match="of the mean of 2 members"):
        expected_errors(both, ivar, floor=True)
    xr.testing.assert_identical(expected_errors(both, ivar), expected_errors(small_model, ivar))


def test_errors_by_snr_fall_to_nothing_but_the_scatter(small_model):
    got = expected_errors(small_model, ivar_at_snr(small_model, [10, 100, 1e4]))
    assert got["noise"].dims == ("snr", "label") and got["snr"].values.tolist() == [10, 100, 1e4]
    assert (got.diff("snr") < 0).to_array().all()
    exact = dataclasses.replace(small_model["flux"], scatter=np.zeros(40))
    model = dataclasses.replace(small_model, outputs=(small_model["label_value"], exact))
    got = expected_errors(model, ivar_at_snr(model, [1e3, 1e4]))
    np.testing.assert_allclose(
        got.isel(snr=1).to_array(), got.isel(snr=0).to_array() / 10, rtol=1e-3
    )
    np.testing.assert_allclose(
        got["noise"], got["posterior"], rtol=1e-3
    )  # prior and scatter play no part


def test_errors_of_one_spectrum_have_no_further_dim(small_model):
    got = expected_errors(small_model, ivar_at_snr(small_model, 60))
    assert got["noise"].dims == ("label",)
    expected = sandwich(small_model, ivar_at_snr(small_model, 60).values)
    np.testing.assert_allclose(got["noise"], expected[1], rtol=1e-6)
    with pytest.raises(InputError, match=r"ivar has dims .*; give one beside 'wavelength'"):
        expected_errors(
            small_model, xr.DataArray(np.ones((2, 2, 40)), dims=("a", "b", "wavelength"))
        )


GAPS = pytest.param(True, marks=pytest.mark.slow, id="every third missing")


@pytest.mark.parametrize("gaps", [pytest.param(False, id="complete"), GAPS])
def test_curved_stars_scatter_and_err_as_the_formulas_say(
    gaussian_curved_model, curved_world, gaps
):
    """400 observations of one star: its labels' scatter, and the errors of its catalogue."""
    model = gaussian_curved_model
    star = curved_world.survey(400, seed=4)
    noise = model["flux"].correlation
    z = np.array([0.4, -0.5, 0.2])
    rng = np.random.default_rng(1)
    level = 0.5
    drawn = level * noise.unit * (rng.standard_normal((400, 8)) @ noise.shapes.T)
    star["flux"][:] = (model["flux"].map(z) + drawn).astype("f4")
    safe = np.where(noise.unit > 0, noise.unit, 1)
    ivar = np.where(noise.unit > 0, 1 / (level * safe) ** 2, 0)
    if gaps:
        ivar[::3] = 0
    star["flux_ivar"][:] = ivar
    catalog = lux.infer(star, model)
    errors = expected_errors(model, star["flux_ivar"][0], latent=z, floor=True)
    scatter = catalog["label_value"].std("star") / errors["noise"]
    np.testing.assert_allclose(scatter, 1, atol=0.15)
    formal = catalog["label_err"].median("star") / errors["posterior"]
    np.testing.assert_allclose(formal, 1, atol=0.05)
    assert (errors["noise"] < errors["posterior"]).all()


def test_precision_of_a_curved_star_grows_with_snr(curved_model):
    for latent in (None, [0.5, 0.1, -0.4]):
        errors = expected_errors(
            curved_model, ivar_at_snr(curved_model, [10, 30, 100, 1000]), latent=latent
        )
        assert (errors.diff("snr") < 0).to_array().all()
