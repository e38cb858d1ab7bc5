"""Who does the work: this process, or the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from luxscale.errors import CannotWrite, RunError
from luxscale.progress import Progress
from luxscale.runs.helpers import begin_item
from luxscale.runs.hung import HUNG, restart_hung
from luxscale.runs.log import RunLog

if TYPE_CHECKING:
    from luxscale.runs.job import Job

#: Times that Dask tries a task that raises, before it counts as failed.
_RETRIES = 2

#: Items handed to the scheduler at once.
_BATCH = 1000

#: An item, and what its task returned or the exception that it raised.
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
    """What went wrong in a task, as text.

    On a worker an exception may be one that cannot be sent.
    """


def describe_error(error: BaseException) -> str:
    """Return type and message of an exception, whatever its message is like."""
    if isinstance(error, TaskError):
        return str(error)
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


class Executor(Protocol):
    """Who does the items of a job."""

    def run(self, job: Job, items: Sequence[Any]) -> Iterator[Attempt]:
        """Do items, and yield each as it ends, with what its task returned or raised.

        Raises
        ------
        CannotWrite
            If a task raised it: the store is out of reach for all others too.
        """

    def watch(self, log: RunLog, shown: Progress) -> contextlib.AbstractContextManager[None]:
        """Log the workers that come and go meanwhile."""

    def count_workers(self) -> int:
        """Return the number of workers that there are now; 0 without any."""


def choose_executor(client: Any = None) -> Executor:
    """Return the executor for a `distributed.Client`, or for this process without one.

    What is one already stays as it is.
    """
    if client is None:
        return InProcess()
    return client if isinstance(client, InProcess) else OnDask(client)


@dataclasses.dataclass(frozen=True)
class InProcess:
    """Does items one after another in this process."""

    def run(self, job: Job, items: Sequence[Any]) -> Iterator[Attempt]:
        """Do items; see `Executor.run`."""
        return do_in_turn(job, iter(items))

    def watch(self, log: RunLog, shown: Progress) -> contextlib.AbstractContextManager[None]:
        """Return a context that does nothing, for there are no workers."""
        return contextlib.nullcontext()

    def count_workers(self) -> int:
        """Return 0."""
        return 0


def do_in_turn(job: Job, items: Iterator[Any]) -> Iterator[Attempt]:
    """Do items, each of which is begun with while the one before is done."""
    item, begun = next(items, None), ()
    while item is not None:
        following, ahead = next(items, None), ()
        if following is not None:
            ahead = begin_item(job.begin, job.plan, following)
        try:
            yield item, job.task(job.plan, item, *begun)
        except CannotWrite:
            raise
        except Exception as error:
            yield item, error
        item, begun = following, ahead


@dataclasses.dataclass(frozen=True)
class OnDask:
    """Does items on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    """

    client: Any

    def run(self, job: Job, items: Sequence[Any]) -> Iterator[Attempt]:
        """Do items; see `Executor.run`. At an exception, what is under way is cancelled.

        Raises
        ------
        CannotWrite
        RunError
            If the scheduler is gone.
        """
        from distributed import as_completed

        futures = self.client.map(
            functools.partial(run_on_worker, job.task, VERSION),
            [job.plan] * len(items),
            list(items),
            pure=False,
            retries=_RETRIES,
            batch_size=_BATCH,
        )
        item_of = {f.key: item for f, item in zip(futures, items, strict=True)}
        stuck = restart_hung(self.client) if job.even else contextlib.nullcontext()
        try:
            # results come along with the news that they are there: asked for one by one they take
            # as long as the task
            with stuck:
                for future, result in as_completed(futures, with_results=True, raise_errors=False):
                    yield item_of[future.key], _unpack_result(job, result)
                    future.release()
        finally:
            with contextlib.suppress(Exception):  # of a scheduler that is gone
                self.client.cancel([f for f in futures if not f.done()])

    @contextlib.contextmanager
    def watch(self, log: RunLog, shown: Progress) -> Iterator[None]:
        """Log the workers that the cluster loses or gains meanwhile."""

        def write_event(event: tuple[float, dict[str, Any]]) -> None:
            _log_worker_event(event[1], log, shown)

        self.client.subscribe_topic("all", write_event)
        try:
            yield
        finally:
            # the scheduler may be gone: the error to show is the one that ended the run
            with contextlib.suppress(Exception):
                self.client.unsubscribe_topic("all")

    def count_workers(self) -> int:
        """Return the number of workers that there are now."""
        return len(self.client.scheduler_info(n_workers=-1)["workers"])


def run_on_worker(task: Callable[..., Any], version: str, plan: Any, item: Any, *begun: Any) -> Any:
    """Do an item in another process, if that has the luxscale of the run.

    Raises
    ------
    CannotWrite, TaskError
    """
    try:
        if version != VERSION:
            raise RuntimeError(
                f"worker {name_worker()} has luxscale {VERSION}, the run is of {version}"
            )
        return task(plan, item, *begun)
    except CannotWrite as error:
        failure: Exception = CannotWrite(str(error))
    except Exception as error:
        failure = TaskError(describe_error(error))
    raise failure  # out here, for what it comes from would be sent along


def _unpack_result(job: Job, result: Any) -> Any:
    """Return what a task returned or raised, as Dask hands it over.

    Raises
    ------
    CannotWrite, RunError
    """
    from distributed.client import CancelledError

    # of a task that failed it is a tuple: type, exception, traceback
    found = result[1] if isinstance(result, tuple) else result
    if isinstance(found, CannotWrite):
        raise found
    if isinstance(found, CancelledError):
        raise RunError(
            f"{job.where}: the Dask scheduler is gone, or gave up the work; what is done is kept: "
            "start a cluster and run the same command again"
        ) from found
    return found


def _log_worker_event(event: dict[str, Any], log: RunLog, shown: Progress) -> None:
    """Log a worker that joined, left when it was no longer needed, hung or was lost."""
    action, worker = event.get("action"), event.get("worker")
    if action == "add-worker":
        log.write("worker joined", worker=worker)
    elif action == "remove-worker" and event.get("expected"):
        log.write("worker left", worker=worker)
    elif action == HUNG:
        log.write("worker hung", worker=worker)
        shown.say(f"worker {worker} hangs; it is started anew, and others do its work")
    elif action == "remove-worker":
        log.write("worker lost", worker=worker)
        shown.say("a worker was lost; its work is done by others")
