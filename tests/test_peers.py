import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click import BadParameter, ClickException

from luxscale.progress import Progress

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NAMES = ["teff", "logg"]


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.syspath_prepend(BENCHMARKS / "peers")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def made(method, residual, *, truth, ours, missing=False, size="full"):
    """A run whose labels are off by `residual` (star, label)."""
    from peers.tasks import describe

    said = {
        "train": 12.34,
        "train_cpu": 20.0,
        "test": {"high": 2.0, "low": 1.0},
        "peak_gb": 0.5,
        "versions": {},
    }
    labels = {f"label_{k}": truth + residual for k in said["test"]}
    errors = {f"err_{k}": np.ones_like(truth) for k in said["test"]}
    found = {"said": json.dumps(said | {"used": 900, "note": "as told"}), **labels, **errors}
    record = describe(found, dict.fromkeys(said["test"], truth), NAMES, ours)
    at = {"size": size, "stars": 1000, "pixels": 300, "latents": 8, "missing": missing}
    return {"method": method, "outcome": "done", "reason": "", **at, **record}, found


@pytest.fixture
def runs(rng):
    truth, residual = rng.normal(size=(400, 2)), rng.normal(size=(400, 2))
    ours, labels = made("marginal", residual, truth=truth, ours=None)
    better, _ = made("peer", residual * [0.5, 1.0], truth=truth, ours=labels)
    missing, _ = made("peer", residual * [1.5, 1.0], truth=truth, ours=labels, missing=True)
    slow = {k: ours[k] for k in ("size", "stars", "pixels", "latents", "missing")}
    return [
        ours,
        better,
        missing,
        {"method": "slow", "outcome": "over the limit", "reason": "ended after 9 s", **slow},
    ]


def test_scores_are_those_of_the_residuals(runs):
    peer = runs[1]
    assert peer["ratio"]["low"] == pytest.approx([0.5, 1.0])
    assert peer["scores"]["low"][1]["rmse"] == pytest.approx(runs[0]["scores"]["low"][1]["rmse"])
    assert peer["scores"]["high"][0]["pull"] == pytest.approx(0.5, abs=0.06)
    assert peer["excess"]["high"][0] < -2
    assert peer["excess"]["high"][1] == 0


def test_excess_counts_standard_errors(rng):
    from peers.report import excess

    truth, ours, theirs = (
        np.zeros((4000, 1)),
        rng.normal(size=(4000, 1)),
        rng.normal(scale=1.1, size=(4000, 1)),
    )
    d = theirs**2 - ours**2
    assert excess(theirs, ours, truth) == pytest.approx(d.mean() / (d.std() / 4000**0.5))
    chance = [excess(*rng.normal(size=(2, 200, 1)), np.zeros((200, 1)))[0] for _ in range(400)]
    assert np.std(chance) == pytest.approx(1, abs=0.15)
    assert excess(theirs[:100], ours, truth) == excess(theirs[:100], ours[:100], truth[:100])


def test_tables_say_who_is_better_and_who_is_not_done(runs):
    from peers import report

    chosen = report.pick(runs, missing=False)
    lead = report.lead_table(chosen, ["high"])
    assert "| peer | high | teff (0.50) | 0 |" in lead
    assert "| marginal | high | none | 0 |" in lead
    assert "over the limit: ended after 9 s" in report.cost_table(chosen)
    assert "| marginal | 900 | 12.3 | 20.0 | 0.500 | 200 | 400 | as told |" in report.cost_table(
        chosen
    )
    accuracy = report.accuracy_table(chosen, "rmse", "low").splitlines()
    assert accuracy[0] == "| label | marginal | peer |"
    assert accuracy[2].count("**") == 2
    assert accuracy[3].count("**") == 0


def test_the_summary_takes_the_largest_size_that_is_done(runs):
    from peers.report import summary_table

    lines = summary_table(
        [*runs, runs[1] | {"size": "base", "stars": 10}], ["high", "low"]
    ).splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["1,000 x 300", "1,000 x 300", "-"]
    assert "| 0.75 (0.50 to 1.00) | 0.75 (0.50 to 1.00) | teff |" in lines[1] and lines[1].endswith(
        "| 12.3 s | 400 |"
    )
    assert "over the limit" in lines[2]


def test_missing_labels_are_set_against_the_same_method_without(runs):
    from peers.report import missing_table

    assert "| peer | its size | 900 | 2.00 (1.00 to 3.00) |" in missing_table(
        runs, {"full": "its size"}, ["low"]
    )


def test_every_table_is_whole(runs):
    from peers.report import report

    setup = {"full": [1000, 300], "base": [100, 30], "latents": 8, "points": [[1000, 300, 8]]}
    found = {
        "runs": runs,
        "tests": ["high", "low"],
        "setup": setup,
        "limit": 9.0,
        "seconds": 60.0,
        "load": [0.1, 0.2],
    }
    text = report(found | {"machine": "a machine"})
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for head, rule in itertools.pairwise(lines):
        if set(rule) <= set("|- "):
            assert head.count("|") == rule.count("|")
    assert "| slow | over the limit |" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (np.nan, "-"), (0, "0"), (12.345, "12.3"), (0.012345, "0.0123"), (4711, "4711")],
)
def test_numbers_have_three_digits(value, text):
    from peers.report import number

    assert number(value) == text


def test_extrapolation_of_a_power_law_and_of_a_fixed_cost():
    from peers.report import extrapolate

    assert extrapolate(1.0, [4.0**1.5, 2.0], [4.0, 2.0], [16.0, 8.0]) == pytest.approx(16**1.5 * 8)
    assert extrapolate(10 + 1, [10 + 4, 10 + 8], [4, 8], [4, 8]) == pytest.approx(10 + 32)


def test_what_cannot_be_done_is_predicted_from_what_was():
    from peers.tasks import Setup, Task, doubts_in_full, doubts_in_sweep

    setup = Setup((4000, 800), (1000, 100), 8, 10, (2000, 4000), (800,))
    times = {(1000, 100): 2.0, (2000, 100): 4.0, (4000, 100): 8.0, (1000, 800): 16.0}
    records = [
        {"method": "even", "stars": n, "pixels": px, "latents": 8, "missing": False, "train_s": t}
        for (n, px), t in times.items()
    ] + [{"method": "failed", "stars": 1000, "pixels": 100, "latents": 8, "missing": False}]
    assert doubts_in_full(records, ["even"], setup, 65.0) == {}
    doubts = doubts_in_full(records, ["even", "failed"], setup, 63.0)
    assert "64 s" in doubts["even"]
    assert "not done" in doubts["failed"]
    assert doubts_in_full(records[:1], ["even"], setup, 63.0) == {"even": doubts["even"]}
    assert set(
        doubts_in_sweep(records, ["even", "failed"], Task("sweep", 4000, 100, 8, 9), setup, 5.0)
    ) == {
        "even",
        "failed",
    }


@pytest.mark.parametrize(
    ("code", "limit", "outcome", "reason"),
    [
        ("import sys; print('first'); sys.exit('no pixel left')", 30, "failed", "no pixel left"),
        ("import time; time.sleep(30)", 0.5, "over the limit", "ended after 0 s"),
    ],
)
def test_a_run_that_fails_or_takes_long_is_told(
    tmp_path, monkeypatch, code, limit, outcome, reason
):
    from peers import tasks

    (tmp_path / "run.py").write_text(code)
    monkeypatch.setattr(tasks, "HERE", tmp_path)
    monkeypatch.setitem(
        tasks.METHODS, "marginal", tasks.METHODS["marginal"].__class__("", None, "run.py")
    )
    assert tasks.call(sys.executable, "marginal", tmp_path / "problem.npz", limit)[:2] == (
        outcome,
        reason,
    )


def test_stages_go_on_where_a_method_fails(tmp_path, monkeypatch):
    from peers import tasks

    def call(python, method, problem, limit):
        if method == "ridge":
            return "failed", "singular", {}
        labels = np.zeros((10, 12))
        said = {
            "train": 1.0,
            "train_cpu": 1.0,
            "test": dict.fromkeys(tasks.TESTS, 1.0),
            "peak_gb": 1.0,
            "used": 9,
        }
        arrays = {f"{kind}_{t}": labels for kind in ("label", "err") for t in tasks.TESTS}
        return "done", "", arrays | {"said": json.dumps(said | {"versions": {}, "note": ""})}

    def write_problem(path, task):
        path.touch()
        return [f"label {i}" for i in range(12)], dict.fromkeys(
            tasks.TESTS, np.ones((task.test, 12))
        )

    monkeypatch.setattr(tasks, "call", call)
    monkeypatch.setattr(tasks, "write_problem", write_problem)
    setup, kept = tasks.Setup((40, 9), (20, 6), 4, 10, (40,), (9,), (2,), 10), []
    quiet = Progress("", enabled=False)
    methods = ["marginal", "ridge"]
    records = tasks.run_all(
        setup, methods, dict.fromkeys(methods), tmp_path, 9.0, quiet, kept.append
    )
    told = [
        (r["method"], r["size"], r["stars"], r["pixels"], r["latents"], r["missing"])
        for r in records
        if r["outcome"] == "done"
    ]
    assert [t[1:] for t in told] == [
        ("base", 20, 6, 4, False),
        ("sweep", 40, 6, 4, False),
        ("sweep", 20, 9, 4, False),
        ("sweep", 20, 6, 2, False),
        ("full", 40, 9, 4, False),
        ("full", 40, 9, 4, True),
    ]
    assert [r["outcome"] for r in records if r["method"] == "ridge"] == [
        "failed",
        *["over the limit"] * 3,
    ]
    assert len(kept) == 6


def test_methods_are_chosen_and_refused():
    import importlib.util

    spec = importlib.util.spec_from_file_location("peers_script", BENCHMARKS / "peers.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.choose("ridge,pollux") == ["marginal", "pollux", "ridge"]
    with pytest.raises(BadParameter, match="rigde"):
        script.choose("rigde")


def test_a_python_is_chosen_that_the_package_runs_on():
    from peers.environments import ANNIESLASSO, POLLUX, choose_python

    pythons = {(3, 11, 7): "a", (3, 12, 1): "b", (3, 13, 0): "c"}
    assert choose_python(POLLUX, pythons) == "c"
    assert choose_python(ANNIESLASSO, pythons) == "b"
    with pytest.raises(ClickException, match=r"pollux needs a Python from 3\.12 on"):
        choose_python(POLLUX, {(3, 11, 7): "a"})


@pytest.mark.slow
@pytest.mark.once
def test_the_script_compares_in_one_go(tmp_path):
    out = tmp_path / "peers.json"
    command = [
        sys.executable,
        BENCHMARKS / "peers.py",
        "--size",
        "tiny",
        "--methods",
        "marginal,cannon",
        "--out",
        out,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    runs = json.loads(out.read_text())["runs"]
    assert [(r["method"], r["missing"], r["outcome"]) for r in runs] == [
        ("marginal", False, "done"),
        ("cannon", False, "done"),
        ("marginal", True, "done"),
        ("cannon", True, "done"),
    ]
    assert runs[0]["scores"]["100-200"][0]["rmse"] < runs[0]["scores"]["30-60"][0]["rmse"] < 300
    assert "### 480 stars x 60 pixels: cost" in ran.stdout
    again = subprocess.run(
        [*command[:2], "--show", out], capture_output=True, text=True, timeout=60, check=True
    )
    assert again.stdout == ran.stdout
