"""Runs of methods on simulated stars, each in a process of its own with a time limit."""

import json
import os
import subprocess
import time
from dataclasses import dataclass, replace

import numpy as np

from luxscale.cluster import worker_environment
from luxscale.examples.simulate import simulate
from peers.environments import HERE, METHODS, OURS
from peers.report import DONE, excess, extrapolate, score, size_name

THREADS = 2  # of every method
TESTS = {
    "100-200": ((100, 200), 1),
    "30-60": ((30, 60), 2),
}  # S/N and seed of test stars; training stars: as the first
MISSING = 0.1  # of the labels, where some are missing
OVER = "over the limit"


@dataclass(frozen=True)
class Setup:
    """Sizes of a comparison: latents, test stars, and (stars, pixels).

    The latter are in full, and of the base that is grown.
    """

    full: tuple[int, int]
    base: tuple[int, int]
    latents: int
    test: int
    more_stars: tuple[int, ...] = ()
    more_pixels: tuple[int, ...] = ()
    other_latents: tuple[int, ...] = ()
    sweep_test: int = 50

    @property
    def points(self):
        """Return (stars, pixels, latents) of the base and of all that is grown from it."""
        (n, px), p = self.base, self.latents
        grown = [*((k, px, p) for k in self.more_stars), *((n, k, p) for k in self.more_pixels)]
        return [(n, px, p), *grown, *((n, px, k) for k in self.other_latents)]


SETUPS = {
    "default": Setup((4000, 8575), (1000, 1000), 48, 1000, (2000, 4000), (4000, 8575), (24, 96)),
    "small": Setup((600, 500), (300, 250), 16, 200, (600,), (500,), (8,)),
    "tiny": Setup((480, 60), (480, 60), 8, 50),
}


@dataclass(frozen=True)
class Task:
    """Stars and model of a run, and what it is for: ``full``, ``base`` or ``sweep``."""

    size: str
    stars: int
    pixels: int
    latents: int
    test: int
    missing: bool = False

    def __str__(self):
        missing = ", labels missing" if self.missing else ""
        return f"{size_name(self.stars, self.pixels)}, P = {self.latents}{missing}"


def write_problem(path, task):
    """Write what methods read (see `common`).

    Returns the labels' names, and the true labels of each set of test stars.
    """
    snr = next(iter(TESTS.values()))[0]
    stars = simulate(
        task.stars, n_pixels=task.pixels, snr=snr, missing_labels=MISSING if task.missing else 0.0
    )
    problem = {"flux": stars["flux"], "ivar": stars["flux_ivar"], "label": stars["label_value"]}
    problem |= {
        "label_err": stars["label_err"],
        "wavelength": stars["wavelength"],
        "latents": task.latents,
    }
    problem["names"] = stars["label"].values.astype(str)
    truth = {}
    for name, (snr, seed) in TESTS.items():
        stars = simulate(task.test, n_pixels=task.pixels, snr=snr, seed=seed)
        problem |= {f"flux_{name}": stars["flux"], f"ivar_{name}": stars["flux_ivar"]}
        truth[name] = stars["label_true"].values
    np.savez(path, **problem)
    return problem["names"].tolist(), truth


def last_line(text):
    """Return the last line that says something."""
    return next(
        (line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message"
    )


def call(python, method, problem, limit):
    """Run a method's script; return its outcome, the reason if it is not done, its result."""
    return run_script(python, METHODS[method], problem, limit, THREADS, METHODS[method].most_test)


def run_script(python, method, problem, limit, threads, most_test):
    """Run a script on so many threads, to label so many test stars at most."""
    result = problem.with_name("result.npz")
    command = [python, HERE / method.script, *method.arguments, problem, result]
    env = os.environ | worker_environment(threads)
    if most_test:
        env["PEERS_MOST_TEST"] = str(most_test)
    try:
        ran = subprocess.run(
            command,
            env=env,
            timeout=limit,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return OVER, f"ended after {limit:.0f} s", {}
    if ran.returncode:
        return "failed", last_line(ran.stderr), {}
    with np.load(result) as file:
        found = dict(file)
    result.unlink()
    return DONE, "", found


def describe(found, truth, names, ours):
    """Return the figures of a result, beside the labels of OURS on the same stars if any."""
    said = json.loads(str(found["said"]))
    record = {f"{k}_s": said[k] for k in ("train", "train_cpu", "test")}
    record |= {k: said[k] for k in ("peak_gb", "versions", "used", "note")}
    record |= {"scores": {}, "excess": {}, "ratio": {}}
    for test, true in truth.items():
        labels = found[f"label_{test}"]
        record["tested"] = len(labels)
        record["scores"][test] = score(labels, found[f"err_{test}"], true[: len(labels)], names)
        beside = labels if ours is None else ours[f"label_{test}"][: len(labels)]
        record["excess"][test] = excess(labels, beside, true[: len(labels)]).tolist()
        squares = [np.mean((v - true[: len(labels)]) ** 2, 0) for v in (labels, beside)]
        record["ratio"][test] = np.sqrt(squares[0] / squares[1]).tolist()
    return record


def run_task(task, methods, pythons, scratch, limit, shown, doubts):
    """Run the methods on one set of stars; return a record each.

    `doubts` are reasons not to try, by method.
    """
    problem = scratch / "problem.npz"
    names, truth = write_problem(problem, task)
    records, ours = [], None
    for method in methods:
        start = time.monotonic()
        shown.stage(f"{method}: {task}")
        kind, reason, found = (
            (OVER, doubts[method], {})
            if method in doubts
            else call(pythons[method], method, problem, limit)
        )
        record = {"method": method, **vars(task), "outcome": kind, "reason": reason}
        if kind == DONE:
            ours = found if method == OURS else ours
            record |= describe(found, truth, names, ours)
        shown.say(
            f"{method}, {task}: {kind} {reason}".rstrip() + f" ({time.monotonic() - start:.0f} s)"
        )
        records.append(record)
    problem.unlink()
    return records


def seconds(records, method, point):
    """Return what training took at (stars, pixels, latents), None where it is not done."""
    for r in records:
        if (r["method"], r["stars"], r["pixels"], r["latents"]) == (method, *point) and not r[
            "missing"
        ]:
            return r.get("train_s")
    return None


def predict(records, method, setup):
    """Return the seconds of training in full, None if the base is not done.

    Extrapolated from the largest run of each kind that is done; in proportion where none is.
    """
    (n, px), p = setup.base, setup.latents
    base = seconds(records, method, (n, px, p))
    if base is None:
        return None
    least, longer = [], []
    for points in ([(k, px, p) for k in setup.more_stars], [(n, k, p) for k in setup.more_pixels]):
        grown = {
            max(point[0] / n, point[1] / px): seconds(records, method, point) for point in points
        }
        factor = max((f for f, t in grown.items() if t is not None), default=None)
        least.append(factor or 2.0)
        longer.append(grown[factor] if factor else 2.0 * base)
    return extrapolate(base, longer, least, [setup.full[0] / n, setup.full[1] / px])


def doubts_in_full(records, methods, setup, limit):
    """Return which methods would not be done in full before the limit, and why one thinks so."""
    doubts = {}
    for method in methods:
        expected = predict(records, method, setup)
        if expected is None:
            doubts[method] = "the smallest run was not done"
        elif expected > limit:
            doubts[method] = f"training would take {expected:,.0f} s, by extrapolation"
    return doubts


def doubts_in_sweep(records, methods, task, setup, limit):
    """Return which methods would not be done at a point of the sweep, in proportion to the base."""
    doubts = {}
    for method in methods:
        base = seconds(records, method, (*setup.base, setup.latents))
        grown = task.stars * task.pixels * task.latents / (np.prod(setup.base) * setup.latents)
        if base is None:
            doubts[method] = "the smallest run was not done"
        elif grown > 1 and base * grown > limit:
            doubts[method] = f"training would take {base * grown:,.0f} s, in proportion"
    return doubts


def run_all(setup, methods, pythons, scratch, limit, shown, keep):
    """Run everything; `keep(records)` is called after each set of stars. Returns the records."""
    records = []

    def add(task, chosen, doubts):
        if chosen:
            records.extend(run_task(task, chosen, pythons, scratch, limit, shown, doubts))
            keep(records)

    full, base = (Task(k, *getattr(setup, k), setup.latents, setup.test) for k in ("full", "base"))
    if setup.full == setup.base:
        add(full, methods, {})
    else:
        add(base, methods, {})
        for n, px, p in setup.points[1:]:
            task = Task("sweep", n, px, p, setup.sweep_test)
            chosen = [m for m in methods if METHODS[m].latents or p == setup.latents]
            add(task, chosen, doubts_in_sweep(records, chosen, task, setup, limit))
        add(full, methods, doubts_in_full(records, methods, setup, limit))
    done = {(r["method"], r["size"]) for r in records if r["outcome"] == DONE}
    whole = [m for m in methods if (m, "full") in done]
    add(replace(full, missing=True), whole, {})
    add(
        replace(base, missing=True),
        [m for m in methods if m not in whole and (m, "base") in done],
        {},
    )
    return records
