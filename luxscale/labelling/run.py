"""The production run: a task for each region, on a cluster or in a plain loop.

See `luxscale.labelling.plan` and `luxscale.labelling.region`. A run that was interrupted, however,
resumes where it stopped. Regions that fail get a second try when all others are done; what fails
again is named, with the command that tries just those once more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from luxscale.errors import RunError
from luxscale.labelling.catalogue import Catalogue
from luxscale.labelling.plan import Plan, Region, make_plan
from luxscale.labelling.region import Outcome, read_ahead, run_region
from luxscale.labelling.relabel import plan_beside, take_place
from luxscale.runs.executors import describe_error
from luxscale.runs.job import Job, Runner
from luxscale.runs.log import RunLog
from luxscale.runs.target import OpenRun, complete, log_run, open_target

#: Regions that a message lists by number.
_LISTED = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
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


@dataclasses.dataclass(frozen=True)
class Labelling:
    """The labelling of a survey into a catalogue: a `luxscale.runs.target.Target`.

    Its items are regions.
    """

    catalogue: Catalogue

    title = "labelling"

    @property
    def path(self) -> str:
        """Path or URL of the catalogue."""
        return self.catalogue.path

    def claim(self) -> bool:
        """Return whether there is a catalogue to continue, as `Catalogue.claim` does."""
        return self.catalogue.claim()

    def create(self) -> tuple[Region, ...]:
        """Make the catalogue; return all regions as pending."""
        return self.catalogue.create()

    def resume(self) -> tuple[Region, ...]:
        """Repair what is damaged, and return the regions that are pending."""
        return self.catalogue.resume()

    def fill(self, pending: Sequence[Region], runner: Runner) -> Summary:
        """Do the regions that are pending, and finalise the catalogue.

        Raises
        ------
        RunError
            Names the regions that could not be done, and those with stars that could not be read;
            all others are done.
        """
        self.log_damage(runner.log)
        plan, damaged = self.catalogue.plan, self.catalogue.damaged
        remarks = []
        if plan.replaces:
            remarks.append(f"made beside {plan.replaces}, which it replaces when it is complete")
        if self.catalogue.n_added:
            remarks.append(f"the survey has {self.catalogue.n_added:,} more stars than it had")
        if self.catalogue.n_changed:
            remarks.append(
                f"{self.catalogue.n_changed:,} stars whose chunks in the survey changed are "
                "labelled again"
            )
        for gone in self.catalogue.gone:
            remarks.append(f"{gone}, are missing from the survey; those labels are kept")
        if damaged:
            remarks.append(
                f"{len(damaged)} chunks of the catalogue are damaged and done again: {damaged[0]}"
            )
        if pending:
            remarks += self.catalogue.describe_slow_input()
        outcomes, failed = runner.run_job(make_job(plan), pending, remarks=remarks)
        _refuse_incomplete(plan, outcomes, failed)
        return Summary(
            catalog=self.path,
            n_stars=plan.n_stars,
            n_run=sum(r.stop - r.start for r in pending),
            flags=self.catalogue.finalise(),
            seconds=runner.seconds,
        )

    def describe_start(self, pending: Sequence[Region]) -> dict[str, Any]:
        """Return what the log says at the start of a run that has these regions to do."""
        plan = self.catalogue.plan
        settings = dataclasses.asdict(plan) | {"identity": dict(plan.identity)}
        slow, gone = self.catalogue.describe_slow_input(), self.catalogue.gone
        return {"plan": settings, "regions": len(pending), "slow": slow, "gone": gone}

    def describe_end(self, pending: Sequence[Region], summary: Summary) -> dict[str, Any]:
        """Return what the log says at the end of a run."""
        return {"stars": summary.n_run, "flags": summary.flags}

    def log_damage(self, log: RunLog) -> None:
        """Log the chunks of the catalogue that were found damaged."""
        for each in self.catalogue.damaged:
            log.write("damage", catalog=self.path, **dataclasses.asdict(each))


def label_survey(
    survey: str | Path,
    model: str | Path,
    catalog: str | Path,
    *,
    client: Any = None,
    given: str | Sequence[str] = "flux",
    covariance: bool = False,
    region_stars: int | None = None,
    relabel: bool = False,
    log: str | Path | None = None,
    progress: bool = True,
) -> Summary:
    """Label every star of a survey, region by region, into a catalogue; called again, it resumes.

    Parameters
    ----------
    survey, model, catalog : str or Path
        Zarr stores. The catalogue is made, or continued if it is of the same survey, as it was or
        grown, and of the same model and settings.
    client : distributed.Client, optional
        Cluster to run on; without one, regions are done one after another in this process.
    given : str or sequence of str
        Outputs to infer from.
    covariance : bool
        Whether to write ``label_cov``.
    region_stars : int, optional
        Stars per task, rounded to whole chunks of the survey; about 75 MB if not given.
    relabel : bool
        Whether the catalogue is of another model or other settings, and is to be replaced: the new
        one is made beside it, at ``CATALOG.new``, and takes its place when it is complete. Called
        again, that resumes too.
    log : str or Path, optional
        File to append the log of the run to, one JSON object per line.
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
    A survey counts as the same if its stars, its grids and the layout of the given outputs are, and
    as grown if it has more stars behind those. Stars are labelled that are new, and again those of
    a chunk of which the size or the last eight bytes changed; its flux is not read twice to find
    out. Surveys that luxscale writes have a checksum there. In one without checksums, or in shards,
    whose ends only say where things lie, a change that keeps size and end of a chunk is not
    noticed.

    A catalogue that is replaced stays whole until then. On a local file system the two exchange
    their places at once, where the system can (not on NFS: nothing is there between two renames).
    Objects cannot be renamed: while they are copied there is no catalogue at the URL.

    On a local file system what a region wrote is on the disk before it counts as done. A catalogue
    that is taken up is read and its checksums checked: regions of which a chunk is damaged are done
    again.

    Examples
    --------
    >>> import luxscale as lux
    >>> summary = lux.label_survey("survey.zarr", "model.zarr", "catalog.zarr", progress=False)
    >>> summary.n_run  # it is complete already
    0
    """
    plan = make_plan(
        survey, model, catalog, given=given, covariance=covariance, region_stars=region_stars
    )
    if relabel:
        plan = plan_beside(plan)
    with RunLog(log) as run_log:
        with open_target(Labelling(Catalogue(plan)), progress=progress) as run:
            summary = complete(run, client=client, log=run_log, progress=progress)
        return replace_old(plan, summary, run_log)


def replace_old(plan: Plan, summary: Summary, log: RunLog) -> Summary:
    """Put a catalogue in the place of the one that it replaces, if it replaces any.

    Returns
    -------
    Summary
        Of the catalogue where it is now.
    """
    if not plan.replaces:
        return summary
    take_place(plan)
    log.write("replaced", catalog=plan.replaces)
    return dataclasses.replace(summary, catalog=plan.replaces)


def run_one_region(run: OpenRun[Labelling], region: Region, log: RunLog) -> Outcome | None:
    """Do one region in this process, and finalise the catalogue if it was the last.

    What goes wrong is raised as it is, for this is how one looks into it.

    Returns
    -------
    Outcome or None
        None if the region is done already.
    """
    runner = Runner(lock=run.lock, log=log)
    is_pending = region in run.pending
    is_last = run.pending == (region,)
    outcome = None
    catalogue = run.target.catalogue
    with log_run(dataclasses.replace(run, pending=(region,)), runner) as end:
        run.target.log_damage(log)
        end["stars"] = 0
        if is_pending:
            outcome = run_region(catalogue.plan, region)
            log.write("region", **dataclasses.asdict(outcome))
            end["stars"] = outcome.stars
        if is_last:
            catalogue.finalise()
    return outcome


def make_job(plan: Plan) -> Job:
    """Return what is done with each region."""
    return Job(
        task=run_region,
        begin=read_ahead,
        plan=plan,
        where=plan.catalog,
        title="labelling",
        unit="stars",
        event="region",
        size=lambda region: region.stop - region.start,
        even=True,
        total=plan.n_stars,
    )


def _refuse_incomplete(
    plan: Plan, outcomes: Sequence[Outcome], failed: Mapping[Region, BaseException]
) -> None:
    """Say what could not be done or read, and what to do about it.

    Raises
    ------
    RunError
    """
    unreadable = {
        o.region: f"stars {start} to {stop}, {reason}"
        for o in outcomes
        for start, stop, reason in o.unreadable
    }
    not_done = {region.index: describe_error(error) for region, error in failed.items()}
    if not unreadable and not not_done:
        return
    text = ""
    if unreadable:
        text += _describe_regions(
            plan,
            unreadable,
            "hold stars whose data cannot be read: they have no labels, and the flag 'unreadable'",
        )
    if not_done:
        text += _describe_regions(plan, not_done, "could not be done")
    first = min(not_done or unreadable)
    raise RunError(
        f"{plan.catalog}: {text}All others are done. Fix the cause and run the same command "
        f"again, which does only these; --region {first} runs one of them alone"
    ) from next(iter(failed.values()), None)


def _describe_regions(plan: Plan, reasons: Mapping[int, str], what: str) -> str:
    """Return a sentence that counts and lists regions, with the reason for the first."""
    first = min(reasons)
    return (
        f"{len(reasons)} of {len(plan.regions)} regions {what} ({_list_numbers(reasons)}); region "
        f"{first}: {reasons[first].rstrip('.')}. "
    )


def _list_numbers(numbers: Collection[int]) -> str:
    """Return the first numbers in order, as text."""
    listed = ", ".join(map(str, sorted(numbers)[:_LISTED]))
    return f"{listed} ..." if len(numbers) > _LISTED else listed
