"""Infer with luxscale and with pollux from one and the same model, and compare their speed.

Their labels must agree.
"""

import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import click
import jax
import numpy as np

import luxscale as lux
from luxscale.examples.simulate import simulate
from peers.environments import HERE, POLLUX, make_environment

SCRIPT = HERE / "infer_pollux.py"
SETTINGS = {
    "pollux, float64, as in its tutorials": ["--x64"],
    "pollux, float64, one cycle": ["--x64", "--cycles", "1"],
    "pollux, float32, as in its tutorials": [],
    "pollux, float32, one cycle": ["--cycles", "1"],
    "pollux, float32, one cycle, 100 stars a call": ["--cycles", "1", "--batch", "100"],
}


def write_problem(path, model, stars):
    """Write what pollux needs.

    That is spectra, the maps from latents to flux and labels, and the scatter of the flux.
    """
    flux, label = model["flux"], model["label_value"]
    np.savez(
        path,
        flux=stars["flux"].values,
        flux_ivar=np.where(flux.used, stars["flux_ivar"].values, 0),
        flux_weights=flux.map.weights,
        flux_offset=flux.map.offset,
        scatter=flux.scatter,
        label_weights=label.map.weights,
        label_offset=label.map.offset,
    )


def run_luxscale(stars, model, rounds):
    """Return the catalogue, and seconds and CPU seconds of each pass."""
    seconds, cpu = [], []
    for _ in range(rounds):
        start, cpu_start = time.perf_counter(), time.process_time()
        catalog = lux.infer(stars, model)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    return catalog, {"seconds": seconds, "cpu": cpu, "solver": "exact"}


def run_pollux(python, problem, options, rounds):
    """Return the labels (star, label), and what the script says of its passes."""
    labels = problem.with_suffix(".npy")
    command = [python, SCRIPT, problem, labels, "--rounds", str(rounds), *options]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return np.load(labels), json.loads(said.splitlines()[-1])


def summarise(run, n_stars, labels, catalog, truth):
    """Return the figures of one library and setting."""
    return {
        "first": n_stars / run["seconds"][0],
        "warm": n_stars / np.median(run["seconds"][1:]),
        "cpu_ms": 1e3 * np.median(run["cpu"][1:]) / n_stars,
        "solver": run["solver"],
        "rmse": np.sqrt(np.mean((labels - truth) ** 2, 0)).tolist(),
        "from_luxscale": np.max(
            np.abs(labels - catalog["label_value"].values) / catalog["label_err"].values
        ),
    }


def show(rows, names):
    """Print the figures: a line a setting, then the RMSE of each label."""
    click.echo(f"{'':<46}{'first':>8}{'warm':>8}{'CPU ms':>8}  {'from luxscale':>13}  solver")
    for name, row in rows.items():
        numbers = (
            f"{row['first']:>8,.0f}{row['warm']:>8,.0f}{row['cpu_ms']:>8.2f}  "
            f"{row['from_luxscale']:>7.4f} sigma"
        )
        click.echo(f"{name:<46}{numbers}  {row['solver']}")
    ours, *theirs = rows
    best = max(theirs, key=lambda name: rows[name]["warm"])
    ratio, cpu = (
        rows[ours]["warm"] / rows[best]["warm"],
        rows[best]["cpu_ms"] / rows[ours]["cpu_ms"],
    )
    click.echo(
        f"luxscale over the fastest ({best}): {ratio:.0f} in stars/s, {cpu:.0f} in CPU time a star"
    )
    click.echo(f"\n{'RMSE':<10}{'luxscale':>12}{'pollux':>12}")
    for name, *pair in zip(names, rows[ours]["rmse"], rows[best]["rmse"], strict=True):
        click.echo(f"{name:<10}" + "".join(f"{value:>12.5g}" for value in pair))


def compare(stars, training, pixels, latents, rounds, folder):
    """Train a model, let both libraries infer from it, print the figures and return them."""
    load = os.getloadavg()[0]
    survey = simulate(training + stars, n_pixels=pixels, snr=(100, 100))
    others, truth = survey.isel(star=slice(training, None)), survey["label_true"].values[training:]
    with tempfile.TemporaryDirectory() as scratch:
        python = make_environment(POLLUX, folder)
        model = lux.train(survey.isel(star=slice(training)), latents, folds=1, progress=False)
        problem = Path(scratch) / "problem.npz"
        write_problem(problem, model, others)
        jax.clear_caches()  # training has compiled some of it
        catalog, ours = run_luxscale(others, model, 1)
        rows = {"luxscale": None}
        for name, options in SETTINGS.items():
            again = run_luxscale(others, model, rounds)[
                1
            ]  # in turn with pollux: others may use the machine
            ours |= {kind: ours[kind] + again[kind] for kind in ("seconds", "cpu")}
            labels, run = run_pollux(python, problem, ["--batch", str(stars), *options], rounds)
            rows[name] = summarise(run, stars, labels, catalog, truth)
        rows["luxscale"] = summarise(ours, stars, catalog["label_value"].values, catalog, truth)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors"
    used = {
        "luxscale": model.provenance.version,
        "jax": jax.__version__,
        "python": platform.python_version(),
    }
    size = {"stars": stars, "training": training, "pixels": pixels, "latents": latents}
    versions = {"luxscale": used, "pollux": run["versions"]}
    click.echo(f"{machine}, load {load:.1f} at the start; {size}; {versions}\n")
    if load > 0.5:
        click.echo("Others use this machine: go by CPU time, stars/s are too low and vary.\n")
    show(rows, survey["label"].values.tolist())
    return {"machine": machine, "load": load, **size, **versions, "rows": rows}
