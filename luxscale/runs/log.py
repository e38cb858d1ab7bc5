"""The log of a run, one JSON object per line: versions, settings, timings, faults."""

from __future__ import annotations

import datetime
import json
import os
import platform
import socket
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from luxscale.errors import InputError
from luxscale.store import refuse_within_stores

#: How the lines of a log begin.
_BEGINNING = b'{"time": "'

_PACKAGES = (
    "luxscale",
    "jax",
    "jaxlib",
    "numpy",
    "xarray",
    "zarr",
    "dask",
    "distributed",
    "obstore",
)


class RunLog:
    """Appends events to a file as they happen; a run that is killed leaves all but its last line.

    A file that it made and wrote nothing to, as where the run is refused, is removed.

    Parameters
    ----------
    path : str or Path, optional
        Nothing is written without one; folders on the way to it are made.

    Raises
    ------
    InputError
        If it cannot be opened, or something other than a log is there.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        # unbuffered: a line is one write, whole whichever thread it comes from
        self._file: BinaryIO | None = None
        self._start = b""
        self._made: Path | None = None
        if path:
            self._made = None if Path(path).exists() else Path(path)
            self._file = _open_file(Path(path))
        if self._file and _is_cut_short(self._file):
            self._start = b"\n"

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()
        if self._made and self._made.is_file() and not self._made.stat().st_size:
            self._made.unlink()

    def write(self, event: str, **facts: Any) -> None:
        """Append an event with the time and what is known of it.

        A log that cannot be written, on a full disk say, ends no run: that is said once.
        """
        if self._file is None or self._file.closed:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        text = json.dumps({"time": now, "event": event, **facts})
        line = self._start + text.encode() + b"\n"
        try:
            written = self._file.write(line)
        except OSError as error:
            self._file.close()
            if sys.stderr is not None:
                print(
                    f"{self._file.name}: cannot be written ({error.strerror}); no log from here on",
                    file=sys.stderr,
                )
            return
        self._start = b"" if written == len(line) else b"\n"


def _open_file(path: Path) -> BinaryIO:
    refuse_within_stores(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_other_files(path)
        return open(path, "a+b", buffering=0)
    except OSError as error:
        raise InputError(
            f"{path}: the log cannot be written ({error.strerror}); choose another file (--log), "
            "or another place for what it lies beside (--out)"
        ) from error


def _refuse_other_files(path: Path) -> None:
    """Refuse to append to what no run wrote; a device, as the terminal, holds nothing."""
    is_other = path.is_dir()
    if path.is_file():
        with path.open("rb") as file:
            is_other = not _BEGINNING.startswith(file.read(len(_BEGINNING)))
    if is_other:
        raise InputError(
            f"{path}: something other than a log is there; choose another file (--log)"
        )


def _is_cut_short(file: BinaryIO) -> bool:
    """Whether a file ends within a line, as a run that was killed may leave it."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def describe_machine() -> dict[str, Any]:
    """Return what runs: host, system, versions of Python and of packages that bear on results."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }
