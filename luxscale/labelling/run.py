"""The production run: one task a region (see `luxscale.labelling.plan` and `luxscale.labelling.region`), on a cluster or in a plain loop.

A run that was interrupted, however, goes on where it was. Regions that fail get a second try when
all others are done; what fails again is named, with the command that tries just those once more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luxscale import store
from luxscale.errors import CannotWrite, RunError
from luxscale.labelling.catalogue import check_place, prepare, repair, status_of
from luxscale.labelling.plan import Plan, Region, make_plan
from luxscale.labelling.region import Outcome, run_region
from luxscale.progress import Progress
from luxscale.runs import job as tasks
from luxscale.runs.executors import describe_error
from luxscale.runs.log import RunLog, machine
from luxscale.schema import flags
from luxscale.schema.status import DONE, NOT_DONE
from luxscale.store import damage, lock

__all__ = [
    "CannotWrite",
    "RunError",
    "Summary",
    "complete",
    "finalise",
    "label_survey",
    "run_region",
    "run_regions",
]


@dataclasses.dataclass(frozen=True)
class Summary:
    """How a run ended.

    Parameters
    ----------
    catalog : str
    n_stars : int
        Stars in the catalogue, all done.
    n_run : int
        Stars that this run did; the others were done before.
    seconds : float
    flags : dict of str to int
        Stars with each flag.
    """

    catalog: str
    n_stars: int
    n_run: int
    seconds: float
    flags: dict[str, int]


def label_survey(
    survey: str | Path,
    model: str | Path,
    catalog: str | Path,
    *,
    client: Any = None,
    given: str | Sequence[str] = "flux",
    covariance: bool = False,
    region_stars: int | None = None,
    log: str | Path | None = None,
    progress: bool = True,
) -> Summary:
    """Label every star of a survey, region by region, into a catalogue; called again, it resumes.

    Parameters
    ----------
    survey, model, catalog : str or Path
        Zarr stores. The catalogue is made, or continued if it is of the same survey, model and
        settings.
    client : distributed.Client, optional
        Cluster to run on; without one, regions are done one after another in this process.
    given : str or sequence of str
        Outputs to infer from.
    covariance : bool
        Whether to write ``label_cov``.
    region_stars : int, optional
        Stars a task, rounded to whole chunks of the survey; about 75 MB if not given.
    log : str or Path, optional
        File to append the log of the run to, a JSON object a line.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    Summary

    Raises
    ------
    InputError
        Before any work, if survey and model do not fit, the catalogue's path holds something else,
        or another run is under way into it.
    RunError
        If regions could not be done, or stars not be read; all others are.

    Notes
    -----
    A survey counts as the same if its stars, its grids, the layout of the given outputs and, of the
    chunks that were read, the size and the last eight bytes are; its flux is not read twice to find
    out. Surveys that luxscale writes have a checksum there. In one without checksums, or in shards,
    whose ends only say where things lie, a change that keeps size and end of a chunk is not
    noticed.

    On a local file system what a region wrote is on the disk before it counts as done. A catalogue
    that is taken up is read and its checksums checked: regions of which a chunk is damaged are done
    again.

    Examples
    --------
    >>> import luxscale as lux
    >>> lux.label_survey("survey.zarr", "model.zarr", "catalog.zarr", progress=False).n_run  # it is complete already
    0
    """
    plan = make_plan(
        survey, model, catalog, given=given, covariance=covariance, region_stars=region_stars
    )
    with RunLog(log) as written, open_for_run(plan, progress=progress) as work:
        return complete(plan, work, client=client, log=written, progress=progress)


@dataclasses.dataclass(frozen=True)
class Work:
    """Regions to do, what raises if they are another run's meanwhile, and what of the catalogue was found damaged."""

    regions: tuple[Region, ...]
    check: Callable[[], None] = tasks.never_raise
    damaged: tuple[damage.Damage, ...] = ()


@contextlib.contextmanager
def open_for_run(plan: Plan, *, progress: bool = True) -> Iterator[Work]:
    """Make a catalogue, or take it up, for this run alone; yields what is pending.

    Parameters
    ----------
    plan : Plan
    progress : bool
        Whether to say on standard error what is being waited for.

    Raises
    ------
    InputError
        If the catalogue's path holds something else, or another run is under way into it.
    """
    check_place(plan)
    with lock.hold_lock(plan.catalog, Progress("labelling", enabled=progress).say) as ours:
        with store.explain_writing(plan.catalog):
            store.sweep_partial(plan.catalog)
        damaged = tuple(repair(plan))
        yield Work(prepare(plan), ours.check, damaged)


def complete(
    plan: Plan,
    work: Work,
    *,
    client: Any = None,
    log: RunLog | None = None,
    progress: bool = True,
) -> Summary:
    """Do what is pending of a plan, and finalise its catalogue.

    Raises
    ------
    RunError
    """
    log, started = log or RunLog(), time.monotonic()
    with _logged(plan, work, log, workers=_workers(client)):
        run_regions(plan, work, client=client, log=log, progress=progress)
        counts = finalise(plan)
    stars = sum(r.stop - r.start for r in work.regions)
    summary = Summary(plan.catalog, plan.n_stars, stars, time.monotonic() - started, counts)
    log.write("end", seconds=summary.seconds, stars=summary.n_run, flags=counts)
    return summary


def run_alone(plan: Plan, work: Work, region: Region, log: RunLog) -> Outcome | None:
    """Do one region in this process, and finalise the catalogue if it was the last; None if it is done already.

    What goes wrong is raised as it is, for this is how one looks into it.
    """
    started = time.monotonic()
    with _logged(plan, dataclasses.replace(work, regions=(region,)), log, workers=0):
        outcome = run_region(plan, region) if region in work.regions else None
        if outcome:
            log.write("region", **dataclasses.asdict(outcome))
        if work.regions == (region,):
            finalise(plan)
    log.write("end", seconds=time.monotonic() - started, stars=outcome.stars if outcome else 0)
    return outcome


@contextlib.contextmanager
def _logged(plan: Plan, work: Work, log: RunLog, **facts: Any) -> Iterator[None]:
    """Log how a run starts and, where it is stopped, by what."""
    started, settings = (
        time.monotonic(),
        dataclasses.asdict(plan) | {"identity": dict(plan.identity)},
    )
    log.write("start", plan=settings, regions=len(work.regions), machine=machine(), **facts)
    for each in work.damaged:
        log.write("damage", catalog=plan.catalog, **dataclasses.asdict(each))
    try:
        yield
    except BaseException as error:
        log.write("stopped", seconds=time.monotonic() - started, error=describe_error(error))
        raise


def _workers(client: Any) -> int:
    return 0 if client is None else len(client.scheduler_info(n_workers=-1)["workers"])


def run_regions(
    plan: Plan,
    work: Work,
    *,
    client: Any = None,
    log: RunLog | None = None,
    progress: bool = True,
) -> None:
    """Do regions, on a cluster or one after another.

    Raises
    ------
    RunError
        Names the regions that could not be done, and those with stars that could not be read; all
        others are done.
    """
    damaged = (
        f"{len(work.damaged)} chunks of the catalogue are damaged and done again: {work.damaged[0]}"
        if work.damaged
        else ""
    )
    outcomes, failed = tasks.run_job(
        job(plan),
        work.regions,
        client=client,
        log=log,
        check=work.check,
        remark=damaged,
        progress=progress,
    )
    _account(
        plan,
        failed,
        [
            (o.region, f"stars {a} to {b}, {reason}")
            for o in outcomes
            for a, b, reason in o.unreadable
        ],
    )


def job(plan: Plan) -> tasks.Job:
    """Return what is done with each region."""
    return tasks.Job(
        run_region, plan, plan.catalog, "labelling", "stars", "region", lambda r: r.stop - r.start
    )


def _account(
    plan: Plan, failed: dict[Region, BaseException], unreadable: list[tuple[int, str]]
) -> None:
    """Say what could not be done, and what to do about it.

    Raises
    ------
    RunError
    """
    parts, first = [], 0
    for what, regions in (
        (
            "hold stars whose data cannot be read: they have no labels, and the flag 'unreadable'",
            dict(unreadable),
        ),
        ("could not be done", {r.index: describe_error(e) for r, e in failed.items()}),
    ):
        if regions:
            first = min(regions)
            listed = ", ".join(map(str, sorted(regions)[:10])) + (
                " ..." if len(regions) > 10 else ""
            )
            parts.append(
                f"{len(regions)} of {len(plan.regions)} regions {what} ({listed}); region {first}: "
                f"{regions[first].rstrip('.')}. "
            )
    if parts:
        raise RunError(
            f"{plan.catalog}: {''.join(parts)}All others are done; mend the cause and run the "
            "same command again, which "
            f"does just those, or look at one alone with --region {first}"
        ) from next(iter(failed.values()), None)


def finalise(plan: Plan) -> dict[str, int]:
    """Check that all regions are done, and record the counts of flags in the catalogue.

    Raises
    ------
    RunError
        If regions are pending.
    """
    status = status_of(plan)
    left = [r.index for r in plan.regions if (status[r.start : r.stop] == NOT_DONE).any()]
    if left:
        raise RunError(
            f"{plan.catalog}: {len(left)} regions are pending, first {left[0]}; run the same "
            "command again"
        )
    group = store.open_group(plan.catalog, "r+")
    with damage.locate_damage(plan.catalog):
        counts = flags.count(np.asarray(store.open_array(group, "flags")[:]))
    with store.explain_writing(plan.catalog):
        group.attrs.update({"complete": int((status == DONE).all()), "flag_counts": counts})
    return counts
