"""`luxscale label FILE` prints the labels of a few stars."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from surveyfiles import build_arrays

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.cli.label_files import format_stars
from luxscale.schema.preparation import Preparation


def luxscale(*arguments, expect=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == expect, result.output + repr(result.exception)
    return result


def write_star(path, star: xr.Dataset):
    arrays = {"flux": star.flux.values, "ivar": star.flux_ivar.values}
    return build_arrays(path, {**arrays, "wavelength": star.wavelength.values})


@pytest.fixture(scope="module")
def folder(tmp_path_factory, _held_out, small_model):
    """Files of three stars, a bad one, and a model that does not say how spectra were prepared."""
    folder = tmp_path_factory.mktemp("label")
    small_model.save(folder / "model.zarr")
    (folder / "stars").mkdir()
    for i in range(3):
        write_star(folder / "stars" / f"{i}.npz", _held_out.isel(star=i))
    (folder / "cut.npz").write_bytes((folder / "stars" / "0.npz").read_bytes()[:300])
    return folder


def test_labels_of_a_file_are_those_of_its_star(folder, _held_out, small_model):
    file, model = folder / "stars" / "1.npz", folder / "model.zarr"
    shown = json.loads(luxscale("label", file, "--model", model, "--json").stdout)
    assert shown["refused"] == []
    (star,) = shown["stars"]
    expected = lux.infer(_held_out.isel(star=[1]), small_model)
    found = [[label["value"], label["error"]] for label in star["labels"]]
    pairs = np.stack([expected.label_value[0], expected.label_err[0]], 1)
    np.testing.assert_allclose(found, pairs, rtol=1e-5)
    assert [label["unit"] for label in star["labels"]] == ["K", "dex(cm s-2)", "dex", "dex"]
    assert (star["file"], star["n_pixels"]) == (str(file), int(expected.n_pixels[0]))
    result = luxscale("label", file, "--model", model)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("1.npz:0 (1.npz, S/N ")
    assert [line.split()[0] for line in lines[1:]] == [
        *("label", "teff", "logg", "fe_h", "mg_fe", "chi2/dof", "flags")
    ]
    assert f"{found[0][0]:.0f} ± {found[0][1]:.0f}" in lines[2]
    assert "model does not say how its spectra were prepared" in result.stderr


def test_files_of_a_folder_are_rows_and_a_bad_one_is_named(folder):
    model = folder / "model.zarr"
    result = luxscale("label", folder / "stars", folder / "cut.npz", "--model", model, expect=1)
    head, *rows = result.stdout.splitlines()[:4]
    assert head.split("  ")[0] == "star"
    assert "teff, K" in head
    assert [row.split()[0] for row in rows] == ["0.npz:0", "1.npz:0", "2.npz:0"]
    assert result.stderr.splitlines()[-1].startswith(f"{folder}/cut.npz: damaged file: ")


def test_a_bad_file_alone_ends_with_the_reason(folder):
    result = luxscale("label", folder / "cut.npz", "--model", folder / "model.zarr", expect=1)
    assert f"Error: {folder}/cut.npz: " in result.stderr
    assert result.stdout == ""


def test_a_file_of_another_kind_is_named(folder, tmp_path, small_model):
    other = str(Preparation("apstar", {}, {"continuum": "none"}))
    outputs = [
        dataclasses.replace(output, preparation=other) if output.is_spectrum else output
        for output in small_model.outputs
    ]
    dataclasses.replace(small_model, outputs=tuple(outputs)).save(tmp_path / "model.zarr")
    file = folder / "stars" / "1.npz"
    result = luxscale("label", file, "--model", tmp_path / "model.zarr", expect=1)
    assert f"Error: {file}: its flux is not like" in result.stderr
    assert "format is 'arrays', the model's 'apstar'" in result.stderr
    assert "--format" in result.stderr


def test_flags_are_explained():
    labels = [{"label": "teff", "unit": "K", "value": 4800.0, "error": None}]
    star = {
        "star": 7,
        "file": "a/b.fits",
        "snr": None,
        "labels": labels,
        "n_pixels": 3,
        "chi2_per_dof": None,
        "flags": {"few_pixels": "fewer than a quarter"},
    }
    text = format_stars([star])
    assert text.splitlines()[0] == "7 (b.fits)"
    assert text.splitlines()[-1] == "few_pixels: fewer than a quarter"
    assert "4800 ± -" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["s.zarr"], "s.zarr is a Zarr store; name its catalogue with --out"),
        (["a.fits", "--dry-run", "--workers", 2], "leave out --dry-run, --workers: of use with"),
        (["a.fits", "b.fits", "--out", "c.zarr"], "--out is for one survey"),
        (["a.fits", "--out", "c.zarr"], "a.fits is a file: leave out --out"),
        (["s.zarr", "--out", "c.zarr", "--format", "apstar"], "leave out --format: of use with"),
    ],
)
def test_surveys_and_files_are_told_apart(arguments, message, tmp_path, monkeypatch, small_survey):
    monkeypatch.chdir(tmp_path)
    store.write_dataset(small_survey.isel(star=slice(0, 3)), "s.zarr")
    (tmp_path / "a.fits").touch()
    result = luxscale("label", *arguments, "--model", "model.zarr", expect=2)
    assert message in result.stderr


def test_a_catalogue_within_a_store_is_refused_by_its_own_name(folder, tmp_path, small_survey):
    survey = tmp_path / "s.zarr"
    store.write_dataset(small_survey.isel(star=slice(0, 3)), survey)
    inside = survey / "c.zarr"
    result = luxscale("label", survey, "--model", folder / "model.zarr", "--out", inside, expect=1)
    assert f"{inside} lies in a survey; choose a path outside of it" in result.stderr
