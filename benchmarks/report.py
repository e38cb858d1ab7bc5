"""Measure what the report of a catalogue costs: seconds, peak memory, size of the page.

    python benchmarks/report.py catalog.zarr --truth truth.zarr --survey survey.zarr

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
        page = Path(folder) / "report.html"
        command = ["luxscale", "report", *arguments, "--out", str(page), "--json"]
        started = time.monotonic()
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        seconds = time.monotonic() - started
        made = json.loads(ended.stdout)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "stars": made["stars"],
        "seconds": round(seconds, 1),
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
