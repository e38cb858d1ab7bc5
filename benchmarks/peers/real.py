"""Runs of methods on real spectra, each fold in a process of its own with a time limit."""

import json
import os
import platform

import numpy as np

from peers.environments import METHODS
from peers.report import DONE, score
from peers.spectra import read_sample
from peers.tasks import run_script

THREADS = 1  # of every method
LATENTS = 48  # of methods that are told a number
MOST_TEST = {("annieslasso", "xp"): 1_000}  # test stars, where all would take too long


def write_problem(path, sample, training, test):
    """Write what methods read of a fold (see `common`)."""
    np.savez(
        path,
        flux=sample.flux[training],
        ivar=sample.ivar[training],
        label=sample.label[training],
        label_err=sample.label_err[training],
        wavelength=sample.wavelength,
        names=np.array(sample.names),
        latents=LATENTS,
        flux_test=sample.flux[test],
        ivar_test=sample.ivar[test],
    )


def run_method(name, method, sample, python, scratch, limit):
    """Return the record of a method on a sample, all folds together.

    It ends with the first fold that is not done.
    """
    problem = scratch / "problem.npz"
    most_test = MOST_TEST.get((method, name))
    load, *_ = os.getloadavg()
    record = {"spectra": name, "method": method, "load": load}
    found = []
    for training, test in sample.splits:
        write_problem(problem, sample, training, test)
        outcome, reason, result = run_script(
            python, METHODS[method], problem, limit, THREADS, most_test
        )
        problem.unlink()
        record |= {"outcome": outcome, "reason": reason}
        if outcome != DONE:
            return record
        found.append((test[: len(result["label_test"])], result))
    return record | describe_folds(sample, found)


def describe_folds(sample, found):
    """Return the figures of (test rows, result) of every fold.

    Seconds are those of a fold, on average; stars/s are over all folds.
    """
    said = [json.loads(str(result["said"])) for _, result in found]
    rows = np.concatenate([rows for rows, _ in found])
    labels = np.concatenate([result["label_test"] for _, result in found])
    errors = np.concatenate([result["err_test"] for _, result in found])
    return {
        "train_s": float(np.mean([s["train"] for s in said])),
        "train_cpu_s": float(np.mean([s["train_cpu"] for s in said])),
        "label_s": float(np.mean([s["test"]["test"] for s in said])),
        "label_cpu_s": float(np.mean([s["test_cpu"]["test"] for s in said])),
        "peak_gb": max(s["peak_gb"] for s in said),
        "used": min(s["used"] for s in said),
        "tested": len(rows),
        "note": said[0]["note"],
        "versions": said[0]["versions"],
        "scores": score(labels, errors, sample.label[rows], sample.names, sample.label_err[rows]),
    }


def replace_run(runs, record):
    """Return the runs with a record in the place of its method and spectra, in METHODS' order."""
    key = (record["spectra"], record["method"])
    others = [run for run in runs if (run["spectra"], run["method"]) != key]
    order = list(METHODS)
    return sorted([*others, record], key=lambda run: order.index(run["method"]))


def compare(paths, methods, pythons, scratch, limit, shown, found):
    """Run methods on samples, at `paths` by name; yield what is found after each run.

    `found` is what earlier runs found, {} if nothing: records of other methods and other spectra
    stay as they are.
    """
    found = found | {
        "threads": THREADS,
        "limit": limit,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "samples": dict(found.get("samples", {})),
    }
    for name, path in paths.items():
        sample = read_sample(name, path)
        found["samples"][name] = sample.describe()
        for method in methods:
            shown.stage(f"{method}: {name}")
            record = run_method(name, method, sample, pythons[method], scratch, limit)
            shown.say(f"{method}, {name}: {record['outcome']} {record['reason']}".rstrip())
            found["runs"] = replace_run(found.get("runs", []), record)
            yield found
