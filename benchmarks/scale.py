"""Time the run at scale: kernel, Zarr to Zarr, memory, millions of stars, tasks, reading.

    python benchmarks/scale.py --work DIR --out results.json
    python benchmarks/scale.py --work DIR --only product --only command
    python benchmarks/scale.py --work DIR --only region

`product` and `command` give ratios to the matrix product of the kernel's exact way alone, which is
measured before and after each run: by all workers at once, whose run it is compared with, and by
this process, whose threads share it. Processor seconds a star, of all processes together, are
compared too: beside other work that ratio is the one to trust.
`region` says what the parts of a region cost in a worker of one thread, in processor time.
Needs about 8 GB of disk for the 3,000,000 XP spectra (`--only` leaves parts out, `--xp-stars` makes
it fewer). Rates of Zarr to Zarr are of a cluster that is up and has compiled: a short run of the
same shape comes before.
"""

import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from kernel import measure as measure_kernel
from numcodecs.blosc import Blosc
from surveys import CHUNK, make

import luxscale as lux
from luxscale import store
from luxscale.cluster import local_cluster
from luxscale.labelling import run
from luxscale.labelling.catalogue import Catalogue
from luxscale.labelling.plan import Region, make_plan
from luxscale.labelling.region import Outcome, open_workplace, read_ahead
from luxscale.runs.executors import OnDask
from luxscale.runs.log import describe_machine
from luxscale.schema.status import DONE
from luxscale.store.chunks import read_chunks


def clear_path(path):
    """Remove what is at a path, and return the path."""
    shutil.rmtree(path, ignore_errors=True)
    return path


def measure_peak_memory():
    """Return the peak memory of this process, in bytes.

    getrusage would tell that of its parent, where this was greater at the start.
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def measure_labelling(client, survey, model, folder):
    """Label a survey on a warm cluster; return stars/s, and what the tasks say of their time."""
    log = folder / "log.jsonl"
    log.unlink(missing_ok=True)
    catalog = clear_path(folder / "catalog.zarr")
    summary = lux.label_survey(survey, model, catalog, client=client, log=log, progress=False)
    events = map(json.loads, log.read_text().splitlines())
    regions = [event for event in events if event["event"] == "region"]
    parts = {}
    for part in regions[0]["seconds"]:
        each = [1e6 * region["seconds"][part] / region["stars"] for region in regions]
        parts[part] = round(statistics.median(each), 1)
    return {
        "stars": summary.n_run,
        "seconds": round(summary.seconds, 2),
        "stars_per_s": round(summary.n_run / summary.seconds),
        "us_a_star": parts,
    }


def multiply(pixels, latents, seconds):
    """Multiply weights of stars with all products of two latents; return stars, wall and CPU s."""
    import jax

    from luxscale.model import linalg

    rng = np.random.default_rng(0)
    weights = rng.random((CHUNK, pixels), dtype="f4")
    packed = jax.numpy.asarray(rng.random((latents * (latents + 1) // 2, pixels), dtype="f4"))
    product = jax.jit(lambda w, packed: linalg.dot(w, packed.T))
    product(weights, packed).block_until_ready()  # compiles
    started, cpu_started, stars = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - started < seconds:
        product(weights, packed).block_until_ready()
        stars += CHUNK
    return stars, time.perf_counter() - started, time.process_time() - cpu_started


def measure_cpu():
    """Return the processor seconds of this process."""
    return time.process_time()


def compare_with_product(client, survey, model, folder, rounds):
    """Label a survey on a warm cluster between products alone; return medians of their ratios."""
    size = store.open_dataset(model).sizes

    def multiply_on_workers():
        found = client.run(multiply, size["wavelength"], size["latent"], 2.0).values()
        rate = sum(stars / seconds for stars, seconds, _ in found)
        return rate, 1e6 * sum(cpu for *_, cpu in found) / sum(stars for stars, *_ in found)

    ratios, products = [], [multiply_on_workers()]
    for _ in range(rounds):
        before = sum(client.run(measure_cpu).values())
        run = measure_labelling(client, survey, model, folder)
        cpu = 1e6 * (sum(client.run(measure_cpu).values()) - before) / run["stars"]
        products.append(multiply_on_workers())
        rate, product_cpu = np.mean(products[-2:], axis=0).tolist()
        ratios.append(
            {
                "stars_per_s": run["stars_per_s"],
                "product_per_s": round(rate),
                "ratio": round(run["stars_per_s"] / rate, 2),
                "cpu_us_a_star": round(cpu, 1),
                "product_cpu_us": round(product_cpu, 1),
                "cpu_ratio": round(product_cpu / cpu, 2),
                "wall_us_a_star": run["us_a_star"],
            }
        )
    return sorted(ratios, key=lambda found: found["ratio"])[len(ratios) // 2]


def measure_product(work, rounds, **_):
    """Compare 100,352 stars of 8,575 pixels on 2 workers with the product alone in both."""
    warm, _ = make("apogee", work / "warm", 2 * CHUNK)
    large, model = make("apogee", work / "apogee100k", 98 * CHUNK)
    with local_cluster(2) as client:
        measure_labelling(client, warm, model, work)
        yield "100,352 stars, 2 workers", compare_with_product(client, large, model, work, rounds)


def measure_parts(plan):
    """Return the processor ms of each part of a region, and of bare decoding: medians."""
    place = open_workplace(plan)
    array = store.open_array(store.open_group(plan.survey, "r"), "flux")
    out = np.empty(array.chunks, array.dtype)
    seconds = {"read": [], "of which decoding": [], "infer": [], "write": []}

    def note(name, started):
        seconds[name].append(time.process_time() - started)
        return time.process_time()

    for region in plan.regions:
        now = time.process_time()
        ((*_, data),) = read_ahead(plan, region).result()
        now = note("read", now)
        found, _ = place.catalogue.inference.infer_and_count(data)
        now = note("infer", now)
        place.catalogue.write_region(region, found, np.full(region.stop - region.start, DONE, "u1"))
        note("write", now)
        stored = [read_chunks(place.catalogue.survey[v], region.start, region.stop) for v in data]
        now = time.process_time()
        for (chunk,) in stored:
            Blosc().decode(chunk[:-4], out)  # all but the checksum
        note("of which decoding", now)
        del data, found, stored  # as a run does, before it reads on
    # the first compiles
    return {name: round(1e3 * statistics.median(times[1:]), 1) for name, times in seconds.items()}


def measure_region(work, **_):
    """Measure the parts of a region in one of two workers, beside the product alone."""
    survey, model = make("apogee", work / "apogee10k", 10 * CHUNK)
    plan = make_plan(survey, model, clear_path(work / "catalog.zarr"), region_stars=CHUNK)
    Catalogue(plan).create()
    size = store.open_dataset(model).sizes
    with local_cluster(2) as client:
        first = list(client.scheduler_info()["workers"])[:1]
        (parts,) = client.run(measure_parts, plan, workers=first).values()
        run = client.run(multiply, size["wavelength"], size["latent"], 2.0, workers=first)
        ((stars, _, cpu),) = run.values()
    yield "ms of 1,024 stars", {**parts, "product": round(1e3 * cpu * CHUNK / stars, 1)}


def run_command(survey, model, catalog, *options, **environment):
    """Run `luxscale label` in a new process; return its wall and processor seconds."""
    clear_path(catalog)
    command = [sys.executable, "-m", "luxscale", "label", survey, "--model", model]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [*command, "--out", catalog, "--quiet", *options],
        env=os.environ | environment,
        check=True,
        capture_output=True,
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used


def measure_command(work, rounds, **_):
    """Measure `luxscale label` of 20,480 stars, a whole command, beside the product alone."""
    stars = 20 * CHUNK
    survey, model = make("apogee", work / "apogee20k", stars)
    catalog = work / "catalog.zarr"
    size = store.open_dataset(model).sizes
    with tempfile.TemporaryDirectory() as empty:
        first = run_command(survey, model, catalog, LUXSCALE_PROGRAMS=empty)
    yield "nothing compiled before", {"seconds": round(first[0], 1), "cpu_s": round(first[1], 1)}
    for name, options in (("as chosen", ()), ("2 workers", ("--workers", "2"))):
        run_command(survey, model, catalog, *options)
        found = []
        for _ in range(rounds):
            n, wall, cpu = multiply(size["wavelength"], size["latent"], 2.0)
            seconds, used = run_command(survey, model, catalog, *options)
            found.append((seconds, used, stars * wall / n / seconds, stars * cpu / n / used))
        names = ("seconds", "cpu_s", "ratio", "cpu_ratio")
        medians = np.median(found, axis=0)
        yield name, {key: round(float(value), 2) for key, value in zip(names, medians, strict=True)}


def measure_workers(workers, survey, model, folder, rounds):
    """Return rates of Zarr to Zarr on some workers, and the greatest peak memory of any."""
    small, _ = make("apogee", folder / "warm", workers * CHUNK)
    with local_cluster(workers) as client:
        measure_labelling(client, small, model, folder)
        found = [measure_labelling(client, survey, model, folder) for _ in range(rounds)]
        peak = max(client.run(measure_peak_memory).values())
    by_time = sorted(found, key=lambda f: f["seconds"])
    median = by_time[len(found) // 2]
    return {"workers": workers, **median, "worker_peak_GB": round(peak / 1e9, 2)}


def measure_apogee(work, rounds, **_):
    """Measure 10,240 stars of 8,575 pixels on 1, 2 and 4 workers, and 100,352 on 2."""
    survey, model = make("apogee", work / "apogee10k", 10 * CHUNK)
    yield "kernel", measure_kernel(rounds=rounds)
    for workers in (1, 2, 4):
        found = measure_workers(workers, survey, model, work, rounds)
        yield f"10,240 stars, {workers} workers", found
    large, _ = make("apogee", work / "apogee100k", 98 * CHUNK)
    yield "100,352 stars, 2 workers", measure_workers(2, large, model, work, 1)


def measure_xp(work, xp_stars, **_):
    """Measure millions of XP spectra, and what their catalogue takes to open and to read."""
    folder = work / "xp"
    survey, model = make("xp", folder, xp_stars)
    with local_cluster(2) as client:
        started = time.perf_counter()
        yield f"{xp_stars:,} stars of 343 pixels", measure_labelling(client, survey, model, folder)
        seconds = time.perf_counter() - started
        yield "with planning and counting", {"seconds": round(seconds, 1)}
    yield "catalogue", read_catalog(folder / "catalog.zarr")
    yield "interactive", select_and_plot(survey, model)


def read_catalog(path):
    """Measure the seconds to open a catalogue and to read its labels."""
    started = time.perf_counter()
    catalog = store.open_dataset(path)
    opened = time.perf_counter()
    labels = catalog["label_value"].values
    read = time.perf_counter()
    return {
        "stars": len(labels),
        "open_s": round(opened - started, 3),
        "read_label_value_s": round(read - opened, 2),
    }


def select_and_plot(survey, model):
    """Measure the seconds from a path to a picture of a thousand stars, inferred on the way."""
    import matplotlib as mpl

    mpl.use("Agg")
    from luxscale import plot

    started = time.perf_counter()
    stars = lux.open_survey(survey)
    n = stars.sizes["star"]
    some = stars.isel(star=slice(n // 2, n // 2 + 1000))
    plot.kiel(lux.infer(some, lux.load_model(model)).compute())
    seconds = time.perf_counter() - started
    return {"stars": 1000, "of": n, "seconds": round(seconds, 1)}


def do_nothing(plan, region):
    """Report a region as done: a task that does nothing."""
    return Outcome(
        region=region.index,
        stars=region.stop - region.start,
        unreadable=(),
        seconds={},
        worker="",
    )


def read_loopback():
    """Return how many bytes this machine has sent to itself."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[9]) for line in lines if line.strip().startswith("lo:"))


def measure_tasks(work, **_):
    """Measure a task by itself: time, bytes by the scheduler, memory of scheduler and client."""
    survey, model = make("apogee", work / "apogee10k", 10 * CHUNK)
    plan = make_plan(survey, model, work / "catalog.zarr")
    job = replace(run.make_job(plan), task=do_nothing)
    for count in (3000, 30000):
        regions = [Region(i, i * CHUNK, (i + 1) * CHUNK) for i in range(count)]
        with local_cluster(2) as client:
            sent_before = read_loopback()
            memory_before = measure_peak_memory()
            started = time.perf_counter()
            done = sum(1 for _ in OnDask(client).run(job, regions))
            seconds = time.perf_counter() - started
            assert done == count
            sent = read_loopback() - sent_before
            memory = measure_peak_memory() - memory_before
            found = {
                "ms_a_task": round(1e3 * seconds / count, 3),
                "bytes_a_task": round(sent / count),
                "scheduler_and_client_MB": round(memory / 1e6),
            }
            yield f"{count:,} tasks", found


PARTS = {
    "apogee": measure_apogee,
    "product": measure_product,
    "region": measure_region,
    "command": measure_command,
    "xp": measure_xp,
    "tasks": measure_tasks,
}


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
    this = describe_machine() | {"processors": os.cpu_count(), "processor": find_processor()}
    results = {"machine": this}
    click.echo(json.dumps(this))
    for part in only or PARTS:
        for name, found in PARTS[part](work=work, rounds=rounds, xp_stars=xp_stars):
            results[f"{part}: {name}"] = found
            figures = ", ".join(f"{key} {value}" for key, value in found.items())
            click.echo(f"{part}: {name:<32} {figures}")
            if out:
                out.write_text(json.dumps(results, indent=1) + "\n")


def find_processor():
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
