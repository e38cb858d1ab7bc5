"""Residuals, reduced chi2 and effective parameters are what the equations say."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale.analysis.goodness import (
    effective_parameters,
    reduced_chi2,
    residuals,
    select_common_stars,
)
from luxscale.errors import InputError
from luxscale.model.priors import GaussianPrior


@pytest.fixture
def catalog(small_model, held_out):
    return lux.infer(held_out, small_model)


def without_pixel(model, pixel):
    """A model in which one pixel of the spectra takes no part."""
    flux = model["flux"]
    used, offset = flux.used.copy(), flux.map.offset.copy()
    used[pixel], offset[pixel] = False, np.nan
    flux = dataclasses.replace(flux, used=used, map=dataclasses.replace(flux.map, offset=offset))
    return dataclasses.replace(model, outputs=(model["label_value"], flux))


def chunks(dataset, stars):
    return {
        k: {"chunks": (stars, *v.shape[1:])}
        for k, v in dataset.variables.items()
        if v.dims[0] == "star"
    }


def covariance(model, name, ivar):
    """Posterior covariance of z of one star, pixel by pixel."""
    out, h = model[name], model.prior.precision * np.eye(model.latent_dim)
    for b, s, v in zip(out.map.weights, out.scatter, np.asarray(ivar, float), strict=True):
        if v > 0:
            h = h + np.outer(b, b) / (1 / v + s**2)
    return np.linalg.inv(h)


@pytest.mark.parametrize("scaled", [False, True])
def test_residuals_are_data_minus_model(small_model, held_out, catalog, scaled):
    got = residuals(held_out, catalog, small_model, scaled=scaled)
    out, z = small_model["flux"], catalog["latent"].values.astype(float)
    expected = held_out["flux"].values - out.map.offset - z @ out.map.weights.T
    if scaled:
        expected /= np.sqrt(
            1 / held_out["flux_ivar"].where(held_out["flux_ivar"] > 0).values + out.scatter**2
        )
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_array_equal(np.isnan(got), held_out["flux_ivar"] == 0)
    assert got.dims == ("star", "wavelength") and got.dtype == "f4" and got.name == "flux_residual"
    assert got.attrs["units"] == ("1" if scaled else "as flux")
    np.testing.assert_array_equal(got["star"], held_out["star"])
    assert got["wavelength"].attrs == {"units": "Angstrom", "medium": "vacuum"}


def test_scaled_residuals_add_up_to_the_chi2_of_the_catalogue(small_model, held_out, catalog):
    got = residuals(held_out, catalog, small_model, scaled=True)
    np.testing.assert_allclose((got**2).sum("wavelength"), catalog["chi2"], rtol=1e-4)


def test_residuals_of_labels(small_model, held_out, catalog):
    got = residuals(held_out, catalog, small_model, output="label_value")
    assert got.dims == ("star", "label") and got.attrs["units"] == "label_units"
    np.testing.assert_allclose(
        got, held_out["label_value"] - catalog["label_value"], rtol=1e-6, atol=1e-6
    )


def test_residuals_match_stars_by_name_in_the_catalogues_order(small_model, held_out, catalog):
    whole = residuals(held_out, catalog, small_model)
    rows = np.random.default_rng(1).permutation(600)[:100]
    some = residuals(held_out.isel(star=slice(0, 500)), catalog.isel(star=rows), small_model)
    kept = rows[rows < 500]
    assert some["star"].values.tolist() == held_out["star"].values[kept].tolist()
    np.testing.assert_array_equal(some, whole[kept])


def test_residuals_are_nan_where_nothing_is_known(small_model, held_out, catalog):
    catalog["status"] = ("star", np.r_[np.ones(599, "u1"), np.zeros(1, "u1")])
    held_out["flux_ivar"][3, 4] = np.nan
    got = residuals(held_out, catalog, small_model)
    assert np.isnan(got[599]).all() and np.isnan(got[3, 4])
    assert np.isfinite(got[:599].where(held_out["flux_ivar"][:599] > 0, 0)).all()
    model = without_pixel(small_model, 3)
    got = residuals(held_out, catalog.assign_attrs(model_fingerprint=model.fingerprint), model)
    assert np.isnan(got[:, 3]).all() and np.isfinite(got[0, 4])


def test_residuals_and_reduced_chi2_are_lazy_and_read_no_identifiers(
    tmp_path, small_model, held_out, no_compute
):
    held_out.to_zarr(
        tmp_path / "s.zarr", zarr_format=3, consolidated=False, encoding=chunks(held_out, 200)
    )
    survey = lux.open_survey(tmp_path / "s.zarr")
    with no_compute():
        catalog = lux.infer(survey, small_model)
        lazy = {
            "residuals": residuals(survey, catalog, small_model, scaled=True),
            "chi2": reduced_chi2(catalog, small_model),
            "exact": reduced_chi2(catalog, small_model, survey),
        }
        assert lazy["residuals"].chunks == ((200, 200, 200), (40,))
        assert all(a.chunks and a.chunks[0] == (200, 200, 200) for a in lazy.values())
        with pytest.raises(no_compute.error):
            lazy["residuals"].compute()
    memory = lux.infer(held_out, small_model)
    expected = {
        "residuals": residuals(held_out, memory, small_model, scaled=True),
        "chi2": reduced_chi2(memory, small_model),
        "exact": reduced_chi2(memory, small_model, held_out),
    }
    for name, array in lazy.items():
        got = array.compute()
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got["star"], held_out["star"])
        np.testing.assert_allclose(got, expected[name], rtol=1e-4, atol=1e-4)


def test_stars_that_cannot_be_matched_are_refused(small_model, held_out, catalog, small_survey):
    with pytest.raises(
        InputError,
        match="no star is in common; give the survey that the catalogue was inferred from",
    ):
        residuals(small_survey, catalog, small_model)
    with pytest.raises(
        InputError, match="survey: no coordinate 'star', by which stars are matched"
    ):
        select_common_stars(held_out.drop_vars("star"), catalog)
    twice = xr.concat([held_out.isel(star=[0]), held_out], "star")
    with pytest.raises(InputError, match="survey: 'star' repeats 's2-00000'"):
        select_common_stars(twice, catalog)


def test_a_survey_on_another_grid_and_another_models_latents_are_refused(
    small_model, held_out, catalog
):
    with pytest.raises(InputError, match="'wavelength' has 39 values, the model 40"):
        residuals(held_out.isel(wavelength=slice(39)), catalog, small_model)
    with pytest.raises(InputError, match="not of this model"):
        residuals(held_out, catalog, dataclasses.replace(small_model, limits=(1.0, 1.0)))


def test_reduced_chi2_counts_all_latents_without_the_survey(small_model, catalog):
    catalog["status"] = ("star", np.r_[np.ones(599, "u1"), np.zeros(1, "u1")])
    catalog["n_pixels"][0:3] = [5, 4, 0]
    got = reduced_chi2(catalog, small_model)
    np.testing.assert_allclose(
        got[3:599], (catalog["chi2"] / (catalog["n_pixels"] - 4))[3:599], rtol=1e-6
    )
    assert float(got[0]) == pytest.approx(float(catalog["chi2"][0]))
    assert np.flatnonzero(np.isnan(got)).tolist() == [1, 2, 599]
    assert got.dims == ("star",) and got.attrs["units"] == "1"
    with pytest.raises(InputError, match="no variable 'n_pixels'; make one with luxscale.infer"):
        reduced_chi2(catalog.drop_vars("n_pixels"), small_model)


@pytest.mark.parametrize(("given", "prior"), [("flux", 1.0), ("label_value", 1.0), ("flux", 30.0)])
def test_effective_parameters_are_the_trace_of_the_fit(small_model, held_out, given, prior):
    """P - lambda tr C = the trace of d(fitted values) / d(values), star by star."""
    small_model = dataclasses.replace(small_model, prior=GaussianPrior(prior))
    survey = held_out.isel(star=slice(0, 20))
    survey["flux_ivar"][0] = 0
    survey["label_err"][0] = np.nan
    err = survey["label_err"].values
    ivars = (
        survey["flux_ivar"].values if given == "flux" else np.where(np.isfinite(err), err**-2.0, 0)
    )
    expected, out = [], small_model[given]
    for ivar in ivars:
        w = np.where(ivar > 0, 1 / (1 / np.where(ivar > 0, ivar, 1) + out.scatter**2), 0)
        expected.append(
            np.trace(
                out.map.weights @ covariance(small_model, given, ivar) @ (out.map.weights.T * w)
            )
        )
    got = effective_parameters(survey, small_model, given)
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert float(got[0]) == pytest.approx(0, abs=1e-5)
    assert 1 < float(got[1:].min()) < float(got.max()) < 4


def test_reduced_chi2_averages_to_one_however_little_the_data_say(small_model, held_out):
    """Noise so large that the prior fixes the latents: the fit spends far fewer than P."""
    rng = np.random.default_rng(8)
    out, survey = small_model["flux"], held_out.copy()
    sigma = np.sqrt(1 / survey["flux_ivar"].where(survey["flux_ivar"] > 0, 1)) * 40
    noise = np.hypot(sigma.values, out.scatter) * rng.standard_normal(sigma.shape)
    flux = out.map.offset + rng.standard_normal((600, 4)) @ out.map.weights.T + noise
    survey["flux"] = survey["flux"].copy(data=flux.astype("f4"))
    survey["flux_ivar"] = (1 / sigma**2).where(survey["flux_ivar"] > 0, 0).astype("f4")
    catalog = lux.infer(survey, small_model)
    exact, upper = reduced_chi2(catalog, small_model, survey), reduced_chi2(catalog, small_model)
    assert float(effective_parameters(survey, small_model).mean()) < 1.5
    assert float(exact.mean()) == pytest.approx(1, abs=4 * np.sqrt(2 / 37 / 600))
    assert float(upper.mean()) > 1.05


def test_reduced_chi2_takes_the_stars_that_the_survey_has(small_model, held_out, catalog):
    whole = reduced_chi2(catalog, small_model, held_out)
    some = reduced_chi2(
        catalog.isel(star=[9, 3, 550]), small_model, held_out.isel(star=slice(0, 100))
    )
    assert some["star"].values.tolist() == held_out["star"].values[[9, 3]].tolist()
    np.testing.assert_allclose(some, whole[[9, 3]], rtol=1e-5)


@pytest.mark.slow
def test_curved_stars_of_correlated_noise_have_reduced_chi2_near_one(curved_model, curved_world):
    survey = curved_world.survey(500, seed=9)
    catalog = lux.infer(survey, curved_model)
    spent = effective_parameters(survey, curved_model)
    assert ((spent >= 0) & (spent <= 3)).all()
    assert float(spent.median()) > 2.7
    for gaps in (None, 3):
        some = survey.copy(deep=True)
        some["flux_ivar"][:, ::gaps] = some["flux_ivar"][:, ::gaps] * (gaps is None)
        catalog = lux.infer(some, curved_model)
        got = reduced_chi2(catalog, curved_model, some)
        assert float(got.mean()) == pytest.approx(1, abs=0.1)
        pulls = residuals(some, catalog, curved_model, scaled=True)
        # of eight values, three parameters follow
        assert float(pulls.std()) == pytest.approx((5 / 8) ** 0.5, abs=0.05)


def test_a_star_without_data_spends_no_parameters_under_a_mixture(curved_model, curved_survey):
    curved_survey["flux_ivar"][:] = 0
    spent = effective_parameters(curved_survey.chunk(star=100), curved_model)
    np.testing.assert_allclose(spent, 0, atol=0.5)
