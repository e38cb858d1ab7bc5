import datetime
import json
import threading
from pathlib import Path

import pytest

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError
from luxscale.runs import log as runlog


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_object_a_line_with_its_time(tmp_path):
    with runlog.RunLog(tmp_path / "log") as log:
        log.write("start", regions=3)
        assert lines(tmp_path / "log")[0]["regions"] == 3  # at once, for a run may be killed
        log.write("fault", error='a "quoted"\nline')
    log.write("late")
    first, second = lines(tmp_path / "log")
    assert (first["event"], second["event"], second["error"]) == (
        "start",
        "fault",
        'a "quoted"\nline',
    )
    assert datetime.datetime.fromisoformat(first["time"]).tzinfo is not None


def test_nothing_without_a_path():
    with runlog.RunLog() as log:
        log.write("start")


def test_folders_on_the_way_are_made(tmp_path):
    with runlog.RunLog(tmp_path / "new" / "folder" / "log") as log:
        log.write("start")
    assert len(lines(tmp_path / "new" / "folder" / "log")) == 1


def test_a_run_that_is_refused_leaves_no_empty_log(tmp_path):
    with pytest.raises(InputError), runlog.RunLog(tmp_path / "log"):
        raise InputError("refused")
    assert not (tmp_path / "log").exists()
    (tmp_path / "log").touch()  # somebody's own
    with runlog.RunLog(tmp_path / "log"):
        pass
    assert (tmp_path / "log").exists()


def test_a_log_that_cannot_be_opened(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError,
        match=r"file/log: the log cannot be written \(.*choose another file \(--log\), or .*--out",
    ):
        runlog.RunLog(tmp_path / "file" / "log")


def test_goes_on_after_a_line_that_was_cut_short(tmp_path):
    (tmp_path / "log").write_text('{"time": "", "event": "start"}\n{"event": "reg')
    with runlog.RunLog(tmp_path / "log") as log:
        log.write("start")
    first, cut, again = (tmp_path / "log").read_text().splitlines()
    assert (
        json.loads(first)["event"] == json.loads(again)["event"] == "start"
        and cut == '{"event": "reg'
    )


def test_a_file_that_is_no_log_is_left_as_it_is(tmp_path):
    (tmp_path / "log").write_text("mine")
    with pytest.raises(InputError, match=r"log: something other than a log is there; .* \(--log\)"):
        runlog.RunLog(tmp_path / "log")
    assert (tmp_path / "log").read_text() == "mine"


def test_lines_of_several_threads_stay_whole(tmp_path):
    with runlog.RunLog(tmp_path / "log") as log:
        write = [
            threading.Thread(target=lambda: [log.write("x", text="y" * 500) for _ in range(200)])
            for _ in "abcd"
        ]
        for thread in write:
            thread.start()
        for thread in write:
            thread.join()
    assert len(lines(tmp_path / "log")) == 800


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_ends_no_run(capsys):
    with runlog.RunLog("/dev/full") as log:
        log.write("start")
        log.write("region")
    assert (
        capsys.readouterr().err
        == "/dev/full: cannot be written (No space left on device); no log from here on\n"
    )


def test_versions():
    facts = runlog.describe_machine()
    assert {"luxscale", "jax", "jaxlib", "numpy", "xarray", "zarr", "dask", "distributed"} <= set(
        facts["versions"]
    )
    assert facts["versions"]["zarr"].count(".") >= 1 and facts["python"].startswith("3.")


def test_a_run_tells_its_settings_timings_and_nothing_private(
    tmp_path, small_survey, small_model, monkeypatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.chdir(tmp_path)
    store.write_dataset(small_survey.isel(star=slice(0, 60)), tmp_path / "s.zarr", chunk=20)
    small_model.save(tmp_path / "m.zarr")
    lux.label_survey("s.zarr", "m.zarr", "c.zarr", log="log", progress=False)
    start, *regions, end = lines(tmp_path / "log")
    plan = start["plan"]
    assert [plan[k] for k in ("survey", "model", "catalog")] == [
        str(tmp_path / f"{x}.zarr") for x in "smc"
    ]
    assert (plan["given"], plan["covariance"], plan["n_stars"], plan["region_stars"]) == (
        ["flux"],
        False,
        60,
        20,
    )
    assert plan["identity"]["model"] == small_model.fingerprint
    assert [r["region"] for r in regions] == [0, 1, 2] and end["stars"] == 60 and end["seconds"] > 0
    text = (tmp_path / "log").read_text()
    assert "very-secret" not in text
    paths = {word for word in text.split('"') if "/" in word}
    assert paths == {str(tmp_path / f"{x}.zarr") for x in "smc"}
