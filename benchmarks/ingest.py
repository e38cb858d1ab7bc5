"""Time the ingest of many apStar files: a real one, repeated with other identifiers and noise.

    python benchmarks/ingest.py apStar-dr17-2M19485057+5005279.fits DIR --files 20000

The files are made once, each as large as the real one, and kept; reading them again finds them in
the page cache as far as memory goes, unless that was emptied before (`sync; echo 3 >
/proc/sys/vm/drop_caches`, as root). Beside other work, processor time of the workers tells more
than files a second.
"""

import json
import os
import re
import shutil
import time
from pathlib import Path

import click
import numpy as np
from astropy.io import fits

from luxscale import store
from luxscale.cluster import local_cluster
from luxscale.ingest import find_files, ingest
from luxscale.progress import Progress
from luxscale.readers import get_format
from luxscale.runs.log import describe_machine


def make_files(star, folder, count):
    """Write files that are not there yet."""
    with fits.open(star) as hdus:
        flux, error = hdus[1].data.copy(), hdus[2].data
        sigma = np.where((error > 0) & (error < np.abs(flux)), error, 0)
        with Progress("making files", count, unit="files") as shown:
            for i in range(count):
                path = folder / f"{i // 1000:03d}" / f"apStar-replica-{i:06d}.fits"
                if path.exists():
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = np.random.default_rng(i).standard_normal(flux.shape)
                hdus[0].header["OBJID"] = f"2M{i:08d}+{i:07d}"
                hdus[1].data = flux + sigma * noise
                hdus.writeto(path)
                shown.update(i + 1)


def measure_peak_memory():
    """Return the peak memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


@click.command()
@click.argument("star", type=click.Path(exists=True))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--files", "count", default=20_000, show_default=True)
@click.option("--workers", default=2, show_default=True)
def main(star, folder, count, workers):
    make_files(star, folder / "apstar", count)
    fmt, out = get_format("apstar"), folder / "survey.zarr"
    files = find_files([folder / "apstar"], fmt)[:count]
    shutil.rmtree(out, ignore_errors=True)
    with local_cluster(workers) as client:
        cpu_before = sum(client.run(time.process_time).values())
        started = time.perf_counter()
        made = ingest("apstar", files, out, client=client, log=folder / "ingest.jsonl")
        seconds = time.perf_counter() - started
        cpu_seconds = sum(client.run(time.process_time).values()) - cpu_before
        memory = client.run(measure_peak_memory)
        started = time.perf_counter()
        again = ingest("apstar", files, out, client=client, progress=False)
        seconds_again = time.perf_counter() - started
    assert (made.n_new, again.n_new) == (count, 0)
    store.open_survey(out)
    facts = {
        "files": count,
        "file_MB": round(os.path.getsize(files[0]) / 1e6, 2),
        "workers": workers,
        "seconds": round(seconds, 1),
        "files_per_second": round(count / seconds),
        "cpu_ms_a_file": round(1e3 * cpu_seconds / count, 2),
        "peak_GB_a_worker": round(max(memory.values()) / 1e9, 2),
        "seconds_of_the_same_again": round(seconds_again, 2),
        "machine": describe_machine(),
    }
    click.echo(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
