"""Ctrl-C in a command: one line on standard error, and exit status 130."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from types import FrameType

import click

from luxscale.errors import InputError, RunError
from luxscale.stop import AGAIN, STATUS, may_handle

#: Seconds in which a command that was interrupted closes up; Ctrl-C after that ends it at once.
_CLOSING = 10.0

#: Packages that run a cluster: what they raise after Ctrl-C comes of its shutting down.
_CLUSTER = {"asyncio", "concurrent", "distributed", "multiprocessing", "tornado"}

#: What the system says of connections and processes that are cut off.
_CUT_OFF = (
    ConnectionError,
    InterruptedError,
    TimeoutError,
    ProcessLookupError,
    ChildProcessError,
)

#: What tells the user of something to mend, whatever else was under way.
_FORESEEN = (InputError, RunError, OSError, MemoryError)


#: Seconds after which an interrupt that was lost is raised again.
_PAUSE = 0.05


class _Interrupts:
    """Counts Ctrl-C: the first is raised, those that come while the command closes up are not.

    Python drops an exception that is raised where none can pass, as in a callback of the garbage
    collector, and a library that is cut off while it loads may crash: the first is raised again, or
    later, until it has passed. What comes again so is no Ctrl-C of the user's, however late.
    """

    def __init__(self) -> None:
        self.first = 0.0
        self._is_due = False
        self._is_coming = self._is_again = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        is_again, self._is_again = self._is_again, False
        if not self.first:
            self.first = time.monotonic()
            self._is_due = True
            _silence()
            sys.unraisablehook = self._see_dropped
        is_late = time.monotonic() - self.first > _CLOSING and not is_again
        if self._is_due and not _is_importing(frame):
            self._is_due = False
            raise KeyboardInterrupt
        if is_late:
            os._exit(STATUS)
        if self._is_due:
            self._come_again()

    def _see_dropped(self, dropped: sys.UnraisableHookArgs) -> None:
        if isinstance(dropped.exc_value, KeyboardInterrupt):
            self._is_due = True
            self._come_again()

    def _come_again(self) -> None:
        if not self._is_coming:
            self._is_coming = True
            threading.Timer(_PAUSE, self._interrupt_main_thread).start()

    def _interrupt_main_thread(self) -> None:
        self._is_coming, self._is_again = False, True
        # not by `_thread.interrupt_main`, which wakes no thread that waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a frame is, or was called by, one that loads a module."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _silence() -> None:
    """Keep what threads and libraries say of work that is cut off from standard error."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    threading.excepthook = lambda _: None


def _comes_of_interrupt(error: BaseException) -> bool:
    """Return whether an error after Ctrl-C is of work that it cut off, rather than one to mend."""
    if isinstance(error, KeyboardInterrupt):
        return True
    causes = list(_list_causes(error))
    if any(map(_is_cut_off, causes)):
        return True
    if isinstance(error, _FORESEEN):
        return False
    return _passed_an_interrupt(error)


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, that which it was raised from, and so on."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _is_cut_off(error: BaseException) -> bool:
    """Return whether an error is of a cluster that shuts down, or of a library being loaded."""
    if isinstance(error, _CUT_OFF) or _name_package(type(error).__module__) in _CLUSTER:
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # cut off while it loads, a library may raise what it likes
    if isinstance(error, ImportError) or any(f.f_code.co_name == "<module>" for f in frames):
        return True
    return bool(frames) and _name_package(frames[-1].f_globals.get("__name__", "")) in _CLUSTER


def _name_package(module: str) -> str:
    return module.partition(".")[0]


def _passed_an_interrupt(error: BaseException) -> bool:
    """Return whether an error was raised while KeyboardInterrupt was handled, or names it."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, KeyboardInterrupt) or "KeyboardInterrupt" in str(found):
            return True
        found = found.__cause__ or found.__context__
    return False


@contextlib.contextmanager
def end_in_one_line() -> Iterator[None]:
    """End a command that Ctrl-C stops with what is done, on one line of standard error.

    An error that is not of what Ctrl-C cut off, such as a full disk, stays what it is.
    """
    interrupts = _Interrupts()
    before = signal.getsignal(signal.SIGINT)
    # only the main thread may set it
    is_ours = may_handle() and threading.current_thread() is threading.main_thread()
    if is_ours:
        signal.signal(signal.SIGINT, interrupts.handle)
    try:
        yield
    except BaseException as error:
        was_interrupted = isinstance(error, KeyboardInterrupt) or interrupts.first
        if not was_interrupted or not _comes_of_interrupt(error):
            raise
        text = str(error) if isinstance(error, KeyboardInterrupt) else ""
        sys.stdout.flush()
        click.echo(text or AGAIN, err=True)
        raise click.exceptions.Exit(STATUS) from None
    finally:
        if is_ours and not interrupts.first:
            signal.signal(signal.SIGINT, before)


def leave_on_interrupt(status: int) -> None:
    """Have Ctrl-C end the process at once, and in silence, after its command has ended."""
    sys.stdout.flush()
    if may_handle():
        signal.signal(signal.SIGINT, lambda *_: os._exit(status))
