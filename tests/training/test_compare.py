"""What is left of the spectra says which recipes are tried."""

import numpy as np
import pytest

import luxscale as lux
from luxscale.training import recipes
from luxscale.training.compare import compare_recipes, count_shared


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
