"""The command that labels a survey."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from luxscale.cli.base import JSON, QUIET, main, show
from luxscale.cli.clusters import Cluster, cluster_options
from luxscale.errors import InputError

if TYPE_CHECKING:
    from luxscale.labelling.plan import Plan, Region


@main.command()
@click.argument("survey")
@click.option("--model", required=True, help="Model, as `luxscale train` writes it.")
@click.option("--out", required=True, help="Catalogue to write or to continue, a Zarr store.")
@click.option(
    "--given",
    multiple=True,
    default=("flux",),
    show_default=True,
    help="Output to infer from (repeat).",
)
@click.option("--covariance", is_flag=True, help="Write covariances of the labels too.")
@click.option(
    "--region-stars",
    type=click.IntRange(1),
    default=None,
    help="Stars a task, rounded to whole chunks of the survey.",
)
@click.option(
    "--region", type=click.IntRange(0), default=None, help="Do this region alone, in this process."
)
@click.option(
    "--dry-run", is_flag=True, help="Say what is to be done and what it takes, and do nothing."
)
@click.option(
    "--log",
    default=None,
    help="File to append the log of the run to, a JSON object a line. [default: beside a catalogue "
    "on this machine, "
    "OUT.log.jsonl]",
)
@cluster_options
@JSON
@QUIET
def label(
    survey: str,
    model: str,
    out: str,
    given: tuple[str, ...],
    covariance: bool,
    region_stars: int | None,
    region: int | None,
    dry_run: bool,
    log: str | None,
    cluster: Cluster,
    as_json: bool,
    quiet: bool,
) -> None:
    """Label every star of SURVEY; the same command again resumes."""
    from luxscale.labelling import run as labelling
    from luxscale.labelling.plan import make_plan
    from luxscale.runs.log import RunLog

    if region is not None and cluster.given:
        raise click.UsageError(
            f"--region works in this process: leave out {', '.join(cluster.given)}"
        )
    plan = make_plan(
        survey, model, out, given=given, covariance=covariance, region_stars=region_stars
    )
    if dry_run:
        _say(plan, cluster, as_json)
        return
    log = log or (None if "://" in out else f"{out.rstrip('/')}.log.jsonl")
    if region is not None:
        _one_region(plan, region, log, as_json, progress=not quiet)
        return
    with (
        RunLog(log) as run_log,
        labelling.open_for_run(plan, progress=not quiet) as run,
        cluster.client(
            needed=bool(run.pending),
            saving=functools.partial(_guess_saving, plan, run.pending),
            progress=not quiet,
        ) as client,
    ):
        summary = labelling.complete(run, client=client, log=run_log, progress=not quiet)
    flagged = "\n".join(f"  {name:<24}{n:>12,}" for name, n in summary.flags.items()) or "  none"
    show(
        {**dataclasses.asdict(summary), "log": log},
        f"{out}: {summary.n_stars:,} stars labelled, {summary.n_run:,} of them now, in "
        f"{summary.seconds:.1f} s\n"
        f"flags:\n{flagged}",
        as_json,
    )


def _guess_saving(plan: Plan, regions: Sequence[Region], workers: int) -> float:
    """Guess the seconds by which so many workers do regions sooner than this process."""
    from luxscale.labelling.estimate import guess_saving

    stars = sum(region.stop - region.start for region in regions)
    return guess_saving(plan.load_model(), plan.given, stars, workers)


def _say(plan: Plan, cluster: Cluster, as_json: bool) -> None:
    """Print what is to be done and what it takes."""
    from luxscale.labelling.estimate import estimate_run

    todo = estimate_run(plan, cluster.cores)
    facts = {
        "to do": f"{todo.stars:,} of {plan.n_stars:,} stars, in {todo.regions:,} regions of "
        f"{todo.region_stars:,}",
        "to read": f"{todo.read_bytes / 1e9:,.3g} GB",
        "to write": f"{todo.write_bytes / 1e9:,.3g} GB before compression",
        "memory": f"{todo.worker_bytes / 1e9:.2f} GB a worker",
        "time": f"{todo.seconds:,.0f} s on {todo.cores} cores, {todo.core_seconds:,.0f} s on one, as "
        "measured now",
    }
    show(dataclasses.asdict(todo), "\n".join(f"{k:<10}{v}" for k, v in facts.items()), as_json)


def _one_region(plan: Plan, number: int, log: str | None, as_json: bool, *, progress: bool) -> None:
    """Do one region in this process, without a cluster: to look into one that fails, or to share out work by hand."""
    from luxscale.labelling.run import open_for_run, run_one_region
    from luxscale.runs.log import RunLog

    if number >= len(plan.regions):
        raise InputError(
            f"there is no region {number}: {plan.survey} has regions 0 to {len(plan.regions) - 1}"
        )
    with RunLog(log) as run_log, open_for_run(plan, progress=progress) as run:
        done = run_one_region(run, plan.regions[number], run_log)
    if done is None:
        show(
            {"catalog": plan.catalog, "region": number, "stars": 0},
            f"region {number} is done already",
            as_json,
        )
        return
    bad = "".join(
        f"\nstars {a} to {b} could not be read: {reason}" for a, b, reason in done.unreadable
    )
    took = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in done.seconds.items())
    facts = {"catalog": plan.catalog, **dataclasses.asdict(done)}
    show(
        facts, f"{plan.catalog}: region {number} done, {done.stars:,} stars ({took}){bad}", as_json
    )
    if bad:
        sys.exit(1)
