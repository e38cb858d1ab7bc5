"""A catalogue that `lux.infer` returned and `write_dataset` wrote is one to every command."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main


def luxscale(*arguments, expect=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == expect, result.output + repr(result.exception)
    return result


@pytest.fixture
def folder(tmp_path, held_out, small_model):
    """A survey in Dask's chunks, a model, and the catalogue as it was returned, written."""
    few = held_out.isel(star=slice(0, 60))
    store.write_dataset(few, tmp_path / "survey.zarr", chunk=20)
    small_model.save(tmp_path / "model.zarr")
    lazy = lux.open_survey(tmp_path / "survey.zarr")
    store.write_dataset(lux.infer(lazy, small_model), tmp_path / "catalog.zarr", chunk=20)
    return tmp_path


def test_it_is_a_catalogue_whose_stars_are_done(folder, small_model):
    path = folder / "catalog.zarr"
    facts = json.loads(luxscale("info", path, "--json").stdout)
    found = {name: facts[name] for name in ("kind", "stars", "done", "model")}
    assert found == {"kind": "catalogue", "stars": 60, "done": 60, "model": small_model.fingerprint}
    written = store.open_dataset(path)
    expected = lux.infer(folder / "survey.zarr", small_model)
    np.testing.assert_array_equal(written.label_value, expected.label_value)
    assert "status" not in expected
    lux.label_survey(
        folder / "survey.zarr", folder / "model.zarr", folder / "run.zarr", progress=False
    )
    made = store.open_dataset(folder / "run.zarr").status
    assert written.status.attrs == made.attrs
    assert written.status.dtype == made.dtype and (written.status == made).all()


def test_commands_take_it(folder, monkeypatch):
    monkeypatch.chdir(folder)
    told = luxscale("validate", "catalog.zarr", "survey.zarr").stdout
    assert "60 of 60" in told and "teff" in told
    luxscale("export", "catalog.zarr", "--out", "catalog.csv")
    assert len((folder / "catalog.csv").read_text().splitlines()) == 61
    luxscale("report", "catalog.zarr", "--truth", "survey.zarr", "--out", "report.html")
    assert (folder / "report.html").stat().st_size > 1000


def test_it_replaces_no_survey(folder, small_model):
    catalog = lux.infer(folder / "survey.zarr", small_model).compute()
    with pytest.raises(lux.InputError, match=r"survey\.zarr is a survey, not a catalogue; choose"):
        store.write_dataset(catalog, folder / "survey.zarr", overwrite=True)
    store.write_dataset(catalog.isel(star=slice(5)), folder / "catalog.zarr", overwrite=True)
    assert store.open_dataset(folder / "catalog.zarr").sizes["star"] == 5


def test_no_run_continues_it_and_one_may_replace_it(folder):
    label = ["label", folder / "survey.zarr", "--model", folder / "model.zarr"]
    label += ["--out", folder / "catalog.zarr", "--workers", 0]
    told = luxscale(*label, expect=1).stderr
    assert f"{folder}/catalog.zarr: a catalogue that no run of luxscale made" in told
    luxscale(*label, "--relabel")
    assert "60 stars labelled, 0 of them in this run" in luxscale(*label).stdout
