"""The run of an ingest: sessions of files, read in batches, put in order, and accounted for.

Stopped at any moment, it resumes where it stopped; files that are new since then are added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from luxscale import store
from luxscale.errors import InputError, NoUsableFile, RunError
from luxscale.ingest import ledger, pack
from luxscale.ingest.batch import run_batch
from luxscale.ingest.labels import forget_new, write_labels
from luxscale.ingest.paths import describe_place, make_storable
from luxscale.ingest.plan import Plan, Session
from luxscale.labels import LabelTable
from luxscale.runs.executors import describe_error
from luxscale.runs.job import Job, Runner
from luxscale.runs.target import clear_place

#: Refused files that an error names.
_LISTED = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a session of an ingest came to.

    Parameters
    ----------
    files, spectra, stars : int
        Files and spectra read, and stars added.
    quarantined : list of (path, star, reason)
        Files, and stars of files, that were refused.
    masked, notes : dict of str to int
        Pixels masked, by reason, and spectra read otherwise than they stand in files, by how.
    """

    files: int
    spectra: int
    stars: int
    quarantined: list[tuple[str, str, str]]
    masked: dict[str, int]
    notes: dict[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filled:
    """What a run of an ingest came to.

    Parameters
    ----------
    results : list of Result
        Of each session.
    n_stars : int
        Stars of the survey.
    n_labelled : int, optional
        Stars with any label, where labels were joined.
    seconds : float
    """

    results: list[Result]
    n_stars: int
    n_labelled: int | None
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSurvey:
    """A survey that files are read into: a `luxscale.runs.target.Target`.

    Its items are sessions that were begun and have not ended.

    Parameters
    ----------
    plan : Plan
    wavelength : array, (wavelength,)
        Pixel centres of the survey.
    files : sequence of str
        Paths; those that the survey does not know become a session of their own.
    labels : LabelTable, optional
        Joined to all stars.
    retry : bool
        Whether files that were refused before count as new.
    """

    plan: Plan
    wavelength: np.ndarray
    files: Sequence[str]
    labels: LabelTable | None = None
    retry: bool = False

    title = "ingesting"

    @property
    def path(self) -> str:
        """Path or URL of the survey."""
        return self.plan.survey

    def claim(self) -> bool:
        """Return whether there is a survey to which files may be added.

        Raises
        ------
        InputError
            If something else is there, or files were read with other settings.
        """
        before = ledger.read_binding_identity(self.path)
        if before is None:
            return False
        changed = _list_changed(before, self.plan.identity)
        if any(c.startswith("grid ") for c in changed):
            there = ledger.read_grid(self.path)
            raise InputError(
                f"{self.path}: has another wavelength grid, {there.size:,} pixels from "
                f"{there[0]:g} to {there[-1]:g}; leave out --grid, or choose another path"
            )
        if changed:
            raise InputError(
                f"{self.path}: its files were read with other settings: {'; '.join(changed)}. "
                "Use those, or choose another path"
            )
        return True

    def create(self) -> list[Session]:
        """Begin a survey, which has no sessions yet."""
        with store.explain_writing(self.path):
            ledger.create_survey(self.plan, self.wavelength)
        return []

    def resume(self) -> list[Session]:
        """Return the sessions that have not ended."""
        sessions = ledger.list_sessions(self.plan)
        return [s for s in sessions if ledger.read_facts(s)["stage"] != ledger.DONE]

    def fill(self, pending: Sequence[Session], runner: Runner) -> Filled:
        """Finish the sessions that were under way, add the files that are new, join labels.

        Raises
        ------
        NoUsableFile
            If not one file could be used; nothing is kept then.
        CannotWrite, RunError
        """
        results = [finish_session(session, runner) for session in pending]
        session = self._begin_session()
        if session:
            results.append(finish_session(session, runner))
        n_stars = count_stars(self.plan)
        if not n_stars:
            raise self._abandon()
        n_labelled = None
        with store.explain_writing(self.path):
            if self.labels is not None:
                n_labelled = write_labels(self.path, self.labels, self.plan.chunk)
            ledger.mark_complete(self.plan)
        return Filled(
            results=results, n_stars=n_stars, n_labelled=n_labelled, seconds=runner.seconds
        )

    def _abandon(self) -> NoUsableFile:
        """Remove a survey without stars, and return the error that says why it has none."""
        refused = ledger.list_refused_by_file(self.plan)
        quarantined = [(file, *row) for file, rows in refused.items() for row in rows]
        with store.explain_writing(self.path):
            clear_place(self.path)
        return NoUsableFile(_describe_refused(self.path, quarantined), quarantined)

    def describe_start(self, pending: Sequence[Session]) -> dict[str, Any]:
        """Return what the log says at the start of a run."""
        return {"plan": self.plan.identity, "files": len(self.files)}

    def describe_end(self, pending: Sequence[Session], filled: Filled) -> dict[str, Any]:
        """Return what the log says at the end of a run."""
        return {
            "stars": sum(r.stars for r in filled.results),
            "quarantined": sum(len(r.quarantined) for r in filled.results),
        }

    def list_files_to_read(self, pending: Sequence[Session]) -> list[str]:
        """Return the files of sessions that have not ended, and those that are new."""
        under_way = [path for session in pending for path in ledger.read_files(session)]
        return list(dict.fromkeys([*under_way, *self._list_new_files()]))

    def _list_new_files(self) -> list[str]:
        known = ledger.list_refused_by_file(self.plan)
        files = [make_storable(file) for file in self.files]
        return [f for f in files if f not in known or (self.retry and known[f])]

    def _begin_session(self) -> Session | None:
        """Put down a session of the files that are new; None if there are none."""
        new = self._list_new_files()
        if not new:
            return None
        number = len(ledger.list_sessions(self.plan))
        with store.explain_writing(self.path):
            return ledger.begin_session(self.plan, number, new, count_stars(self.plan))


def _list_changed(before: dict[str, Any], now: dict[str, Any], above: str = "") -> list[str]:
    """Return what differs between two identities, by the names on the way to it."""
    changed = []
    for name in before.keys() | now.keys():
        was, is_now = before.get(name), now.get(name)
        if isinstance(was, dict) and isinstance(is_now, dict):
            changed += _list_changed(was, is_now, f"{above}{name}.")
        elif was != is_now:
            changed.append(f"{above}{name} was {was!r}, is {is_now!r} now")
    return sorted(changed)


def count_stars(plan: Plan) -> int:
    """Return the stars of a survey all of whose sessions have ended."""
    return sum(int(ledger.read_facts(s)["stars"]) for s in ledger.list_sessions(plan))


def finish_session(session: Session, runner: Runner) -> Result:
    """Do what is pending of a session.

    Raises
    ------
    CannotWrite, RunError
    """
    if ledger.read_facts(session)["stage"] == ledger.READING:
        _run_all(
            _make_job(session, run_batch, "reading", "files", session.n_files),
            ledger.list_pending(session),
            runner,
        )
    layout = pack.lay_out(session)
    pack.check_files(session, layout)
    n_new = layout.star.size
    with store.explain_writing(session.plan.survey):
        if ledger.read_facts(session)["stage"] == ledger.READING:
            if n_new:
                pack.write_layout(session, layout)
                forget_new(session.plan.survey, session.first, session.first + n_new)
            ledger.update_facts(session, stage=ledger.PACKING)
    if n_new:
        pieces = pack.list_pending(session, n_new)
        _run_all(_make_job(session, pack.run_piece, "writing", "stars", n_new), pieces, runner)
    with store.explain_writing(session.plan.survey):
        ledger.end_session(session, layout)
    paths = ledger.read_files(session)
    return Result(
        files=session.n_files,
        spectra=layout.n_read,
        stars=n_new,
        quarantined=[(paths[file], star, reason) for file, star, reason in layout.refused],
        masked=layout.masked,
        notes=layout.notes,
    )


def _make_job(session: Session, task: Any, title: str, unit: str, total: int) -> Job:
    """Return what is done with each batch or piece of a session."""
    return Job(
        task=task,
        plan=session,
        where=session.plan.survey,
        title=title,
        unit=unit,
        event=title,
        size=lambda item: item.stop - item.start,
        total=total,
    )


def _run_all(job: Job, items: Sequence[Any], runner: Runner) -> None:
    """Do all items.

    Raises
    ------
    RunError
        If any could not be done.
    """
    _, failed = runner.run_job(job, items)
    if failed:
        item, error = next(iter(failed.items()))
        raise RunError(
            f"{job.where}: {len(failed)} of {len(items)} tasks could not be done "
            f"({job.title} {item.index}: {describe_error(error)}). All others are. Fix the cause "
            "and run the same command again"
        ) from error


def _describe_refused(survey: str, quarantined: Sequence[tuple[str, str, str]]) -> str:
    """Say which files were refused and why, the first of them."""
    head = f"{survey}: no file could be used, and nothing is written"
    if not quarantined:
        return f"{head}; run the same command with files of the format"
    lines = [f"{head}. Is the format right?"]
    if all(star for _, star, _ in quarantined):
        lines = [f"{survey}: no star of the files could be used, and nothing is written"]
    for path, star, reason in quarantined[:_LISTED]:
        lines.append(f"  {describe_place(path, star)}: {reason}")
    more = len(quarantined) - _LISTED
    if more > 0:
        lines.append(f"  ... and {more:,} more; --quarantine FILE.csv lists all")
    return "\n".join(lines)
