"""The run of an ingest: sessions of files, read in batches, put in order, and accounted for.

Stopped at any moment it goes on where it was; files that are new since then are a session more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from luxscale import store
from luxscale.errors import InputError, RunError
from luxscale.ingest import ledger, pack
from luxscale.ingest.batch import run_batch
from luxscale.ingest.labels import forget_new
from luxscale.ingest.plan import Plan, Session
from luxscale.runs import job as tasks
from luxscale.runs.executors import describe_error
from luxscale.runs.log import RunLog


@dataclasses.dataclass(frozen=True)
class Result:
    """What sessions of an ingest came to.

    Parameters
    ----------
    files, spectra, stars : int
        Files and spectra read, and stars added.
    quarantined : list of (path, star, reason)
        Files, and stars of files, that were refused.
    masked : dict of str to int
        Pixels masked, by reason.
    """

    files: int
    spectra: int
    stars: int
    quarantined: list[tuple[str, str, str]]
    masked: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Runner:
    """Who does the work, and who is told of it."""

    client: Any = None
    log: RunLog = dataclasses.field(default_factory=RunLog)
    check: Callable[[], None] = tasks.never_raise
    progress: bool = True

    def do(
        self, task: Any, session: Session, items: Sequence[Any], title: str, unit: str, size: Any
    ) -> None:
        """Do all items.

        Raises
        ------
        RunError
            If any could not be done.
        """
        job = tasks.Job(task, session, session.plan.survey, title, unit, title, size)
        _, failed = tasks.run_job(
            job, items, client=self.client, log=self.log, check=self.check, progress=self.progress
        )
        if failed:
            item, error = next(iter(failed.items()))
            raise RunError(
                f"{session.plan.survey}: {len(failed)} of {len(items)} tasks could not be done "
                f"({title} {item.index}: "
                f"{describe_error(error)}). All others are; mend the cause and run the same "
                "command again"
            ) from error


def open_survey(plan: Plan, grid: np.ndarray) -> None:
    """Begin a survey, or check that files may be added to it.

    Raises
    ------
    InputError
        If something else is there, or files were read in another way.
    """
    held = begun(plan.survey)
    if held is None:
        ledger.create(plan, grid)
        return
    changed = _changed(held, plan.identity)
    if any(c.startswith("grid ") for c in changed):
        there = ledger.read_grid(plan.survey)
        raise InputError(
            f"{plan.survey}: has another wavelength grid, {there.size:,} pixels from "
            f"{there[0]:g} to {there[-1]:g}; leave "
            "out --grid, or choose another path"
        )
    if changed:
        raise InputError(
            f"{plan.survey}: its files were read with other settings: {'; '.join(changed)}. "
            "Use those, or choose another "
            "path"
        )


def begun(survey: str) -> dict[str, Any] | None:
    """Return how the files of a survey are read; None if none of them was of use.

    Raises
    ------
    InputError
        If something else is there.
    """
    held = ledger.identity(survey)
    return held if held is not None and ledger.is_begun(survey) else None


def _changed(held: dict[str, Any], now: dict[str, Any], above: str = "") -> list[str]:
    changed = []
    for name in held.keys() | now.keys():
        was, is_now = held.get(name), now.get(name)
        if isinstance(was, dict) and isinstance(is_now, dict):
            changed += _changed(was, is_now, f"{above}{name}.")
        elif was != is_now:
            changed.append(f"{above}{name} was {was!r}, is {is_now!r} now")
    return sorted(changed)


def work(
    plan: Plan, files: Sequence[str], runner: Runner, *, retry: bool = False
) -> Iterator[Result]:
    """Finish the session that was under way, if any, then add the files that are new; yields what each came to.

    Parameters
    ----------
    plan : Plan
    files : sequence of str
    runner : Runner
    retry : bool
        Whether files that were refused before count as new.
    """
    for session in ledger.sessions(plan):
        if ledger.attrs(session)["stage"] != ledger.DONE:
            yield finish(session, runner)
    before = ledger.sessions(plan)
    known = ledger.standing(plan)
    new = [f for f in files if f not in known or (retry and known[f])]
    if new:
        with store.explain_writing(plan.survey):
            session = ledger.begin(plan, len(before), new, count_stars(plan))
        yield finish(session, runner)


def count_stars(plan: Plan) -> int:
    """Return the stars of a survey all of whose sessions have ended."""
    return sum(int(ledger.attrs(s)["stars"]) for s in ledger.sessions(plan))


def finish(session: Session, runner: Runner) -> Result:
    """Do what is pending of a session.

    Raises
    ------
    CannotWrite, RunError
    """
    if ledger.attrs(session)["stage"] == ledger.READING:
        todo = ledger.pending(session)
        runner.do(run_batch, session, todo, "reading", "files", lambda b: b.stop - b.start)
    layout = pack.lay_out(session)
    pack.check_files(session, layout)
    with store.explain_writing(session.plan.survey):
        if ledger.attrs(session)["stage"] == ledger.READING:
            if layout.star.size:
                pack.write_layout(session, layout)
                forget_new(session.plan.survey, session.first, session.first + layout.star.size)
            ledger.update(session, stage=ledger.PACKING)
    if layout.star.size:
        todo_pieces = pack.pending(session, layout.star.size)
        runner.do(
            pack.run_piece, session, todo_pieces, "writing", "stars", lambda p: p.stop - p.start
        )
    with store.explain_writing(session.plan.survey):
        ledger.end(session, layout)
    paths = ledger.session_files(session)
    quarantined = [(paths[f], s, r) for f, s, r in layout.refused]
    return Result(session.n_files, layout.n_read, layout.star.size, quarantined, layout.masked)
