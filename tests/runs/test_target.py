"""What a run fills: claimed, locked, made or taken up, completed."""

import contextlib
import json

import pytest
import zarr

from luxscale.errors import InputError, Interrupted
from luxscale.runs import target
from luxscale.runs.log import RunLog
from luxscale.runs.target import BEING_MADE, check_place, clear_place, complete, open_target


class Toy:
    """A store of three items, which says what it was asked."""

    title = "playing"

    def __init__(self, path, *, begun=False, refuse=False, stop=False):
        self.path, self.begun, self.refuse, self.stop = str(path), begun, refuse, stop
        self.asked = []

    def claim(self):
        self.asked.append("claim")
        if self.refuse:
            raise InputError(f"{self.path}: holds a thesis; choose another path")
        return self.begun

    def create(self):
        self.asked.append("create")
        zarr.open_group(self.path, mode="a").attrs["format"] = "toy"
        return [0, 1, 2]

    def resume(self):
        self.asked.append("resume")
        return [2]

    def fill(self, pending, runner):
        if self.stop:
            raise KeyboardInterrupt
        return sum(pending)

    def describe_start(self, pending):
        return {"plan": {"toy": 3}, "toys": len(pending)}

    def describe_end(self, pending, result):
        return {"toys": len(pending), "sum": result}


def test_made_where_nothing_is(tmp_path):
    toy = Toy(tmp_path / "t.zarr")
    with open_target(toy, progress=False) as run:
        assert (run.target, run.pending) == (toy, (0, 1, 2))
        assert zarr.open_group(toy.path, path="run/lock", mode="r").attrs["pid"]
    assert toy.asked == ["claim", "claim", "create"]
    assert "lock" not in zarr.open_group(toy.path, path="run", mode="r")


def test_nothing_is_left_of_what_was_not_made(tmp_path):
    toy = Toy(tmp_path / "t.zarr", begun=True)  # which begins with nothing there
    with open_target(toy, progress=False):
        pass
    assert not (tmp_path / "t.zarr").exists()


def test_taken_up_where_it_was_begun(tmp_path):
    toy = Toy(tmp_path / "t.zarr", begun=True)
    with open_target(toy, progress=False) as run:
        assert run.pending == (2,)


def test_claimed_again_when_the_lock_is_held(tmp_path, monkeypatch):
    """Another run may have made the store and ended, while this one waited for the lock."""
    toy, hold = Toy(tmp_path / "t.zarr"), target.hold_lock

    @contextlib.contextmanager
    def hold_late(*arguments):
        toy.begun = True
        with hold(*arguments) as lock:
            yield lock

    monkeypatch.setattr(target, "hold_lock", hold_late)
    with open_target(toy, progress=False) as run:
        assert run.pending == (2,)


def test_nothing_is_written_where_something_else_is(tmp_path):
    toy = Toy(tmp_path / "t.zarr", refuse=True)
    with (
        pytest.raises(InputError, match="holds a thesis"),
        open_target(toy, progress=False),
    ):
        pass
    assert not (tmp_path / "t.zarr").exists()


def test_what_zarr_left_when_it_was_killed_is_swept(tmp_path):
    left = tmp_path / "t.zarr" / "flux" / "zarr.0123.partial"
    left.parent.mkdir(parents=True)
    left.write_text("{")
    with open_target(Toy(tmp_path / "t.zarr"), progress=False):
        assert not left.exists()


def events(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_completed_and_logged(tmp_path):
    log = tmp_path / "log.jsonl"
    with (
        RunLog(log) as run_log,
        open_target(Toy(tmp_path / "t.zarr"), progress=False) as run,
    ):
        assert complete(run, log=run_log) == 3
    start, end = events(log)
    assert (start["event"], start["plan"], start["toys"]) == ("start", {"toy": 3}, 3)
    assert end["seconds"] >= 0
    assert (end["event"], end["toys"], end["sum"]) == ("end", 3, 3)


def test_what_stopped_it_is_logged(tmp_path):
    log = tmp_path / "log.jsonl"
    with (
        pytest.raises(Interrupted, match="the same command goes on"),
        RunLog(log) as run_log,
        open_target(Toy(tmp_path / "t.zarr", stop=True), progress=False) as run,
    ):
        complete(run, log=run_log)
    _, stopped = events(log)
    assert stopped["event"] == "stopped" and stopped["error"].startswith("KeyboardInterrupt")


KIND = {"kind": "toy", "store_format": "luxscale-toy", "identity": {"size": "3", "colour": "red"}}


@pytest.fixture
def place(tmp_path):
    """Path of a group with attributes of a toy."""
    path = tmp_path / "t.zarr"
    attributes = {"format": "luxscale-toy", "identity": KIND["identity"], "complete": 0}
    zarr.open_group(path, mode="w").attrs.update(attributes)
    return path


def test_a_place_is_free_its_own_or_refused(tmp_path, place):
    assert not check_place(str(tmp_path / "nothing.zarr"), **KIND)
    assert check_place(str(place), **KIND)
    with pytest.raises(InputError, match="is a toy, not a model; choose another path"):
        check_place(str(place), **{**KIND, "kind": "model", "store_format": "luxscale-model"})
    changed = {**KIND, "identity": {"size": "4", "colour": "blue"}}
    with pytest.raises(InputError, match="a toy made with another size and colour; choose another"):
        check_place(str(place), **changed)
    zarr.open_group(place, mode="r+").attrs["complete"] = BEING_MADE
    assert not check_place(str(place), **changed)


def test_a_place_is_cleared_but_for_the_lock(place):
    zarr.open_group(place, path="run/lock", mode="a")
    zarr.open_group(place, path="half", mode="a")
    clear_place(str(place))
    assert set(zarr.open_group(place, mode="r")) == {"run"}
