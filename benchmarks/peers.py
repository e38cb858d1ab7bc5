"""Compare luxscale with other methods, all on the same training and test stars.

    python benchmarks/peers.py --real DIR --venvs DIR --out benchmarks/results/peers_real.json
    python benchmarks/peers.py --venvs DIR --out benchmarks/results/peers.json
    python benchmarks/peers.py --show benchmarks/results/peers.json
    python benchmarks/peers.py --same-model --venvs DIR

With --real: real spectra with trusted labels, from files that `peers/spectra.py` names, on one
thread. What --out holds of other methods (--only) and other spectra (--spectra) stays as it is:

    python benchmarks/peers.py --real DIR --only luxscale --out benchmarks/results/peers_real.json

Otherwise simulated giants of twelve labels: training stars of S/N 100 to 200, test stars of S/N 100
to 200 and 30 to 60. Methods: luxscale's trainers, The Cannon (annieslasso), pollux, and a ridge,
boosted trees and neural networks of scikit-learn (`peers/run_*.py` say how each is used). Each runs
in a process of its own, on two threads, in a virtual environment that is made for it. Reported, as
Markdown: RMSE and robust scatter of each label against the truth, pulls of errors, what missing
labels do, seconds, memory and stars/s (`common.run` says of what), and how they grow. What a method
cannot do within the limit is said so, with the time that it would take, and what fails, with its
last message.

With --same-model: inference of luxscale and of pollux from one model, that they agree and at what
speed.
"""

import json
import os
import platform
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import click
from peers import real, same_model
from peers.environments import METHODS, OURS, SIMULATED, make_environment
from peers.real_report import report_real
from peers.report import report
from peers.spectra import READERS, find_samples
from peers.tasks import SETUPS, TESTS, run_all

from luxscale.progress import Progress


def choose(text):
    """Return the methods that are named, those of SIMULATED by default.

    OURS comes first: others are measured against it.
    """
    wanted = text.split(",") if text else list(SIMULATED)
    for name in wanted:
        if name not in METHODS:
            raise click.BadParameter(
                f"{name!r} is none of {', '.join(METHODS)}", param_hint="--methods"
            )
    return [OURS, *(m for m in METHODS if m in wanted and m != OURS)]


def compare(size, methods, venvs, limit, out):
    """Run a comparison, keep its figures in `out` after every step, and return them."""
    setup = SETUPS[size]
    started = time.monotonic()
    load, *_ = os.getloadavg()
    processor = platform.processor() or platform.machine()
    found = {
        "size": size,
        "setup": asdict(setup) | {"points": setup.points},
        "tests": list(TESTS),
        "limit": limit,
        "machine": f"{processor}, {os.cpu_count()} processors",
    }

    def keep(records):
        load_now, *_ = os.getloadavg()
        found["runs"] = records
        found["load"] = [load, load_now]
        found["seconds"] = time.monotonic() - started
        if out:
            out.write_text(json.dumps(found, indent=1) + "\n")

    with tempfile.TemporaryDirectory() as scratch, Progress("peers") as shown:
        folder = venvs or Path(scratch)
        shown.say("making environments")
        pythons = {m: make_environment(METHODS[m].package, folder) for m in methods}
        run_all(setup, methods, pythons, Path(scratch), limit, shown, keep)
    return found


def compare_real(folder, methods, spectra, venvs, limit, out):
    """Run a comparison on real spectra, keep its figures in `out` after every run; return them."""
    paths = find_samples(folder, spectra)
    if not paths:
        names = ", ".join(name for name, _ in READERS.values())
        raise click.BadParameter(f"{folder} holds none of {names}", param_hint="--real")
    found = {}
    if out and out.exists():
        found = json.loads(out.read_text())
    with tempfile.TemporaryDirectory() as scratch, Progress("peers") as shown:
        shown.say("making environments")
        environments = venvs or Path(scratch)
        pythons = {m: make_environment(METHODS[m].package, environments) for m in methods}
        steps = real.compare(paths, methods, pythons, Path(scratch), limit, shown, found)
        for found in steps:
            if out:
                out.write_text(json.dumps(found, indent=1) + "\n")
    return found


@click.command(help=__doc__.splitlines()[0])
@click.option("--size", type=click.Choice(list(SETUPS)), default="default", show_default=True)
@click.option("--methods", help=f"Some of {','.join(METHODS)}; by default {','.join(SIMULATED)}.")
@click.option(
    "--real",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Compare on real spectra, from this folder.",
)
@click.option(
    "--only",
    type=click.Choice(list(METHODS)),
    multiple=True,
    help="With --real: a method to run, again for more; all by default.",
)
@click.option(
    "--spectra",
    type=click.Choice(list(READERS)),
    multiple=True,
    help="With --real: spectra to take, again for more; all that are there by default.",
)
@click.option("--limit", default=120.0, show_default=True, help="Seconds that a run may take.")
@click.option(
    "--venvs",
    type=click.Path(path_type=Path),
    help="Where to keep environments; temporary if not given.",
)
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for all figures.")
@click.option("--show", type=click.File(), help="JSON file to print the tables of; runs nothing.")
@click.option(
    "--same-model",
    "same",
    is_flag=True,
    help="Inference alone, of luxscale and pollux from one model.",
)
@click.option("--stars", default=500, show_default=True, help="With --same-model: stars to label.")
@click.option(
    "--training", default=500, show_default=True, help="With --same-model: stars to train on."
)
@click.option("--pixels", default=8575, show_default=True, help="With --same-model.")
@click.option("--latents", default=48, show_default=True, help="With --same-model.")
@click.option(
    "--rounds", default=3, show_default=True, help="With --same-model: passes after the first."
)
def main(folder, only, spectra, show, same, size, methods, limit, venvs, out, **sizes):
    if show:
        click.echo(describe_results(json.load(show), show.name))
    elif folder:
        chosen = only or list(METHODS)
        click.echo(report_real(compare_real(folder, chosen, spectra, venvs, limit, out)))
    elif same:
        with tempfile.TemporaryDirectory() as scratch:
            found = same_model.compare(**sizes, folder=venvs or Path(scratch))
        if out:
            out.write_text(json.dumps(found, indent=1) + "\n")
    else:
        click.echo(report(compare(size, choose(methods), venvs, limit, out)))


def describe_results(found, name):
    """Return the tables of a JSON of results, of simulated or real spectra."""
    if "runs" not in found:
        raise click.BadParameter(
            f"{name} has no figures of a comparison; name what --out wrote", param_hint="--show"
        )
    return report_real(found) if "samples" in found else report(found)


if __name__ == "__main__":
    main()
