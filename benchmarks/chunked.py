"""Time training over chunks: stars/s of an iteration, memory of workers, beside training in memory.

    python benchmarks/chunked.py --work DIR --out benchmarks/results/chunked.json

Simulated spectra of 8,575 pixels, 48 latents, 12 labels. 4,096 stars are distinct, and the chunks
of the others hard links to theirs; every star has labels with noise of its own. Rates are of
processor time, whatever else runs. The same command goes on where it was stopped.
"""

import json
import os
import platform
import shutil
import time
from pathlib import Path

import click
import numpy as np
import zarr
from scale import measure_peak_memory
from surveys import CHUNK, DISTINCT, create_survey, link_chunks, simulate_apogee

import luxscale as lux
from luxscale.cluster import cpu_count, local_cluster
from luxscale.runs.log import describe_machine

#: Stars that training in memory is timed on, and its iterations: the difference is what counts.
IN_MEMORY, FEW, MORE = 4096, 2, 6

#: Iterations over chunks.
ITERATIONS = 3


def make_survey(folder, stars):
    """Make a survey with labels, unless it is there; return its path."""
    path = folder / f"survey-{stars}.zarr"
    if path.exists():
        return path
    made = folder / f"making-{stars}.zarr"
    source = simulate_apogee(DISTINCT, seed=0)
    arrays = create_survey(made, source, stars, CHUNK)
    link_chunks(made, arrays, source, stars)
    rng = np.random.default_rng(7)
    names = ("label_value", "label_err")
    value, err = (np.resize(source[name].values, (stars, 12)) for name in names)
    value = value + 0.02 * rng.standard_normal(value.shape)
    group = zarr.open_group(made, mode="r+")
    for name, array in (("label_value", value), ("label_err", err)):
        group.create_array(name, data=array, chunks=(8192, 12), dimension_names=("star", "label"))
    source[["label", "label_units"]].to_zarr(made, mode="a", consolidated=False)
    made.rename(path)
    return path


def measure_in_memory(path):
    """Return stars/s of an iteration in memory, per core, and the peak memory of the process."""
    survey = lux.open_survey(path, check="structure").isel(star=slice(0, IN_MEMORY)).load()
    seconds = {}
    for iterations in (FEW, FEW, MORE):  # the first compiles
        started = time.process_time()
        lux.train(survey, 48, iterations=iterations, tolerance=0, folds=1, progress=False)
        seconds[iterations] = time.process_time() - started
    of_iteration = (seconds[MORE] - seconds[FEW]) / (MORE - FEW)
    return {
        "stars": IN_MEMORY,
        "stars_per_core_second": round(IN_MEMORY / of_iteration),
        "peak_gb": round(measure_peak_memory() / 1e9, 2),
    }


def measure_chunked(path, folder, stars, workers):
    """Train over chunks; return what the log of the run says of its passes."""
    out, log = folder / f"model-{stars}.zarr", folder / f"log-{stars}.jsonl"
    shutil.rmtree(out, ignore_errors=True)
    if not Path(f"{out}.training").exists():  # else this goes on where another was stopped
        log.unlink(missing_ok=True)
    started = time.monotonic()
    with local_cluster(workers) as client:
        lux.train_survey(
            path, out, 48, iterations=ITERATIONS, tolerance=0, folds=1, client=client, log=log
        )
        peaks = client.run(measure_peak_memory).values()
    seconds = time.monotonic() - started
    parts = [e for e in map(json.loads, log.read_text().splitlines()) if e["event"] == "part"]
    return {
        "stars": stars,
        "workers": workers,
        "seconds": round(seconds),
        "worker_peak_gb": round(max(peaks) / 1e9, 2),
        "client_peak_gb": round(measure_peak_memory() / 1e9, 2),
        "iterations": summarise(parts, stars),
    }


def summarise(parts, stars):
    """Return the processor seconds of two iterations by pass, and their rate."""
    of_stage = {}
    for part in parts:
        stage = part["stage"]
        if stage.startswith(("iteration-1/", "iteration-2/")):
            of_stage[stage] = of_stage.get(stage, 0) + part["cpu"]
    both = sum(of_stage.values())
    return {
        "processor_seconds": {stage: round(s, 1) for stage, s in of_stage.items()},
        "stars_per_core_second": round(2 * stars / both),
    }


@click.command(help=__doc__.splitlines()[0])
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--stars", type=int, multiple=True, default=(51200, 204800), show_default=True)
@click.option("--workers", type=int, default=cpu_count)
def main(work, out, stars, workers):
    work.mkdir(parents=True, exist_ok=True)
    found = {"machine": describe_machine(), "python": platform.python_version(), "chunked": []}
    for number in stars:
        path = make_survey(work, number)
        found["chunked"].append(measure_chunked(path, work, number, workers))
        out.write_text(json.dumps(found, indent=1) + "\n")
    found["in_memory"] = measure_in_memory(make_survey(work, stars[0]))
    out.write_text(json.dumps(found, indent=1) + "\n")
    click.echo(out.read_text())


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
