"""Processes beside this one do items too, and nothing depends on their living."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luxscale.errors import CannotWrite
from luxscale.runs import helpers
from luxscale.runs.beside import WithHelpers
from luxscale.runs.executors import TaskError, choose_executor
from luxscale.runs.helpers import start_helper
from luxscale.runs.job import Job, Runner
from luxscale.runs.log import RunLog


@dataclasses.dataclass(frozen=True)
class Item:
    index: int


@dataclasses.dataclass(frozen=True)
class Done:
    item: int
    process: int
    begun: int | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What tasks do in this process (here), and in another (there)."""

    here: int
    there: str


class Free:
    """A lock that nobody takes."""

    def check(self):
        pass


#: Items that this process could not write.
BEFORE = []


def begin(plan, item):
    return item.index


def do(plan, item, begun=None):
    """Do an item; this process takes its time, so that the other gets some of them."""
    if os.getpid() == plan.here:
        time.sleep(0.2)
    elif plan.there == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif plan.there == "hang":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif plan.there == "fail":
        raise ValueError(f"no {item.index}")
    elif plan.there == "cannot write":
        if BEFORE:
            time.sleep(600)  # it would write later
        BEFORE.append(item)
        raise CannotWrite("t.zarr: cannot be written")
    return Done(item.index, os.getpid(), begun)


def make_job(there):
    return Job(
        task=do,
        begin=begin,
        plan=Plan(os.getpid(), there),
        where="t.zarr",
        title="playing",
        unit="toys",
        event="toy",
        size=lambda item: 1,
    )


@pytest.fixture
def helper():
    with start_helper("os", "getpid", (), {}) as started:
        started.process = started._process
        assert started._channel.poll(60)  # it is ready: no test is over before it has begun
        yield started
    assert started.process.poll() is not None


def run_job(helper, there, count, log=None):
    runner = Runner(
        lock=Free(), executor=WithHelpers([helper]), log=log or RunLog(), progress=False
    )
    return runner.run_job(make_job(there), [Item(i) for i in range(count)])


def test_both_do_items_each_once(helper):
    outcomes, failed = run_job(helper, "do", 40)
    assert not failed
    assert sorted(done.item for done in outcomes) == list(range(40))
    assert {done.process for done in outcomes} == {os.getpid(), helper.process.pid}
    begun = [done for done in outcomes if done.begun is not None]
    assert all(done.begun == done.item for done in begun)
    assert len(begun) >= 37  # all but the first of each, and the last that comes alone
    assert helper.process.wait(60) == 0  # it has ended by itself


@pytest.mark.parametrize(
    ("fate", "patience", "error"), [("die", 60.0, "Error"), ("hang", 0.5, "TimeoutError: no sign")]
)
def test_what_a_helper_that_is_lost_had_is_done_here(
    helper, tmp_path, monkeypatch, fate, patience, error
):
    monkeypatch.setattr(helpers, "_PATIENCE", patience)
    with RunLog(tmp_path / "log") as log:
        outcomes, failed = run_job(helper, fate, 10, log)
    assert helper.process.poll() is not None
    assert not failed
    assert sorted(done.item for done in outcomes) == list(range(10))
    assert {done.process for done in outcomes} == {os.getpid()}
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (lost,) = (e for e in events if e["event"] == "worker lost")
    assert lost["worker"] == helper.name and error in lost["error"]
    assert helper.name.endswith(f":{helper.process.pid}")


def test_what_fails_there_is_tried_again_here(helper, tmp_path):
    with RunLog(tmp_path / "log") as log:
        outcomes, failed = run_job(helper, "fail", 12, log)
    assert not failed
    assert sorted(done.item for done in outcomes) == list(range(12))
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    faults = [e for e in events if e["event"] == "fault"]
    assert faults and all(e["error"] == f"ValueError: no {e['toy']}" for e in faults)
    assert not [e for e in events if e["event"] == "worker lost"]


def test_an_error_of_a_helper_comes_as_text(helper):
    found = dict(WithHelpers([helper]).run(make_job("fail"), [Item(i) for i in range(8)]))
    assert any(isinstance(result, TaskError) for result in found.values())
    assert len(found) == 8


def test_what_a_helper_cannot_write_ends_it_at_once(helper):
    with pytest.raises(CannotWrite, match=r"t\.zarr: cannot be written"):
        run_job(helper, "cannot write", 60)
    assert helper.process.poll() is not None  # before the lock is given back


def test_nobody_waits_for_a_helper_that_is_not_needed():
    with start_helper("signal", "pause", (), {}) as helper:  # it never is ready
        outcomes, failed = run_job(helper, "do", 1)
    assert [done.process for done in outcomes] == [os.getpid()]
    assert not failed


def test_helpers_are_an_executor(helper):
    executor = WithHelpers([helper])
    assert choose_executor(executor) is executor
    assert executor.count_workers() == 1


BUSY = """
import time
def work():
    print("at work", flush=True, file=open({!r}, "w"))
    time.sleep(600)
"""

ALONE = """
import os, signal, sys
from pathlib import Path
from luxscale.runs.helpers import start_helper
sys.path.append({!r})
with start_helper("busy", "work", (), {{}}) as helper:
    while not Path({!r}).exists():
        pass
    print(helper._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_helper_ends_with_the_process_that_it_helps_whatever_it_is_at(tmp_path):
    sign = str(tmp_path / "sign")
    (tmp_path / "busy.py").write_text(BUSY.format(sign))
    script = ALONE.format(str(tmp_path), sign)
    # not its errors, which the helper would hold open
    ended = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert ended.returncode == -signal.SIGKILL
    about = Path(f"/proc/{int(ended.stdout)}/stat")
    for _ in range(600):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if about.read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.1)
                continue
        return
    raise AssertionError("it is still there")


ONLY_HERE = """
import os, sys
def check(text):
    assert text == "it's"
    print("out"), print("err", file=sys.stderr)
    assert os.environ["HELPER"] == "yes"
"""


def test_a_helper_has_the_path_and_the_environment_of_its_start_and_is_quiet(tmp_path, capfd):
    (tmp_path / "only_here.py").write_text(ONLY_HERE)
    sys.path.append(str(tmp_path))
    try:
        with start_helper("only_here", "check", ("it's",), {"HELPER": "yes"}) as helper:
            assert helper.wait_ready(lambda: True)
    finally:
        sys.path.remove(str(tmp_path))
    assert capfd.readouterr() == ("", "")
