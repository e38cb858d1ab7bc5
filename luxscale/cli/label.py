"""The command that labels a survey."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from luxscale.cli.base import (
    JSON,
    QUIET,
    choose_log,
    file_options,
    format_count,
    main,
    refuse_options,
    show,
    was_typed,
)
from luxscale.cli.clusters import cluster_options
from luxscale.cli.format import list_flags
from luxscale.cli.workplace import Cluster
from luxscale.errors import InputError

if TYPE_CHECKING:
    from luxscale.labelling.plan import Plan, Region
    from luxscale.labelling.run import Summary


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="SURVEY | FILE...")
@click.option("--model", required=True, help="Model, as `luxscale train` writes it.")
@click.option(
    "--out", default=None, help="Catalogue of a survey to write or to continue, a Zarr store."
)
@file_options
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
    help="Stars per task, rounded to whole chunks of the survey.",
)
@click.option(
    "--region",
    type=click.IntRange(0),
    default=None,
    help="Label this region only, in this process.",
)
@click.option(
    "--relabel",
    is_flag=True,
    help="Label all stars anew, with another model or other settings, beside the catalogue at "
    "--out, and replace it when that is complete.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the work that is left, its memory and time, and stop."
)
@click.option(
    "--log",
    default=None,
    help="File to append the log of the run to, one JSON object per line. [default: beside a "
    "catalogue on this machine, OUT.log.jsonl]",
)
@cluster_options
@JSON
@QUIET
def label(
    inputs: tuple[str, ...],
    model: str,
    out: str | None,
    file_format: str | None,
    options: dict[str, str],
    cluster: Cluster,
    as_json: bool,
    **run: Any,
) -> None:
    """Label every star of SURVEY; the same command again resumes.

    Without --out, print the labels of the stars of a few survey FILES.
    """
    if out is not None:
        survey = _require_survey(inputs)
        refuse_options(("file_format", "options"), "files; a survey says how it was read")
        _label_survey(survey, model, out, cluster=cluster, as_json=as_json, **run)
        return
    _refuse_survey(inputs)
    refuse_options(_FOR_SURVEYS, "a survey, whose catalogue --out names", cluster.given)
    from luxscale.cli.label_files import label_files

    label_files(
        inputs,
        model,
        given=run["given"],
        file_format=file_format,
        options=options,
        as_json=as_json,
    )


def _label_survey(
    survey: str,
    model: str,
    out: str,
    *,
    region: int | None,
    relabel: bool,
    dry_run: bool,
    log: str | None,
    cluster: Cluster,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Label every star of a survey into a catalogue."""
    from luxscale.cli.beside import start_helpers
    from luxscale.cluster.environment import keep_freed_memory

    if region is not None and cluster.given:
        raise click.UsageError(
            f"--region works in this process: leave out {', '.join(cluster.given)}"
        )
    keep_freed_memory()  # of a region, for the next
    with contextlib.ExitStack() as stack:
        if region is None and not dry_run:
            wanted = {name: settings[name] for name in ("given", "covariance")}
            cluster = stack.enter_context(start_helpers(survey, model, out, cluster, **wanted))
        plan = _make_plan(survey, model, out, relabel=relabel, **settings)
        if not quiet:
            _say_what_else(plan, chosen=was_typed("given"))
        if dry_run:
            _show_estimate(plan, cluster, as_json)
            return
        log = choose_log(log, out)
        if region is not None:
            _do_region(plan, region, log, as_json, progress=not quiet)
            return
        summary = _do_plan(plan, log, cluster, progress=not quiet)
    _show_summary(summary, out, log, as_json)


def _say_what_else(plan: Plan, *, chosen: bool) -> None:
    """Say which spectra and bands that the model knows are not inferred from.

    Parameters
    ----------
    plan : Plan
    chosen : bool
        Whether what is given was chosen: which of the others the survey has need not be said then.
    """
    from luxscale import store

    there = store.open_group(plan.survey, "r")
    model = plan.load_model()
    others = [name for name in model.measured if name not in plan.given]
    more = [name for name in others if name in there]
    given = ", ".join(plan.given)
    if more and not chosen:
        options = " ".join(f"--given {name}" for name in (*plan.given, *more))
        click.echo(
            f"labels are of {given} alone; with what the survey has beside it: {options}", err=True
        )
    if others and not all(output.has_errors_of(plan.given) for output in model.labels):
        click.echo(
            f"errors were measured on labels of {', '.join(model.measured)} together; labels of "
            f"{given} alone may be off by more (luxscale guide errors)",
            err=True,
        )


def _make_plan(survey: str, model: str, out: str, *, relabel: bool, **settings: Any) -> Plan:
    """Plan to label a survey, in the place of what is there if it is to be labelled anew."""
    from luxscale.runs.helpers import load_modules

    with load_modules():
        importlib.import_module("luxscale.labelling.run")  # which running will load
        from luxscale.labelling.plan import make_plan
        from luxscale.labelling.relabel import plan_beside

    plan = make_plan(survey, model, out, **settings)
    return plan_beside(plan) if relabel else plan


def _do_plan(plan: Plan, log: str | None, cluster: Cluster, *, progress: bool) -> Summary:
    """Do all regions that are pending, on the cluster where there is one."""
    from luxscale.labelling.catalogue import Catalogue
    from luxscale.labelling.run import Labelling, replace_old
    from luxscale.runs.log import RunLog
    from luxscale.runs.target import complete, open_target

    with RunLog(log) as run_log:
        with (
            open_target(Labelling(Catalogue(plan)), progress=progress) as run,
            cluster.client(
                needed=bool(run.pending),
                saving=functools.partial(_guess_saving, plan, run.pending),
                progress=progress,
            ) as client,
        ):
            summary = complete(run, client=client, log=run_log, progress=progress)
        return replace_old(plan, summary, run_log)


def _show_summary(summary: Summary, out: str, log: str | None, as_json: bool) -> None:
    """Print how a run ended."""
    counts = (
        f"{format_count(summary.n_stars, 'star')} labelled, {summary.n_run:,} of them in this run"
    )
    lines = [f"{out}: {counts}, in {summary.seconds:.1f} s", "flags:", *list_flags(summary.flags)]
    show({**dataclasses.asdict(summary), "log": log}, "\n".join(lines), as_json)


#: Parameters that are about a run into a catalogue.
_FOR_SURVEYS = ("covariance", "region_stars", "region", "relabel", "dry_run", "log")


def _refuse_survey(inputs: Sequence[str]) -> None:
    from luxscale import store

    for path in inputs:
        if store.is_store(path):
            raise click.UsageError(f"{path} is a Zarr store; name its catalogue with --out")


def _require_survey(inputs: Sequence[str]) -> str:
    """Return the survey that is labelled into a catalogue."""
    from luxscale import store

    if len(inputs) > 1:
        raise click.UsageError("--out is for one survey; leave it out, and labels are printed")
    if store.is_data_file(inputs[0]):
        raise click.UsageError(
            f"{inputs[0]} is a file: leave out --out, and its labels are printed; a catalogue is "
            "of a survey, which `luxscale ingest` makes of files"
        )
    return inputs[0]


def _guess_saving(plan: Plan, regions: Sequence[Region], workers: int) -> float:
    """Guess the seconds by which so many workers do regions sooner than this process."""
    from luxscale.labelling.estimate import guess_saving

    stars = sum(region.stop - region.start for region in regions)
    return guess_saving(plan.load_model(), plan.given, stars, workers)


def _show_estimate(plan: Plan, cluster: Cluster, as_json: bool) -> None:
    """Print what is to be done and what it takes."""
    from luxscale.labelling.estimate import estimate_run

    todo = estimate_run(plan, cluster.cores)
    regions = f"{todo.regions:,} regions of {todo.region_stars:,}"
    read, write = todo.read_bytes / 1e9, todo.write_bytes / 1e9
    memory = todo.worker_bytes / 1e9
    time = f"{todo.seconds:,.0f} s on {todo.cores} cores, {todo.core_seconds:,.0f} s on one"
    lines = [f"to do     {todo.stars:,} of {format_count(plan.n_stars, 'star')}, in {regions}"]
    if todo.new_stars or todo.changed_stars:
        new, changed = f"{todo.new_stars:,}", f"{todo.changed_stars:,}"
        lines.append(f"grown     {new} stars are new, the data of {changed} changed")
    if todo.again_stars:
        again = f"{format_count(todo.again_stars, 'star')} of these regions"
        lines.append(f"again     {again} done before, as a region is done as a whole")
    if plan.replaces:
        lines.append(f"replaces  {plan.replaces}, when {plan.catalog} is complete")
    lines += [
        f"to read   {read:,.3g} GB",
        f"to write  {write:,.3g} GB before compression",
        f"memory    {memory:.2f} GB a worker",
        f"time      {time}, as measured now",
    ]
    facts = {**dataclasses.asdict(todo), "catalog": plan.catalog, "replaces": plan.replaces or None}
    show(facts, "\n".join(lines), as_json)


def _do_region(plan: Plan, number: int, log: str | None, as_json: bool, *, progress: bool) -> None:
    """Do one region in this process: to look into one that fails, or to share out work by hand."""
    from luxscale.labelling.catalogue import Catalogue
    from luxscale.labelling.run import Labelling, run_one_region
    from luxscale.runs.log import RunLog
    from luxscale.runs.target import open_target

    if number >= len(plan.regions):
        raise InputError(
            f"there is no region {number}: {plan.survey} has regions 0 to {len(plan.regions) - 1}"
        )
    target = Labelling(Catalogue(plan))
    with RunLog(log) as run_log, open_target(target, progress=progress) as run:
        done = run_one_region(run, plan.regions[number], run_log)
    if done is None:
        facts = {"catalog": plan.catalog, "region": number, "stars": 0}
        show(facts, f"region {number} is done already", as_json)
        return
    times = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in done.seconds.items())
    lines = [f"{plan.catalog}: region {number} done, {format_count(done.stars, 'star')} ({times})"]
    for first, last, reason in done.unreadable:
        lines.append(f"stars {first} to {last} could not be read: {reason}")
    show({"catalog": plan.catalog, **dataclasses.asdict(done)}, "\n".join(lines), as_json)
    if done.unreadable:
        sys.exit(1)
