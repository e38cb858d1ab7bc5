"""Memory that is freed is kept: pages that go back to the system come back zeroed, which costs more than the arithmetic."""

from __future__ import annotations

import ctypes
import functools
import sys

#: Parameters of glibc's mallopt: above which size memory is mapped, and above which free memory is given back.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGEST_INT = 2**31 - 1


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc to keep what this process frees; returns whether that could be done.

    Arrays of 35 MB that are mapped and unmapped with every region make reading 2 to 3 times slower, and inference by a
    tenth. For processes whose work is a run; what they hold at their peak, they hold on to.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return mallopt(_MMAP_THRESHOLD, _LARGEST_INT) == mallopt(_TRIM_THRESHOLD, _LARGEST_INT) == 1
