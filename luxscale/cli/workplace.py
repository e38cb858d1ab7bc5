"""The cluster that a command was asked to work on, or this process."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luxscale.cli.base import format_count
from luxscale.errors import InputError

if TYPE_CHECKING:
    from luxscale.runs.helpers import Helper

#: Title of the page that Dask writes.
_TITLE = b"<title>Dask Performance Report</title>"

#: Seconds that a run on worker processes takes beyond its work, in which they start, import,
#: compile and end. Measured with two workers on two processors: 2.7 s on an idle machine.
WORKERS_COST = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """The cluster that a command was asked to work on.

    Parameters
    ----------
    given : tuple of str
        Options that were given, as they are written.
    workers : int, optional
    adapt : (int, int), optional
    dashboard : int, optional
        Port.
    performance_report : str, optional
    scheduler : str, optional
    tls : dict
        Files, as `luxscale.cluster.existing_cluster` names them.
    jobs : luxscale.cluster.SlurmJobs, optional
    helpers : sequence of Helper
        Processes beside this one, which nobody asked for; they have been started.
    """

    given: tuple[str, ...] = ()
    workers: int | None = None
    adapt: tuple[int, int] | None = None
    dashboard: int | None = None
    performance_report: str | None = None
    scheduler: str | None = None
    tls: dict[str, Path] = dataclasses.field(default_factory=dict)
    jobs: Any = None
    helpers: Sequence[Helper] = dataclasses.field(default=(), compare=False)

    @property
    def cores(self) -> int | None:
        """Most cores that will work; None where that was not asked for.

        They are then all of this machine, or those of a scheduler.
        """
        from luxscale.cluster import cpu_count

        if self.jobs:
            job_cores = self.jobs.cores or self.jobs.workers
            return int(self.jobs.most * job_cores / self.jobs.workers)
        most = self.workers
        if self.adapt:
            most = self.adapt[1]
        if not most:
            return None
        return min(most, cpu_count())

    @contextlib.contextmanager
    def client(
        self,
        *,
        needed: bool = True,
        saving: Callable[[int], float] | None = None,
        progress: bool = True,
    ) -> Iterator[Any]:
        """Yield a `distributed.Client`, or None or its executor to work in this process.

        Parameters
        ----------
        needed : bool
            Whether there is anything to do; no worker is started for nothing.
        saving : callable, optional
            ``saving(workers)``: seconds that so many workers save over this process once they have
            started. Where no cluster was asked for and they save less than they cost, the work is
            done in this process. Without it, workers do it.
        progress : bool
            Whether to say on standard error what was chosen.
        """
        report = self.performance_report
        if report:
            from luxscale.store import claim_file

            claim_file(report, "performance report", _is_report, overwrite=True)
        if not needed or self.workers == 0:
            if report:
                click.echo(f"nothing is left to do: no report {report} is written", err=True)
            yield None
            return
        if saving is not None and self._is_sooner_here(saving):
            where = "this process"
            if self.helpers:
                where += f" and {len(self.helpers)} beside it"
            if progress:
                click.echo(f"working in {where}, which is sooner than with workers", err=True)
            yield self._help()
            return
        for helper in self.helpers:
            helper.stop()
        _require_bokeh(self.dashboard or report)
        with self._start(progress) as client, _write_report(report):
            if self.dashboard:
                click.echo(f"dashboard: {client.dashboard_link}", err=True)
            yield client

    def _is_sooner_here(self, saving: Callable[[int], float]) -> bool:
        """Whether this process is done before workers are, where nothing else was asked for."""
        from luxscale.cluster import cpu_count, gpus

        if self != Cluster() or gpus():
            return False
        return saving(cpu_count()) < WORKERS_COST

    def _help(self) -> Any:
        """Return the executor of this process and its helpers, if it has any."""
        if not self.helpers:
            return None
        from luxscale.runs.beside import WithHelpers

        return WithHelpers(self.helpers)

    def _start(self, progress: bool) -> contextlib.AbstractContextManager[Any]:
        """Return the cluster that was asked for, to be entered."""
        from luxscale import cluster

        if self.scheduler:
            return _check_cluster(cluster.existing_cluster(self.scheduler, **self.tls))
        if self.jobs:
            return cluster.slurm_cluster(self.jobs, dashboard=self.dashboard, progress=progress)
        workers = self.workers or len(cluster.gpus()) or cluster.cpu_count()
        first, _ = self.adapt or (workers, workers)
        if progress:
            click.echo(f"starting {format_count(first, 'worker')}", err=True)
        return cluster.local_cluster(workers, adapt=self.adapt, dashboard=self.dashboard)


@contextlib.contextmanager
def _check_cluster(opened: contextlib.AbstractContextManager[Any]) -> Iterator[Any]:
    from luxscale.cluster import checked_workers

    def warn(remark: str) -> None:
        click.echo(f"warning: {remark}", err=True)

    with opened as client, checked_workers(client, warn):
        yield client


def _write_report(path: str | None) -> contextlib.AbstractContextManager[Any]:
    """Return what writes Dask's report of the work done inside it, if a path is given."""
    if path is None:
        return contextlib.nullcontext()
    from distributed import performance_report

    report: contextlib.AbstractContextManager[Any] = performance_report(filename=path)
    return report


def _is_report(path: Path) -> bool:
    return path.is_file() and _TITLE in path.read_bytes()


def _require_bokeh(asked: Any) -> None:
    if asked and importlib.util.find_spec("bokeh") is None:
        raise InputError(
            "Dask's dashboard and report need bokeh: pip install 'luxscale[dashboard]'"
        )
