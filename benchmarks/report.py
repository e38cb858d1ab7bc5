"""Measure what the report of a catalogue costs: seconds, peak memory, size of the page.

    python benchmarks/report.py catalog.zarr --truth truth.zarr --survey survey.zarr --model model.zarr

Arguments are those of `luxscale report`; the page is written to a scratch folder.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(arguments):
    """Run the command once, and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        run = ["luxscale", "report", *arguments, "--out", str(Path(folder) / "report.html"), "--json"]
        made = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "stars": made["stars"],
        "seconds": round(time.monotonic() - started, 1),
        "core_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss / 1e3),
        "page_mb": round(made["bytes"] / 1e6, 2),
    }


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print(json.dumps(measure(sys.argv[1:]), indent=1))
