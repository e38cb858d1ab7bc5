"""The register of the paper's figures: order, choice, what is kept, and the command."""

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib.figure import Figure

from luxscale import store
from luxscale.cli import main
from luxscale.errors import InputError
from luxscale.paper import FIGURES, Study, base, draw


@pytest.fixture
def figures(monkeypatch):
    """Two figures of our own: one needs a file."""
    register = {}
    monkeypatch.setattr(base, "FIGURES", register)
    for number, needs in (("10", ()), ("9", ("stars.h5",)), ("9-xp", ())):
        base.register_figure(number, f"title {number}", *needs)(lambda study: Figure((1, 1)))
    return register


def test_numbers_are_in_the_papers_order(figures):
    assert base.sort_numbers() == ["9", "9-xp", "10"]


def test_every_figure_has_a_number_and_says_what_differs():
    for number, entry in FIGURES.items():
        assert int(number.split("-")[0]) in range(3, 20)
        assert entry.title
        assert len(entry.draw.__doc__) > 40


def test_models_are_of_the_recipe_and_kept_apart(monkeypatch, tmp_path, small_model):
    told = []

    def train(survey, latent_dim=None, **options):
        told.append((latent_dim, options.get("recipe")))
        return small_model

    monkeypatch.setattr(base.lux, "train", train)
    for recipe in (None, "curved", "curved"):
        study = Study(out=tmp_path, recipe=recipe, progress=False)
        study.keep_model("giants", lambda s=study: s.train(None, 48), **study.training)
    assert told == [(48, None), (None, "curved")]


def test_the_command_hands_on_the_recipe(monkeypatch, figures, tmp_path):
    seen = []
    monkeypatch.setattr("luxscale.paper.draw", lambda study, *_, **__: seen.append(study) or ())
    result = CliRunner().invoke(main, ["paper", "--out", str(tmp_path), "--recipe", "curved"])
    assert result.exit_code == 0 and seen[0].recipe == "curved"


def test_all_are_drawn_but_those_that_lack_a_file(figures, tmp_path):
    drawn = {e.number: (path, note) for e, path, note in draw(Study(out=tmp_path, progress=False))}
    assert drawn["10"][0].exists()
    said = (
        "give the directory that holds stars.h5 with --data; `luxscale guide paper` says where it "
        "comes from"
    )
    assert drawn["9"] == (None, said)


def test_figures_asked_for_by_number(figures, tmp_path):
    study = Study(out=tmp_path, progress=False)
    with pytest.raises(InputError, match=r"no figure '7'; there are 9, 9-xp, 10"):
        list(draw(study, ["7"]))
    with pytest.raises(
        InputError, match=r"figure 9: stars.h5 is not in .*give the directory that holds stars.h5"
    ):
        list(draw(Study(out=tmp_path, data=tmp_path, progress=False), ["9"]))
    (tmp_path / "stars.h5").touch()
    study = Study(out=tmp_path, data=tmp_path, progress=False)
    ((entry, path, note),) = draw(study, ["9"])
    assert (entry.number, path.name, note) == ("9", "figure-9.png", "")


def test_what_is_lacking_is_said_before_any_work(figures, tmp_path):
    base.register_figure("19", "latents", modules=("no_such_module",))(lambda study: Figure((1, 1)))
    study = Study(out=tmp_path / "out", progress=False)
    with pytest.raises(
        InputError,
        match=r"figure 19: the module no_such_module .* pip install 'luxscale\[figures\]'",
    ):
        list(draw(study, ["10", "19"]))
    with pytest.raises(InputError, match=r"figure 9: give the directory"):
        list(draw(study, ["10", "9"]))
    assert not study.out.exists()
    assert FIGURES["19"].modules == ("sklearn",)


def test_too_few_stars_ask_for_a_larger_fraction(figures, tmp_path):
    def fails(study):
        raise InputError("choose fewer than 40")

    base.register_figure("8", "labels")(fails)
    with pytest.raises(
        InputError, match="figure 8: choose fewer than 40; .* larger --fraction than 0.001$"
    ):
        list(draw(Study(out=tmp_path, fraction=0.001, progress=False), ["8"]))
    with pytest.raises(InputError, match="figure 8: choose fewer than 40$"):
        list(draw(Study(out=tmp_path, progress=False), ["8"]))


def test_the_command(figures, tmp_path):
    result = CliRunner().invoke(main, ["paper", "9-xp", "10", "--out", str(tmp_path), "--quiet"])
    assert result.exit_code == 0, result.output
    assert "title 9-xp" in result.output
    assert (tmp_path / "figure-10.png").exists()
    again = ["paper", "--out", str(tmp_path), "--quiet", "--json"]
    refused = CliRunner().invoke(main, again)
    assert refused.exit_code == 1 and "figure-9-xp.png: a figure is there" in refused.output
    result = CliRunner().invoke(main, [*again, "--overwrite"])
    found = json.loads(result.output)["figures"]
    assert [d["figure"] for d in found] == ["9", "9-xp", "10"]
    assert found[0]["path"] is None and "stars.h5" in found[0]["note"]


def some(n):
    names = np.array([f"s{i}" for i in range(n)], object)
    return xr.Dataset(
        {
            "flux": (("star", "wavelength"), np.arange(3.0 * n).reshape(n, 3)),
            "snr": ("star", np.arange(n)),
        },
        {"star": names, "wavelength": [1.0, 2.0, 3.0], "label": ["a", "b"]},
    )


def test_what_is_made_is_kept_for_its_settings(tmp_path):
    study, made = Study(out=tmp_path, progress=False), []

    def make():
        made.append(1)
        return some(5)

    first = study.keep("thing", make, seed=1)
    xr.testing.assert_equal(first.compute(), some(5))
    xr.testing.assert_equal(study.keep("thing", make, seed=1).compute(), some(5))
    assert len(made) == 1
    study.keep("thing", make, seed=2)
    Study(out=tmp_path, fraction=0.5, progress=False).keep("thing", make, seed=1)
    assert len(made) == 3


def test_what_an_interrupted_run_left_is_made_again(tmp_path):
    study = Study(out=tmp_path, progress=False)

    def interrupted(path):
        store.write_dataset(some(9), path.with_name(path.name + ".partial"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.write_once("thing", interrupted)
    assert study.keep("thing", lambda: some(5)).sizes["star"] == 5


def test_work_by_blocks_is_that_of_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 4)
    sizes = []

    def work(block):
        sizes.append(block.sizes["star"])
        assert block["flux"].chunks is None
        return block[["flux"]].mean("wavelength").assign(a=("label", [1, 2]))

    found = Study(out=tmp_path, progress=False).map_blocks("means", some(10).chunk(star=3), work)
    assert sizes == [4, 4, 2]
    np.testing.assert_array_equal(found["flux"], some(10)["flux"].mean("wavelength"))
    assert found["star"].values.tolist() == some(10)["star"].values.tolist()
    assert found["a"].dims == ("label",)
