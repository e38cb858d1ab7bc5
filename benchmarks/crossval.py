"""Time the paper's cross-validation (appendix A): four P, four Omega, five folds.

    python benchmarks/crossval.py survey.zarr --stars 0:5000

P is 12, 24, 48 and 96, Omega 1, 10, 100 and 1000.

With ``--only-latent-dim``, ``--only-omega`` and ``--only-folds`` it runs part of the grid, one task
after another in this process, and says what the whole would take: the median time of the trainings
that ran at each P, or a + b P^2 through the two nearest P that did (the normal equations have P (P
+ 1) / 2 columns), times their number. It prints which. Method ``alternating`` trains for every
task; ``marginal`` trains once for the four priors, whose tasks it runs together. The first training
at each P compiles; run two folds or more to see how long the others take.
"""

import os
import platform
import tempfile
import time
from pathlib import Path

import click
import jax
import numpy as np

from luxscale import crossval as cv
from luxscale.cli.clusters import Cluster
from luxscale.runs.target import complete, open_target

LATENT_DIMS, OMEGAS, FOLDS = (12, 24, 48, 96), (1.0, 10.0, 100.0, 1000.0), 5


def run_part(grid, latent_dims, omegas, folds):
    """Run the chosen tasks that are pending, and those that share their training.

    Returns the seconds of each training by its P.
    """
    priors = [o**-2 for o in omegas]
    seconds = {}
    with open_target(cv.Results(grid)) as run:
        pending = run.pending
    for tasks in pending:
        settings = [dict(task.setting) for task in tasks]
        latent_dim = settings[0]["latent_dim"]
        if latent_dim not in latent_dims or tasks[0].fold >= folds:
            continue
        if not any(setting["prior"] in priors for setting in settings):
            continue
        took = cv.run_tasks(grid, tasks).seconds
        seconds.setdefault(latent_dim, []).append(took)
        click.echo(
            f"{grid.recipes[0].method}, {tasks[-1]}, {len(tasks)} priors: {took:.1f} s", err=True
        )
    return seconds


def extrapolate(seconds):
    """Return the seconds of a training and its tasks at every P, and how they were found."""
    known = {p: np.median(s) for p, s in seconds.items()}
    made = {p: (known[p], f"measured, {len(seconds[p])} of them") for p in known}
    if len(known) < 2:
        return made
    for p in set(LATENT_DIMS) - set(known):
        first, second = sorted(known, key=lambda q: abs(q - p))[:2]
        slope = (known[second] - known[first]) / (second**2 - first**2)
        expected = known[first] + slope * (p**2 - first**2)
        made[p] = (expected, f"a + b P^2 through P={first} and {second}")
    return made


@click.command(help=__doc__.splitlines()[0])
@click.argument("survey")
@click.option("--stars", metavar="START:STOP|random:NUMBER", help="Use these stars only.")
@click.option(
    "--method",
    type=click.Choice(["alternating", "marginal"]),
    default="alternating",
    show_default=True,
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of a run of the whole grid.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Store to keep and to resume. [default: none]",
)
@click.option(
    "--only-latent-dim",
    type=click.Choice(list(map(str, LATENT_DIMS))),
    multiple=True,
    help="Run part.",
)
@click.option(
    "--only-omega", type=click.Choice([f"{o:g}" for o in OMEGAS]), multiple=True, help="Run part."
)
@click.option(
    "--only-folds", type=click.IntRange(1, FOLDS), default=None, help="Run the first folds only."
)
def main(survey, stars, method, workers, out, only_latent_dim, only_omega, only_folds):
    part = bool(only_latent_dim or only_omega or only_folds)
    with tempfile.TemporaryDirectory() as folder:
        grid = cv.make_grid(
            survey,
            out or Path(folder) / "cv.zarr",
            latent_dims=LATENT_DIMS,
            priors=[o**-2 for o in OMEGAS],
            folds=FOLDS,
            method=method,
            stars=stars,
        )
        processor = platform.processor() or platform.machine()
        click.echo(
            f"{processor}, {os.cpu_count()} processors, jax {jax.__version__}, "
            f"{grid.n_stars:,} stars, method {method}, {len(grid.tasks)} tasks"
        )
        if part:
            dims = [int(p) for p in only_latent_dim] or LATENT_DIMS
            omegas = [float(o) for o in only_omega] or OMEGAS
            seconds = run_part(grid, dims, omegas, only_folds or FOLDS)
            trainings = len(grid.group_by_training(grid.tasks))
            report_part(method, seconds, trainings // len(LATENT_DIMS))
        else:
            report_whole(grid, workers)


def report_part(method, seconds, trainings_a_dim):
    made = extrapolate(seconds)
    for p, (took, how) in sorted(made.items()):
        click.echo(f"{method}, P={p:<4} {took:8.1f} s a training with its tasks  ({how})")
    if len(made) == len(LATENT_DIMS):
        whole = sum(took for took, _ in made.values()) * trainings_a_dim
        click.echo(
            f"{method}, whole grid: {whole / 60:.0f} min, not run: the sum over "
            f"{trainings_a_dim} trainings at each P, one at a time"
        )


def report_whole(grid, workers):
    start = time.perf_counter()
    with (
        open_target(cv.Results(grid)) as run,
        Cluster(workers=workers).client(needed=bool(run.pending)) as client,
    ):
        results = complete(run, client=client)
    click.echo(cv.format_table(cv.to_records(results), cv.choose(results)))
    wall = time.perf_counter() - start
    click.echo(f"{sum(map(len, run.pending))} tasks in {wall / 60:.1f} min, {workers} workers")


if __name__ == "__main__":
    main()
