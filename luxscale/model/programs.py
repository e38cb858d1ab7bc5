"""Compiled programs that are kept for later runs, in the user's cache directory.

A command would spend seconds, in each of its workers, on compiling what the last one compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: Environment variable that names the directory of programs, for this process and its workers;
#: where it is not set, or empty, none are kept.
PROGRAMS = "LUXSCALE_PROGRAMS"

#: Bytes of all programs from which on the oldest half is removed.
_MOST_BYTES = 2**30

#: Ends of the names of programs, and of those that are being written.
_COMPLETE, _PARTIAL = ".program", ".partial"

#: Where Linux says what a processor is and can do, and the words for it.
_CPU = Path("/proc/cpuinfo")
_CPU_WORDS = ("vendor_id", "cpu family", "model", "flags", "CPU", "Features")

#: Bits of the mode of a directory into which others than its owner may write.
_OTHERS_WRITE = 0o022


def keep_programs() -> None:
    """Have this process, and the workers that it starts, keep programs; unless told otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # a user without a home has no such directory
    root = str(Path(cache, "luxscale")) if Path(cache).is_absolute() else ""
    os.environ.setdefault(PROGRAMS, root)


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
    place = Path(root).absolute() / f"jax-{version('jaxlib')}-{_describe_processor()}"
    try:
        _make_private(place)
    except OSError as error:
        _say_unkept(error)
        return
    try:
        from jax._src import compilation_cache
    except ImportError:  # it is JAX's to move: programs are then compiled anew, as without this
        return
    # JAX's own would show others what is half written, and run what is damaged
    _Opened.programs = Programs(place)
    compilation_cache._cache = _Opened.programs  # type: ignore[assignment]
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def get_opened() -> Programs | None:
    """Return the programs that this process keeps, if it keeps any."""
    return _Opened.programs


class Programs:
    """The programs in a directory: files that begin with a checksum, and appear when complete.

    What JAX asks of its cache, and where what else is kept lies. Any of them may go at any time.

    Parameters
    ----------
    place : Path
    """

    def __init__(self, place: Path) -> None:
        self._path = place
        self._is_kept = True
        self._has_put = False
        self._has_told = False

    def get(self, key: str) -> bytes | None:
        """Return a program; None if there is none, or it is damaged."""
        file = self._path / f"{key}{_COMPLETE}"
        try:
            content = file.read_bytes()
        except OSError:
            return None
        size = hashlib.sha256().digest_size
        program = content[size:]
        if content[:size] == hashlib.sha256(program).digest():
            return program
        with contextlib.suppress(OSError):
            file.unlink()
        if not self._has_told:
            self._has_told = True
            _say(f"what was kept in {self._path} is damaged; it is made again")
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keep a program."""
        if not self._is_kept:
            return
        try:
            _make_private(self._path)  # again, where somebody removed it
            if not self._has_put:  # to look at thousands of files takes as long as to read one
                _remove_old(self._path.parent)
            self._has_put = True
            _write(self._path / f"{key}{_COMPLETE}", hashlib.sha256(value).digest() + value)
        except OSError as error:
            self._is_kept = False
            _say_unkept(error)


class _Opened:
    """What this process has opened."""

    programs: Programs | None = None


def _make_private(place: Path) -> None:
    """Make a directory and that above it, which nobody else may write to: programs are run.

    Raises
    ------
    OSError
    """
    for folder in (place.parent, place):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.getuid() or found.st_mode & _OTHERS_WRITE:
            raise PermissionError(f"{folder} is not this user's alone to write to")


def _write(file: Path, content: bytes) -> None:
    """Write a file that appears when it is complete.

    Raises
    ------
    OSError
    """
    descriptor, name = tempfile.mkstemp(suffix=_PARTIAL, dir=file.parent)
    try:
        with open(descriptor, "wb") as made:
            made.write(content)
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _remove_old(root: Path) -> None:
    """Remove the oldest programs where all take too many bytes; others may do so meanwhile."""
    found = []
    for file in root.glob("jax-*/*"):
        if file.suffix in (_COMPLETE, _PARTIAL):
            with contextlib.suppress(FileNotFoundError):
                about = file.stat()
                found.append((about.st_mtime, about.st_size, file))
    total = sum(size for _, size, _ in found)
    if total <= _MOST_BYTES:
        return
    for _, size, file in sorted(found):
        file.unlink(missing_ok=True)
        total -= size
        if total <= _MOST_BYTES // 2:
            return


def _describe_processor() -> str:
    """Return a name for the processor, what it can do, and how many threads programs have."""
    about = [platform.machine(), platform.processor(), os.environ.get("XLA_FLAGS", "")]
    with contextlib.suppress(OSError):
        first, _, _ = _CPU.read_text().partition("\n\n")
        about += [line for line in first.splitlines() if line.startswith(_CPU_WORDS)]
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    threads = os.environ.get("NPROC") or str(available)
    return f"{hashlib.sha256(' '.join(about).encode()).hexdigest()[:12]}-{threads}"


def _say_unkept(error: OSError) -> None:
    _say(f"compiled programs cannot be kept ({error}); set {PROGRAMS} to another directory")
    os.environ[PROGRAMS] = ""  # workers that start from now on need not say it too


def _say(text: str) -> None:
    print(f"luxscale: {text}", file=sys.stderr)
