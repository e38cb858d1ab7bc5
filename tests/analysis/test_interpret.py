"""Derivatives and information are what the equations say, computed another way."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale.analysis.formal_errors import expected_errors
from luxscale.analysis.interpret import derivatives, information, jacobian
from luxscale.errors import InputError
from luxscale.model.decoders import LinearMap, PolynomialMap
from luxscale.model.priors import GaussianPrior


def with_output(model, name, **changes):
    """A model with one of its outputs changed."""
    return dataclasses.replace(
        model,
        outputs=tuple(
            dataclasses.replace(o, **changes) if o.name == name else o for o in model.outputs
        ),
    )


def without_pixel(model, pixel):
    used, offset = model["flux"].used.copy(), model["flux"].map.offset.copy()
    used[pixel], offset[pixel] = False, np.nan
    return with_output(model, "flux", used=used, map=LinearMap(model["flux"].map.weights, offset))


@pytest.fixture
def wide_model(small_model):
    """More latents (6) than labels (4), as in the paper."""
    rng = np.random.default_rng(5)
    flux, label = small_model["flux"], small_model["label_value"]
    model = with_output(
        small_model, "flux", map=LinearMap(0.1 * rng.standard_normal((40, 6)), flux.map.offset)
    )
    weights = np.array([300, 0.6, 0.4, 0.2])[:, None] * rng.standard_normal((4, 6))
    return with_output(model, "label_value", map=LinearMap(weights, label.map.offset))


def covariance(model, name, ivar):
    """Posterior covariance of z of one star, pixel by pixel."""
    out, h = model[name], model.prior.precision * np.eye(model.latent_dim)
    for b, s, v in zip(out.map.weights, out.scatter, np.asarray(ivar, float), strict=True):
        if v > 0:
            h = h + np.outer(b, b) / (1 / v + s**2)
    return np.linalg.inv(h)


def test_labels_by_flux_is_equation_13(small_model):
    got = derivatives(small_model)
    expected = small_model["label_value"].map.weights @ np.linalg.pinv(
        small_model["flux"].map.weights
    )
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert got.dims == ("label", "wavelength")
    assert got["label"].values.tolist() == ["teff", "logg", "fe_h", "mg_fe"]
    assert got["label_units"].values.tolist() == ["K", "dex(cm s-2)", "dex", "dex"]
    assert got["wavelength"].values.tolist() == list(small_model["flux"].coord)
    assert got["wavelength"].attrs["units"] == "Angstrom"
    assert got.attrs["units"] == "(label_units) / (as flux)"


def test_flux_by_labels_is_equation_12(wide_model):
    got = derivatives(wide_model, of="flux", by="label_value")
    assert got.dims == ("wavelength", "label")
    assert got.attrs["units"] == "(as flux) / (label_units)"
    np.testing.assert_allclose(
        got,
        wide_model["flux"].map.weights @ np.linalg.pinv(wide_model["label_value"].map.weights),
        rtol=1e-9,
    )
    # spectra that change so do change the labels by one
    back = (
        wide_model["label_value"].map.weights
        @ np.linalg.pinv(wide_model["flux"].map.weights)
        @ got.values
    )
    np.testing.assert_allclose(back, np.eye(4), atol=1e-8 * 300 / 0.2)


def test_a_pixel_that_takes_no_part_is_nan_and_changes_the_others(small_model):
    got = derivatives(without_pixel(small_model, 3))
    assert np.flatnonzero(np.isnan(got).any("label")).tolist() == [3]
    kept = np.delete(small_model["flux"].map.weights, 3, 0)
    expected = small_model["label_value"].map.weights @ np.linalg.pinv(kept)
    np.testing.assert_allclose(got.values[:, np.arange(40) != 3], expected, rtol=1e-9)
    assert not np.allclose(got[:, :3], derivatives(small_model)[:, :3], rtol=1e-3)


@pytest.mark.parametrize("pixel", [0, 7, 22])
def test_weighted_derivative_is_what_a_changed_pixel_does_to_inferred_labels(
    small_model, held_out, pixel
):
    star = held_out.isel(star=slice(4, 5))
    star["flux_ivar"][0, [2, 22]] = 0
    changed = star.copy(deep=True)
    changed["flux"][0, pixel] += (
        0.5  # inference is linear: a large step keeps the rounding of float32 small
    )
    step = [lux.infer(s, small_model)["label_value"].values[0] for s in (star, changed)]
    got = derivatives(small_model, ivar=star["flux_ivar"][0]).sel(
        wavelength=held_out["wavelength"][pixel]
    )
    size = np.linalg.norm(small_model["label_value"].map.weights, axis=1)
    np.testing.assert_allclose(got / size, (step[1] - step[0]) / 0.5 / size, atol=1e-5)
    assert (np.abs(got / size).max() > 0.01) == (pixel != 22)  # a missing pixel does nothing


def test_weighted_derivative_counts_noise_scatter_and_prior(wide_model):
    model = dataclasses.replace(wide_model, prior=GaussianPrior(3.0))
    ivar = np.random.default_rng(2).uniform(0, 3000, 40)
    a, out = model["label_value"].map.weights, model["flux"]
    expected = a @ covariance(model, "flux", ivar) @ out.map.weights.T / (1 / ivar + out.scatter**2)
    np.testing.assert_allclose(derivatives(model, ivar=ivar), expected, rtol=1e-8, atol=1e-9)


def test_labels_with_windows_follow_the_pixels_in_them_alone(small_model, held_out):
    """As inference does: a pixel outside of the windows changes nothing."""
    windows = (("mg_fe", ((15100.0, 15120.0), (15150.0, 15160.0))),)
    model = with_output(small_model, "label_value", windows=windows)
    star, grid = held_out.isel(star=slice(6, 7)), held_out["wavelength"].values
    inside = (grid <= 15120) | ((grid >= 15150) & (grid <= 15160))
    ivar = star["flux_ivar"][0]
    for function in (derivatives, information):
        got = function(model, ivar=ivar)
        np.testing.assert_array_equal(got.sel(label="mg_fe") != 0, inside & (ivar > 0))
        np.testing.assert_allclose(
            got.sel(label="mg_fe"), function(small_model, ivar=ivar * inside).sel(label="mg_fe")
        )
        np.testing.assert_allclose(got[:3], function(small_model, ivar=ivar)[:3])
    pixel = int(np.flatnonzero(inside & (ivar > 0).values)[0])
    changed = star.copy(deep=True)
    changed["flux"][0, pixel] += 0.5
    step = [lux.infer(s, model)["label_value"].sel(label="mg_fe").item() for s in (star, changed)]
    assert derivatives(model, ivar=ivar)[3, pixel].item() == pytest.approx(
        (step[1] - step[0]) / 0.5, rel=1e-3
    )


def test_expected_flux_by_labels_is_the_conditional_gaussian(wide_model):
    """E[flux | labels] = B A^T (A A^T + V)^-1 (labels - offset), whatever M and P."""
    err = np.array([40.0, 0.08, 0.05, 0.04])
    a, b = (wide_model[k].map.weights for k in ("label_value", "flux"))
    v = np.diag(err**2 + wide_model["label_value"].scatter ** 2)
    got = derivatives(wide_model, of="flux", by="label_value", ivar=1 / err**2)
    np.testing.assert_allclose(got, b @ a.T @ np.linalg.inv(a @ a.T + v), rtol=1e-8, atol=1e-12)


def test_expected_flux_by_exact_labels_is_equation_12(wide_model):
    exact = with_output(wide_model, "label_value", scatter=np.zeros(4))
    got = derivatives(
        exact, of="flux", by="label_value", ivar=1e9 / np.array([300, 0.6, 0.4, 0.2]) ** 2
    )
    paper = derivatives(exact, of="flux", by="label_value")
    np.testing.assert_allclose(got, paper, rtol=1e-4, atol=1e-6 * np.abs(paper).max().item())


def test_derivatives_of_a_map_that_is_not_linear_are_those_at_the_latents(wide_model):
    rng = np.random.default_rng(3)
    curved = PolynomialMap.quadratic(rng.standard_normal((40, 6 + 21)), np.ones(40))
    model = with_output(wide_model, "flux", map=curved)
    z, h = rng.standard_normal(6), 1e-5
    numeric = np.array([(curved(z + h * e) - curved(z - h * e)) / (2 * h) for e in np.eye(6)]).T
    expected = model["label_value"].map.weights @ np.linalg.pinv(numeric)
    size = np.abs(expected).max()
    np.testing.assert_allclose(derivatives(model, latent=z), expected, atol=1e-6 * size)
    assert np.abs(derivatives(model) - expected).max() > 1e-2 * size


def test_outputs_on_the_same_features_are_refused(small_model):
    with pytest.raises(
        InputError, match="'flux' and 'flux' share the dim 'wavelength'; name two outputs"
    ):
        derivatives(small_model, of="flux", by="flux")
    with pytest.raises(InputError, match="no output 'mag'; it has label_value, flux"):
        information(small_model, 100.0, by="mag")


@pytest.mark.parametrize(
    ("ivar", "message"),
    [
        (np.ones(39), "ivar has 39 features, 'flux' has 40; give one value or 40"),
        (-1.0, "negative or not finite; give 1 / sigma.2, and 0 where missing"),
        (np.inf, "negative or not finite"),
        (np.ones((2, 40)), r"ivar has shape \(2, 40\); give one star's, \(40,\)"),
        (
            xr.DataArray(np.ones(4), dims="label"),
            r"ivar has dims \('label',\); it needs 'wavelength'",
        ),
    ],
)
def test_what_is_no_inverse_variance_is_refused(small_model, ivar, message):
    for function in (derivatives, information):
        with pytest.raises(InputError, match=message):
            function(small_model, ivar=ivar)


@pytest.mark.parametrize("latent", [np.zeros(3), np.full(4, np.nan), np.zeros((2, 4))])
def test_latents_that_are_not_one_stars_are_refused(small_model, latent):
    with pytest.raises(InputError, match=r"give one star's latents, \(4,\)"):
        jacobian(small_model["flux"], latent)


@pytest.fixture
def one_ivar(held_out):
    ivar = held_out["flux_ivar"][7].copy()
    ivar[[2, 5]] = 0
    return ivar


def test_information_sums_to_the_reduction_of_the_variance(wide_model, one_ivar):
    one_ivar = one_ivar.astype(float) / 30
    for prior in (1.0, 5.0):
        model = dataclasses.replace(wide_model, prior=GaussianPrior(prior))
        a = model["label_value"].map.weights
        left = np.diag(a @ covariance(model, "flux", one_ivar.values) @ a.T) / (
            np.diag(a @ a.T) / prior
        )
        got = information(model, one_ivar)
        np.testing.assert_allclose(got.sum("wavelength"), 1 - left, rtol=1e-10)
        assert (left > 0.01).all() and (left < 0.99).all()
    assert got.dims == ("label", "wavelength") and got.attrs["units"] == "1"
    assert got["label_units"].values.tolist() == ["K", "dex(cm s-2)", "dex", "dex"]
    assert (got >= 0).all()
    assert (
        np.flatnonzero((got == 0).all("label")).tolist() == np.flatnonzero(one_ivar == 0).tolist()
    )


def test_information_is_the_path_integral_of_each_pixel(wide_model, one_ivar):
    """Variance removed by pixel d while all weights grow from 0 to 1, summed step by step."""
    out, a = wide_model["flux"], wide_model["label_value"].map.weights
    b, w = (
        out.map.weights,
        np.where(one_ivar > 0, 1 / (1 / one_ivar.where(one_ivar > 0) + out.scatter**2), 0),
    )
    steps, total = (
        np.linspace(0, 1, 4001) ** 3,
        np.zeros((4, 40)),
    )  # fine where the variance falls fastest
    for t, dt in zip((steps[1:] + steps[:-1]) / 2, np.diff(steps), strict=True):
        total += w * (a @ np.linalg.inv(np.eye(6) + t * (b.T * w) @ b) @ b.T) ** 2 * dt
    np.testing.assert_allclose(
        information(wide_model, one_ivar), total / np.sum(a * a, 1)[:, None], atol=1e-5
    )


def test_twins_share_what_they_know(wide_model):
    flux = wide_model["flux"]
    weights, scatter = flux.map.weights.copy(), flux.scatter.copy()
    weights[11], scatter[11] = -weights[10], scatter[10]
    got = information(
        with_output(wide_model, "flux", map=LinearMap(weights, flux.map.offset), scatter=scatter),
        900.0,
    )
    np.testing.assert_allclose(got[:, 11], got[:, 10], rtol=1e-9)
    assert not np.allclose(got[:, 12], got[:, 10], rtol=0.1)


def test_information_finds_the_pixel_that_a_label_is_written_in(small_model):
    """Label 3 moves with the last latent alone, and that latent moves pixel 17 alone."""
    flux, label = small_model["flux"], small_model["label_value"]
    b, a = flux.map.weights.copy(), label.map.weights.copy()
    b[:, 3], a[3] = 0, [0, 0, 0, 1]
    b[17] = [0, 0, 0, 0.3]
    model = with_output(small_model, "flux", map=LinearMap(b, flux.map.offset))
    model = with_output(model, "label_value", map=LinearMap(a, label.map.offset))
    got = information(model, 400.0).sel(label="mg_fe")
    assert int(got.values.argmax()) == 17
    assert float(got[17] / got.sum()) == pytest.approx(1)
    assert float(got[17]) == pytest.approx(1 - 1 / (1 + 0.09 / (1 / 400 + flux.scatter[17] ** 2)))


def test_information_leaves_out_unused_pixels_and_labels_that_do_not_vary(small_model):
    label = small_model["label_value"]
    weights = label.map.weights.copy()
    weights[1] = 0
    model = with_output(small_model, "label_value", map=LinearMap(weights, label.map.offset))
    got = information(without_pixel(model, 3), 400.0)
    assert np.isnan(got[1]).all() and np.isnan(got[:, 3]).all()
    assert int(np.isnan(got).sum()) == 40 + 4 - 1
    with pytest.raises(InputError, match="latents have no prior"):
        information(dataclasses.replace(small_model, prior=GaussianPrior(0.0)), 400.0)


def test_shares_of_curved_spectra_add_up_to_the_variance_removed(curved_model, curved_survey):
    """By the mixture's overall covariance, with all pixels and with gaps."""
    z = np.array([0.5, -0.3, 0.8])
    for ivar in (curved_survey["flux_ivar"][0], curved_survey["flux_ivar"][0].copy()):
        share = information(curved_model, ivar, latent=z)
        error = expected_errors(curved_model, ivar, latent=z)["posterior"]
        slopes = jacobian(curved_model["label_value"], z)
        prior = np.linalg.inv(curved_model.prior.make_precision(3))
        expected = 1 - error**2 / np.diag(slopes @ prior @ slopes.T)
        np.testing.assert_allclose(share.sum("wavelength"), expected, rtol=1e-6)
        assert np.isnan(share[:, 0]).all(), "the first pixel takes no part"
        assert (share[:, 1:] >= 0).all()
        ivar[::3] = 0


def test_derivatives_of_curved_labels_are_differences_of_inferred_ones(
    gaussian_curved_model, curved_survey
):
    """At a star without noise, measured well: the prior and the curvature say little."""
    flux = gaussian_curved_model["flux"]
    sharp = dataclasses.replace(flux.correlation, variance=np.full(8, 1e-3))
    model = with_output(gaussian_curved_model, "flux", correlation=sharp, scatter=sharp.scatter)
    star = curved_survey.isel(star=[0])
    z = star["latent_true"].values
    ivar = star["flux_ivar"].values[0] * 100
    step = 2e-4
    spectra = flux.map(z) + step * np.r_[np.eye(40), -np.eye(40)]
    steps = xr.concat([star] * 80, "star").assign_coords(star=np.arange(80))
    steps["flux"] = (("star", "wavelength"), np.where(flux.used, spectra, 0))
    steps["flux_ivar"] = (("star", "wavelength"), np.tile(ivar, (80, 1)))
    labels = lux.infer(steps, model)["label_value"].values
    difference = (labels[:40] - labels[40:]).T / (2 * step)
    got = derivatives(model, ivar=ivar, latent=z[0]).values
    largest = np.abs(difference[:, 1:]).max(1, keepdims=True)
    assert (np.abs(got - difference)[:, 1:] < 0.05 * largest).all()


def test_slopes_from_labels_to_curved_spectra_are_defined(curved_model):
    got = derivatives(curved_model, of="flux", by="label_value", ivar=[1e-3, 400.0, 600.0])
    assert got.shape == (40, 3)
    assert np.isfinite(got[1:]).all()
