"""Run thousands of regions on many workers that come, go and are killed: memory, and the start.

    python benchmarks/many_workers.py --work DIR

The command runs with `--adapt`, so its process is client and scheduler in one: its memory is that
of both. Workers are killed at random meanwhile. Then a scheduler and workers are started in
processes of their own, and the command is timed until its first region is done.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import click
import psutil

import luxscale as lux
from luxscale import store
from luxscale.cluster import worker_environment
from luxscale.examples.simulate import simulate_survey

#: Stars of a region, pixels of a spectrum.
STARS, PIXELS = 8, 100


def make_stores(work, n_regions):
    """Make a survey of tiny regions, and a model, where they are not there yet."""
    survey, model = work / f"survey-{n_regions}.zarr", work / "model.zarr"
    if not survey.exists():
        simulate_survey(survey, n_regions * STARS, n_pixels=PIXELS, chunk=STARS)
    if not model.exists():
        few = store.open_survey(survey, check="structure").isel(star=slice(0, 512)).load()
        lux.train(few, 6, folds=2, iterations=3, progress=False).save(model)
    return survey, model


def start_label(survey, model, out, *options):
    """Start the command in a process of its own."""
    command = [sys.executable, "-m", "luxscale", "label", survey, "--model", model, "--out", out]
    command += ["--region-stars", STARS, "--quiet", "--log", f"{out}.log.jsonl", *options]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)


def read_events(out, kind):
    """Return what a command has written to its log so far, of one kind."""
    log = Path(f"{out}.log.jsonl")
    lines = log.read_text().splitlines() if log.exists() else []
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def list_workers(process):
    """Return the worker processes of a command."""
    found = []
    for child in process.children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()) and not child.children():
                found.append(child)
        except psutil.Error:
            continue
    return found


def run_regions(work, n_regions, workers, kills, rng):
    """Label on workers that are killed; return how memory went, and what was lost."""
    survey, model = make_stores(work, n_regions)
    out = work / f"catalog-{time.time_ns()}.zarr"
    command = start_label(survey, model, out, "--adapt", f"1:{workers}")
    process, memory, killed, most = psutil.Process(command.pid), {}, 0, 0
    moments = sorted(rng.sample(range(n_regions // 20, 19 * n_regions // 20), kills))
    started = time.perf_counter()
    while command.poll() is None:
        time.sleep(0.5)
        done = len(read_events(out, "region"))
        alive = list_workers(process) if command.poll() is None else []
        most = max(most, len(alive))
        try:
            memory[done] = process.memory_info().rss
            if killed < kills and done >= moments[killed] and alive:
                rng.choice(alive).kill()
                killed += 1
        except psutil.Error:
            continue
    assert command.returncode == 0, f"exit status {command.returncode}"
    status = store.open_dataset(out)["status"].values
    return {
        "regions": n_regions,
        "workers at most": most,
        "killed": killed,
        "stars lost": int((status != 1).sum()),
        "seconds": round(time.perf_counter() - started, 1),
        **{f"MB at {share}%": find_memory(memory, share / 100) for share in (10, 50, 99)},
    }


def find_memory(memory, share):
    """Return the memory when a share of the regions was done, in MB."""
    wanted = share * max(memory)
    return round(memory[min(memory, key=lambda done: abs(done - wanted))] / 1e6)


def time_start(work, rounds):
    """Time the command until its first region, on a cluster that is up and has compiled."""
    survey, model = make_stores(work, 200)
    at = work / f"scheduler-{time.time_ns()}.json"
    here = ["--host", "127.0.0.1", "--scheduler-file", str(at), "--no-dashboard"]
    env = {**os.environ, **worker_environment(1)}
    run = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", *here]
    processes = [subprocess.Popen([*run, "--dashboard-address", "127.0.0.1:0"], env=env)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", *here]
    try:
        while not (at.exists() and at.read_text().endswith("}")):
            time.sleep(0.1)
        processes += [subprocess.Popen([*worker, "--no-nanny"], env=env) for _ in range(2)]
        address = json.loads(at.read_text())["address"]
        seconds, processor = [], []
        for _ in range(rounds + 1):  # the first one compiles
            out = work / f"started-{time.time_ns()}.zarr"
            started = time.perf_counter()
            command = start_label(survey, model, out, "--scheduler", address)
            while not read_events(out, "region"):
                assert command.poll() in (None, 0), "the command failed"
                time.sleep(0.01)
            seconds.append(round(time.perf_counter() - started, 2))
            used = psutil.Process(command.pid).cpu_times()
            processor.append(round(used.user + used.system, 2))
            assert command.wait() == 0
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
    return {
        "seconds to the first region": seconds[1:],
        "processor seconds of the command": processor[1:],
    }


@click.command(help=__doc__.splitlines()[0])
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory for surveys and catalogues.",
)
@click.option("--regions", default=3000, show_default=True)
@click.option("--workers", default=16, show_default=True)
@click.option("--kills", default=20, show_default=True)
@click.option("--seed", default=0, show_default=True, help="When which worker is killed.")
@click.option("--rounds", default=3, show_default=True, help="Starts to time.")
@click.option("--only", type=click.Choice(["run", "start"]), default=None)
def main(work, regions, workers, kills, seed, rounds, only):
    work.mkdir(parents=True, exist_ok=True)
    if only != "run":
        click.echo(json.dumps(time_start(work, rounds)))
    if only != "start":
        click.echo(json.dumps(run_regions(work, regions, workers, kills, random.Random(seed))))


if __name__ == "__main__":
    main()
