"""The threads that this process may compute with."""

from __future__ import annotations

import os

#: Variables that limit the threads of XLA on the CPU; two, because the one that counts changed
#: between versions.
XLA_THREADS = ("NPROC", "PJRT_NPROC")


def count_threads() -> int:
    """Return the threads that this process may compute with."""
    for name in XLA_THREADS:
        if os.environ.get(name, "").isdecimal():
            return max(1, int(os.environ[name]))
    return cpu_count()


def cpu_count() -> int:
    """Return the number of processors that this process may use.

    Returns
    -------
    int
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
