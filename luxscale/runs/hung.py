"""Workers that hang: they give signs of life, and do not come to the end of an item.

One whose network file system hangs does, or one in which a library waits for what never comes.
Dask gives up a worker that is silent, not one that is stuck.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

#: Seconds between two looks.
_PAUSE = 15.0

#: Seconds that an item may take, however quick the others are; and how many times as long as the
#: longest of the others.
_LEAST, _TIMES = 600.0, 20.0

#: Seconds that a worker has to start anew.
_RESTART = 60.0

#: Seconds for which the end waits for a look that is under way, at a scheduler that may be gone.
_LAST_LOOK = 5.0

#: The action of a worker that hangs, among Dask's events of workers.
HUNG = "hung"


class Watch:
    """When items were first seen on their workers, and how long those took that went.

    Parameters
    ----------
    least, times : float
        An item hangs when it takes longer than ``least`` seconds, and than ``times`` what others
        took.
    """

    def __init__(self, least: float = _LEAST, times: float = _TIMES):
        self._least, self._times, self._longest = least, times, 0.0
        self._seen: dict[tuple[str, str], float] = {}

    def look(self, under_way: Mapping[str, Collection[str]], now: float) -> list[str]:
        """Return the workers that hang, which are then forgotten.

        Parameters
        ----------
        under_way : mapping
            Items that each worker has.
        now : float
            Seconds on any clock.
        """
        pairs = {(worker, item) for worker, items in under_way.items() for item in items}
        for pair in self._seen.keys() - pairs:
            self._longest = max(self._longest, now - self._seen.pop(pair))
        for pair in pairs:
            self._seen.setdefault(pair, now)
        patience = max(self._least, self._times * self._longest)
        hung = {worker for (worker, _), since in self._seen.items() if now - since > patience}
        self._seen = {pair: since for pair, since in self._seen.items() if pair[0] not in hung}
        return sorted(hung)


@contextlib.contextmanager
def restart_hung(
    client: Any, *, watch: Watch | None = None, pause: float = _PAUSE
) -> Iterator[None]:
    """Start workers anew that hang, meanwhile; others then do what they had.

    Parameters
    ----------
    client : distributed.Client
        Whose items take about as long as each other.
    watch : Watch, optional
    pause : float
        Seconds between two looks.
    """
    watch = watch or Watch()
    ended = threading.Event()

    def keep_looking() -> None:
        while not ended.wait(pause):
            # a scheduler that is gone is another's news
            with contextlib.suppress(Exception):
                hung = watch.look(client.processing(), time.monotonic())
                for worker in hung:
                    client.log_event("all", {"action": HUNG, "worker": worker})
                if hung:
                    client.restart_workers(hung, timeout=_RESTART, raise_for_error=False)

    thread = threading.Thread(target=keep_looking, name="luxscale-hung", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_LAST_LOOK)
