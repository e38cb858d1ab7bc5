"""Targets of runs: stores that one run fills, and that another run continues.

A catalogue, a survey made of files and a cross-validation are such targets. A run claims the
target's place, holds its lock, takes up what is there and does what is pending.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import zarr

from luxscale import store
from luxscale.errors import InputError, Interrupted
from luxscale.progress import Progress
from luxscale.runs.executors import choose_executor, describe_error
from luxscale.runs.job import Runner
from luxscale.runs.log import RunLog, describe_machine
from luxscale.schema.attributes import unpack_attribute
from luxscale.store.lock import Lock, hold_lock, remove_unmade

#: Value of the attribute ``complete`` until all that a target begins with is written; then 0, and
#: 1 when nothing is pending.
BEING_MADE = -1


_Result = TypeVar("_Result")


class Target(Protocol[_Result]):
    """A store that a run fills and another run continues."""

    @property
    def path(self) -> str:
        """Path or URL of the store."""

    @property
    def title(self) -> str:
        """Name of the work, for what is said on standard error."""

    def claim(self) -> bool:
        """Return whether there is something to continue; changes nothing.

        Raises
        ------
        InputError
            If something else is there, or what other input or settings made.
        """

    def create(self) -> Sequence[Any]:
        """Make the store, and return all items as pending."""

    def resume(self) -> Sequence[Any]:
        """Repair what is there, and return the items that are pending."""

    def fill(self, pending: Sequence[Any], runner: Runner) -> _Result:
        """Do the items that are pending, and finalise the store.

        Raises
        ------
        RunError
            Names what could not be done; all else is.
        """

    def describe_start(self, pending: Sequence[Any]) -> dict[str, Any]:
        """Return what the log says at the start of a run that has these items to do."""

    def describe_end(self, pending: Sequence[Any], result: _Result) -> dict[str, Any]:
        """Return what the log says at the end of a run that did these items."""


_Target = TypeVar("_Target", bound=Target[Any])

# a run that is open only gives its target away, so it varies with the target's type
_Target_co = TypeVar("_Target_co", bound=Target[Any], covariant=True)


@dataclasses.dataclass(frozen=True)
class OpenRun(Generic[_Target_co]):
    """A target that is open for this run alone.

    Parameters
    ----------
    target : Target
    pending : tuple
        Items to do.
    lock : Lock
        Held by this run.
    """

    target: _Target_co
    pending: tuple[Any, ...]
    lock: Lock


@contextlib.contextmanager
def open_target(target: _Target, *, progress: bool = True) -> Iterator[OpenRun[_Target]]:
    """Make a target, or take it up, for this run alone.

    Parameters
    ----------
    target : Target
    progress : bool
        Whether to say on standard error what is being waited for.

    Yields
    ------
    OpenRun

    Raises
    ------
    InputError
        If the target's path holds something else, or another run is under way into it.
    """
    store.refuse_within_stores(target.path)
    target.claim()  # before the lock is made, which would lie in somebody else's store
    try:
        with hold_lock(target.path, Progress(target.title, enabled=progress).say) as lock:
            with store.explain_writing(target.path):
                store.sweep_partial(target.path)
            # again: another run may have made it before the lock was ours
            pending = target.resume() if target.claim() else target.create()
            with say_what_is_kept():
                yield OpenRun(target, tuple(pending), lock)
    finally:
        remove_unmade(target.path)


@contextlib.contextmanager
def say_what_is_kept() -> Iterator[None]:
    """Turn an interrupt that does not say what is done into one that says how to go on.

    Raises
    ------
    Interrupted
    """
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted("stopped; what is done is kept, and the same command goes on") from None


def complete(
    run: OpenRun[Target[_Result]],
    *,
    client: Any = None,
    log: RunLog | None = None,
    progress: bool = True,
) -> _Result:
    """Do what is pending of an open target, and finalise it.

    Parameters
    ----------
    run : OpenRun
        As `open_target` yields it.
    client : distributed.Client, optional
        Without one, items are done in this process.
    log : RunLog, optional
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    object
        What the target's ``fill`` returns.

    Raises
    ------
    RunError
        Names what could not be done; all else is.
    """
    runner = Runner(
        lock=run.lock,
        executor=choose_executor(client),
        log=log or RunLog(),
        progress=progress,
    )
    with log_run(run, runner) as end:
        result = run.target.fill(run.pending, runner)
        end.update(run.target.describe_end(run.pending, result))
    return result


@contextlib.contextmanager
def log_run(run: OpenRun[Target[Any]], runner: Runner) -> Iterator[dict[str, Any]]:
    """Log how a run starts, and that it ends or by what it is stopped.

    Yields
    ------
    dict
        Empty; what is put into it the log says at the end.
    """
    runner.log.write(
        "start",
        **run.target.describe_start(run.pending),
        machine=describe_machine(),
        workers=runner.executor.count_workers(),
    )
    end: dict[str, Any] = {}
    try:
        yield end
    except BaseException as error:
        runner.log.write("stopped", seconds=runner.seconds, error=describe_error(error))
        raise
    runner.log.write("end", seconds=runner.seconds, **end)


def list_changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names whose values differ from those before, or are in one of the two alone."""
    names = dict.fromkeys([*now, *before])
    return [name for name in names if before.get(name) != now.get(name)]


def check_place(
    path: str,
    *,
    kind: str,
    store_format: str,
    identity: Mapping[str, str],
    describe_changes: Callable[[Mapping[str, str], Mapping[str, str]], list[str]] = list_changed,
) -> bool:
    """Return whether a path holds what a run may continue; changes nothing.

    Parameters
    ----------
    path : str
    kind : str
        What is filled, for messages.
    store_format : str
        Value of the attribute ``format``.
    identity : mapping of str to str
        What the store must agree on to be continued.
    describe_changes : callable
        Says what differs between the identity there and this one.

    Returns
    -------
    bool
        False where nothing is, or a store whose making was cut short.

    Raises
    ------
    InputError
        If something else is there, or what was made with another identity.
    """
    found = store.read_attributes(path)
    if found is None:
        return False
    there = found.get("format")
    if there is None:
        raise InputError(f"{path} is a Zarr store of another program; choose another path")
    if there != store_format:
        raise InputError(
            f"{path} is {store.describe_kind(there)}, not a {kind}; choose another path"
        )
    if found.get("complete") == BEING_MADE:
        return False
    if "identity" not in found:
        raise InputError(
            f"{path}: a {kind} that no run of luxscale made, or that lost what says of what it was "
            "made; it cannot be continued: choose another path"
        )
    changed = describe_changes(unpack_attribute(found["identity"]), identity)
    if changed:
        raise InputError(
            f"{path}: a {kind} made with another {' and '.join(changed)}; choose another path, or "
            "remove it and start again"
        )
    return True


def clear_place(path: str) -> None:
    """Remove all of a store but its lock, where a run was stopped before it made the store."""
    group = zarr.open_group(store.locate(path), mode="a")
    for name in set(group.keys()) - {store.RUN}:
        del group[name]
    group.attrs.clear()
