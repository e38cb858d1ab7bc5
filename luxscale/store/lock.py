"""One run at a time into a store: a lock that lies in the store, and outlives no crash.

The lock is a small Zarr group inside the store's ``run`` group, whose attributes say who holds
it. It is made by a write that fails if it exists, which file systems and object stores offer alike,
and its holder changes it every few seconds. One that no longer changes, or whose process on this
machine is gone, is taken over.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from luxscale.errors import InputError, RunError
from luxscale.store.arrays import locate
from luxscale.store.atomic import RUN, explain_writing, read_attributes
from luxscale.store.objects import is_url

#: Seconds between signs of life, and for how long another run watches for one before it takes over.
BEAT, PATIENCE = 5.0, 20.0

#: Tokens of the locks that this process holds.
_OURS: set[str] = set()

#: Group of a store that is its lock.
LOCK = f"{RUN}/lock"

_KEY = f"{LOCK}/zarr.json"

#: Start of a process that is not there, or of any where the system has no /proc.
_UNKNOWN = "unknown"


class Lost(RunError):
    """Another run took the lock over."""


@contextlib.contextmanager
def hold_lock(path: str, say: Callable[[str], None] | None = None) -> Iterator[Lock]:
    """Hold the lock of a store; where nothing is, an empty group is made.

    Parameters
    ----------
    path : str
        Of the store.
    say : callable, optional
        Told what is being waited for.

    Raises
    ------
    InputError
        If another run holds it; says which, and what to do.
    CannotWrite
    """
    with explain_writing(path):
        lock = Lock(path, say)
        lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def remove_unmade(path: str) -> None:
    """Remove a local store in which there is nothing but the place of a lock that nobody holds."""
    if is_url(path) or read_attributes(path) is not None:
        return
    place = Path(path)
    held = {file.relative_to(place) for file in place.rglob("*")}
    lock = Path(_KEY).parent
    if held != {Path("zarr.json"), Path(RUN), Path(RUN, "zarr.json"), lock}:
        return
    # the directory of a lock goes first: that of a run which begins just now is not empty
    with contextlib.suppress(OSError):
        (place / lock).rmdir()
        for group in (place / RUN, place):
            (group / "zarr.json").unlink()
            group.rmdir()


class Lock:
    """The lock of one store.

    Parameters
    ----------
    path : str
        Of the store.
    say : callable, optional
    """

    def __init__(self, path: str, say: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._token = uuid.uuid4().hex
        self._say = say or (lambda text: None)
        self._place = zarr.open_group(locate(path), mode="a").require_group(RUN).store
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._show_life, name="luxscale-lock", daemon=True)
        self._lost = False

    def acquire(self) -> None:
        """Take the lock, from a run that is dead if need be.

        Raises
        ------
        InputError
        """
        self._make()
        other = self._read()
        if other.get("token") != self._token and _is_dead(other, self._is_changing):
            sync(self._place.delete(_KEY))
            self._make()
            time.sleep(BEAT / 5)  # until another run that found the same dead one has had its turn
            other = self._read()
        if other.get("token") != self._token:
            holder = f"process {other.get('pid')} on {other.get('host')}"
            raise InputError(
                f"{self._path}: another run, {holder}, is writing into it; wait for its end, or "
                "stop it and run the same command again"
            )
        _OURS.add(self._token)
        self._thread.start()

    def release(self) -> None:
        """Give the lock back, if it is still ours."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        _OURS.discard(self._token)
        # an error here would hide what ended the run; a lock left behind is taken over
        with contextlib.suppress(OSError):
            if self._read().get("token") == self._token:
                sync(self._place.delete(_KEY))

    def check(self) -> None:
        """Raise `Lost` if another run took the lock over.

        It does so only if this one gave no sign of life for a while.
        """
        if self._lost:
            raise Lost(
                f"{self._path}: another run took over, for this one gave no sign of life for "
                f"{PATIENCE:g} s; "
                "leave the rest to it"
            )

    def _show_life(self) -> None:
        """Change the lock every few seconds, until it is released or another run has it."""
        beats = 0
        while not self._end.wait(BEAT):
            beats += 1
            try:
                if self._read().get("token") != self._token:
                    self._lost = True
                    return
                sync(self._place.set(_KEY, self._make_content(beats)))
            except Exception:  # a store that is out of reach for now: the run itself will say so
                continue

    def _make(self) -> None:
        sync(self._place.set_if_not_exists(_KEY, self._make_content(0)))

    def _make_content(self, beats: int) -> Any:
        attributes = {"token": self._token, **_describe_process(), "beats": beats}
        text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes})
        return default_buffer_prototype().buffer.from_bytes(text.encode())

    def _read(self) -> dict[str, Any]:
        found = sync(self._place.get(_KEY, default_buffer_prototype()))
        if found is None:
            return {}
        try:
            return dict(json.loads(found.to_bytes())["attributes"])
        except (ValueError, KeyError):  # a lock cut short by a full disk holds nobody
            return {}

    def _is_changing(self) -> bool:
        """Return whether the lock changes while we look."""
        first = self._read()
        until = time.monotonic() + PATIENCE
        holder = f"a run on {first.get('host', 'another machine')}, process {first.get('pid')},"
        self._say(
            f"{holder} holds {self._path}; waiting up to {PATIENCE:g} s for a sign that it is alive"
        )
        while time.monotonic() < until:
            if self._read() != first:
                return True
            time.sleep(BEAT / 5)
        return False


def _is_dead(owner: dict[str, Any], is_alive: Any) -> bool:
    """Return whether the run that holds a lock is gone.

    Its process says so if it is one of this machine; else the lock is watched.
    """
    here = _describe_process()
    is_from_here = all(owner.get(key) == here[key] for key in ("host", "boot"))
    if here["started"] == _UNKNOWN or not is_from_here:
        return not is_alive()
    if all(owner.get(key) == here[key] for key in ("pid", "started")):
        # of this very process: a lock that could not be removed at the end of a run
        return owner.get("token") not in _OURS
    return bool(owner.get("started") != _read_start_time(int(owner.get("pid", 0))))


def _describe_process() -> dict[str, Any]:
    """Return what tells this process from all others, on this machine and elsewhere."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    boot_id = boot.read_text().strip() if boot.exists() else ""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "boot": boot_id + _read_namespace(),
        "pid": pid,
        "started": _read_start_time(pid),
    }


def _read_namespace() -> str:
    """Return which numbering of processes this one is in: each container has its own."""
    try:
        return f" {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _read_start_time(pid: int) -> str:
    """Return when a process of this machine started.

    A process that got the same number later is not taken for it.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        state, started = fields[0], fields[19]
    except (OSError, IndexError):
        return _UNKNOWN
    # a zombie is dead, though nobody has asked for its end
    return _UNKNOWN if state in "ZX" else started
