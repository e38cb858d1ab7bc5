"""Independent tasks, done on a cluster or one after another: the regions of a labelling, the batches of an ingest.

A task is a function of a plan and an item, both small values, and returns a small one; what it makes it writes itself.
Items that fail get a second try when all others are done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from luxscale.progress import Progress
from luxscale.runlog import RunLog
from luxscale.schema import RunError
from luxscale.store import CannotWrite

#: How often an item is tried: once with all others, and once more when they are done.
_ROUNDS = 2

#: Times that Dask tries a task that raises, before it counts as failed.
_RETRIES = 2

#: Items handed to the scheduler at once.
_BATCH = 1000

Attempt = tuple[Any, Any]

#: Of the luxscale that runs here.
VERSION = importlib.metadata.version("luxscale")


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


class Clock:
    """Time that the parts of a task take, in seconds, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, name: str) -> None:
        """End a part; parts of one name add up."""
        now = time.perf_counter()
        self.seconds[name] = round(self.seconds.get(name, 0) + now - self._last, 4)
        self._last = now


def worker_name() -> str:
    """Return the host and the process of a task."""
    return f"{socket.gethostname()}:{os.getpid()}"


def never() -> None:
    """Nothing can end a run that holds no lock."""


def do(
    job: Job,
    items: Sequence[Any],
    *,
    client: Any = None,
    log: RunLog | None = None,
    check: Callable[[], None] = never,
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
    with Progress(job.title, total, unit=job.unit, enabled=progress) as shown, watching(client, log, shown):
        if remark:
            shown.say(remark)
        for attempt in range(_ROUNDS):
            left = list(failed)
            for item, result in _in_process(job, left) if client is None else on_cluster(job, client, left):
                check()
                if isinstance(result, BaseException):
                    failed[item] = result
                    log.write("fault", **{job.event: item.index}, round=attempt, error=told(result))
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


class TaskError(RuntimeError):
    """What went wrong in a task, its type and message as text: on a worker an exception may be one that cannot be sent."""


def told(error: BaseException) -> str:
    """Return type and message of an exception, whatever its message is like."""
    if isinstance(error, TaskError):
        return str(error)
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def _count(failed: dict[Any, BaseException], attempt: int) -> str:
    return f", {len(failed)} to try again" if attempt else ""


def _in_process(job: Job, items: Sequence[Any]) -> Iterator[Attempt]:
    for item in items:
        try:
            yield item, job.task(job.plan, item)
        except CannotWrite:
            raise
        except Exception as error:
            yield item, error


def on_worker(task: Callable[[Any, Any], Any], version: str, plan: Any, item: Any) -> Any:
    """Do an item on a worker of a cluster, if that has the luxscale of the run.

    Raises
    ------
    CannotWrite, TaskError
    """
    try:
        if version != VERSION:
            raise RuntimeError(f"worker {worker_name()} has luxscale {VERSION}, the run is of {version}")
        return task(plan, item)
    except CannotWrite as error:
        failure: Exception = CannotWrite(str(error))
    except Exception as error:
        failure = TaskError(told(error))
    raise failure  # out here, for what it comes from would be sent along


def on_cluster(job: Job, client: Any, items: Sequence[Any]) -> Iterator[Attempt]:
    """Do items on a cluster, and yield each as it ends, with what came of it.

    Raises
    ------
    CannotWrite
        What is under way is cancelled.
    """
    from distributed import as_completed
    from distributed.client import CancelledError

    task = functools.partial(on_worker, job.task, VERSION)
    futures = client.map(task, [job.plan] * len(items), list(items), pure=False, retries=_RETRIES, batch_size=_BATCH)
    by_key = {f.key: i for f, i in zip(futures, items, strict=True)}
    try:
        # results come along with the news that they are there: asked for one by one they take as long as the task
        for future, result in as_completed(futures, with_results=True, raise_errors=False):
            found = result[1] if isinstance(result, tuple) else result  # type, exception, traceback of one that failed
            if isinstance(found, CannotWrite):
                raise found
            if isinstance(found, CancelledError):
                raise RunError(
                    f"{job.where}: the Dask scheduler is gone, or gave up the work; what is done is kept: start a "
                    "cluster and run the same command again"
                ) from found
            yield by_key[future.key], found
            future.release()
    finally:
        with contextlib.suppress(Exception):  # as above
            client.cancel([f for f in futures if not f.done()])


@contextlib.contextmanager
def watching(client: Any, log: RunLog, shown: Progress) -> Iterator[None]:
    """Log the workers that a cluster loses or gains meanwhile."""
    if client is None:
        yield
        return

    def hear(event: tuple[float, dict[str, Any]]) -> None:
        action = event[1].get("action")
        if action in ("remove-worker", "add-worker"):
            lost = action == "remove-worker" and not event[1].get("expected")  # of one that is no longer needed
            what = "worker lost" if lost else "worker joined" if action == "add-worker" else "worker left"
            log.write(what, worker=event[1].get("worker"))
            if lost:
                shown.say("a worker was lost; its work is done by others")

    client.subscribe_topic("all", hear)
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # of a scheduler that is gone: what ended the run is to be told
            client.unsubscribe_topic("all")
