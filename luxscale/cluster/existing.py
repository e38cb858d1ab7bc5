"""A Dask cluster that someone else started: how to reach it, and whether its workers will do."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed import Client, Security

from luxscale.errors import InputError
from luxscale.model.threads import XLA_THREADS

#: Seconds between looks for workers that joined.
_LOOK = 2.0

#: Seconds that the end of a run waits for such a look: a scheduler that stands still answers none.
_PATIENCE = 10.0


class _Client(Client):
    """Closes when it cannot start, as for want of certificates.

    Dask's is then closed by the garbage collector: if that comes while another client starts, both
    wait for one lock for good.
    """

    def start(self, **kwargs: Any) -> None:
        try:
            super().start(**kwargs)
        except BaseException:
            self.close()
            raise


@contextlib.contextmanager
def existing_cluster(
    address: str,
    *,
    tls_ca: str | Path | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
) -> Iterator[Client]:
    """Connect to a Dask scheduler that is already running.

    Parameters
    ----------
    address : str
        E.g. ``tcp://host:8786``, or ``tls://host:8786``.
    tls_ca, tls_cert, tls_key : str or Path, optional
        PEM files: authority, certificate and key of this client. What is not given comes from
        Dask's configuration (``distributed.comm.tls``).

    Yields
    ------
    distributed.Client

    Raises
    ------
    InputError
        If no scheduler answers there, or the certificates will not do.
    """
    files = {"tls_ca_file": tls_ca, "tls_client_cert": tls_cert, "tls_client_key": tls_key}
    given = {name: str(path) for name, path in files.items() if path is not None}
    if given and not address.startswith("tls://"):
        raise InputError(
            f"{address}: certificates serve tls:// addresses only; write tls://HOST:PORT"
        )
    for path in given.values():
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such certificate or key")
    security = None
    if given:
        security = Security(**given, require_encryption=True)
    try:
        # not the default of this process, which a client that cannot connect would stay
        client = _Client(address, security=security, set_as_default=False)
    except (OSError, TypeError, ValueError) as error:  # TypeError: of tls:// without certificates
        raise InputError(
            f"{address}: cannot reach a Dask scheduler there ({error}); check the address and, "
            "for tls://, the authority, certificate and key"
        ) from error
    with client, client.as_current():
        yield client


@contextlib.contextmanager
def checked_workers(client: Any, say: Callable[[str], None]) -> Iterator[None]:
    """Check the workers of a cluster, and meanwhile each that joins.

    One that joins with another version of luxscale is sent away.

    Parameters
    ----------
    client : distributed.Client
    say : callable
        Gets each remark; may be called from another thread.

    Yields
    ------
    None
        While the workers are watched.

    Raises
    ------
    InputError
        See `check_workers`.
    """
    known = set(client.nthreads())
    for remark in check_workers(client):
        say(remark)
    end = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(client, known, say, end), name="luxscale-workers", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(_PATIENCE)


def _watch(client: Any, known: set[str], say: Callable[[str], None], end: threading.Event) -> None:
    while not end.wait(_LOOK):
        # of a worker that is gone again, or the scheduler: the run says so
        with contextlib.suppress(Exception):
            there = set(client.nthreads())
            for worker in sorted(there - known):
                _check_new(client, worker, say)
            known = there


def _check_new(client: Any, worker: str, say: Callable[[str], None]) -> None:
    """Check a worker that joined."""
    try:
        for remark in check_workers(client, [worker]):
            say(remark)
    except InputError as error:
        say(f"{error}; it was sent away")
        client.retire_workers([worker])


def check_workers(client: Any, workers: Sequence[str] | None = None) -> list[str]:
    """Check that the workers of a cluster can do this package's work.

    Nothing of this package is sent to them, so that workers without it can be asked.

    Parameters
    ----------
    client : distributed.Client
    workers : sequence of str, optional
        Addresses of those to check; all if not given.

    Returns
    -------
    list of str
        What may slow the run or stop it, and what to do about it.

    Raises
    ------
    InputError
        If workers have no luxscale, or another version of it.
    """
    threads = {w: n for w, n in client.nthreads().items() if workers is None or w in workers}
    if not threads:
        return [
            "the cluster has no workers yet, so none was checked; the work waits until one comes"
        ]
    asked = list(threads)
    _check_versions(
        client.run(importlib.metadata.version, "luxscale", workers=asked, on_error="return")
    )
    limits = [client.run(os.getenv, name, workers=asked) for name in XLA_THREADS]
    free = [w for w in threads if not any(limit.get(w) for limit in limits)]
    many = [w for w, n in threads.items() if n > 1]
    remarks = []
    if free:
        remarks.append(
            f"{_name_some(free, threads)} set no limit to the threads of XLA, so each uses all "
            f"processors of its machine; set {' and '.join(XLA_THREADS)} to the processors of a "
            "worker before `dask worker` starts"
        )
    if many:
        remarks.append(
            f"{_name_some(many, threads)} run up to {max(threads.values())} tasks at a time, "
            "and each holds a region in memory; start more workers with `dask worker --nworkers N "
            "--nthreads 1` instead"
        )
    return remarks


def _check_versions(found: Mapping[str, Any]) -> None:
    ours = importlib.metadata.version("luxscale")
    for worker, version in found.items():
        if version != ours:
            has = "no luxscale" if isinstance(version, Exception) else f"luxscale {version}"
            others = sum(v != ours for v in found.values())
            raise InputError(
                f"worker {worker} has {has}, here it is {ours} ({others} of {len(found)} workers "
                f"differ); install luxscale {ours} in the environment of the workers and start "
                "them again"
            )


def _name_some(workers: list[str], of: Mapping[str, int]) -> str:
    return f"{len(workers)} of {len(of)} workers (e.g. {workers[0]})"
