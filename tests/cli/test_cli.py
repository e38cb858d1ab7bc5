import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.cli.draw import _make_file_names


def luxscale(*arguments, expect=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == expect, result.output + repr(result.exception)
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A simulated survey, a model of it and a catalogue, all made by the command line."""
    folder = tmp_path_factory.mktemp("cli")
    luxscale(
        "simulate",
        folder / "survey.zarr",
        "--stars",
        500,
        "--pixels",
        120,
        "--chunk",
        100,
        "--quiet",
    )
    trained = luxscale(
        "train",
        folder / "survey.zarr",
        "--out",
        folder / "model.zarr",
        "--latent-dim",
        14,
        "--stars",
        "0:300",
        "--iterations",
        4,
        "--json",
        "--quiet",
    )
    labelled = luxscale(
        "label",
        folder / "survey.zarr",
        "--model",
        folder / "model.zarr",
        "--out",
        folder / "catalog.zarr",
        "--workers",
        0,
        "--json",
        "--quiet",
    )
    return folder, json.loads(trained.stdout), json.loads(labelled.stdout)


def test_simulate_train_label(made):
    _, trained, labelled = made
    assert trained["stars"] == 300
    assert trained["latent_dim"] == 14
    assert trained["objective"] == sorted(trained["objective"])
    assert labelled["n_stars"] == labelled["n_run"] == 500


def test_label_again_does_nothing(made):
    folder = made[0]
    again = luxscale(
        "label",
        folder / "survey.zarr",
        "--model",
        folder / "model.zarr",
        "--out",
        folder / "catalog.zarr",
        "--workers",
        0,
        "--json",
        "--quiet",
    )
    assert json.loads(again.stdout)["n_run"] == 0


def test_validate_finds_the_labels_right(made, tmp_path):
    folder = made[0]
    result = luxscale(
        "validate",
        folder / "catalog.zarr",
        folder / "survey.zarr",
        "--figures",
        tmp_path / "f",
        "--json",
    )
    report = json.loads(result.stdout)
    assert report["done"] == report["stars"] == 500
    teff = next(r for r in report["labels"] if r["label"] == "teff")
    assert teff["robust_scatter"] < 80  # K; the spread of the survey is about 400 K
    assert (tmp_path / "f" / "labels.png").stat().st_size > 10_000
    text = luxscale(
        "validate", folder / "catalog.zarr", folder / "survey.zarr", "--stars", "300:", "--json"
    ).stdout
    assert next(r for r in json.loads(text)["labels"] if r["label"] == "teff")["n_stars"] == 200
    text = luxscale("validate", folder / "catalog.zarr", folder / "survey.zarr").stdout
    assert "500 of 500 stars done" in text
    assert "mg_m" in text


def test_validate_refuses_a_figure_before_it_compares(made, tmp_path, monkeypatch):
    stores = [made[0] / "catalog.zarr", made[0] / "survey.zarr"]
    (tmp_path / "labels.png").write_bytes(b"\x89PNG\r\n")
    monkeypatch.setattr("luxscale.analysis.evaluate.compare", None)
    result = luxscale("validate", *stores, "--figures", tmp_path, expect=1)
    assert "labels.png: a figure is there already" in result.stderr


def test_validate_leaves_no_directory_where_it_draws_nothing(made, tmp_path):
    catalog = made[0] / "catalog.zarr"
    result = luxscale("validate", catalog, catalog, "--figures", tmp_path / "f" / "g", expect=1)
    assert "both are the same catalogue" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_validate_fails_on_an_unfinished_catalog(made, tmp_path):
    folder = made[0]
    luxscale(
        "label",
        folder / "survey.zarr",
        "--model",
        folder / "model.zarr",
        "--out",
        tmp_path / "c.zarr",
        "--region",
        2,
        "--region-stars",
        100,
    )
    result = luxscale("validate", tmp_path / "c.zarr", folder / "survey.zarr", expect=1)
    assert "100 of 500 stars done" in result.stdout


def test_one_region_alone(made, tmp_path):
    folder = made[0]
    arguments = [
        "label",
        folder / "survey.zarr",
        "--model",
        folder / "model.zarr",
        "--out",
        tmp_path / "c.zarr",
        "--region-stars",
        100,
    ]
    assert "region 4 done, 100 stars" in luxscale(*arguments, "--region", 4).stdout
    status = xr.open_zarr(tmp_path / "c.zarr", consolidated=False)["status"].values
    np.testing.assert_array_equal(np.flatnonzero(status), np.arange(400, 500))
    assert "regions 0 to 4" in luxscale(*arguments, "--region", 5, expect=1).stderr


@pytest.mark.parametrize("what", ["survey", "model", "catalog"])
def test_info(made, what):
    path = made[0] / f"{what}.zarr"
    facts = json.loads(luxscale("info", path, "--json").stdout)
    assert facts["kind"] == {"catalog": "catalogue"}.get(what, what)
    assert str(path) in luxscale("info", path).stdout


def test_info_checks_every_value(made, tmp_path):
    survey = store.open_dataset(made[0] / "survey.zarr").load()
    survey["flux_ivar"][499, 7] = -1
    store.write_arrays(survey, tmp_path / "bad.zarr", chunk=100)
    result = luxscale("info", tmp_path / "bad.zarr", "--check", expect=1)
    assert "'flux_ivar' = -1.0" in result.stderr
    assert "00000499" in result.stderr


def test_failures_are_one_line_and_status_1(made, tmp_path):
    folder = made[0]
    for arguments in (
        ["info", tmp_path / "nothing.zarr"],
        ["train", tmp_path / "nothing.zarr", "--out", tmp_path / "m.zarr"],
        ["train", folder / "survey.zarr", "--out", folder / "model.zarr"],
        ["train", folder / "survey.zarr", "--out", tmp_path / "m.zarr", "--latent-dim", 5000],
        [
            "label",
            folder / "survey.zarr",
            "--model",
            folder / "survey.zarr",
            "--out",
            tmp_path / "c.zarr",
            "--workers",
            0,
        ],
        [
            "label",
            folder / "survey.zarr",
            "--model",
            folder / "model.zarr",
            "--out",
            folder / "survey.zarr",
            "--workers",
            0,
        ],
    ):
        result = luxscale(*arguments, "--quiet" if arguments[0] != "info" else "--json", expect=1)
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["nonsense"],
        ["simulate", "x", "--stars", "0"],
        ["train", "s", "--out", "m", "--stars", "a:b"],
        ["train", "s", "--out", "m.zarr", "--checkpoint", "./m.zarr"],
    ],
)
def test_usage_errors_are_status_2(arguments):
    luxscale(*arguments, expect=2)


def test_overwrite_replaces_a_model_only(made, tmp_path):
    folder = made[0]
    arguments = [
        "train",
        folder / "survey.zarr",
        "--latent-dim",
        3,
        "--stars",
        "0:100",
        "--iterations",
        1,
        "--folds",
        1,
        "--quiet",
    ]
    luxscale(*arguments, "--out", tmp_path / "m.zarr")
    luxscale(*arguments, "--out", tmp_path / "m.zarr", expect=1)
    luxscale(*arguments, "--out", tmp_path / "m.zarr", "--overwrite")
    luxscale(*arguments, "--out", folder / "survey.zarr", "--overwrite", expect=1)
    assert store.open_survey(folder / "survey.zarr").sizes["star"] == 500


def test_options_that_exclude_each_other(made, tmp_path):
    folder = made[0]
    arguments = [
        "label",
        folder / "survey.zarr",
        "--model",
        folder / "model.zarr",
        "--out",
        tmp_path / "c.zarr",
    ]
    luxscale(*arguments, "--region", 0, "--workers", 2, expect=2)
    luxscale(*arguments, "--workers", 2, "--scheduler", "tcp://127.0.0.1:1", expect=2)


def test_stars_beyond_the_survey_are_refused(made, tmp_path):
    folder = made[0]
    for span in ("0:501", "500:", "9:3"):
        result = luxscale(
            "train", folder / "survey.zarr", "--out", tmp_path / "m.zarr", "--stars", span, expect=1
        )
        assert "--stars" in result.stderr
        assert "0:500" in result.stderr


def test_stars_are_chosen_by_a_condition_at_random_or_as_new_to_the_model(made, tmp_path):
    folder = made[0]
    survey = store.open_survey(folder / "survey.zarr")
    bright = lux.select(survey, "teff_err < 60 and snr > 30")
    assert 150 < bright.sizes["star"] < 500
    few = ["--latent-dim", 3, "--iterations", 1, "--folds", 1, "--quiet", "--json"]
    chosen = ["--where", "teff_err < 60 and snr > 30", "--stars", "random:150"]
    out = tmp_path / "m.zarr"
    luxscale("train", folder / "survey.zarr", "--out", out, *few, *chosen)
    trained = lux.load_model(out).training_stars
    assert len(trained) == 150
    assert trained.find(lux.select(bright, stars="random:150")["star"].values).all()

    paths = [folder / "catalog.zarr", folder / "survey.zarr"]
    model = ["--model", folder / "model.zarr"]

    def count(*given):
        report = json.loads(luxscale("validate", *paths, *given, "--json").stdout)
        return next(r for r in report["labels"] if r["label"] == "teff")["n_stars"]

    assert count("--stars", "untrained", *model) == 200  # it was trained on 300 of 500
    condition = "snr > 30 and flags == 0"  # snr is the survey's, flags the catalogue's
    good = lux.select(paths[0], condition, survey=survey)
    assert count("--where", condition) == good.sizes["star"]
    new = lux.select(good, stars="untrained", model=folder / "model.zarr")
    assert 0 < new.sizes["star"] < good.sizes["star"]
    assert count("--where", condition, "--stars", "untrained", *model) == new.sizes["star"]
    with_another = luxscale(
        "validate", *paths, "--stars", "untrained", "--model", out, expect=1
    ).stderr
    assert "not of this model" in with_another
    assert "--model" in luxscale("validate", *paths, "--stars", "untrained", expect=1).stderr
    nothing = luxscale("validate", *paths, "--where", "teff > 99999", expect=1).stderr
    assert "none of its 500 stars is left by where teff > 99999" in nothing
    wrong = luxscale("validate", *paths, "--where", "tef > 99999", expect=1).stderr
    assert "similar: teff" in wrong
    luxscale("train", folder / "survey.zarr", "--out", out, "--stars", "untrained", expect=2)


def test_a_damaged_model_is_said_to_be(made, tmp_path):
    shutil.copytree(made[0] / "model.zarr", tmp_path / "m.zarr")
    chunk = next(p for p in (tmp_path / "m.zarr" / "flux_weights" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:100])
    assert "damaged" in luxscale("info", tmp_path / "m.zarr", expect=1).stderr
    (tmp_path / "m.zarr" / "zarr.json").write_text("{")
    assert "Error: " in luxscale("info", tmp_path / "m.zarr", expect=1).stderr


@pytest.mark.slow
def test_crossval_chooses_and_resumes(made, tmp_path):
    arguments = [
        "crossval",
        made[0] / "survey.zarr",
        "--out",
        tmp_path / "cv.zarr",
        "--workers",
        0,
        "--quiet",
    ]
    arguments += [
        "--latent-dim",
        3,
        "--latent-dim",
        14,
        "--folds",
        2,
        "--iterations",
        2,
        "--stars",
        "0:300",
    ]
    first = luxscale(*arguments).stdout
    assert "2 settings, 2 folds, 4 tasks done in this run" in first
    again = luxscale(*arguments, "--json").stdout
    report = json.loads(again)
    assert [r["latent_dim"] for r in report["settings"]] == [3, 14]
    assert report["chosen"]["latent_dim"] == 14
    assert (
        report["settings"][1]["label_chi2_given_spectra"]
        < report["settings"][0]["label_chi2_given_spectra"]
    )
    assert {r["label"] for r in report["labels"]} >= {"teff", "mg_m"}
    assert report["next"] in first
    assert "\n*  14      1  " in first
    command = [*shlex.split(report["next"])[1:], "--folds", 1, "--quiet"]
    command[command.index("model.zarr")] = tmp_path / "m.zarr"
    assert "14 latents" in luxscale(*command).stdout
    assert "another folds" in luxscale(*arguments, "--folds", 3, expect=1).stderr
    luxscale(*arguments, "--scheduler", "tcp://127.0.0.1:1", expect=2)
    luxscale(*arguments, "--stars", "0:501", expect=1)
    luxscale(*arguments, "--stars", "random:501", expect=1)


def test_a_region_alone_is_in_the_log(made, tmp_path):
    folder, log = made[0], tmp_path / "region.jsonl"
    arguments = [
        "label",
        folder / "survey.zarr",
        "--model",
        folder / "model.zarr",
        "--out",
        tmp_path / "c.zarr",
    ]
    arguments += ["--region-stars", 100, "--region", 3, "--log", log]
    luxscale(*arguments)
    assert "region 3 is done already" in luxscale(*arguments).stdout
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [e["event"] for e in events] == ["start", "region", "end", "start", "end"]
    assert events[0]["regions"] == 1 and (events[1]["region"], events[1]["stars"]) == (3, 100)
    assert [e["stars"] for e in events if e["event"] == "end"] == [100, 0]


def test_a_path_without_a_model_is_called_one(made, tmp_path):
    arguments = [
        "label",
        made[0] / "survey.zarr",
        "--model",
        tmp_path / "none.zarr",
        "--out",
        tmp_path / "c.zarr",
    ]
    said = luxscale(*arguments, expect=1).stderr
    assert said == f"Error: {tmp_path}/none.zarr: no Zarr group there; give the path of a model\n"


def test_plot_draws_stars_by_identifier_and_by_row(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    survey = made[0] / "survey.zarr"
    names = store.open_survey(survey).star.values[[3, 7]].tolist()
    drawn = luxscale("plot", survey, names[0], "--row", 7, "--row", 3, "--json").stdout
    assert json.loads(drawn)["figures"] == [f"{n}.png" for n in names]
    assert all((tmp_path / f"{n}.png").stat().st_size > 10_000 for n in names)


def test_plot_draws_the_model(made, tmp_path):
    folder, out = made[0], tmp_path / "star.svg"
    arguments = [
        "plot",
        folder / "survey.zarr",
        "--row",
        20,
        "--out",
        out,
        "--model",
        folder / "model.zarr",
        "--overwrite",
    ]
    assert luxscale(*arguments, "--catalog", folder / "catalog.zarr").stdout == f"{out}\n"
    assert out.read_text().count("<svg") == 1
    shifted = store.open_dataset(folder / "catalog.zarr").isel(star=slice(10, None)).load()
    store.write_dataset(shifted, tmp_path / "rest.zarr", chunk=100)
    alike = tmp_path / "alike.svg"
    luxscale(*arguments[:5], alike, *arguments[6:], "--catalog", tmp_path / "rest.zarr")
    assert drawn_lines(alike) == drawn_lines(out)  # the star is found wherever it stands
    shifted["status"][10] = 0
    store.write_dataset(shifted, tmp_path / "undone.zarr", chunk=100)
    assert (
        "no labels yet"
        in luxscale(*arguments, "--catalog", tmp_path / "undone.zarr", expect=1).stderr
    )
    shifted.attrs["model_fingerprint"] = "another"
    store.write_dataset(shifted, tmp_path / "other.zarr", chunk=100)
    assert (
        "model another) are not of this model"
        in luxscale(*arguments, "--catalog", tmp_path / "other.zarr", expect=1).stderr
    )


def drawn_lines(svg):
    return [line for line in svg.read_text().splitlines() if line.startswith('    <path d="M')]


def test_plot_says_what_is_wrong(made, tmp_path):
    survey, last = made[0] / "survey.zarr", "sim-0-00000499"
    assert f"did you mean {last}" in luxscale("plot", survey, last + "9", expect=1).stderr
    assert (
        "--row 500, but it holds rows 0 to 499"
        in luxscale("plot", survey, "--row", 500, expect=1).stderr
    )
    assert (
        "not written as .xyz"
        in luxscale("plot", survey, last, "--out", tmp_path / "a.xyz", expect=1).stderr
    )
    for arguments in (
        [survey],
        [survey, last, "--catalog", made[0] / "catalog.zarr"],
        [survey, last, "--row", 1, "--out", tmp_path / "a.png"],
        [survey, last, "--range", "a:b"],
        [survey, "--row", -1],
    ):
        luxscale("plot", *arguments, expect=2)
    assert not list(tmp_path.iterdir())


def test_info_lists_the_quarantine_of_files_alone(made):
    survey = made[0] / "survey.zarr"
    assert (
        "not a survey made by `luxscale ingest`"
        in luxscale("info", survey, "--quarantine", expect=1).stderr
    )
    luxscale("info", survey, "--quarantine", "--check", expect=2)


def test_runs_as_a_module():
    said = subprocess.run(
        [sys.executable, "-m", "luxscale", "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("luxscale, version ")


@pytest.mark.parametrize("asked", ["--version", "label --help"])
def test_streams_that_the_shell_has_closed_are_none_of_its_business(asked):
    command = f"exec '{sys.executable}' -m luxscale {asked} <&- >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("asked", ["--help", "--version", "formats"])
def test_output_that_cannot_be_written_is_one_line(asked):
    """What the group prints itself, too, before any command is called."""
    command = f"exec '{sys.executable}' -m luxscale {asked} > /dev/full"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("asked", ["--help", "formats", "info survey.zarr", "info nothing 2>&1"])
def test_output_that_nobody_reads_is_no_error(asked, made):
    """As of ``luxscale info survey.zarr | head -1``, once head has its line."""
    command = f"exec '{sys.executable}' -m luxscale {asked}"
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        ["sh", "-c", command], cwd=made[0], stdout=write_end, stderr=subprocess.PIPE, text=True
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_small_survey_is_labelled_in_this_process(made, tmp_path):
    arguments = ["label", made[0] / "survey.zarr", "--model", made[0] / "model.zarr"]
    done = luxscale(*arguments, "--out", tmp_path / "c.zarr")
    assert "working in this process" in done.stderr
    assert "500 stars labelled, 500 of them in this run" in done.stdout


def test_figures_of_stars_with_like_names_are_files_of_their_own():
    names = _make_file_names(["a/b", "a_b", "a b", "A_B", "..", 7])
    assert [path.name for path in names] == [
        "a_b.png",
        "a_b-2.png",
        "a_b-3.png",
        "A_B-4.png",
        "star.png",
        "7.png",
    ]


def test_figures_of_stars_with_long_names_have_names_that_files_may_have():
    names = [path.name for path in _make_file_names(["é" * 300, "é" * 300 + "x"])]
    assert len(set(names)) == 2
    assert max(len(name.encode()) for name in names) < 255
