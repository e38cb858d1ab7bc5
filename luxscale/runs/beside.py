"""Items done in this process and in helpers beside it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from luxscale.errors import CannotWrite
from luxscale.progress import Progress
from luxscale.runs.executors import (
    VERSION,
    Attempt,
    InProcess,
    describe_error,
    do_in_turn,
    run_on_worker,
)
from luxscale.runs.helpers import Helper
from luxscale.runs.job import Job
from luxscale.runs.log import RunLog

#: Items that a helper has: that which it does, and the next.
_HELD = 2


@dataclasses.dataclass(frozen=True)
class WithHelpers(InProcess):
    """Does items in this process, and in helpers for as long as there are items for all.

    Parameters
    ----------
    helpers : sequence of Helper
        They end with the items that are done first; those that failed are tried again here.
    """

    helpers: Sequence[Helper]

    def run(self, job: Job, items: Sequence[Any]) -> Iterator[Attempt]:
        """Do items; see `Executor.run`. Those of a helper that is lost are done here."""
        todo = collections.deque(items)
        done: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        given = (job, todo, done)
        threads = [
            threading.Thread(target=_share_items, args=(helper, *given), daemon=True)
            for helper in self.helpers
            if not (helper.has_left or helper.failure)
        ]
        for thread in threads:
            thread.start()
        while todo or any(thread.is_alive() for thread in threads) or not done.empty():
            for attempt in do_in_turn(job, _take(todo)):
                yield attempt
                yield from _collect(done)
            for thread in threads:
                thread.join()
            yield from _collect(done)

    @contextlib.contextmanager
    def watch(self, log: RunLog, shown: Progress) -> Iterator[None]:
        """Log the helpers that are lost meanwhile; end all before a run that is cut off ends."""
        try:
            yield
        except BaseException:  # the next run may begin at once, and is alone
            for helper in self.helpers:
                helper.stop()
            raise
        for helper in self.helpers:
            if helper.failure is not None:
                error = describe_error(helper.failure)
                log.write("worker lost", worker=helper.name, error=error)
                shown.say(f"a process beside this one was lost ({error}); its work was done here")

    def count_workers(self) -> int:
        """Return the number of helpers."""
        return len(self.helpers)


def _take(todo: collections.deque[Any]) -> Iterator[Any]:
    """Yield items that nobody else has taken."""
    with contextlib.suppress(IndexError):
        while True:
            yield todo.popleft()


def _collect(done: queue.SimpleQueue[Attempt]) -> Iterator[Attempt]:
    """Yield what helpers have done.

    Raises
    ------
    CannotWrite
    """
    with contextlib.suppress(queue.Empty):
        while True:
            item, result = done.get_nowait()
            if isinstance(result, CannotWrite):
                raise result
            yield item, result


def _share_items(
    helper: Helper, job: Job, todo: collections.deque[Any], done: queue.SimpleQueue[Attempt]
) -> None:
    """Have a helper do items, as soon as it can, until none is left."""
    held: collections.deque[Any] = collections.deque()
    more = _take(todo)
    try:
        if helper.wait_ready(lambda: bool(todo)):
            helper.send((functools.partial(run_on_worker, job.task, VERSION), job.begin, job.plan))
            while True:
                while len(held) < _HELD and (item := next(more, None)) is not None:
                    held.append(item)
                    helper.send(item)
                if not held:
                    break
                done.put((held[0], helper.receive()))
                held.popleft()
        helper.leave()
    except Exception as error:  # it has ended or hangs, or makes no sense: the log says which
        helper.stop()  # one that hangs might write later
        helper.failure = error
        todo.extendleft(reversed(held))
