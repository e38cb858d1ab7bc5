"""Outputs predicted from latents are the model's equations, lazily, and never another model's."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import luxscale as lux
from luxscale.errors import InputError
from luxscale.model.predict import predict_mean


@pytest.fixture
def catalog(small_model, held_out):
    return lux.infer(held_out, small_model)


def test_spectra_are_offset_and_weights_times_latents(small_model, catalog):
    flux = lux.predict(catalog, small_model)
    out = small_model["flux"].map
    z = catalog["latent"].values.astype(float)
    expected = out.offset + np.einsum("dp,np->nd", out.weights, z)
    assert flux.dims == ("star", "wavelength")
    assert flux.name == "flux"
    np.testing.assert_allclose(flux, expected, rtol=1e-6)
    np.testing.assert_array_equal(flux["star"], catalog["star"])
    assert flux["wavelength"].values.tolist() == list(small_model["flux"].coord)
    assert flux["wavelength"].attrs == {"units": "Angstrom", "medium": "vacuum"}


def test_one_star_selected_without_its_dim_gets_it_again(small_model, catalog):
    one = lux.predict(catalog.isel(star=3), small_model)
    xr.testing.assert_equal(one, lux.predict(catalog.isel(star=[3]), small_model))
    nameless = lux.predict(catalog.isel(star=3, drop=True), small_model)
    xr.testing.assert_equal(nameless, one.drop_vars("star"))


def test_labels_are_those_of_the_catalogue(small_model, catalog):
    label = lux.predict(catalog, small_model, output="label_value")
    np.testing.assert_allclose(label, catalog["label_value"], rtol=1e-6)
    assert label["label"].values.tolist() == catalog["label"].values.tolist()
    assert label["label_units"].values.tolist() == ["K", "dex(cm s-2)", "dex", "dex"]


def test_on_dask_nothing_is_computed(small_model, held_out, catalog, no_compute):
    with no_compute():
        lazy = lux.predict(lux.infer(held_out.chunk(star=200), small_model), small_model)
        assert lazy.chunks == ((200, 200, 200), (40,))
        with pytest.raises(no_compute.error):
            lazy.compute()
    got = lazy.compute()
    assert got.dtype == lazy.dtype
    np.testing.assert_allclose(got, lux.predict(catalog, small_model), rtol=1e-5)


def test_latents_in_several_chunks_are_read_as_one(small_model, catalog):
    several = lux.predict(catalog.chunk(star=200, latent=3), small_model)
    xr.testing.assert_equal(several.compute(), lux.predict(catalog, small_model))


def test_model_spectra_fit_the_data_to_their_noise(small_model, held_out, catalog, world):
    residual = held_out["flux"] - lux.predict(catalog, small_model)
    sigma = np.hypot(
        held_out["flux_ivar"].where(held_out["flux_ivar"] > 0) ** -0.5, world.flux_scatter
    )
    assert float(np.sqrt(((residual / sigma) ** 2).mean())) == pytest.approx(1, abs=0.1)


def test_from_labels_to_a_spectrum_close_to_the_truth(small_model, world):
    """Labels known well fix the latents, and so the spectrum, to far less than stars differ."""
    survey = world.survey(100, seed=5, missing_labels=0)
    survey["label_value"] = survey["label_true"]
    survey["label_err"] = survey["label_err"] * 0.2
    z = np.linalg.solve(world.label_weights, (survey["label_true"].values - world.label_offset).T).T
    true = world.flux_offset + z @ world.flux_weights.T
    got = lux.predict(lux.infer(survey, small_model, given="label_value"), small_model)
    assert np.sqrt(np.mean((got.values - true) ** 2)) < 0.2 * np.std(true, axis=0).mean()


def test_a_pixel_that_took_no_part_is_nan(small_model, catalog):
    flux = small_model["flux"]
    offset = flux.map.offset.copy()
    offset[3] = np.nan
    model = dataclasses.replace(
        small_model,
        outputs=(
            small_model.outputs[0],
            dataclasses.replace(flux, map=dataclasses.replace(flux.map, offset=offset)),
        ),
    )
    catalog.attrs["model_fingerprint"] = model.fingerprint
    got = lux.predict(catalog, model)
    assert np.flatnonzero(np.isnan(got).any("star")).tolist() == [3]


def test_latents_of_another_model_are_refused(small_model, catalog):
    other = dataclasses.replace(small_model, limits=(1.0, 1.0))
    with pytest.raises(
        InputError,
        match=f"model {small_model.fingerprint[:12]}.* not of this model.*load the model",
    ):
        lux.predict(catalog, other)


def test_latents_of_another_size_are_refused(small_model, catalog):
    with pytest.raises(InputError, match=r"latents \(3, .*not of this model \(4"):
        lux.predict(catalog.isel(latent=slice(3)), small_model)


def test_a_catalogue_without_latents_is_refused(small_model, catalog):
    with pytest.raises(
        InputError, match=r"no variable 'latent' \(star, latent\); make one with luxscale.infer"
    ):
        lux.predict(catalog.drop_vars("latent"), small_model)


def test_an_unknown_output_is_refused(small_model, catalog):
    with pytest.raises(InputError, match="no output 'mag'; it has label_value, flux"):
        lux.predict(catalog, small_model, output="mag")


def test_errors_of_spectra_are_those_of_float64(small_model, held_out, float64_reference):
    stars = held_out.isel(star=slice(0, 20))
    got = lux.predict_error(stars, small_model)
    flux = small_model["flux"]
    cov = float64_reference(small_model, "flux", stars["flux"].values, stars["flux_ivar"].values)[
        "cov"
    ]
    w = np.asarray(flux.map.weights)
    expected = np.sqrt(np.einsum("dp,npq,dq->nd", w, cov, w) + np.asarray(flux.scatter) ** 2)
    assert got.dims == ("star", "wavelength")
    np.testing.assert_allclose(got, expected, rtol=1e-3)
    np.testing.assert_array_equal(got["wavelength"], held_out["wavelength"])


def test_errors_of_spectra_from_labels_are_honest(small_model, held_out, world):
    """Of 300 stars' spectra, predicted from labels alone, against the truth: pull 1."""
    stars = held_out.isel(star=slice(0, 300))
    z = np.linalg.solve(world.label_weights, (stars["label_true"].values - world.label_offset).T).T
    true = world.flux_offset + z @ world.flux_weights.T
    predicted = lux.predict(lux.infer(stars, small_model, given="label_value"), small_model)
    pull = (predicted - true).values / lux.predict_error(
        stars, small_model, given="label_value"
    ).values
    even = np.arange(pull.shape[1]) % 2 == 1  # pixels of the world without a scatter of their own
    assert 0.85 < 1.4826 * np.median(np.abs(pull[:, even])) < 1.15


def test_errors_of_labels_are_the_catalogues(small_model, held_out):
    got = lux.predict_error(held_out, small_model, "label_value")
    np.testing.assert_array_equal(got, lux.infer(held_out, small_model)["label_err"])


def test_errors_are_lazy_on_dask(small_model, held_out, no_compute):
    with no_compute():
        lazy = lux.predict_error(held_out.chunk(star=200), small_model)
    np.testing.assert_allclose(
        lazy.compute(scheduler="sync"), lux.predict_error(held_out, small_model), rtol=1e-5
    )


def test_errors_of_curved_spectra_are_right_with_all_they_have(curved_world):
    """Residuals of noisy spectra, by errors from labels and scatter, have variance 1."""
    survey, truth = curved_world.survey(400, seed=8), curved_world.model
    used = np.asarray(truth["flux"].used)
    found = predict_mean(survey, truth, given="label_value")
    assert found["flux"].dims == found["flux_error"].dims == ("star", "wavelength")
    assert np.isnan(found["flux"].values[:, ~used]).all()
    exact = truth["flux"].map(survey["latent_true"].values)
    scatter = np.asarray(truth["flux"].scatter)
    formal = np.sqrt(found["flux_error"].values ** 2 - scatter**2)
    pull = ((found["flux"].values - exact) / formal)[:, used]
    assert pull.std() == pytest.approx(1, abs=0.1)
    error = lux.predict_error(survey, truth, given="label_value")
    np.testing.assert_array_equal(error, found["flux_error"])


def test_the_mean_over_latents_is_nearer_than_the_most_probable(curved_world):
    survey, truth = curved_world.survey(400, seed=8), curved_world.model
    exact = truth["flux"].map(survey["latent_true"].values)
    survey["label_err"] = 4 * survey["label_err"]
    noise = np.random.default_rng(0).standard_normal(survey["label_err"].shape)
    survey["label_value"] = survey["label_true"] + survey["label_err"] * noise
    mean = predict_mean(survey, truth)["flux"]
    mode = lux.predict(lux.infer(survey, truth, given="label_value"), truth)
    rms = [float(((x - exact) ** 2).mean()) ** 0.5 for x in (mean, mode)]
    assert rms[0] < 0.98 * rms[1], rms


def test_of_a_linear_model_the_mean_is_what_predict_gives(small_model, held_out):
    stars = held_out.isel(star=slice(0, 50))
    found = predict_mean(stars, small_model, given="flux")
    expected = lux.predict(lux.infer(stars, small_model), small_model)
    np.testing.assert_allclose(found["flux"], expected, rtol=1e-5)
    error = lux.predict_error(stars, small_model)
    np.testing.assert_allclose(found["flux_error"], error, rtol=1e-4)


def test_a_long_output_is_predicted_in_parts(curved_model, curved_survey, monkeypatch):
    whole = predict_mean(curved_survey, curved_model)
    monkeypatch.setattr("luxscale.model.designs._PART", 15)
    with_parts = predict_mean(curved_survey.chunk(star=90), curved_model)
    assert with_parts["flux"].chunks[0] == (90, 90, 20)
    for name in ("flux", "flux_error"):
        np.testing.assert_allclose(with_parts[name], whole[name], rtol=1e-3)


def test_means_of_labels_are_not_predicted(curved_model, curved_survey):
    with pytest.raises(InputError, match=r"labels, whose means are those of luxscale\.infer"):
        predict_mean(curved_survey, curved_model, "label_value", given="flux")
