"""Workers that hang are started anew, and what they had is done by others."""

import dataclasses
import functools
import json
import time
from pathlib import Path

import pytest
from test_job import Done, Free, Item, make_job

from luxscale.cluster import local_cluster
from luxscale.runs import executors
from luxscale.runs.hung import Watch, restart_hung
from luxscale.runs.job import Runner
from luxscale.runs.log import RunLog


def test_a_worker_hangs_that_takes_far_longer_than_others():
    watch = Watch(least=10, times=5)
    assert watch.look({"a": ["1"], "b": ["2"]}, 0) == []
    # item 2 took 4 s at most: 20 s are patience
    assert watch.look({"a": ["1"], "b": ["3"]}, 4) == []
    assert watch.look({"a": ["1"], "b": ["4"]}, 8) == []
    assert watch.look({"a": ["1"], "b": ["5"]}, 12) == []
    assert watch.look({"a": ["1"], "b": ["6"]}, 16) == []
    assert watch.look({"a": ["1"], "b": ["7"]}, 20) == []
    assert watch.look({"a": ["1"], "b": ["7"]}, 20.5) == ["a"]
    assert watch.look({"a": ["1"], "b": ["7"]}, 21) == []  # its successor begins anew


def test_items_that_all_take_long_hang_not_before_the_least():
    watch = Watch(least=10, times=5)
    assert watch.look({"a": ["1"]}, 0) == []
    assert watch.look({"a": ["1"]}, 10) == []
    assert watch.look({"a": ["1"], "b": ["2"]}, 10.5) == ["a"]


@pytest.mark.slow
def test_what_a_hung_worker_had_is_done_by_others(tmp_path, monkeypatch, capsys):
    soon = functools.partial(restart_hung, watch=Watch(least=10), pause=0.2)
    monkeypatch.setattr(executors, "restart_hung", soon)
    job = make_job(functools.partial(play, tmp_path / "began"))
    job = dataclasses.replace(job, even=True)
    with RunLog(tmp_path / "log") as log, local_cluster(2) as client:
        runner = Runner(lock=Free(), executor=executors.choose_executor(client), log=log)
        done, failed = runner.run_job(job, [Item(i) for i in range(8)])
    assert sorted(d.item for d in done) == list(range(8)) and failed == {}
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert "worker hung" in events
    assert "hangs; it is started anew" in capsys.readouterr().err


def play(began: Path, plan: str, item: Item) -> Done:
    """Do an item; the first that has number 3 never ends."""
    if item.index == 3 and not began.exists():
        began.touch()
        time.sleep(1e6)
    return Done(item.index)
