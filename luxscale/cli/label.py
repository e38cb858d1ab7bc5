"""The command that labels a survey."""

from __future__ import annotations

import dataclasses

import click

from luxscale.cli.base import JSON, QUIET, WORKERS, cluster, main, show
from luxscale.schema import InputError


@main.command()
@click.argument("survey")
@click.option("--model", required=True, help="Model, as `luxscale train` writes it.")
@click.option("--out", required=True, help="Catalogue to write or to continue, a Zarr store.")
@WORKERS
@click.option("--scheduler", default=None, help="Address of a Dask scheduler to use instead of local workers.")
@click.option("--given", multiple=True, default=("flux",), show_default=True, help="Output to infer from (repeat).")
@click.option("--covariance", is_flag=True, help="Write covariances of the labels too.")
@click.option(
    "--region-stars", type=click.IntRange(1), default=None, help="Stars a task, a multiple of the survey's chunk."
)
@click.option("--region", type=click.IntRange(0), default=None, help="Do this region alone, in this process.")
@JSON
@QUIET
def label(
    survey: str,
    model: str,
    out: str,
    workers: int | None,
    scheduler: str | None,
    given: tuple[str, ...],
    covariance: bool,
    region_stars: int | None,
    region: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Label every star of SURVEY; the same command again resumes."""
    from luxscale import plan as planning
    from luxscale import run

    if scheduler and workers is not None:
        raise click.UsageError("--scheduler brings its own workers: leave out --workers")
    if region is not None and (scheduler or workers is not None):
        raise click.UsageError("--region works in this process: leave out --workers and --scheduler")
    plan = planning.make_plan(survey, model, out, given=given, covariance=covariance, region_stars=region_stars)
    if region is not None:
        if region >= len(plan.regions):
            raise InputError(f"there is no region {region}: {survey} has regions 0 to {len(plan.regions) - 1}")
        planning.prepare(plan)
        n = run.run_region(plan, plan.regions[region])
        show({"catalog": out, "region": region, "stars": n}, f"{out}: region {region} done, {n:,} stars", as_json)
        return
    todo = planning.prepare(plan)
    with cluster(workers if todo else 0, scheduler if todo else None) as client:
        summary = run.complete(plan, todo, client=client, progress=not quiet)
    flagged = "\n".join(f"  {name:<24}{n:>12,}" for name, n in summary.flags.items()) or "  none"
    show(
        dataclasses.asdict(summary),
        f"{out}: {summary.n_stars:,} stars labelled, {summary.n_run:,} of them now, in {summary.seconds:.1f} s\n"
        f"flags:\n{flagged}",
        as_json,
    )
