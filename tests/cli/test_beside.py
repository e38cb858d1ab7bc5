"""A survey of middling size is labelled by this process and helpers beside it, all the same."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import xarray as xr
from click.testing import CliRunner

from luxscale import cluster as library
from luxscale import store
from luxscale.cli import beside, main, workplace
from luxscale.cli.workplace import Cluster
from luxscale.cluster import environment
from luxscale.labelling import run as labelling
from luxscale.labelling.region import run_region
from luxscale.model import threads

#: Variables that name the process which waits for another to be at a region, and a file that then
#: is there.
WAITING, OTHER_IS_AT_WORK = "PROCESS_THAT_WAITS", "FILE_OF_THE_OTHER"


def run_beside(plan, region, ahead=None):
    """Do a region; the process that waits does none before another has begun with one."""
    at_work = Path(os.environ[OTHER_IS_AT_WORK])
    if os.environ[WAITING] != str(os.getpid()):
        at_work.touch()
    until = time.monotonic() + 120
    while not at_work.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return run_region(plan, region, ahead)


@pytest.fixture
def two_processors(monkeypatch):
    for module, name in ((threads, "count_threads"), (library, "cpu_count")):
        monkeypatch.setattr(module, name, lambda: 2)
    for module in (environment, library):
        monkeypatch.setattr(module, "gpus", lambda: [])


def write_shape(path, shape):
    (path / "flux").mkdir(parents=True)
    (path / "flux" / "zarr.json").write_text(json.dumps({"shape": shape}))
    return str(path)


def count_helpers(survey, out, cluster=None, given=("flux",)):
    with start_helpers(survey, out, cluster or Cluster(), given) as found:
        return len(found.helpers)


def start_helpers(survey, out, cluster, given=("flux",)):
    wanted = {"given": given, "covariance": False}
    return beside.start_helpers(survey, "m.zarr", str(out), cluster, **wanted)


def test_helpers_are_started_where_they_save_more_than_they_cost(
    tmp_path, two_processors, monkeypatch
):
    middling = write_shape(tmp_path / "middling", [20_480, 8_575])
    out = tmp_path / "c.zarr"
    assert count_helpers(middling, out) == 1
    assert count_helpers(write_shape(tmp_path / "small", [1024, 8_575]), out) == 0
    assert count_helpers(write_shape(tmp_path / "large", [10**6, 8_575]), out) == 0  # by workers
    assert count_helpers(middling, out, Cluster(given=("--workers",), workers=0)) == 0
    assert count_helpers(middling, out, given=("flux", "magnitude")) == 0
    assert count_helpers(str(tmp_path / "nowhere"), out) == 0
    assert count_helpers("s3://bucket/survey.zarr", out) == 0
    out.mkdir()
    assert count_helpers(middling, out) == 0  # what is left to do is not known
    out.rmdir()
    monkeypatch.setattr(environment, "gpus", lambda: ["0"])
    assert count_helpers(middling, out) == 0


@pytest.mark.parametrize(("cores", "expected"), [(1, 0), (2, 1), (3, 2), (64, 3)])
def test_there_are_helpers_for_as_many_processors_as_one_process_uses(
    two_processors, monkeypatch, cores, expected
):
    monkeypatch.setattr(threads, "count_threads", lambda: cores)
    assert beside._choose_number([[20_480, 8_575]]) == expected


def test_helpers_end_where_workers_do_the_work(tmp_path, two_processors, monkeypatch):
    survey = write_shape(tmp_path / "middling", [20_480, 8_575])
    monkeypatch.setattr(Cluster, "_start", lambda self, progress: beside.contextlib.nullcontext(1))
    with start_helpers(survey, tmp_path / "c.zarr", Cluster()) as cluster:
        (helper,) = cluster.helpers
        with cluster.client(saving=lambda workers: workplace.WORKERS_COST + 1) as client:
            assert client == 1
            assert helper._process.poll() is not None


def test_labels_are_the_same_with_helpers(
    small_survey, small_model, tmp_path, two_processors, monkeypatch
):
    store.write_dataset(small_survey, tmp_path / "s.zarr", chunk=20)
    small_model.save(tmp_path / "m.zarr")
    monkeypatch.setattr(beside, "_LEAST_SECONDS", 0.0)
    monkeypatch.setenv(WAITING, str(os.getpid()))
    monkeypatch.setenv(OTHER_IS_AT_WORK, str(tmp_path / "at_work"))
    monkeypatch.setattr(labelling, "run_region", run_beside)
    command = ["label", str(tmp_path / "s.zarr"), "--model", str(tmp_path / "m.zarr")]
    command += ["--region-stars", "20", "--out"]
    done = CliRunner().invoke(main, [*command, str(tmp_path / "c.zarr")])
    assert done.exit_code == 0, done.output
    assert "working in this process and 1 beside it, which is sooner" in done.stderr
    lines = (tmp_path / "c.zarr.log.jsonl").read_text().splitlines()
    regions = [event for event in map(json.loads, lines) if event["event"] == "region"]
    assert sorted(event["region"] for event in regions) == list(range(15))
    assert len({event["worker"] for event in regions}) == 2
    monkeypatch.setattr(labelling, "run_region", run_region)
    alone = CliRunner().invoke(main, [*command, str(tmp_path / "alone.zarr"), "--workers", "0"])
    assert alone.exit_code == 0, alone.output
    found, expected = (store.open_dataset(tmp_path / name) for name in ("c.zarr", "alone.zarr"))
    xr.testing.assert_identical(found.load(), expected.load())


@pytest.mark.slow
@pytest.mark.skipif(threads.cpu_count() < 2, reason="helpers are for other processors")
def test_a_command_that_is_killed_leaves_no_process_and_goes_on(world, small_model, tmp_path):
    store.write_dataset(world.survey(30_000, 1), tmp_path / "s.zarr", chunk=200)
    small_model.save(tmp_path / "m.zarr")
    log = tmp_path / "c.zarr.log.jsonl"
    label = [sys.executable, "-m", "luxscale", "label", str(tmp_path / "s.zarr"), "--quiet"]
    # so many regions that it is not done before this process sees the first
    label += ["--region-stars", "200", "--model", str(tmp_path / "m.zarr"), "--out"]
    with subprocess.Popen([*label, str(tmp_path / "c.zarr")]) as command:
        while not (log.exists() and '"region"' in log.read_text()):
            assert command.poll() is None
            time.sleep(0.01)
        helpers = psutil.Process(command.pid).children()
        command.kill()
    _, alive = psutil.wait_procs(helpers, timeout=10)
    assert helpers and not alive
    for name, more in (("c.zarr", []), ("alone.zarr", ["--workers", "0"])):
        subprocess.run([*label, str(tmp_path / name), *more], check=True)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    done = [event["stars"] for event in events if event["event"] == "end"]
    assert 0 < done[0] < 30_000
    found, expected = (store.open_dataset(tmp_path / name) for name in ("c.zarr", "alone.zarr"))
    xr.testing.assert_identical(found.load(), expected.load())
