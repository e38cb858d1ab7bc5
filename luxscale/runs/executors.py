"""Who does the work: this process, or the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from luxscale.errors import CannotWrite, RunError
from luxscale.progress import Progress
from luxscale.runs.log import RunLog

if TYPE_CHECKING:
    from luxscale.runs.job import Job

#: Times that Dask tries a task that raises, before it counts as failed.
_RETRIES = 2


#: Items handed to the scheduler at once.
_BATCH = 1000


Attempt = tuple[Any, Any]


#: Of the luxscale that runs here.
VERSION = importlib.metadata.version("luxscale")


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


def name_worker() -> str:
    """Return the host and the process of a task."""
    return f"{socket.gethostname()}:{os.getpid()}"


class TaskError(RuntimeError):
    """What went wrong in a task, its type and message as text: on a worker an exception may be one that cannot be sent."""


def describe_error(error: BaseException) -> str:
    """Return type and message of an exception, whatever its message is like."""
    if isinstance(error, TaskError):
        return str(error)
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def run_in_process(job: Job, items: Sequence[Any]) -> Iterator[Attempt]:
    """Do items one after another in this process, and yield each with what came of it.

    Raises
    ------
    CannotWrite
    """
    for item in items:
        try:
            yield item, job.task(job.plan, item)
        except CannotWrite:
            raise
        except Exception as error:
            yield item, error


def run_on_worker(task: Callable[[Any, Any], Any], version: str, plan: Any, item: Any) -> Any:
    """Do an item on a worker of a cluster, if that has the luxscale of the run.

    Raises
    ------
    CannotWrite, TaskError
    """
    try:
        if version != VERSION:
            raise RuntimeError(
                f"worker {name_worker()} has luxscale {VERSION}, the run is of {version}"
            )
        return task(plan, item)
    except CannotWrite as error:
        failure: Exception = CannotWrite(str(error))
    except Exception as error:
        failure = TaskError(describe_error(error))
    raise failure  # out here, for what it comes from would be sent along


def run_on_cluster(job: Job, client: Any, items: Sequence[Any]) -> Iterator[Attempt]:
    """Do items on a cluster, and yield each as it ends, with what came of it.

    Raises
    ------
    CannotWrite
        What is under way is cancelled.
    """
    from distributed import as_completed
    from distributed.client import CancelledError

    task = functools.partial(run_on_worker, job.task, VERSION)
    futures = client.map(
        task, [job.plan] * len(items), list(items), pure=False, retries=_RETRIES, batch_size=_BATCH
    )
    by_key = {f.key: i for f, i in zip(futures, items, strict=True)}
    try:
        # results come along with the news that they are there: asked for one by one they take as
        # long as the task
        for future, result in as_completed(futures, with_results=True, raise_errors=False):
            found = (
                result[1] if isinstance(result, tuple) else result
            )  # type, exception, traceback of one that failed
            if isinstance(found, CannotWrite):
                raise found
            if isinstance(found, CancelledError):
                raise RunError(
                    f"{job.where}: the Dask scheduler is gone, or gave up the work; what is "
                    "done is kept: start a "
                    "cluster and run the same command again"
                ) from found
            yield by_key[future.key], found
            future.release()
    finally:
        with contextlib.suppress(Exception):  # as above
            client.cancel([f for f in futures if not f.done()])


@contextlib.contextmanager
def watch_workers(client: Any, log: RunLog, shown: Progress) -> Iterator[None]:
    """Log the workers that a cluster loses or gains meanwhile."""
    if client is None:
        yield
        return

    def hear(event: tuple[float, dict[str, Any]]) -> None:
        action = event[1].get("action")
        if action in ("remove-worker", "add-worker"):
            lost = action == "remove-worker" and not event[1].get(
                "expected"
            )  # of one that is no longer needed
            what = (
                "worker lost"
                if lost
                else "worker joined"
                if action == "add-worker"
                else "worker left"
            )
            log.write(what, worker=event[1].get("worker"))
            if lost:
                shown.say("a worker was lost; its work is done by others")

    client.subscribe_topic("all", hear)
    try:
        yield
    finally:
        with contextlib.suppress(
            Exception
        ):  # of a scheduler that is gone: what ended the run is to be told
            client.unsubscribe_topic("all")
