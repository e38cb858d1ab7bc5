"""Training of several members, whose labels are averaged."""

import dataclasses
import json

import numpy as np
import pytest
from simulated_curves import SPREAD, make_survey

import luxscale as lux
from luxscale.errors import InputError
from luxscale.info.describe import describe
from luxscale.training import fitting, methods, recipes
from luxscale.training.members import MemberReport
from luxscale.training.recipes import Recipe
from luxscale.training.reporting import Silence

SIZES = {"quadratic": 4, "components": 12, "gaussians": 6, "iterations": 8}
LINEAR = Recipe(name="linear", method="marginal", latent_dim=6, settings={"iterations": 5})
BOTH = Recipe(name="both", method="curved", latent_dim=4, settings=SIZES, others=(LINEAR,))


@pytest.fixture(scope="module")
def stars():
    return make_survey(700)


@pytest.fixture(scope="module")
def ensemble(stars):
    return lux.train(stars, recipe=BOTH, folds=2, progress=False)


def test_members_are_trained_by_their_recipes_and_kept(ensemble, tmp_path):
    ensemble.save(tmp_path / "model.zarr")
    for model in (ensemble, lux.load_model(tmp_path / "model.zarr")):
        assert [member.latent_dim for member in model.members] == [4, 6]
        assert [member.provenance.method for member in model.members] == ["curved", "marginal"]
        first, second = (json.loads(m.provenance.settings) for m in model.members)
        assert first["members"] == [LINEAR.describe()] and first["recipe"] == "both"
        assert second == LINEAR.describe()


def test_info_says_what_is_of_the_first_member(ensemble, tmp_path):
    ensemble.save(tmp_path / "model.zarr")
    said = describe(tmp_path / "model.zarr")
    assert said["latents"] == said["settings"]["latent_dim"] == 4
    assert said["member 2"]["latent_dim"] == 6
    assert said["ensemble"].startswith("labels are the mean of those of 2 members; latents, ")
    ensemble.members[1].save(tmp_path / "second.zarr")
    assert "ensemble" not in describe(tmp_path / "second.zarr")


def test_a_member_is_the_model_that_its_recipe_makes_alone(stars, ensemble):
    alone = lux.train(stars, recipe=LINEAR, folds=1, progress=False)
    assert alone == dataclasses.replace(ensemble.others[0], limits=alone.limits)


def test_errors_are_of_the_mean_and_labels_no_worse_than_of_members(ensemble):
    seen = make_survey(1500, seed=1)
    catalog = lux.infer(seen, ensemble)
    miss = (catalog.label_value - seen.label_true).values
    pull = 1.4826 * np.median(abs(miss / catalog.label_err.values), axis=0)
    assert ((pull > 0.7) & (pull < 1.25)).all(), pull
    alone = []
    for member in ensemble.members:
        labels = lux.infer(seen, dataclasses.replace(member, others=())).label_value
        alone.append((((labels - seen.label_true).values / SPREAD) ** 2).mean())
    assert ((miss / SPREAD) ** 2).mean() < np.mean(alone)


@pytest.mark.slow
def test_training_goes_on_with_all_members(stars, ensemble):
    more = lux.train(stars, initial=ensemble, iterations=1, folds=1, progress=False)
    assert [len(member.objective) for member in more.members] == [9, 6]
    assert [member.provenance.method for member in more.members] == ["curved", "marginal"]
    before = dataclasses.replace(ensemble, others=())  # as a checkpoint of the first is
    begun = lux.train(stars, initial=before, iterations=1, folds=1, progress=False)
    assert [member.latent_dim for member in begun.members] == [4, 6]
    # what was asked for is of those that go on
    assert begun.others[0] == dataclasses.replace(ensemble.others[0], limits=begun.others[0].limits)
    assert json.loads(more.provenance.settings)["members"] == [LINEAR.describe()]


def test_a_member_that_goes_on_has_its_sizes_and_what_is_asked_of_its_method(stars, monkeypatch):
    heard = []
    curved = methods.METHODS["curved"]

    def fit(data, latent_dim, report, settings, start):
        heard.append(settings)
        return curved.fit(data, latent_dim, report, {**settings, "refine": 0}, start)

    monkeypatch.setitem(methods.METHODS, "curved", dataclasses.replace(curved, fit=fit))
    sizes = {**SIZES, "gaussians": 1, "iterations": 3}
    others = {**sizes, "quadratic": 3, "refine": 12}
    partner = Recipe(name="partner", method="curved", latent_dim=3, settings=others)
    recipe = dataclasses.replace(BOTH, settings=sizes, others=(partner,))
    model = lux.train(stars, recipe=recipe, folds=1, progress=False)
    lux.train(stars, initial=model, iterations=2, quadratic=4, folds=1, progress=False)
    assert [one["quadratic"] for one in heard] == [4, 3, 4, 3]
    assert [one["iterations"] for one in heard] == [3, 3, 2, 2]
    assert [one["refine"] for one in heard] == [0, 12, 0, 0]
    assert "refine" not in json.loads(model.others[0].provenance.settings)


def test_reports_name_the_member():
    heard = []

    class Listener(Silence):
        def tell(self, text):
            heard.append(text)

    report = MemberReport(Listener(), "member 2 of 3")
    report(0, 24, -1.0, lambda: None)
    report.tell("refinement, step 1 of 60")
    assert heard == ["member 2 of 3: iteration 1 of 24", "member 2 of 3: refinement, step 1 of 60"]


def test_curved_models_have_partners_of_other_kinds():
    few = recipes.list_recipes(240, 3, 343)[0]
    assert [recipe.name for recipe in few] == ["linear", "curved", "curved-linear"]
    straight, many = (recipes.find_recipe(f"curved-{n}", 5000, 5, 343) for n in ("linear", "cubic"))
    assert straight.others == (recipes.find_recipe("linear", 5000, 5, 343),)
    assert [m.name for m in many.members] == ["curved-cubic", "cubic"]
    assert many.members[0].trains_as(recipes.find_recipe("curved", 5000, 5, 343))
    cubic = many.others[0]
    assert (cubic.latent_dim, cubic.settings["cubic"], cubic.settings["refine"]) == (10, 5, 60)
    assert [m.settings["refine"] for m in many.plain.members] == [0, 0]
    assert many.description.startswith("mean of 12 latents, ") and "of three" in many.description
    assert recipes.list_recipes(5000, 5, 343)[0][-1] == many


def test_what_cannot_be_a_member_is_refused(stars):
    cannon = Recipe(name="cannon", method="cannon", latent_dim=3)
    with pytest.raises(InputError, match="cannot be a member"):
        lux.train(stars, recipe=dataclasses.replace(BOTH, others=(cannon,)), progress=False)
    with pytest.raises(InputError, match="'both' is an ensemble"):
        lux.train(stars, recipe=dataclasses.replace(BOTH, others=(BOTH,)), progress=False)
    with pytest.raises(InputError, match="is for one model, and not for an ensemble"):
        lux.train(stars, recipe=BOTH, unlabelled=5, progress=False)
    with pytest.raises(InputError, match="give a tuple of recipes"):
        lux.train(stars, recipe=dataclasses.replace(BOTH, others=LINEAR), progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_dim": 0}, "latent_dim is 0; it must be a whole number"),
        ({"latent_dim": 53}, "latent_dim=53 is too large"),
        ({"settings": {"iteration": 5}}, "has no setting 'iteration'"),
    ],
)
def test_sizes_and_settings_of_members_are_checked_before_any_is_trained(
    stars, monkeypatch, change, message
):
    def train_anyway(*args):
        raise AssertionError("a member is trained")

    monkeypatch.setattr(fitting, "train_others", train_anyway)
    monkeypatch.setattr("luxscale.training.curved.train_curved", train_anyway)
    wrong = dataclasses.replace(LINEAR, **change)
    with pytest.raises(InputError, match=message):
        lux.train(stars, recipe=dataclasses.replace(BOTH, others=(wrong,)), progress=False)


def test_sizes_of_members_may_be_numbers_of_numpy(stars):
    sizes = {"latent_dim": np.int64(6), "settings": {"iterations": np.int64(5)}}
    recipe = dataclasses.replace(BOTH, others=(dataclasses.replace(LINEAR, **sizes),))
    model = lux.train(stars, recipe=recipe, folds=1, progress=False)
    assert json.loads(model.others[0].provenance.settings) == LINEAR.describe()


def test_info_shows_the_recipe_of_each_member(ensemble, tmp_path):
    ensemble.save(tmp_path / "model.zarr")
    told = describe(tmp_path / "model.zarr")
    assert told["member 2"] == LINEAR.describe() and "members" not in told["settings"]
    assert "4 + 6 latents" in ensemble._repr_html_()
