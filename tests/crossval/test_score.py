"""Scores on any axes: the simplest that is as good as any is chosen, and the command names it."""

import shlex

import numpy as np
import pytest
import xarray as xr

from luxscale import crossval as cv
from luxscale import plot
from luxscale.cli.fit import train
from luxscale.crossval.grid import Grid
from luxscale.errors import InputError
from luxscale.schema.selection import Selection
from luxscale.training.recipes import NAMES, Recipe, find_recipe

RECIPES = (
    Recipe(name="linear", method="marginal", latent_dim=8),
    Recipe(name="curved", method="curved", latent_dim=5, settings={"quadratic": 5}),
)
N, FOLDS = 12, 3


def make_results(axes, values):
    """Results whose chi2 per label of each setting and fold is that given; labels have error 1."""
    names = [name for name, _ in axes]
    shape = [len(v) for _, v in axes]
    fold = np.arange(N) % FOLDS
    chi2 = np.asarray(values, float).reshape(*shape, FOLDS)[..., fold][..., None] * [1, 2]
    count = np.ones((*shape, N), np.int32)
    value = np.sqrt(chi2[..., :1])
    by_star = (*names, "star")
    return xr.Dataset(
        {
            "label_chi2": ((*by_star, "given"), chi2),
            "spectrum_chi2": ((*by_star, "given"), chi2),
            "label_value": ((*by_star, "label"), value),
            "label_err": ((*by_star, "label"), np.full_like(value, 0.1)),
            "trusted_label_value": (("star", "label"), np.zeros((N, 1))),
            "trusted_label_err": (("star", "label"), np.ones((N, 1))),
            "n_labels": (by_star, count),
            "n_pixels": (by_star, count),
            "status": ((*names, "fold"), np.ones((*shape, FOLDS), np.uint8)),
            "seconds": ((*names, "fold"), np.ones((*shape, FOLDS))),
            "star_fold": ("star", fold),
        },
        {**{k: list(v) for k, v in axes}, "given": list(cv.GIVEN), "label": ["teff"]},
    )


def make_grid(axes, settings=(), recipes=RECIPES):
    return Grid(
        survey="s.zarr",
        out="c.zarr",
        axes=axes,
        folds=FOLDS,
        recipes=recipes,
        settings=settings,
        outputs=("flux",),
        selection=Selection.read(None, "0:9"),
        n_stars=9,
        identity=(),
    )


def test_recipes_are_chosen_and_named():
    axes = (("recipe", ("linear", "curved")),)
    results = make_results(axes, [[3, 4, 5], [2, 3, 4.5]])
    choice = cv.choose(results)
    assert choice.setting == (("recipe", "curved"),)
    assert choice.to_record()["recipe"] == "curved" and choice.to_record()["best"] == ["curved"]
    assert cv.find_axes(results) == axes
    records = cv.to_records(results)
    assert [r["recipe"] for r in records] == ["linear", "curved"]
    assert records[1]["label_chi2_given_spectra"] == pytest.approx(3)
    assert records[1]["label_rmse"]["teff"] == pytest.approx(np.sqrt(9.5 / 3))
    assert records[1]["label_loss"] == choice.score == choice.best_score
    lines = cv.format_table(records, choice).splitlines()
    assert lines[0].split() == [
        "recipe",
        "loss",
        "excess",
        "RMSE",
        "teff",
        "pull",
        "teff",
        "s/task",
    ]
    assert lines[0].split()[0] == "recipe" and lines[2].split()[:2] == ["*", "curved"]
    command = cv.suggest_command(make_grid(axes), choice)
    assert command == (
        "luxscale train s.zarr --recipe curved --stars 0:9 --output flux --out model.zarr"
    )
    command = cv.suggest_command(make_grid(axes, (("iterations", 3),)), choice)
    assert "--method curved --latent-dim 5 --quadratic 5 --iterations 3 --stars" in command


@pytest.mark.parametrize("settings", [(), (("iterations", 3),)])
@pytest.mark.parametrize("name", NAMES)
def test_the_command_that_is_named_is_one_of_train(name, settings):
    axes = (("recipe", (name,)),)
    recipe = find_recipe(name, 10_000, 6, 110)
    choice = cv.choose(make_results(axes, [[3, 4, 5]]))
    command = cv.suggest_command(make_grid(axes, settings, (recipe,)), choice)
    program, subcommand, *words = shlex.split(command)
    assert (program, subcommand) == ("luxscale", "train")
    given = train.make_context("train", words).params
    if not settings:
        assert given["recipe"] == name
        return
    assert (given["method"], given["latent_dim"]) == (recipe.method, recipe.latent_dim)
    expected = {**recipe.settings, **dict(settings)}
    assert {k: given[k] for k in expected} == expected


def test_of_equal_settings_the_one_with_the_smallest_sizes_is_chosen():
    axes = (("recipe", ("curved",)), ("gaussians", (2, 4, 8)))
    results = make_results(axes, [[9, 9, 9], [2.1, 2.9, 3.05], [2, 3, 3]])
    choice = cv.choose(results)
    assert choice.setting == (("recipe", "curved"), ("gaussians", 4))
    assert dict(choice.best)["gaussians"] == 8
    command = cv.suggest_command(make_grid(axes), choice)
    assert "--method curved --latent-dim 5 --quadratic 5 --gaussians 4 --stars" in command
    axes = (("latent_dim", (4, 8)), ("prior", (1.0, 2.0)))
    results = make_results(axes, [[2.1, 2.9, 3.05], [2.05, 2.9, 3.05], [2, 3, 3], [9, 9, 9]])
    assert cv.choose(results).setting == (("latent_dim", 4), ("prior", 2.0))


def test_a_fold_with_an_outlier_does_not_decide():
    """One star that the better setting misses by far weighs no more than any other."""
    axes = (("latent_dim", (3, 20)), ("prior", (1.0,)))
    rng = np.random.default_rng(1)
    results = make_results(axes, [[1, 1, 1], [1, 1, 1]]).isel(star=np.arange(8 * N) % N)
    noise = rng.standard_normal((8 * N, 1))
    results["label_value"][0, 0] = 3 * noise
    results["label_value"][1, 0] = noise
    results["label_value"][1, 0, 0] = 600
    results["label_chi2"][:] = results["label_value"].values ** 2
    assert cv.scores(results)["label_chi2"].sel(given="spectra").mean("fold").values.argmin() == 0
    choice = cv.choose(results)
    assert choice.setting == (("latent_dim", 20), ("prior", 1.0))
    with pytest.raises(InputError, match="'seconds' is no score"):
        cv.choose(results, score="seconds")
    results["status"][:] = 0
    with pytest.raises(InputError, match="no setting has all its folds done"):
        cv.choose(results)


def test_it_is_said_what_the_best_would_bring():
    axes = (("latent_dim", (4, 8)), ("prior", (1.0,)))
    results = make_results(axes, [[4.2, 5.8, 6.1], [4, 6, 6]])
    choice, records = cv.choose(results), cv.to_records(results)
    assert dict(choice.setting)["latent_dim"] == 4 and dict(choice.best)["latent_dim"] == 8
    assert 0 < records[0]["excess"] <= records[0]["excess_err"] == choice.error
    assert cv.describe_gain(records, choice) == "teff 2.32 to 2.31 (-0.3%)"
    table = cv.format_table(records, choice)
    assert "RMSE of each label on stars left out" in table and "one standard error" in table
    alone = cv.choose(make_results(axes[:1], [[9, 9, 9], [1, 1, 1]]))
    assert cv.describe_gain(records, alone) == ""


def test_any_axis_is_drawn_against():
    axes = (("recipe", ("linear", "curved")),)
    scores = cv.scores(make_results(axes, [[3, 4, 5], [2, 3, 4.5]]))
    choice = cv.choose(make_results(axes, [[3, 4, 5], [2, 3, 4.5]]))
    panels = plot.crossval(scores, choice, "label_chi2")
    ax = panels[0, 0]
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["linear", "curved"]
    assert ax.get_xlabel().startswith("Recipe") and ax.lines[1].get_ydata().tolist() == [4, 3]
    assert ax.lines[-1].get_xdata() == [2] and ax.lines[-1].get_label() == "chosen, recipe=curved"
    axes = (("latent_dim", (4,)), ("quadratic", (2, 4)), ("gaussians", (2, 8)))
    scores = cv.scores(make_results(axes, np.arange(12.0) + 1))
    *_, (ax, _) = plot.crossval(scores)
    assert ax.get_xlabel() == "First latents that have products of two"
    assert [line.get_label() for line in ax.lines[1::2]] == ["gaussians 2", "gaussians 8"]
