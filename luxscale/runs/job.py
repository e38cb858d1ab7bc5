"""Independent tasks and who does them: regions of a labelling, batches of an ingest, folds.

A task is a function of a plan and an item, both small values, and returns a small one; what it
makes it writes itself. Items that fail get a second try when all others are done.
"""

from __future__ import annotations

import dataclasses
import operator
import time
from collections.abc import Callable, Sequence
from typing import Any

from luxscale.errors import Interrupted
from luxscale.progress import Progress
from luxscale.runs.executors import Executor, InProcess, describe_error
from luxscale.runs.log import RunLog
from luxscale.store.lock import Lock

#: How often an item is tried: once with all others, and once more when they are done.
_ROUNDS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What is done with each item.

    Parameters
    ----------
    task : callable
        ``task(plan, item)``, which returns a dataclass of small values.
    plan : object
        What all items have in common.
    where : str
        Path that messages name.
    title, unit : str
        Of the progress that is shown.
    event : str
        Name of an item in the log.
    size : callable
        Units of an item.
    label : callable
        What the log calls an item that failed; its index if not given.
    begin : callable, optional
        ``begin(plan, item)`` begins, in the background, what a task waits for, and returns what is
        then its third argument: for the item that comes next in the same process.
    even : bool
        Whether items take about as long as each other, so that a worker which hangs can be told.
    total : int, optional
        Units of all items, those done before this run too; of those to do if not given.
    """

    task: Callable[..., Any]
    plan: Any
    where: str
    title: str
    unit: str
    event: str
    size: Callable[[Any], int]
    label: Callable[[Any], Any] = operator.attrgetter("index")
    begin: Callable[[Any, Any], Any] | None = None
    even: bool = False
    total: int | None = None

    def describe_stop(self, done: int, n_to_do: int) -> str:
        """Return what a run that is interrupted says, with so many units of its own done."""
        total = n_to_do if self.total is None else self.total
        kept = total - n_to_do + done
        return f"stopped: {kept:,} of {total:,} {self.unit} done; the same command goes on"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runner:
    """Who does the jobs of a run, and where it is told how they go.

    Parameters
    ----------
    lock : Lock
        Of the store that is written; a run that lost it ends.
    executor : Executor
    log : RunLog
    progress : bool
        Whether to show progress on standard error.
    started : float
        Monotonic time at which the run began.
    """

    lock: Lock
    executor: Executor = dataclasses.field(default_factory=InProcess)
    log: RunLog = dataclasses.field(default_factory=RunLog)
    progress: bool = True
    started: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Wall time since the run began."""
        return time.monotonic() - self.started

    def run_job(
        self, job: Job, items: Sequence[Any], *, remarks: Sequence[str] = ()
    ) -> tuple[list[Any], dict[Any, BaseException]]:
        """Do items, and those that failed once more when all others are done.

        Parameters
        ----------
        job : Job
        items : sequence
        remarks : sequence of str
            Shown before the work begins.

        Returns
        -------
        outcomes : list
            What tasks returned, in the order in which they ended.
        failed : dict
            Items that could not be done, and why.

        Raises
        ------
        CannotWrite, RunError
        Interrupted
            Says how much is done.
        """
        outcomes: list[Any] = []
        failed: dict[Any, BaseException] = dict.fromkeys(items, RuntimeError("not tried"))
        done, started = 0, time.monotonic()
        total = sum(map(job.size, items))
        try:
            with (
                Progress(job.title, total, unit=job.unit, enabled=self.progress) as shown,
                self.executor.watch(self.log, shown),
            ):
                for remark in remarks:
                    shown.say(remark)
                for attempt in range(_ROUNDS):
                    for item, result in self.executor.run(job, list(failed)):
                        self.lock.check()
                        if isinstance(result, BaseException):
                            failed[item] = result
                            self._log_fault(job, item, attempt, result)
                        else:
                            del failed[item]
                            outcomes.append(result)
                            done += job.size(item)
                            self.log.write(job.event, **dataclasses.asdict(result))
                        note = _describe_rate(done, time.monotonic() - started, job.unit)
                        if attempt:
                            note += f", {len(failed)} to try again"
                        shown.update(done, note)
                    if not failed:
                        break
        except KeyboardInterrupt:
            raise Interrupted(job.describe_stop(done, total)) from None
        return outcomes, failed

    def _log_fault(self, job: Job, item: Any, attempt: int, error: BaseException) -> None:
        name = {job.event: job.label(item)}
        self.log.write("fault", **name, round=attempt, error=describe_error(error))


def _describe_rate(done: int, seconds: float, unit: str) -> str:
    """Return a rate per second, or per hour where that is below 1."""
    rate = done / seconds
    if 0 < rate < 1:
        return f"{3600 * rate:,.0f} {unit}/h"
    return f"{rate:,.0f} {unit}/s"
