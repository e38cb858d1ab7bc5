"""What is left of the spectra says which recipes are tried."""

import dataclasses

import numpy as np
import pytest

import luxscale as lux
from luxscale.training import recipes
from luxscale.training.compare import compare_recipes, count_shared
from luxscale.training.trials import split_stars


def test_independent_pixels_stand_for_themselves():
    rng = np.random.default_rng(0)
    residual = rng.normal(size=(300, 100))
    residual[rng.random(residual.shape) < 0.1] = np.nan
    assert count_shared(residual) == pytest.approx(1, abs=0.05)


def test_pixels_of_few_values_share_them():
    rng = np.random.default_rng(0)
    few = rng.normal(size=(600, 20)) @ np.linalg.qr(rng.normal(size=(100, 20)))[0].T
    assert 4.5 < count_shared(few) < 7  # 100 pixels of 20 values


def test_a_star_far_off_and_a_pixel_without_data_change_nothing():
    rng = np.random.default_rng(0)
    residual = rng.normal(size=(300, 100))
    residual[7] *= 1e6
    residual[:, 3] = np.nan
    assert count_shared(residual) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("shared", "others"), [(0.0, ["correlated"]), (np.inf, ["independent"])])
def test_recipes_that_take_noise_otherwise_are_not_tried(small_survey, monkeypatch, shared, others):
    monkeypatch.setattr("luxscale.training.compare._SHARED", shared)
    linear = recipes.Recipe(name="linear", method="marginal", latent_dim=3)
    sizes = {"quadratic": 2, "cubic": 0, "network": 0, "gaussians": 1}
    rest = [
        recipes.Recipe(name=noise, method="curved", latent_dim=3, settings=sizes | {"noise": noise})
        for noise in (recipes.INDEPENDENT, recipes.CORRELATED)
    ]
    stars = small_survey.isel(star=slice(0, 100))
    model = lux.train(stars, 3, folds=1, iterations=2, progress=False)
    said = []
    trials = compare_recipes(stars, [linear, *rest], lambda part, recipe: model, said.append)
    assert [trial.recipe.name for trial in trials] == ["linear", *others]
    assert sum("is not tried: the noise of pixels is" in line for line in said) == 1


def test_a_trial_of_an_ensemble_is_the_mean_of_models_trained_once(small_survey):
    linear, other = (recipes.Recipe(name="linear", method="marginal", latent_dim=p) for p in (2, 3))
    both = dataclasses.replace(other, name="ensemble", others=(linear,))
    stars = small_survey.isel(star=slice(0, 150))
    trained = []

    def train(part, recipe):
        trained.append(recipe.latent_dim)
        return lux.train(part, recipe.latent_dim, folds=1, iterations=2, progress=False)

    trials = compare_recipes(stars, [linear, other, both], train, lambda _: None)
    assert trained == [2, 3]
    assert trials[2].seconds == trials[0].seconds + trials[1].seconds
    assert trials[2].misfit == trials[1].misfit
    alone = compare_recipes(stars, [linear, both], train, lambda _: None)
    np.testing.assert_array_equal(alone[1].loss, trials[2].loss)
    train_rows, rows = split_stars(stars.star)
    models = [train(stars.isel(star=train_rows), r) for r in (linear, other)]
    left_out = stars.isel(star=rows)
    labels = np.mean([lux.infer(left_out, m).label_value for m in models], axis=0)
    miss = labels - left_out.label_value.values
    scatter = 1.4826 * np.nanmedian(abs(miss - np.nanmedian(miss, 0)), 0)
    np.testing.assert_allclose(list(trials[2].scatter.values()), scatter, rtol=1e-3)
