"""The run of a cross-validation, without training: one at a time, a second try, a log."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import xarray as xr
import zarr

from luxscale import crossval as cv
from luxscale import store
from luxscale.crossval import results
from luxscale.crossval.fold import Outcome
from luxscale.errors import CannotWrite, InputError, RunError
from luxscale.runs.executors import TaskError, run_on_worker
from luxscale.runs.target import BEING_MADE, complete, open_target

GRID = {"latent_dims": (2,), "priors": (1.0, 4.0), "folds": 3}


@pytest.fixture
def survey(tmp_path, small_survey):
    store.write_dataset(small_survey.isel(star=slice(0, 60)), tmp_path / "survey.zarr", chunk=20)
    return tmp_path / "survey.zarr"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "cv.zarr"


@pytest.fixture
def grid(survey, out):
    return cv.make_grid(survey, out, **GRID)


@pytest.fixture
def did(monkeypatch):
    """Tasks that were done, which find nothing of interest and take no time."""
    found = []

    def run_tasks(grid, tasks):
        found.append(tasks)
        for task in tasks:
            part = xr.Dataset({"objective": float(task.fold)})
            place = store.locate(grid.out)
            part.to_zarr(place, group=task.group, mode="w", consolidated=False, zarr_format=3)
            store.open_group(grid.out, "r+", task.group).attrs["status"] = 1
        return Outcome(tuple(map(str, tasks)), 0.5, "here")

    monkeypatch.setattr(results, "run_tasks", run_tasks)
    return found


def run(survey, out, **options):
    return cv.cross_validate(survey, out, progress=False, **GRID, **options)


def snapshot(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and "lock" not in p.parts}


def test_two_at_once_are_refused(survey, out, grid, did):
    with open_target(cv.Results(grid), progress=False) as first:
        before = snapshot(out)
        message = r"cv.zarr: another run, process \d+ on .*, is writing into it; wait for its end"
        with pytest.raises(InputError, match=message):
            run(survey, out)
        assert did == [] and snapshot(out) == before
        complete(first, progress=False)
    assert len(did) == 3
    assert run(survey, out).attrs["complete"] == 1 and len(did) == 3


@pytest.mark.slow
def test_two_processes_at_once(survey, out, grid, did):
    script = textwrap.dedent("""
        import json, sys
        from luxscale import crossval as cv
        from luxscale.runs.target import open_target
        settings = json.loads(sys.argv[3])
        with open_target(cv.Results(cv.make_grid(*sys.argv[1:3], **settings)), progress=False):
            print("open", flush=True)
            sys.stdin.read()
    """)
    command = [sys.executable, "-c", script, str(survey), str(out), json.dumps(GRID)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(InputError, match=f"another run, process {other.pid} on "):
            run(survey, out)
        other.stdin.close()
        assert other.wait() == 0
    assert run(survey, out).attrs["complete"] == 1


def test_the_lock_outlives_the_making_of_the_store(grid, out):
    with open_target(cv.Results(grid), progress=False) as opened:
        assert zarr.open_group(out, path="run/lock", mode="r").attrs["pid"]
        assert store.read_attributes(out)["complete"] == 0
        opened.lock.check()


def test_a_store_whose_making_was_cut_short_is_made_anew(survey, out, grid, did):
    with open_target(cv.Results(grid), progress=False):
        pass
    group = zarr.open_group(out, mode="r+")
    group.attrs["complete"] = BEING_MADE
    group.create_array("star_row", shape=(2,), dtype=float, overwrite=True)
    assert run(survey, out).sizes["star"] == 60 and len(did) == 3


def test_what_failed_is_tried_again_and_logged(survey, out, did, tmp_path, monkeypatch):
    do, tries = results.run_tasks, []

    def fails_once(grid, tasks):
        tries.append(tasks[0].fold)
        if tries == [0]:
            raise OSError("disk on fire")
        return do(grid, tasks)

    monkeypatch.setattr(results, "run_tasks", fails_once)
    made = run(survey, out, log=tmp_path / "log.jsonl")
    assert tries == [0, 1, 2, 0]
    np.testing.assert_array_equal(made["objective"], [[[0, 1, 2], [0, 1, 2]]])
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    start, fault, *done, end = map(json.loads, lines)
    assert start["event"] == "start" and start["plan"]["axes"] == [
        ["latent_dim", [2]],
        ["prior", [1.0, 4.0]],
    ]
    assert (start["tasks"], start["workers"]) == (6, 0) and "luxscale" in start["machine"][
        "versions"
    ]
    assert (fault["event"], fault["round"]) == ("fault", 0)
    assert fault["error"] == "OSError: disk on fire"
    assert fault["tasks"] == ["P=2, prior=1, fold 0", "P=2, prior=4, fold 0"]
    assert [d["event"] for d in done] == ["tasks"] * 3 and done[0]["worker"] == "here"
    assert (end["event"], end["tasks"]) == ("end", 6)


def test_what_fails_twice_is_named(survey, out, did, tmp_path, monkeypatch):
    def fails(grid, tasks):
        raise OSError("disk on fire")

    with monkeypatch.context() as patch:
        patch.setattr(results, "run_tasks", fails)
        message = r"6 of 6 tasks could not be done; P=2, prior=1, fold 0: OSError: disk on fire\. "
        with pytest.raises(RunError, match=message):
            run(survey, out, log=tmp_path / "log.jsonl")
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "stopped" and "disk on fire" in last["error"]
    assert store.read_attributes(out)["complete"] == 0
    run(survey, out)
    assert store.read_attributes(out)["complete"] == 1


def test_a_store_that_cannot_be_written_stops_the_run(survey, out, monkeypatch):
    tries = []

    def full(grid, tasks):
        tries.append(tasks)
        raise CannotWrite("cv.zarr: cannot be written (No space left on device)")

    monkeypatch.setattr(results, "run_tasks", full)
    with pytest.raises(CannotWrite, match="No space left"):
        run(survey, out)
    assert len(tries) == 1


def test_a_worker_with_another_version_does_nothing(grid, did):
    job = cv.Results(grid).job
    (tasks, *_) = grid.group_by_training(grid.tasks)
    with pytest.raises(TaskError, match=r"worker .* has luxscale .*, the run is of 9.9$"):
        run_on_worker(job.task, "9.9", job.plan, tasks)
    assert did == []
