"""What the scripts of all methods share.

They read a problem, train, label twice, and write a result.

A problem (npz) holds ``flux``, ``ivar`` (star, pixel) and ``label``, ``label_err`` (star, label) of
training stars, ``wavelength`` [Angstrom], ``names`` of the labels, ``latents``, and per set of test
stars ``flux_SET``, ``ivar_SET``. A result (npz) holds ``label_SET``, ``err_SET`` (NaN where a
method gives none), and ``said``: seconds, memory, versions and what was done with the data, in
JSON. Needs numpy alone: every method has an environment of its own.
"""

import json
import os
import platform
import re
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np


def fill(flux, ivar, value=1.0):
    """Return flux with `value`, the continuum, where the inverse variance is 0."""
    return np.where(ivar > 0, flux, value)


def complete(problem):
    """Return which stars have all labels: (star,) bool."""
    return np.isfinite(problem["label"]).all(1)


def peak():
    """Return the most memory that this process has held, in bytes.

    On Linux not by getrusage, whose figure is no less than that of the process that started this
    one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def run(train, packages, problem_path, result_path):
    """Train on the problem's stars, label its test stars set by set, and write the result.

    `train(problem)` returns a function (flux, ivar) -> (labels, errors or None), and a dict:
    ``used``, number of training stars, ``note``, what was done that a reader should know.
    """
    with np.load(problem_path) as file:
        problem = dict(file)
    start, start_cpu = time.perf_counter(), time.process_time()
    label, said = train(problem)
    said |= {"train": time.perf_counter() - start, "train_cpu": time.process_time() - start_cpu}
    result, said["test"], said["test_cpu"] = {}, {}, {}
    for name in [k.removeprefix("flux_") for k in problem if k.startswith("flux_")]:
        stars = slice(
            int(os.environ["PEERS_MOST_TEST"]) if "PEERS_MOST_TEST" in os.environ else None
        )
        start, start_cpu = time.perf_counter(), time.process_time()
        labels, errors = label(problem[f"flux_{name}"][stars], problem[f"ivar_{name}"][stars])
        said["test"][name] = time.perf_counter() - start
        said["test_cpu"][name] = time.process_time() - start_cpu
        result[f"label_{name}"] = labels
        result[f"err_{name}"] = np.full_like(labels, np.nan) if errors is None else errors
    said["peak_gb"] = peak() / 1e9
    said["versions"] = {"python": platform.python_version()} | {
        name: version(name) for name in packages
    }
    np.savez(result_path, said=json.dumps(said), **result)
