"""Jobs: tried twice, logged, ended where they may not go on."""

import dataclasses
import json

import pytest

from luxscale import progress
from luxscale.errors import CannotWrite
from luxscale.runs.executors import InProcess, choose_executor
from luxscale.runs.job import Job, Runner
from luxscale.runs.log import RunLog
from luxscale.store.lock import Lost


@dataclasses.dataclass(frozen=True)
class Item:
    index: int
    size: int = 1


@dataclasses.dataclass(frozen=True)
class Done:
    item: int


class Free:
    """A lock that nobody takes."""

    def check(self):
        pass


def make_job(task):
    return Job(
        task=task,
        plan="plan",
        where="t.zarr",
        title="playing",
        unit="toys",
        event="toy",
        size=lambda item: item.size,
    )


def test_what_fails_is_tried_once_more_when_all_others_are_done(tmp_path):
    tries = []

    def task(plan, item):
        tries.append(item.index)
        if item.index == 2 or (item.index == 0 and tries.count(0) == 1):
            raise ValueError(f"no {item.index}")
        return Done(item.index)

    with RunLog(tmp_path / "log") as log:
        runner = Runner(lock=Free(), log=log, progress=False)
        outcomes, failed = runner.run_job(make_job(task), [Item(i) for i in range(4)])
    assert tries == [0, 1, 2, 3, 0, 2]
    assert outcomes == [Done(1), Done(3), Done(0)]
    assert {item.index: str(error) for item, error in failed.items()} == {2: "no 2"}
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(e["toy"], e["round"]) for e in events if e["event"] == "fault"] == [
        (0, 0),
        (2, 0),
        (2, 1),
    ]
    assert [e["item"] for e in events if e["event"] == "toy"] == [1, 3, 0]


def test_the_next_item_is_begun_while_one_is_done():
    events = []

    def begin(plan, item):
        events.append(("begin", item.index))
        if item.index == 2:
            raise OSError("is away")
        return f"begun {item.index}"

    def task(plan, item, begun=None):
        events.append(("do", item.index, begun))
        return Done(item.index)

    job = dataclasses.replace(make_job(task), begin=begin)
    found = list(InProcess().run(job, [Item(i) for i in range(4)]))
    assert [result.item for _, result in found] == [0, 1, 2, 3]
    assert events == [
        ("begin", 1),
        ("do", 0, None),
        ("begin", 2),
        ("do", 1, "begun 1"),
        ("begin", 3),
        ("do", 2, None),  # the task is left to say what is wrong
        ("do", 3, "begun 3"),
    ]


def test_a_run_that_lost_its_lock_ends():
    done = []

    class Taken:
        def check(self):
            if len(done) == 2:
                raise Lost("t.zarr: another run took over")

    def task(plan, item):
        done.append(item)
        return Done(item.index)

    with pytest.raises(Lost):
        Runner(lock=Taken(), progress=False).run_job(make_job(task), [Item(i) for i in range(4)])
    assert len(done) == 2


def test_what_cannot_be_written_ends_it_at_once():
    done = []

    def task(plan, item):
        done.append(item)
        raise CannotWrite("t.zarr: cannot be written")

    with pytest.raises(CannotWrite):
        Runner(lock=Free(), progress=False).run_job(make_job(task), [Item(0), Item(1)])
    assert len(done) == 1


def test_slow_work_is_counted_by_the_hour(monkeypatch, capsys):
    clock = iter(range(0, 10**6, 20))
    monkeypatch.setattr("luxscale.runs.job.time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    Runner(lock=Free()).run_job(
        make_job(lambda plan, item: Done(item.index)), [Item(0), Item(1)], remarks=["mind the step"]
    )
    told = capsys.readouterr().err
    assert "playing: mind the step" in told and " toys/h" in told and "toys/s" not in told


def test_without_a_client_work_is_done_here():
    assert choose_executor() == InProcess() and InProcess().count_workers() == 0
    client = object()
    assert choose_executor(client).client is client
