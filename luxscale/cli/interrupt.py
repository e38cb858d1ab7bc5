"""Ctrl-C in a command: one line on standard error, and exit status 130."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from types import FrameType

import click

#: Of a command that a signal ended, as shells have it: 128 and the number of the signal.
STATUS = 128 + signal.SIGINT

#: Seconds in which a command that was interrupted closes up; Ctrl-C after that ends it at once.
_CLOSING = 10.0

_AGAIN = "stopped; run the same command again"


class _Interrupts:
    """Counts Ctrl-C: the first is raised, those that come while the command closes up are not."""

    def __init__(self) -> None:
        self.first = 0.0

    def handle(self, number: int, frame: FrameType | None) -> None:
        if not self.first:
            self.first = time.monotonic()
            _silence()
            raise KeyboardInterrupt
        if time.monotonic() - self.first > _CLOSING:
            os._exit(STATUS)


def _silence() -> None:
    """Keep what threads and libraries say of work that is cut off from standard error."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    threading.excepthook = lambda _: None


@contextlib.contextmanager
def end_in_one_line() -> Iterator[None]:
    """End a command that Ctrl-C stops with what is done, on one line of standard error."""
    interrupts = _Interrupts()
    before = signal.getsignal(signal.SIGINT)
    # what runs in the background ignores it, and only the main thread may set it
    is_ours = before is signal.default_int_handler
    is_ours &= threading.current_thread() is threading.main_thread()
    if is_ours:
        signal.signal(signal.SIGINT, interrupts.handle)
    try:
        yield
    except BaseException as error:
        # cut off while it loads, a library may raise what it likes
        if not isinstance(error, KeyboardInterrupt) and not interrupts.first:
            raise
        text = str(error) if isinstance(error, KeyboardInterrupt) else ""
        sys.stdout.flush()
        click.echo(text or _AGAIN, err=True)
        raise click.exceptions.Exit(STATUS) from None
    finally:
        if is_ours and not interrupts.first:
            signal.signal(signal.SIGINT, before)


def leave_on_interrupt(status: int) -> None:
    """Have Ctrl-C end the process at once, and in silence, after its command has ended."""
    sys.stdout.flush()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(status))
