"""Independent tasks, done on a cluster or one after another: the regions of a labelling, the batches of an ingest.

A task is a function of a plan and an item, both small values, and returns a small one; what it
makes it writes itself. Items that fail get a second try when all others are done.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from luxscale.progress import Progress
from luxscale.runs.executors import describe_error, run_in_process, run_on_cluster, watch_workers
from luxscale.runs.log import RunLog

#: How often an item is tried: once with all others, and once more when they are done.
_ROUNDS = 2


@dataclasses.dataclass(frozen=True)
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
    """

    task: Callable[[Any, Any], Any]
    plan: Any
    where: str
    title: str
    unit: str
    event: str
    size: Callable[[Any], int]


def never_raise() -> None:
    """Nothing can end a run that holds no lock."""


def run_job(
    job: Job,
    items: Sequence[Any],
    *,
    client: Any = None,
    log: RunLog | None = None,
    check: Callable[[], None] = never_raise,
    remark: str = "",
    progress: bool = True,
) -> tuple[list[Any], dict[Any, BaseException]]:
    """Do items, on a cluster or one after another.

    Parameters
    ----------
    job : Job
    items : sequence
    client : distributed.Client, optional
        Without one, items are done in this process.
    log : RunLog, optional
    check : callable
        Raises if the run may not go on.
    remark : str
        What is to be said before.
    progress : bool

    Returns
    -------
    outcomes : list
        What tasks returned, in the order in which they ended.
    failed : dict
        Items that could not be done, and why.

    Raises
    ------
    CannotWrite, RunError
    """
    log = log or RunLog()
    outcomes: list[Any] = []
    failed: dict[Any, BaseException] = dict.fromkeys(items, RuntimeError("not tried"))
    done, started = 0, time.monotonic()
    total = sum(map(job.size, items))
    with (
        Progress(job.title, total, unit=job.unit, enabled=progress) as shown,
        watch_workers(client, log, shown),
    ):
        if remark:
            shown.say(remark)
        for attempt in range(_ROUNDS):
            left = list(failed)
            for item, result in (
                run_in_process(job, left) if client is None else run_on_cluster(job, client, left)
            ):
                check()
                if isinstance(result, BaseException):
                    failed[item] = result
                    log.write(
                        "fault",
                        **{job.event: item.index},
                        round=attempt,
                        error=describe_error(result),
                    )
                else:
                    del failed[item]
                    outcomes.append(result)
                    done += job.size(item)
                    log.write(job.event, **dataclasses.asdict(result))
                rate = done / (time.monotonic() - started)
                shown.update(done, f"{rate:,.0f} {job.unit}/s" + _count(failed, attempt))
            if not failed:
                break
    return outcomes, failed


def _count(failed: dict[Any, BaseException], attempt: int) -> str:
    return f", {len(failed)} to try again" if attempt else ""
