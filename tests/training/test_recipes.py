"""Recipes are as large as the stars can carry, and the best on stars left out is taken."""

import json

import numpy as np
import pytest
from simulated_curves import make_survey

import luxscale as lux
from luxscale.errors import InputError
from luxscale.training import methods, recipes


@pytest.mark.parametrize(
    ("stars", "names"),
    [
        (100, ["linear"]),
        (1000, ["linear", "mixed", "curved", "curved-linear", "curved-cubic"]),
        (20_000, ["linear", "mixed", "curved", "cubic", "curved-linear", "curved-cubic"]),
    ],
)
def test_more_stars_carry_richer_recipes(stars, names):
    found, reason = recipes.list_recipes(stars, 5, 343)
    assert [r.name for r in found] == names
    assert (reason == "") == (len(names) == 6)


def test_sizes_grow_with_the_stars():
    sizes = [recipes.find_recipe("curved", n, 3, 300) for n in (300, 1000, 5000)]
    assert [r.latent_dim for r in sizes] == [4, 10, 12]
    assert [r.settings["gaussians"] for r in sizes] == [5, 16, 80]


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ((1000, 0, 300), "need labels and spectra"),
        ((1000, 3, 0), "need labels and spectra"),
        ((300, 3, 8575), "taken as independent"),
        ((60, 3, 300), "too few"),
    ],
)
def test_what_data_cannot_carry_is_said(sizes, reason):
    found, said = recipes.list_recipes(*sizes)
    assert [r.name for r in found] == ["linear"] and reason in said
    with pytest.raises(InputError, match=reason):
        recipes.find_recipe("curved", *sizes)


def test_the_mixed_recipe_has_a_name_and_sizes_that_few_stars_carry():
    many = recipes.find_recipe("mixed", 4000, 12, 8575)
    assert (many.latent_dim, many.settings["gaussians"]) == (54, 20)
    assert many.description == (
        "54 latents, products of two of the first 4, independent noise, 20 Gaussians"
    )
    few = recipes.find_recipe("mixed", 100, 2, 10)
    assert (few.latent_dim, few.settings["gaussians"]) == (11, 1)
    with pytest.raises(InputError, match="40 stars are too few for 11 latents"):
        recipes.find_recipe("mixed", 40, 2, 10)
    settings = methods.complete_settings("curved", few.settings)
    assert (settings["components"], settings["iterations"]) == (80, 12)
    with pytest.raises(InputError, match="need labels and spectra"):
        recipes.find_recipe("mixed", 1000, 0, 300)


def test_thousands_of_pixels_are_compared_on_some_of_them_by_recipes_of_independent_noise():
    found, reason = recipes.list_recipes(4000, 12, 8575)
    assert [r.name for r in found] == ["linear", "mixed"] and "taken as independent" in reason
    assert found[1] == recipes.find_recipe("mixed", 4000, 12, 8575)
    steps = [recipes.find_pixel_step(n) for n in (0, 343, 2000, 2001, 8575)]
    assert steps == [1, 1, 1, 2, 5]


def test_an_unknown_recipe_or_one_with_sizes_is_refused(small_survey):
    with pytest.raises(InputError, match="cubic, network, mixed, curved-linear"):
        lux.train(small_survey, recipe="best", progress=False)
    with pytest.raises(InputError, match="names method and sizes"):
        lux.train(small_survey, 4, recipe="linear", progress=False)


@pytest.mark.slow
def test_training_without_options_compares_and_says_so(world, capsys):
    stars = world.survey(300, seed=1, missing_pixels=0)
    model = lux.train(stars, folds=1)
    said = capsys.readouterr().err
    assert "stars left out of training" in said and "chosen" in said
    record = json.loads(model.provenance.settings)
    assert record["recipe"] in record["compared"]
    named = lux.train(stars, recipe=record["recipe"], folds=1, progress=False)
    np.testing.assert_array_equal(named.objective, model.objective)


@pytest.mark.slow
def test_recipes_are_compared_on_fewer_pixels_and_trained_on_all(world, capsys, monkeypatch):
    monkeypatch.setattr(recipes, "_MOST_PIXELS", 80)
    stars = type(world).make(d=160).survey(400, seed=1, missing_pixels=0)
    model = lux.train(stars, folds=1)
    assert "compared on one pixel in 2;" in capsys.readouterr().err
    record = json.loads(model.provenance.settings)
    assert (list(record["compared"]), record["compared_pixel_step"]) == (["linear", "mixed"], 2)
    assert model["flux"].coord == tuple(stars.wavelength.values)
    named = lux.train(stars, recipe=record["recipe"], folds=1, progress=False)
    np.testing.assert_array_equal(named.objective, model.objective)
    assert "compared_pixel_step" not in json.loads(named.provenance.settings)


def test_a_recipe_that_fails_is_left_out_and_said():
    from luxscale.training.compare import compare_recipes

    stars = make_survey(300)
    linear, curved = (recipes.find_recipe(name, 300, 3, 50) for name in ("linear", "curved"))
    said = []

    def train(part, recipe):
        if recipe.method == "curved":
            raise np.linalg.LinAlgError("singular")
        return lux.train(part, 6, folds=1, progress=False)

    (only,) = compare_recipes(stars, [linear, curved], train, said.append)
    assert only.recipe is linear and "cannot be trained" in said[-1]


@pytest.mark.slow
def test_spectra_of_few_components_and_a_constant_pixel_are_no_obstacle():
    stars = make_survey(300)
    few = stars.copy(deep=True)
    few.flux.values[:] = few.flux.values[:, :1] * np.linspace(1, 2, 50)
    few.flux.values[:, 7] = 1.0
    model = lux.train(few, recipe="curved", folds=1, progress=False)
    catalog = lux.infer(few, model)
    assert np.isfinite(catalog.label_value.values).all()


@pytest.mark.parametrize(
    ("going_on", "advice"), [(False, "as 'linear'"), (True, "without initial")]
)
def test_what_cannot_be_trained_is_said_with_what_to_do(
    small_model, curved_survey, monkeypatch, going_on, advice
):
    def fail(survey, request):
        raise np.linalg.LinAlgError("Matrix is not positive definite")

    monkeypatch.setattr("luxscale.training.resolve.fit_model", fail)
    chosen = {"initial": small_model} if going_on else {"recipe": "linear"}
    with pytest.raises(
        InputError, match=f"survey: .* not positive definite.*; add stars, .*{advice}"
    ):
        lux.train(curved_survey, progress=False, **chosen)
