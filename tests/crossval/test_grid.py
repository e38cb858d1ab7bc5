"""The grids that recipes and methods make, and what they are refused for."""

import json

import pytest
from simulated_curves import make_survey

import luxscale as lux
from luxscale import crossval as cv
from luxscale import store
from luxscale.errors import InputError
from luxscale.info.describe import describe
from luxscale.runs.target import open_target


@pytest.fixture(scope="module")
def stars():
    return make_survey(600)


@pytest.fixture(scope="module")
def survey(stars, tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "survey.zarr"
    store.write_dataset(stars, path)
    return path


@pytest.fixture
def make(survey, tmp_path):
    def make(**options):
        return cv.make_grid(survey, tmp_path / "cv.zarr", **options)

    return make


def test_without_a_choice_it_is_the_recipes_that_the_stars_of_the_folds_can_carry(make):
    grid = make(folds=3)
    assert grid.axes == (
        ("recipe", ("linear", "mixed", "curved", "curved-linear", "curved-cubic")),
    )
    tried = [grid.find_recipe(task.setting) for task in grid.tasks[::-3]]
    linear, mixed, curved, straight, bent = tried
    assert all(ensemble.members[0].trains_as(curved) for ensemble in (straight, bent))
    assert (straight.others, bent.others[0].name) == ((linear,), "cubic")
    assert (linear.method, linear.latent_dim, linear.settings) == ("marginal", 48, {})
    assert (mixed.method, mixed.latent_dim, mixed.settings["quadratic"]) == ("curved", 52, 4)
    # 400 stars in training: 21 terms, 6 Gaussians; 53 features
    assert (curved.method, curved.latent_dim) == ("curved", 5)
    assert curved.settings["gaussians"] == 6
    assert str(grid.tasks[0]) == "recipe=curved-cubic, fold 0"
    assert grid.tasks[0].group == "parts/recipecurved-cubic_fold0"


def test_sizes_given_as_lists_vary(make):
    grid = make(recipes=["curved"], gaussians=[8, 2], iterations=5, folds=2)
    assert grid.axes == (("recipe", ("curved",)), ("gaussians", (2, 8)))
    found = [grid.find_recipe(task.setting).settings for task in grid.tasks]
    assert [s["gaussians"] for s in found] == [8, 8, 2, 2]
    assert {s["iterations"] for s in found} == {5} and {s["quadratic"] for s in found} == {4}
    assert len(grid.group_by_training(grid.tasks)) == 4
    grid = make(method="curved", latent_dims=[4, 6], quadratic=[2, 4], cubic=2)
    assert grid.axes == (("latent_dim", (4, 6)), ("quadratic", (2, 4)))
    recipe = grid.find_recipe(grid.tasks[0].setting)
    assert (recipe.latent_dim, recipe.settings) == (6, {"cubic": 2, "quadratic": 4})


def test_a_free_prior_is_an_axis_and_shares_a_training(make):
    grid = make(latent_dims=[4], priors=[1.0, 9.0], folds=2)
    assert grid.axes == (("latent_dim", (4,)), ("prior", (1.0, 9.0)))
    assert len(grid.group_by_training(grid.tasks)) == 2
    grid = make(method="alternating", latent_dims=[4], priors=[1.0, 9.0], folds=2)
    assert len(grid.group_by_training(grid.tasks)) == 4
    found = [grid.find_recipe(task.setting).settings for task in grid.tasks]
    assert [s["latent_precision"] for s in found] == [1.0, 1.0, 9.0, 9.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "curved", "priors": [2.0]}, "the curved method has a prior of its own"),
        ({"recipes": ["curved"], "priors": [2.0]}, "recipes name method and prior"),
        ({"recipes": ["curved"], "method": "curved"}, "recipes name method and prior"),
        ({"recipes": []}, r"recipes is \[\]"),
        ({"recipes": ["cubic"]}, "'cubic' does not fit these data: products of three need"),
        ({"recipes": ["straight"]}, "'straight' is unknown"),
        ({"recipes": ["linear", "curved"], "gaussians": [2]}, "'marginal' has no setting 'gaus"),
        ({"method": "curved", "quadratic": [2, 6], "cubic": [0, 3]}, "cubic=3 is more than quad"),
        ({"method": "curved", "gaussians": [2, 2]}, r"gaussians is \[2, 2\]"),
        ({"method": "curved", "gaussians": [2.5]}, "gaussians is 2.5; it must be a whole number"),
        ({"method": "curved", "latent_dims": [12, 60]}, "60 latents are too many"),
    ],
)
def test_what_does_not_go_together_is_refused(make, options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_a_grid_of_the_first_format_is_read(make):
    identity = dict(make(latent_dims=[4, 2], priors=[3.0]).identity)
    assert json.loads(identity["grid"]) == [[2, 4], [3.0]]
    expected = {"survey", "stars", "grid", "folds", "method", "outputs", "settings", "label_clip"}
    assert set(identity) == expected
    assert cv.read_axes(identity) == (("latent_dim", (2, 4)), ("prior", (3.0,)))
    grid = make(recipes=["curved"], gaussians=[2, 4])
    assert cv.read_axes(dict(grid.identity)) == grid.axes


def test_a_changed_role_is_noticed(stars, tmp_path):
    """Labels of another survey turn into bands: one name says so, and values are the same."""
    named = stars.assign(
        other=(("star", "line"), stars["label_value"].values[:, :2]),
        other_err=(("star", "line"), stars["label_err"].values[:, :2]),
    ).assign_coords(line=["a", "b"])
    path, out = tmp_path / "survey.zarr", tmp_path / "cv.zarr"
    for role, refused in (("bands", False), ("labels", True)):
        named["other"].attrs["role"] = role
        store.write_dataset(named, path, overwrite=True)
        results = cv.Results(cv.make_grid(path, out, latent_dims=[4]))
        if refused:
            with pytest.raises(InputError, match="made with another survey"):
                results.claim()
            continue
        with open_target(results, progress=False):
            pass
        assert json.loads(dict(results.grid.identity)["role of outputs"]) == {"other": "bands"}
    named["other"].attrs["role"] = "bands"
    store.write_dataset(named, path, overwrite=True)
    assert results.__class__(cv.make_grid(path, out, latent_dims=[4])).claim()


def test_stars_are_those_of_a_condition_and_a_draw(make, stars, survey):
    grid = make(method="marginal", folds=2, condition="isfinite(teff)", stars="random:300")
    text = "where isfinite(teff), random:300"
    assert json.loads(dict(grid.identity)["stars"]) == text
    assert grid.n_stars == 300
    with open_target(cv.Results(grid), progress=False):
        frame = store.open_dataset(grid.out)
    drawn = lux.select(survey, "isfinite(teff)", stars="random:300")
    assert frame["star"].values.tolist() == drawn["star"].values.tolist()
    rows = frame["star_row"].values
    assert stars["star"].values[rows].tolist() == drawn["star"].values.tolist()
    assert describe(grid.out)["survey_stars"] == text
    setting = grid.tasks[0].setting
    choice = cv.Choice(setting=setting, score=1.0, best=setting, best_score=1.0)
    command = cv.suggest_command(grid, choice)
    assert "--where 'isfinite(teff)' --stars random:300" in command
    # a span is the same cross-validation however it is written
    spans = [make(method="marginal", stars=each) for each in (slice(0, 300), "0:300", ":300")]
    assert len({span.identity for span in spans}) == 1


def test_an_ensemble_has_no_sizes_to_vary(make):
    with pytest.raises(InputError, match="gaussians beside recipe 'curved-linear'"):
        make(recipes=["curved-linear"], gaussians=[2, 4])
    with pytest.raises(InputError, match="latent_dims beside recipe 'curved-linear'"):
        make(recipes=["curved-linear"], latent_dims=[2, 4])
