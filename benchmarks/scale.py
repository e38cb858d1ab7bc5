"""Time the run at scale: kernel, Zarr to Zarr, workers, memory, millions of stars, cost of a task, opening and reading.

    python benchmarks/scale.py --work DIR --out results.json

Needs about 8 GB of disk for the 3,000,000 XP spectra (`--only` leaves parts out, `--xp-stars` makes
it fewer). Rates of Zarr to Zarr are of a cluster that is up and has compiled: a short run of the
same shape comes before.
"""

import json
import os
import platform
import re
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path

import click
from kernel import measure as measure_kernel
from surveys import CHUNK, make

import luxscale as lux
from luxscale import store
from luxscale.cluster import local_cluster
from luxscale.labelling import run
from luxscale.labelling.plan import Region, make_plan
from luxscale.labelling.region import Outcome
from luxscale.runs.executors import OnDask
from luxscale.runs.log import describe_machine


def fresh(path):
    """A path at which nothing is."""
    shutil.rmtree(path, ignore_errors=True)
    return path


def peak_bytes():
    """Peak memory of this process; getrusage would tell that of its parent, where this was greater at the start."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def label(client, survey, model, catalog, log):
    """Label a survey on a warm cluster: stars/s, and what the tasks say of their time."""
    log.unlink(missing_ok=True)
    summary = lux.label_survey(
        survey, model, fresh(catalog), client=client, log=log, progress=False
    )
    regions = [e for e in map(json.loads, log.read_text().splitlines()) if e["event"] == "region"]
    parts = {
        k: statistics.median(r["seconds"][k] / r["stars"] * 1e6 for r in regions)
        for k in regions[0]["seconds"]
    }
    return {
        "stars": summary.n_run,
        "seconds": round(summary.seconds, 2),
        "stars_per_s": round(summary.n_run / summary.seconds),
        "us_a_star": {k: round(v, 1) for k, v in parts.items()},
    }


def on_workers(workers, survey, model, folder, rounds):
    """Rates of Zarr to Zarr on some workers, and the greatest peak memory of any."""
    small = make("apogee", folder / "warm", workers * CHUNK)[0]
    with local_cluster(workers) as client:
        label(client, small, model, folder / "catalog.zarr", folder / "log.jsonl")
        found = [
            label(client, survey, model, folder / "catalog.zarr", folder / "log.jsonl")
            for _ in range(rounds)
        ]
        peak = max(client.run(peak_bytes).values())
    best = sorted(found, key=lambda f: f["seconds"])[len(found) // 2]
    return {"workers": workers, **best, "worker_peak_GB": round(peak / 1e9, 2)}


def apogee(work, rounds, **_):
    """10,240 stars of 8,575 pixels on 1, 2 and 4 workers, and 100,352 on 2."""
    survey, model = make("apogee", work / "apogee10k", 10 * CHUNK)
    yield "kernel", measure_kernel(rounds=rounds)
    for workers in (1, 2, 4):
        yield f"10,240 stars, {workers} workers", on_workers(workers, survey, model, work, rounds)
    large, _ = make("apogee", work / "apogee100k", 98 * CHUNK)
    yield "100,352 stars, 2 workers", on_workers(2, large, model, work, 1)


def xp(work, xp_stars, **_):
    """Millions of XP spectra, and what their catalogue takes to open and to read."""
    survey, model = make("xp", work / "xp", xp_stars)
    catalog, log = work / "xp" / "catalog.zarr", work / "xp" / "log.jsonl"
    with local_cluster(2) as client:
        started = time.perf_counter()
        yield f"{xp_stars:,} stars of 343 pixels", label(client, survey, model, catalog, log)
        yield "with planning and counting", {"seconds": round(time.perf_counter() - started, 1)}
    yield "catalogue", read_catalog(catalog)
    yield "interactive", select_and_plot(survey, model)


def read_catalog(path):
    """Seconds to open a catalogue and to read its labels."""
    started = time.perf_counter()
    catalog = store.open_dataset(path)
    opened = time.perf_counter()
    labels = catalog["label_value"].values
    return {
        "stars": len(labels),
        "open_s": round(opened - started, 3),
        "read_label_value_s": round(time.perf_counter() - opened, 2),
    }


def select_and_plot(survey, model):
    """Seconds from a path to a picture of a thousand stars out of all, inferred on the way."""
    import matplotlib as mpl

    mpl.use("Agg")
    from luxscale import plot

    started = time.perf_counter()
    stars = lux.open_survey(survey)
    some = stars.isel(star=slice(stars.sizes["star"] // 2, stars.sizes["star"] // 2 + 1000))
    plot.kiel(lux.infer(some, lux.load_model(model)).compute())
    return {
        "stars": 1000,
        "of": stars.sizes["star"],
        "seconds": round(time.perf_counter() - started, 1),
    }


def nothing(plan, region):
    """A task that does nothing but report."""
    return Outcome(
        region=region.index,
        stars=region.stop - region.start,
        unreadable=(),
        seconds={},
        worker="",
    )


def loopback_bytes():
    """Bytes that this machine has sent to itself."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[9]) for line in lines if line.strip().startswith("lo:"))


def tasks(work, **_):
    """Cost of a task by itself: time, bytes through the scheduler, memory of scheduler and client."""
    survey, model = make("apogee", work / "apogee10k", 10 * CHUNK)
    plan = make_plan(survey, model, work / "catalog.zarr")
    for count in (3000, 30000):
        regions = [Region(i, i * CHUNK, (i + 1) * CHUNK) for i in range(count)]
        with local_cluster(2) as client:
            sent, before, started = loopback_bytes(), peak_bytes(), time.perf_counter()
            done = sum(
                1 for _ in OnDask(client).run(replace(run.make_job(plan), task=nothing), regions)
            )
            seconds = time.perf_counter() - started
            assert done == count
            yield (
                f"{count:,} tasks",
                {
                    "ms_a_task": round(1e3 * seconds / count, 3),
                    "bytes_a_task": round((loopback_bytes() - sent) / count),
                    "scheduler_and_client_MB": round((peak_bytes() - before) / 1e6),
                },
            )


PARTS = {"apogee": apogee, "xp": xp, "tasks": tasks}


@click.command(help=__doc__.splitlines()[0])
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory for surveys and catalogues.",
)
@click.option("--out", type=click.Path(path_type=Path), default=None, help="File of results, JSON.")
@click.option(
    "--only", type=click.Choice(list(PARTS)), multiple=True, help="Parts to run. [default: all]"
)
@click.option("--xp-stars", default=3_000_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(work, out, only, xp_stars, rounds):
    work.mkdir(parents=True, exist_ok=True)
    results = {
        "machine": describe_machine() | {"processors": os.cpu_count(), "processor": processor()}
    }
    click.echo(json.dumps(results["machine"]))
    for part in only or PARTS:
        for name, found in PARTS[part](work=work, rounds=rounds, xp_stars=xp_stars):
            results[f"{part}: {name}"] = found
            click.echo(f"{part}: {name:<32} " + ", ".join(f"{k} {v}" for k, v in found.items()))
            if out:
                out.write_text(json.dumps(results, indent=1) + "\n")


def processor():
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    names = (
        [
            x.split(":")[1].strip()
            for x in info.read_text().splitlines()
            if x.startswith("model name")
        ]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
