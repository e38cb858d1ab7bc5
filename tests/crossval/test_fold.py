"""Stars left out are predicted and scored by the noise that their model has."""

import importlib

import numpy as np
import pytest
import xarray as xr
from simulated_curves import make_survey

from luxscale import crossval as cv
from luxscale import store
from luxscale.crossval.fold import predict_left_out
from luxscale.model.infer import infer
from luxscale.model.predict import predict, predict_mean


def test_scores_of_a_curved_model_count_independent_values(curved_model, curved_survey):
    curved_survey["flux_ivar"][1::2, ::3] = 0
    curved_survey["flux_ivar"][4] = 0
    found = predict_left_out(curved_model, curved_survey)
    some = np.arange(curved_survey.sizes["star"]) != 4
    assert (found["n_pixels"].values[some] == 8).all()
    assert found["n_pixels"].values[4] == 0
    catalog = infer(curved_survey, curved_model)
    np.testing.assert_allclose(found["spectrum_chi2"][some, 0], catalog["chi2"][some], rtol=0.02)
    # labels are their means, and so are spectra that labels are to predict
    residual = (catalog["label_value"] - curved_survey["label_value"]) / curved_survey["label_err"]
    expected = (residual**2).sum("label")
    np.testing.assert_allclose(found["label_chi2"][some, 0], expected[some], rtol=1e-6)
    mean = predict_mean(curved_survey, curved_model)["flux"].fillna(0).values
    ivar = curved_survey["flux_ivar"].values.astype(float)
    residual = np.where(ivar > 0, curved_survey["flux"].values - mean, 0)
    expected, _ = curved_model["flux"].noise.measure_chi2(ivar, residual)
    np.testing.assert_allclose(found["spectrum_chi2"][some, 1], expected[some], rtol=1e-3)
    assert np.isfinite(found["spectrum_chi2"]).all()
    assert np.isfinite(found["label_chi2"]).all()
    assert np.isnan(found["label_value"][4]).all()
    assert np.isfinite(found["label_value"][some]).all()


def test_scores_of_a_linear_model_are_sums_over_pixels(small_model, held_out):
    stars = held_out.isel(star=slice(0, 40))
    found = predict_left_out(small_model, stars)
    residual = stars["flux"] - predict(infer(stars, small_model), small_model)
    s2 = np.asarray(small_model["flux"].scatter) ** 2
    weight = stars["flux_ivar"].values / (1 + stars["flux_ivar"].values * s2)
    expected = np.where(weight > 0, weight * residual.values**2, 0).sum(1)
    np.testing.assert_allclose(found["spectrum_chi2"][:, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(found["n_pixels"], (weight > 0).sum(1))


@pytest.fixture
def trained(monkeypatch, curved_model):
    """What each training was told; its predictions are the objective in place of labels."""
    module, told = importlib.import_module("luxscale.crossval.fold"), []

    def train(stars, recipe, **options):
        told.append((stars.sizes["star"], recipe, options))
        return curved_model

    def predict(model, stars):
        assert model.prior is curved_model.prior
        n = stars.sizes["star"]
        label = ("star", "label"), stars["label_value"].values
        chi2 = ("star", "given"), np.full((n, 2), 1.0 * len(told))
        count = ("star", np.ones(n, np.int32))
        return xr.Dataset(
            {
                "label_value": label,
                "label_err": label,
                "label_chi2": chi2,
                "spectrum_chi2": chi2,
                "n_labels": count,
                "n_pixels": count,
            }
        )

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "predict_left_out", predict)
    return told


def test_each_setting_of_recipes_is_trained_once_and_kept(trained, tmp_path):
    stars = make_survey(300)
    store.write_dataset(stars, tmp_path / "survey.zarr")
    options = {"recipes": ["curved"], "gaussians": [1, 2], "folds": 2, "iterations": 7}

    def run():
        paths = tmp_path / "survey.zarr", tmp_path / "cv.zarr"
        return cv.cross_validate(*paths, progress=False, **options).compute()

    results = run()
    assert [(n, recipe.latent_dim) for n, recipe, _ in trained] == [(150, 3)] * 4
    assert [recipe.settings["gaussians"] for _, recipe, _ in trained] == [2, 2, 1, 1]
    told = [(recipe.method, recipe.settings) for _, recipe, _ in trained]
    assert {(m, t["iterations"], t["quadratic"]) for m, t in told} == {("curved", 7, 3)}
    assert all("prior" not in told and told["folds"] == 1 for *_, told in trained)
    assert results["label_value"].dims == ("recipe", "gaussians", "star", "label")
    assert results["gaussians"].values.tolist() == [1, 2] and results.attrs["complete"] == 1
    np.testing.assert_array_equal(results["label_value"][0, 1], stars["label_value"])
    by_chi2 = cv.choose(results, score="label_chi2")
    assert by_chi2.setting == (("recipe", "curved"), ("gaussians", 2))
    assert cv.choose(results).setting == (
        ("recipe", "curved"),
        ("gaussians", 1),
    )  # labels are alike
    run()
    assert len(trained) == 4
