"""Compiled programs that are kept for later runs, in the user's cache directory.

A command would spend seconds, in each of its workers, on compiling what the last one compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: Environment variable that names the directory of programs, for this process and its workers;
#: where it is not set, or empty, none are kept.
PROGRAMS = "LUXSCALE_PROGRAMS"

#: Bytes of all programs from which on they are made anew.
_MOST_BYTES = 2**30

#: Where Linux says what a processor can do.
_CPU = Path("/proc/cpuinfo")


def keep_programs() -> None:
    """Have this process, and the workers that it starts, keep programs; unless told otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    os.environ.setdefault(PROGRAMS, str(Path(cache).expanduser() / "luxscale"))


def open_programs(config: Any) -> None:
    """Have JAX read and write programs in a directory that is made for processes like this one.

    Parameters
    ----------
    config : jax.config
        Left alone where it names a directory already, or where none is to be used.

    Notes
    -----
    A program is for a version, a processor and a number of threads: one that was made for others
    could give results that differ by rounding, or fail.
    """
    root = os.environ.get(PROGRAMS)
    if not root or config.jax_compilation_cache_dir:
        return
    place = Path(root) / f"jax-{version('jaxlib')}-{_describe_processor()}"
    try:
        if _count_bytes(Path(root)) > _MOST_BYTES:
            shutil.rmtree(root)
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(f"[Errno 13] Permission denied: '{place}'")
    except OSError as error:
        _say(f"compiled programs cannot be kept ({error}); set {PROGRAMS} to another directory")
        os.environ[PROGRAMS] = ""  # the workers need not say it too
        return
    config.update("jax_compilation_cache_dir", str(place))
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # JAX would warn of a damaged program whenever it is read, and leave it there
    config.update("jax_raise_persistent_cache_errors", True)


def are_open(config: Any) -> bool:
    """Return whether this process reads and writes programs by `open_programs`."""
    root, place = os.environ.get(PROGRAMS), config.jax_compilation_cache_dir
    if not (root and place and config.jax_enable_compilation_cache):
        return False
    return Path(root) in Path(place).parents


def forget_programs(config: Any) -> None:
    """Remove the programs of processes like this one, and keep no more."""
    from jax.experimental.compilation_cache import compilation_cache

    config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    with contextlib.suppress(OSError):
        shutil.rmtree(config.jax_compilation_cache_dir)


def tell_forgotten(config: Any, error: Exception) -> None:
    """Say that programs were made anew."""
    reason = (str(error).splitlines() or [""])[0]
    _say(
        f"a compiled program in {config.jax_compilation_cache_dir} cannot be read or written "
        f"({type(error).__name__}: {reason}); those there were removed, and are compiled again"
    )


def _describe_processor() -> str:
    """Return a name for what the processor can do and how many threads programs have."""
    can = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = _CPU.read_text().splitlines()
        can = next(line for line in lines if line.startswith(("flags", "Features")))
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    threads = os.environ.get("NPROC") or str(available)
    words = f"{platform.machine()} {can} {os.environ.get('XLA_FLAGS', '')}"
    return f"{hashlib.sha256(words.encode()).hexdigest()[:12]}-{threads}"


def _count_bytes(root: Path) -> int:
    return sum(file.stat().st_size for file in root.glob("*/*"))


def _say(text: str) -> None:
    print(f"luxscale: {text}", file=sys.stderr)
