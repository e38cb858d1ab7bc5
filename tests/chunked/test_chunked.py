"""Training over chunks gives the model of training in memory, whoever does what, and when."""

import dataclasses
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.chunked import estimate, make_training, run_training
from luxscale.chunked import folder as folders
from luxscale.chunked.estimate import check_memory, estimate_training
from luxscale.chunked.plan import cut_regions
from luxscale.cli import main
from luxscale.cluster import local_cluster
from luxscale.errors import InputError, Interrupted, RunError

CHUNK, LATENTS, SETTINGS = 32, 4, {"iterations": 3, "tolerance": 0.0, "folds": 2}


@pytest.fixture(scope="module")
def survey(tmp_path_factory, _small_survey):
    """A survey of ten chunks, one of which has no label, nor has every fifth star."""
    path = tmp_path_factory.mktemp("chunked") / "survey.zarr"
    dataset = _small_survey.copy(deep=True)
    for rows in (slice(None, None, 5), slice(64, 96)):
        dataset["label_value"][rows] = np.nan
    store.write_dataset(dataset, path, chunk=CHUNK)
    return path


def train(survey, out, **options):
    options = {**SETTINGS, "region_stars": CHUNK, "progress": False, **options}
    return lux.train_survey(survey, out, LATENTS, **options)


@pytest.fixture(scope="module")
def whole_run(survey, tmp_path_factory):
    """The model that is trained in this process, in one go, and how many parts that writes."""
    write, parts = folders._write_arrays, []

    def write_and_count(target, found):
        parts.append(target)
        write(target, found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "_write_arrays", write_and_count)
        model = train(survey, tmp_path_factory.mktemp("undisturbed") / "model.zarr")
    return model, len(parts)


@pytest.fixture(scope="module")
def undisturbed(whole_run):
    return whole_run[0]


def assert_same(one, other):
    assert one.fingerprint == other.fingerprint


def test_the_model_is_that_of_training_in_memory(survey, undisturbed):
    opened = lux.open_survey(survey)
    model = lux.train(opened, LATENTS, progress=False, **SETTINGS)
    ours, theirs = (lux.infer(opened, m).load() for m in (undisturbed, model))
    error = theirs["label_err"]
    assert (np.abs(ours["label_value"] - theirs["label_value"]) < 0.01 * error).all()
    np.testing.assert_allclose(ours["label_err"], error, rtol=1e-3)
    np.testing.assert_allclose(undisturbed.objective, model.objective, rtol=1e-5)
    np.testing.assert_allclose(undisturbed.limits, model.limits, rtol=1e-3)
    for a, b in zip(undisturbed.outputs, model.outputs, strict=True):
        np.testing.assert_allclose(a.scatter, b.scatter, rtol=1e-3, atol=1e-6)
        np.testing.assert_array_equal(a.used, b.used)
        np.testing.assert_allclose(a.bounds, b.bounds)
    assert undisturbed.provenance.training_stars == model.provenance.training_stars
    assert undisturbed.held_out[0]["n_stars"] == model.held_out[0]["n_stars"]


@pytest.mark.slow
def test_errors_of_each_output_alone_are_those_of_training_in_memory(small_survey, cut, tmp_path):
    two = cut(small_survey)
    two["flux_ivar"][:40] = 0
    store.write_dataset(two, tmp_path / "s.zarr", chunk=150)
    ours = train(tmp_path / "s.zarr", tmp_path / "m.zarr", region_stars=150, iterations=1)
    theirs = lux.train(two, LATENTS, progress=False, **{**SETTINGS, "iterations": 1})
    parts = [model["label_value"].part_errors for model in (ours, theirs)]
    assert [part.outputs for part in parts[0]] == [("flux",), ("flux_red",)]
    for one, other in zip(*parts, strict=True):
        floors = [[curve.middle for curve in part.floor] for part in (one, other)]
        np.testing.assert_allclose(*floors, rtol=1e-3)
        assert one.outputs == other.outputs


def test_labels_that_contradict_spectra_are_set_aside(survey, tmp_path):
    spoilt = lux.open_survey(survey).load()
    spoilt["label_value"].loc[{"label": "teff"}][1::50] += 4000
    store.write_dataset(spoilt, tmp_path / "s.zarr", chunk=CHUNK)
    ours = train(tmp_path / "s.zarr", tmp_path / "m.zarr")
    theirs = lux.train(tmp_path / "s.zarr", LATENTS, progress=False, **SETTINGS)
    for model in (ours, theirs):
        assert json.loads(model.provenance.settings)["outlying_labels"] == 6


def test_visits_of_one_star_and_what_is_not_modelled_are_noticed(survey, tmp_path, capsys):
    visits = store.open_dataset(survey).compute()
    visits["mag"] = ("star", "band"), np.ones((visits.sizes["star"], 2))
    for variable in ("label_value", "label_err"):
        visits[variable][200:300] = visits[variable][100:200].values
    known = int((visits["label_value"][100:200].notnull().sum("label") >= 3).sum())
    store.write_dataset(visits, tmp_path / "visits.zarr", chunk=CHUNK)
    train(tmp_path / "visits.zarr", tmp_path / "m.zarr", label_clip=np.inf, progress=True)
    said = capsys.readouterr().err
    assert f"{2 * known} of " in said
    assert "stars have all labels of another one" in said
    assert "'mag' ('star', 'band') is not modelled, for there are no errors mag_ivar" in said


def test_the_size_of_regions_does_not_matter(survey, undisturbed, tmp_path):
    larger = train(survey, tmp_path / "larger.zarr", region_stars=3 * CHUNK)
    assert not (tmp_path / "larger.zarr.training").exists()
    np.testing.assert_allclose(larger.objective, undisturbed.objective, rtol=1e-5)


def stop_after(monkeypatch, number):
    """Let the run end, as by Ctrl-C, when it has written so many parts."""
    write, count = folders._write_arrays, iter(range(number))

    def write_or_stop(target, found):
        if next(count, None) is None:
            raise KeyboardInterrupt
        write(target, found)

    monkeypatch.setattr(folders, "_write_arrays", write_or_stop)


@pytest.mark.parametrize("share", [0.03, 0.6, 0.98])
def test_interrupted_anywhere_it_goes_on_bit_for_bit(
    survey, whole_run, tmp_path, monkeypatch, share
):
    undisturbed, n_parts = whole_run
    stop_after(monkeypatch, int(share * n_parts))
    with pytest.raises(Interrupted, match="the same command goes on"):
        train(survey, tmp_path / "m.zarr")
    monkeypatch.undo()
    assert not (tmp_path / "m.zarr").exists()
    assert_same(train(survey, tmp_path / "m.zarr"), undisturbed)


@pytest.mark.slow
def test_a_killed_client_goes_on_bit_for_bit(survey, undisturbed, tmp_path):
    script = textwrap.dedent("""
        import sys, luxscale as lux
        lux.train_survey(*sys.argv[1:], 4, iterations=3, tolerance=0.0, folds=2, region_stars=32)
    """)
    out = tmp_path / "m.zarr"
    process = subprocess.Popen([sys.executable, "-c", script, str(survey), str(out)])
    state, deadline = tmp_path / "m.zarr.training" / "state-2.npz", time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists()
    assert_same(train(survey, out), undisturbed)


@pytest.mark.slow
def test_workers_change_nothing_and_killed_ones_cost_nothing(survey, undisturbed, tmp_path):
    with local_cluster(2) as client:

        def kill():
            for _ in range(3):
                time.sleep(2)
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        trained = train(survey, tmp_path / "m.zarr", client=client)
        thread.join()
    assert_same(trained, undisturbed)
    assert not (tmp_path / "m.zarr.training").exists()


def test_parts_that_fail_are_named_and_the_rest_is_kept(survey, undisturbed, tmp_path, monkeypatch):
    compute = folders._write_arrays

    def fail(target, found):
        if target.name == "2" and target.parent.name == "sums":
            raise OSError("disk on fire")
        compute(target, found)

    monkeypatch.setattr(folders, "_write_arrays", fail)
    with pytest.raises(RunError, match=r"1 of 5 parts.*part 2: .*disk on fire.*same command again"):
        train(survey, tmp_path / "m.zarr")
    monkeypatch.undo()
    assert_same(train(survey, tmp_path / "m.zarr"), undisturbed)


def test_work_of_another_training_is_refused(survey, tmp_path, monkeypatch):
    stop_after(monkeypatch, 3)
    with pytest.raises(Interrupted):
        train(survey, tmp_path / "m.zarr")
    monkeypatch.undo()
    for options, message in (
        ({"iterations": 7}, r"made with another iterations \(3, now 7\); choose"),
        ({"seed": 1, "folds": 3}, r"another folds \(2, now 3\) and seed \(0, now 1\); choose"),
        ({"stars": "0:200"}, r"made with another stars \(all, now 0:200\); choose"),
        ({"region_stars": 64}, r"another division into regions \(region_stars"),
    ):
        with pytest.raises(InputError, match=message):
            train(survey, tmp_path / "m.zarr", **options)


def test_work_of_another_version_is_refused(survey, tmp_path, monkeypatch):
    stop_after(monkeypatch, 3)
    with pytest.raises(Interrupted):
        train(survey, tmp_path / "m.zarr")
    monkeypatch.undo()
    module = importlib.import_module("luxscale.chunked.prepare")
    monkeypatch.setattr(module, "VERSION", "99")
    with pytest.raises(InputError, match=r"version \(0.*, now 99\)"):
        train(survey, tmp_path / "m.zarr")


def test_work_on_data_that_were_others_is_refused(survey, tmp_path, monkeypatch):
    copy, out = tmp_path / "s.zarr", tmp_path / "m.zarr"
    shutil.copytree(survey, copy)
    stop_after(monkeypatch, 3)
    with pytest.raises(Interrupted):
        train(copy, out, condition="snr > 0")
    monkeypatch.undo()
    group = store.open_group(copy, "r+")
    snr = group["snr"][3]
    group["snr"][3] = 0.0
    with pytest.raises(InputError, match="another choice of stars"):
        train(copy, out, condition="snr > 0")
    group["snr"][3] = snr
    group["flux"][7] = 1.0
    with pytest.raises(InputError, match="another state of the survey"):
        train(copy, out, condition="snr > 0")


@pytest.mark.parametrize("damage", [b"no chunk", None])
def test_damaged_chunks_are_named(survey, tmp_path, damage):
    copy = tmp_path / "s.zarr"
    shutil.copytree(survey, copy)
    chunk = copy / "flux" / "c" / "3" / "0"
    chunk.unlink()
    if damage:
        chunk.write_bytes(damage)
    with pytest.raises(RunError, match=r"'flux' of stars 96 to 128 \(chunk 3\) cannot be read"):
        train(copy, tmp_path / "m.zarr")


def test_damaged_values_are_named(survey, tmp_path):
    damaged = tmp_path / "s.zarr"
    shutil.copytree(survey, damaged)
    array = store.open_group(damaged, "r+")["flux_ivar"]
    array[101, 7] = -1
    with pytest.raises(RunError, match=r"'flux_ivar' = -1.0.*star 's1-00101'"):
        train(damaged, tmp_path / "m.zarr")
    assert not (tmp_path / "m.zarr").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "curved"}, "recipe 'curved' is trained in memory only.*--stars random:20000"),
        ({"method": "alternating"}, "method 'alternating' is trained in memory only"),
        ({"outputs": ["flux"]}, "needs labels and spectra"),
        ({"stars": "0:40"}, "latent_dim=48 is too large.*leaves 25 stars"),
        ({"stars": "0:11"}, "8 stars are too few"),
        ({"condition": "snr < 0"}, "no star has a label|none of its"),
        ({"quadratic": 3}, "has no setting 'quadratic'"),
        ({"folds": 0}, "folds is 0"),
        ({"region_stars": 0}, "region_stars=0"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_before_anything_is_written(
    survey, tmp_path, options, message
):
    latent_dim = 48 if "stars" in options else None
    with pytest.raises(InputError, match=message):
        lux.train_survey(survey, tmp_path / "m.zarr", latent_dim, progress=False, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_survey_without_labels_is_refused(survey, tmp_path):
    opened = lux.open_survey(survey).load()
    opened["label_value"][:] = np.nan
    store.write_dataset(opened, tmp_path / "s.zarr", chunk=CHUNK)
    with pytest.raises(InputError, match="no star has a label and its error"):
        train(tmp_path / "s.zarr", tmp_path / "m.zarr")
    assert not (tmp_path / "m.zarr.training").exists()


def test_a_model_under_a_url_is_refused(survey):
    with pytest.raises(InputError, match="go to local files"):
        make_training(survey, "s3://bucket/model.zarr", LATENTS)


class Client:
    """A client whose second worker has little memory."""

    def scheduler_info(self, n_workers):
        return {"workers": {"tcp://a": {"memory_limit": 8e9}, "tcp://b": {"memory_limit": 3e8}}}


def test_a_worker_that_lacks_memory_is_named(survey, tmp_path):
    prepared = make_training(survey, tmp_path / "m.zarr", LATENTS, **SETTINGS)
    with pytest.raises(InputError, match=r"worker tcp://b has 0.30 GB.*--region-stars"):
        check_memory(Client(), prepared.plan)
    with pytest.raises(InputError, match="tcp://b"):
        run_training(prepared, tmp_path / "m.zarr", client=Client())
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_is_needed_and_writes_nothing(survey, tmp_path):
    out = tmp_path / "m.zarr"
    arguments = ["train", str(survey), "--out", str(out), "--chunked", "--dry-run"]
    shown = CliRunner().invoke(main, [*arguments, "--region-stars", "64", "--latent-dim", "4"])
    assert shown.exit_code == 0, shown.output
    assert "stars     215, in 3 regions of 9 chunks" in shown.output
    assert "GB a worker however many stars" in shown.output
    assert list(tmp_path.iterdir()) == []


def test_memory_of_a_worker_does_not_depend_on_the_number_of_stars(survey, tmp_path):
    prepared = make_training(survey, tmp_path / "m.zarr", LATENTS, **SETTINGS)
    plan = prepared.plan
    many = dataclasses.replace(
        plan, n_stars=10**7, bounds=tuple(range(0, 10**7 + 1, plan.regions[0].size))
    )
    few, of_many = (estimate_training(dataclasses.replace(prepared, plan=p)) for p in (plan, many))
    assert few.worker_bytes == of_many.worker_bytes
    assert few.client_bytes < of_many.client_bytes


def test_what_labels_of_each_spectrum_alone_take_is_counted(survey, tmp_path):
    plan = make_training(survey, tmp_path / "m.zarr", LATENTS, **SETTINGS).plan
    (flux,) = (plan.outputs[i] for i in plan.measured)
    (labels,) = (spec for spec in plan.outputs if spec != flux)
    red = dataclasses.replace(flux, name="flux_red")
    one = dataclasses.replace(plan, outputs=(flux, labels), sizes=(120, 4))
    two = dataclasses.replace(plan, outputs=(flux, red, labels), sizes=(60, 60, 4))
    more = estimate._count_client_bytes(two) - estimate._count_client_bytes(one)
    assert more == plan.n_stars * 4 * 2 * estimate._PART_BYTES


def test_the_command_trains_and_refuses_what_is_of_the_other_way(survey, undisturbed, tmp_path):
    out = tmp_path / "m.zarr"
    base = ["train", str(survey), "--out", str(out), "--latent-dim", "4"]
    settings = [
        "--iterations",
        "3",
        "--tolerance",
        "0",
        "--folds",
        "2",
        "--region-stars",
        "32",
        "--quiet",
    ]
    refused = CliRunner().invoke(main, [*base, "--chunked", "--checkpoint", "c.zarr"])
    assert refused.exit_code == 2
    assert "--checkpoint" in refused.output
    refused = CliRunner().invoke(main, [*base, "--workers", "2"])
    assert refused.exit_code == 2
    assert "--workers: of use with --chunked" in refused.output
    done = CliRunner().invoke(main, [*base, "--chunked", "--workers", "0", *settings])
    assert done.exit_code == 0, done.output
    assert_same(lux.load_model(out), undisturbed)


def test_regions_share_no_chunk():
    rows = np.array([0, 1, 5, 10, 11, 12, 25, 26, 39])
    assert cut_regions(rows, 10, 3) == (0, 3, 6, 9)
    assert cut_regions(rows, 10, 4) == (0, 6, 9)
    assert cut_regions(rows, 10, 100) == (0, 9)
