"""`luxscale plot` draws a star of a survey or of a file, with a model that needs no catalogue."""

import json

import pytest
from click.testing import CliRunner
from surveyfiles import build_arrays

import luxscale as lux
from luxscale import store
from luxscale.cli import main


def luxscale(*arguments, expect=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == expect, result.output + repr(result.exception)
    return result


@pytest.fixture
def here(small_survey, small_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_model.save("model.zarr")
    store.write_dataset(small_survey.isel(star=slice(0, 3)), "survey.zarr")
    star = small_survey.isel(star=0)
    arrays = {"flux": star.flux.values, "ivar": star.flux_ivar.values}
    build_arrays(tmp_path / "x.npz", {**arrays, "wavelength": star.wavelength.values})
    return tmp_path


def test_the_star_of_a_file_needs_no_name(here):
    shown = luxscale("plot", "x.npz", "--model", "model.zarr", "--json").stdout
    (figure,) = json.loads(shown)["figures"]
    assert figure == "x.npz_0.png"
    assert (here / figure).stat().st_size > 10_000


def test_a_file_is_read_as_the_refusal_says(here, small_survey, small_model):
    medium = small_survey.wavelength.attrs["medium"]
    other = {"air": "vacuum", "vacuum": "air"}[medium]
    option = ["--option", f"medium={other}"]
    shown = luxscale("plot", "x.npz", "--model", "model.zarr", *option, expect=1).output
    assert f"say --option medium={medium}" in shown
    luxscale("plot", "x.npz", "--model", "model.zarr", "--option", f"medium={medium}")
    shown = luxscale("plot", "survey.zarr", "--row", 0, *option, expect=2).output
    assert "leave out --option: of use with files" in shown


def test_a_model_needs_no_catalogue(here):
    luxscale("plot", "survey.zarr", "--row", 1, "--model", "model.zarr", "--out", "with.png")
    luxscale("plot", "survey.zarr", "--row", 1, "--out", "without.png")
    assert (here / "with.png").stat().st_size > 1.1 * (here / "without.png").stat().st_size


def test_a_catalogue_is_called_one(here):
    lux.label_survey("survey.zarr", "model.zarr", "catalog.zarr", progress=False)
    shown = luxscale("plot", "catalog.zarr", "--row", 0, expect=1).stderr
    assert "catalog.zarr: a catalogue, which has no spectra; give the survey" in shown


def test_one_of_several_stars_has_to_be_named(here):
    assert "name a star by its identifier" in luxscale("plot", "survey.zarr", expect=2).stderr
    wrong = luxscale("plot", "survey.zarr", "--row", 1, "--catalog", "c.zarr", expect=2)
    assert "needs --model" in wrong.stderr
