"""Measure what the report of a catalogue costs: seconds, peak memory, size of the page.

    python benchmarks/report.py catalog.zarr --truth truth.zarr --survey survey.zarr --model
    model.zarr

Arguments are those of `luxscale report`; the page is written to a scratch folder.
"""

import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import click


def measure(arguments):
    """Run the command once, and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        run = [
            "luxscale",
            "report",
            *arguments,
            "--out",
            str(Path(folder) / "report.html"),
            "--json",
        ]
        made = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "stars": made["stars"],
        "seconds": round(time.monotonic() - started, 1),
        "core_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss / 1e3),
        "page_mb": round(made["bytes"] / 1e6, 2),
    }


@click.command(help=__doc__.splitlines()[0], context_settings={"ignore_unknown_options": True})
@click.argument("catalog")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(catalog, options):
    click.echo(json.dumps(measure([catalog, *options]), indent=1))


if __name__ == "__main__":
    main()
