"""A process beside this one that does items of a job too.

It is started before this one has loaded what it needs, and loads the same meanwhile: this module
needs nothing but Python. It lives no longer than this process, whatever it is at then: it reads
from it what is never written, until that ends. What comes through the pipe between the two is
pickled by one and read by the other, and nobody else can write to it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

#: Seconds that a helper waits for news of its next item before it begins with one.
_NEWS = 0.02

#: Seconds that an item may take there: a job that helpers are started for takes a few in all.
_PATIENCE = 60.0


class Helper:
    """A process that does items, one at a time; the next of them it begins with meanwhile.

    Parameters
    ----------
    process : subprocess.Popen
    channel : Connection
        Items go one way, what came of them the other.

    Attributes
    ----------
    has_left : bool
        Whether it was let go.
    failure : Exception, optional
        What it was lost by, if it was.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: Connection) -> None:
        self._process = process
        self._channel = channel
        self.has_left = False
        self.failure: Exception | None = None

    @property
    def name(self) -> str:
        """Host and process, as tasks say where they were done."""
        return f"{socket.gethostname()}:{self._process.pid}"

    def wait_ready(self, is_needed: Callable[[], bool]) -> bool:
        """Wait until it has loaded what it needs; return whether it was needed so long.

        Raises
        ------
        EOFError, OSError
            If it has ended, as all that follow.
        """
        while not self._channel.poll(_NEWS):
            if not is_needed():
                return False
        self._channel.recv()
        return True

    def send(self, what: Any) -> None:
        """Send the job, or an item of it."""
        self._channel.send(what)

    def receive(self) -> Any:
        """Return what its task made of the item that was sent first, or raised.

        Raises
        ------
        TimeoutError
            If that takes so long that it hangs.
        """
        if not self._channel.poll(_PATIENCE):
            raise TimeoutError(f"no sign of it for {_PATIENCE:g} s")
        return self._channel.recv()

    def leave(self) -> None:
        """Have no more for it to do: it ends by itself."""
        self.has_left = True
        self._channel.close()

    def stop(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        self._process.communicate()  # closes what it reads from, and waits


@contextlib.contextmanager
def start_helper(
    module: str, function: str, arguments: tuple[Any, ...], environment: Mapping[str, str]
) -> Iterator[Helper]:
    """Start a process that helps, and end it.

    Parameters
    ----------
    module, function : str
        What it loads, and then calls, at once.
    arguments : tuple
        Of the function: plain values, which Python reads as it writes them.
    environment : mapping of str to str
        Variables that differ from those of this process.

    Yields
    ------
    Helper
    """
    ours, theirs = Pipe()
    script = (
        f"import sys; sys.path[:] = {sys.path!r}; from luxscale.runs.helpers import serve; "
        f"serve({theirs.fileno()}, {module!r}, {function!r}, {arguments!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", script],
        env=os.environ | environment,
        pass_fds=[theirs.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # what it has to say, this process says too
        start_new_session=True,  # Ctrl-C is for this process
    )
    theirs.close()
    helper = Helper(process, ours)
    try:
        yield helper
    finally:
        helper.stop()


@contextlib.contextmanager
def load_modules() -> Iterator[None]:
    """Look for no garbage while modules load, which leave none, nor ever among what they made."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


def serve(descriptor: int, module: str, function: str, arguments: tuple[Any, ...]) -> None:
    """Do what comes through a pipe until it is closed, and end this process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):  # it was let go
        with load_modules():
            getattr(importlib.import_module(module), function)(*arguments)
        _do_items(Connection(descriptor))
    os._exit(0)


def _end_with_parent() -> None:
    """End this process when that which started it has ended: another may begin to write then."""
    os.read(0, 1)
    os._exit(0)


def _do_items(channel: Connection) -> None:
    channel.send("ready")
    task, begin, plan = channel.recv()
    item, begun = channel.recv(), ()
    while True:
        following, ahead = None, ()
        if channel.poll(_NEWS):
            following = channel.recv()
            ahead = begin_item(begin, plan, following)
        try:
            result = task(plan, item, *begun)
        except Exception as error:
            result = error
        channel.send(result)
        item, begun = (channel.recv(), ()) if following is None else (following, ahead)


def begin_item(begin: Callable[[Any, Any], Any] | None, plan: Any, item: Any) -> tuple[Any, ...]:
    """Begin with an item in the background; return what its task then gets beside it."""
    if begin is not None:
        with contextlib.suppress(Exception):  # the task will meet it too
            return (begin(plan, item),)
    return ()
