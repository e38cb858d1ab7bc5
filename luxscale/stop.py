"""How a command ends that Ctrl-C stops: its exit status, and what it does before it has begun.

This module needs nothing but Python: it is loaded first.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

#: Of a command that a signal ended, as shells have it: 128 and the number of the signal.
STATUS = 128 + signal.SIGINT

AGAIN = "stopped; run the same command again"


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End the process in one line of standard error: what Ctrl-C does where no work is under way.

    An exception would be dropped where none can pass, as while a module loads, and the command
    would go on.
    """
    try:
        os.write(2, f"{AGAIN}\n".encode())
    finally:
        os._exit(STATUS)


def may_handle() -> bool:
    """Return whether Ctrl-C is the command's: a process in the background ignores it."""
    return signal.getsignal(signal.SIGINT) in (signal.default_int_handler, end_at_once)
