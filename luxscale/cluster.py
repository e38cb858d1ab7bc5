"""Clusters of worker processes, with the threads that XLA may use held to what a worker has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any


def worker_environment(threads: int) -> dict[str, str]:
    """Return environment variables that must be set before a worker imports JAX.

    Two XLA names are set because the one that counts changed between versions.
    """
    names = ("NPROC", "PJRT_NPROC", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def cpu_count() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def local_cluster(workers: int | None = None) -> Iterator[Any]:
    """Start worker processes on this machine, reached from this machine only; yields a `distributed.Client`.

    Parameters
    ----------
    workers : int, optional
        Number of processes; one a processor if not given. Each runs one task at a time.

    Notes
    -----
    Processes are spawned: a script that calls this needs ``if __name__ == "__main__":``.
    """
    import dask
    from distributed import Client, LocalCluster

    workers = workers or cpu_count()
    environment = worker_environment(max(1, cpu_count() // workers))
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": environment}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any free port: two runs on one machine do not collide
            silence_logs=40,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
