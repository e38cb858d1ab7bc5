"""Time the paper's cross-validation (appendix A): four P, four Omega, five folds, run whole.

    python benchmarks/crossval.py survey.zarr --stars 0:5000 --workers 2

P is 12, 24, 48 and 96, Omega 1, 10, 100 and 1000. Method ``alternating`` trains for every task;
``marginal`` trains once for the four priors, whose tasks it runs together.
"""

import os
import platform
import tempfile
import time
from pathlib import Path

import click
import jax

from luxscale import crossval as cv
from luxscale.cli.workplace import Cluster
from luxscale.runs.target import complete, open_target

LATENT_DIMS, OMEGAS, FOLDS = (12, 24, 48, 96), (1.0, 10.0, 100.0, 1000.0), 5


@click.command(help=__doc__.splitlines()[0])
@click.argument("survey")
@click.option("--stars", metavar="START:STOP|random:NUMBER", help="Use these stars only.")
@click.option(
    "--method",
    type=click.Choice(["alternating", "marginal"]),
    default="alternating",
    show_default=True,
)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Store to keep and to resume. [default: none]",
)
def main(survey, stars, method, workers, out):
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
        report(grid, workers)


def report(grid, workers):
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
