"""Worker processes on this machine."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import signal
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

import dask
from distributed import Client, LocalCluster, Worker
from distributed.system import MEMORY_LIMIT

from luxscale.cluster.environment import (
    DASK_SETTINGS,
    environment,
    gpus,
    worker_environment,
)
from luxscale.errors import RunError
from luxscale.model.threads import cpu_count

#: A worker that restarts is waited for however slow the machine, one that gives no sign of life for
#: a minute is replaced, and none is paused for its memory: what it has freed it keeps, so it would
#: never wake.
_SETTINGS = {
    "distributed.deploy.lost-worker-timeout": "1h",
    "distributed.scheduler.worker-ttl": "60 s",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    **DASK_SETTINGS,
}

#: What the resource tracker does not say.
_UNSAID = "ignore::UserWarning:multiprocessing.resource_tracker"

#: Seconds that a worker which ends waits for the answer to its last heartbeat; its nanny, with less
#: patience, kills it before.
_LAST_HEARTBEAT = 10.0


@contextlib.contextmanager
def local_cluster(
    workers: int | None = None,
    *,
    adapt: tuple[int, int] | None = None,
    dashboard: int | None = None,
) -> Iterator[Client]:
    """Start worker processes on this machine, reached from this machine only.

    Parameters
    ----------
    workers : int, optional
        Number of processes, each of which runs one task at a time; if not given, one per GPU if JAX
        finds any, otherwise one per CPU core.
    adapt : (int, int), optional
        Least and greatest number of processes, started and stopped as there is work; instead of
        ``workers``.
    dashboard : int, optional
        Port of Dask's dashboard on 127.0.0.1 (needs the extra ``dashboard``); without it there is
        none.

    Yields
    ------
    distributed.Client

    Raises
    ------
    RunError
        If a process ends while it starts.

    Notes
    -----
    Processes are spawned: a script that calls this needs ``if __name__ == "__main__":``.

    Examples
    --------
    >>> from luxscale.cluster import local_cluster
    >>> with local_cluster(2) as client:  # doctest: +SKIP
    ...     lux.label_survey("survey.zarr", "model.zarr", "catalog.zarr", client=client)
    """
    devices = gpus()
    count = workers or len(devices) or cpu_count()
    least, most = adapt or (count, count)
    with (
        dask.config.set(_SETTINGS),
        environment(worker_environment(max(1, cpu_count() // most))),
        _Cluster(devices, memory_limit=MEMORY_LIMIT // most, **_network(dashboard)) as cluster,
        Client(cluster) as client,
    ):
        cluster.start(least)
        if adapt:
            cluster.adapt(minimum=least, maximum=most)
        yield client


def _network(dashboard: int | None) -> dict[str, Any]:
    """Return what keeps a scheduler to this machine.

    Without a dashboard it serves its metrics all the same, on any free port.
    """
    return {
        "host": "127.0.0.1",
        "dashboard_address": f"127.0.0.1:{dashboard or 0}",
        "scheduler_kwargs": {"dashboard": dashboard is not None},
    }


class _Worker(Worker):
    """A Worker that closes its connections when no heartbeat is under way.

    Dask's cuts off one that is, which then reports a scheduler that it cannot reach, with a
    traceback, at the end of a run that went well.
    """

    _heartbeat_task: asyncio.Task[Any] | None = None

    async def heartbeat(self) -> None:
        self._heartbeat_task = asyncio.current_task()
        try:
            await super().heartbeat()
        finally:
            self._heartbeat_task = None

    async def close(self, *args: Any, **options: Any) -> str | None:  # type: ignore[override]
        self.periodic_callbacks["heartbeat"].stop()
        last = self._heartbeat_task
        # a heartbeat closes the worker that the scheduler does not know, and cannot wait for itself
        if last is not None and last is not asyncio.current_task():
            await asyncio.wait([last], timeout=_LAST_HEARTBEAT)
        return await super().close(*args, **options)


class _Cluster(LocalCluster):
    """A LocalCluster whose workers have a GPU each, where there are any."""

    def __init__(self, devices: Sequence[str], **options: Any) -> None:
        self._devices = devices
        super().__init__(
            n_workers=0, threads_per_worker=1, processes=True, silence_logs=40, **options
        )

    def start(self, n: int) -> None:
        """Start workers, and wait until all have.

        `scale` would leave it to the log that one did not.

        Raises
        ------
        RunError
        """
        while len(self.worker_spec) < n:
            self.worker_spec.update(self.new_worker_spec())
        loop: Any = self.loop
        starting = asyncio.run_coroutine_threadsafe(self._start_workers(), loop.asyncio_loop)
        try:
            starting.result()
        except KeyboardInterrupt:
            # Dask cannot close a cluster while its workers start
            concurrent.futures.wait([starting])
            raise
        except RuntimeError as error:
            raise RunError(
                f"a worker process ended while it started ({error}); in a script, start workers "
                f"below `if __name__ == '__main__':`, since each imports it; else see that the "
                f"machine has memory for {n} of them, and run the same command again"
            ) from error

    async def _start_workers(self) -> None:
        # Ctrl-C is for the main process, which ends the run and with it the workers. This thread
        # starts their processes, which inherit what it blocks; the resource tracker, when it
        # starts, would lift the block.
        start_resource_tracker()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        await self

    def new_worker_spec(self) -> dict[Any, Any]:
        made: dict[Any, Any] = super().new_worker_spec()
        made = {
            name: {**spec, "options": {**spec["options"], "worker_class": _Worker}}
            for name, spec in made.items()
        }
        if self._devices:
            made = {
                name: pin_to_free_gpu(spec, self._devices, self.worker_spec.values())
                for name, spec in made.items()
            }
        return made


def start_resource_tracker() -> None:
    """Start the process that tidies up after workers that are killed, in silence."""
    with environment({"PYTHONWARNINGS": _UNSAID}):
        resource_tracker.ensure_running()


def pin_to_free_gpu(
    spec: dict[str, Any], devices: Sequence[str], others: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Return the specification of a worker, with the GPU that fewest of the others have.

    CUDA reads the variable when the worker's first task opens a device, after the worker has
    started.
    """
    taken = [other["options"]["env"]["CUDA_VISIBLE_DEVICES"] for other in others]
    env = {"CUDA_VISIBLE_DEVICES": min(devices, key=taken.count)}
    return {**spec, "options": {**spec["options"], "env": env}}
