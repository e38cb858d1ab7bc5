"""The log of a run, a JSON object a line: versions, settings, timings, faults."""

from __future__ import annotations

import datetime
import json
import platform
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

_PACKAGES = ("luxscale", "jax", "jaxlib", "numpy", "xarray", "zarr", "dask", "distributed", "obstore")


class RunLog:
    """Appends events to a file as they happen, so that a run that is killed leaves all but its last line.

    Parameters
    ----------
    path : str or Path, optional
        Nothing is written without one.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._file: IO[str] | None = open(path, "a", encoding="utf-8") if path else None  # noqa: SIM115

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def write(self, event: str, **facts: Any) -> None:
        """Append an event with the time and what is known of it."""
        if self._file and not self._file.closed:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
            self._file.write(json.dumps({"time": now, "event": event, **facts}) + "\n")
            self._file.flush()


def machine() -> dict[str, Any]:
    """Return what runs: host, processor, versions of Python and of the packages that bear on results."""
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
