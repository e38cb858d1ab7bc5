"""Where a command works: the options that commands with tasks share, and the cluster that they ask for."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from luxscale.errors import InputError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

#: Seconds that a run on worker processes takes beyond its work: they start, import, compile and end.
#: Measured with two workers on two processors.
_WORKERS_COST = 4.0


def _range(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read LEAST:MOST, of workers."""
    if value is None:
        return None
    least, _, most = value.partition(":")
    if not (least.isdigit() and most.isdigit() and 1 <= int(least) <= int(most)):
        raise click.BadParameter("write LEAST:MOST, e.g. 1:20; at least 1")
    return int(least), int(most)


_COUNT = click.IntRange(1)

#: Options of all clusters, in the order of the help text; then those of existing ones; then those
#: of SLURM.
_COMMON: dict[str, dict[str, Any]] = {
    "workers": {"type": click.IntRange(0), "help": "Worker processes; 0 works in this process. [default: one a GPU "
                "where JAX has any, else one a processor, and 0 where that is sooner]"},
    "adapt": {"callback": _range, "metavar": "LEAST:MOST", "help": "Workers come and go as there is work."},
    "dashboard": {"type": click.IntRange(1, 65535), "is_flag": False, "flag_value": 8787, "metavar": "[PORT]",
                  "help": "Show Dask's dashboard on 127.0.0.1. [port: 8787]"},
    "performance_report": {"type": click.Path(dir_okay=False), "metavar": "FILE.html",
                           "help": "Write Dask's report of the run."},
}  # fmt: skip
_EXISTING: dict[str, dict[str, Any]] = {
    "scheduler": {
        "metavar": "ADDRESS",
        "help": "Use the Dask cluster of this scheduler, tcp:// or tls://.",
    },
    "tls_ca": {
        "type": _FILE,
        "help": "Authority of a tls:// scheduler, PEM. [default: Dask's configuration]",
    },
    "tls_cert": {"type": _FILE, "help": "Certificate to show it, PEM."},
    "tls_key": {"type": _FILE, "help": "Key of the certificate, PEM."},
}
_SLURM: dict[str, dict[str, Any]] = {
    "slurm": {"is_flag": True, "help": "Workers are SLURM jobs; say how many with --workers or --adapt."},
    "job_workers": {"type": _COUNT, "help": "Workers a job. [default: 1]"},
    "job_cores": {"type": _COUNT, "help": "Processors a job. [default: one a worker]"},
    "job_memory": {"metavar": "SIZE", "help": "Memory a job. [default: 3GB a worker]"},
    "walltime": {"metavar": "TIME", "help": "Of a job, as SLURM writes it. [default: 1:00:00]"},
    "lifetime": {"metavar": "TIME", "help": "After which a worker hands over and ends, e.g. 50m. [default: 85% of "
                 "the wall time, or 15 minutes less]"},
    "queue": {"metavar": "NAME", "help": "Partition."},
    "account": {"metavar": "NAME", "help": "Account to charge."},
    "directive": {"multiple": True, "metavar": "OPTION", "help": "Any option of sbatch (repeat), e.g. "
                  "--directive=--gres=gpu:1"},
    "interface": {"metavar": "NAME", "help": "Network interface that this machine and the nodes share, e.g. ib0."},
    "job_folder": {"type": click.Path(file_okay=False, path_type=Path), "help": "Shared directory for logs and "
                   "certificates. [default: luxscale-slurm]"},
    "show_job_script": {"is_flag": True, "help": "Print the script of a job and do nothing."},
}  # fmt: skip
_ALL = {**_COMMON, **_EXISTING, **_SLURM}

#: Options of SLURM by the names that `luxscale.cluster.SlurmJobs` has for them.
_JOBS = {
    "job_workers": "workers",
    "job_cores": "cores",
    "job_memory": "memory",
    "walltime": "walltime",
    "lifetime": "lifetime",
    "queue": "queue",
    "account": "account",
    "directive": "directives",
    "interface": "interface",
    "job_folder": "folder",
}


@dataclasses.dataclass(frozen=True)
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
    """

    given: tuple[str, ...] = ()
    workers: int | None = None
    adapt: tuple[int, int] | None = None
    dashboard: int | None = None
    performance_report: str | None = None
    scheduler: str | None = None
    tls: dict[str, Path] = dataclasses.field(default_factory=dict)
    jobs: Any = None

    @property
    def cores(self) -> int | None:
        """Most cores that will work, or None where that is not asked for: all of this machine, or those of a scheduler."""
        from luxscale.cluster import cpu_count

        if self.jobs:
            return int(self.jobs.most * (self.jobs.cores or self.jobs.workers) / self.jobs.workers)
        most = self.adapt[1] if self.adapt else self.workers
        return min(most, cpu_count()) if most else None

    @contextlib.contextmanager
    def client(
        self,
        *,
        needed: bool = True,
        saving: Callable[[int], float] | None = None,
        progress: bool = True,
    ) -> Iterator[Any]:
        """Yield a `distributed.Client`, or None to work in this process, as when there is nothing to do.

        Parameters
        ----------
        needed : bool
            Whether there is anything to do.
        saving : callable, optional
            ``saving(workers)``: seconds that so many workers save over this process once they have
            started. Where no cluster was asked for and they save less than they cost, the work is
            done in this process. Without it, workers do it.
        progress : bool
            Whether to say on standard error what was chosen.
        """
        if not needed or self.workers == 0:
            if self.performance_report:
                click.echo(
                    f"nothing is left to do: no report {self.performance_report} is written",
                    err=True,
                )
            yield None
            return
        if saving is not None and self._is_sooner_here(saving):
            if progress:
                click.echo("working in this process, which is sooner than with workers", err=True)
            yield None
            return
        _require_bokeh(self.dashboard or self.performance_report)
        with self._start(progress) as client, _reporting(self.performance_report):
            if self.dashboard:
                click.echo(f"dashboard: {client.dashboard_link}", err=True)
            yield client

    def _is_sooner_here(self, saving: Callable[[int], float]) -> bool:
        """Whether this process is done before workers are, where nothing else was asked for."""
        from luxscale.cluster import cpu_count, gpus

        if self != Cluster() or gpus():
            return False
        return saving(cpu_count()) < _WORKERS_COST

    def _start(self, progress: bool) -> contextlib.AbstractContextManager[Any]:
        from luxscale import cluster

        if self.scheduler:
            return _checked(cluster.existing_cluster(self.scheduler, **self.tls))
        if self.jobs:
            return cluster.slurm_cluster(self.jobs, dashboard=self.dashboard, progress=progress)
        workers = self.workers or len(cluster.gpus()) or cluster.cpu_count()
        if progress:
            least = self.adapt[0] if self.adapt else workers
            click.echo(f"starting {least} worker{'s' if least > 1 else ''}", err=True)
        return cluster.local_cluster(workers, adapt=self.adapt, dashboard=self.dashboard)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of clusters to a command, which gets what they say as one argument, ``cluster``."""

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> Any:
        chosen = {name: arguments.pop(name) for name in _ALL}
        return command(cluster=_choose(click.get_current_context(), chosen), **arguments)

    for name, settings in reversed(_ALL.items()):
        wrapped = click.option(_flag(name), name, **settings)(wrapped)
    return wrapped


def _choose(ctx: click.Context, chosen: dict[str, Any]) -> Cluster:
    given = [
        n for n in _ALL if ctx.get_parameter_source(n) is click.core.ParameterSource.COMMANDLINE
    ]
    for name, others, why in _conflicts(chosen):
        wrong = [_flag(n) for n in given if n in others]
        if wrong:
            raise click.UsageError(f"{name}: leave out {', '.join(wrong)}; {why}")
    jobs: Any = _jobs(chosen) if chosen["slurm"] else None
    if chosen["show_job_script"]:
        from luxscale.cluster import job_script

        click.echo(job_script(jobs))
        ctx.exit()
    tls = {n: chosen[n] for n in ("tls_ca", "tls_cert", "tls_key") if chosen[n]}
    same = {
        n: chosen[n] for n in ("workers", "adapt", "dashboard", "performance_report", "scheduler")
    }
    return Cluster(given=tuple(map(_flag, given)), tls=tls, jobs=jobs, **same)


def _conflicts(chosen: dict[str, Any]) -> Iterator[tuple[str, set[str], str]]:
    """Options that exclude others: how the first is called, the others, and why."""
    if chosen["scheduler"]:
        yield (
            "--scheduler",
            {"workers", "adapt", "dashboard", *_SLURM},
            "that cluster has workers and a dashboard",
        )
    else:
        yield "without --scheduler", set(_EXISTING), "they serve to reach one"
    if not chosen["slurm"]:
        yield "without --slurm", set(_SLURM), "they describe SLURM jobs"
    if chosen["adapt"]:
        yield "--adapt", {"workers"}, "it says how many"
    if chosen["workers"] == 0:
        yield (
            "--workers 0",
            {"dashboard", "performance_report", "slurm"},
            "there is no cluster in this process",
        )


def _jobs(chosen: dict[str, Any]) -> Any:
    from luxscale.cluster import SlurmJobs

    if not (chosen["workers"] or chosen["adapt"]):
        raise click.UsageError(
            "--slurm: say how many workers, with --workers N or --adapt LEAST:MOST"
        )
    least, most = chosen["adapt"] or (chosen["workers"], chosen["workers"])
    return SlurmJobs(
        least, most, **{of: chosen[name] for name, of in _JOBS.items() if chosen[name]}
    )


@contextlib.contextmanager
def _checked(opened: contextlib.AbstractContextManager[Any]) -> Iterator[Any]:
    from luxscale.cluster import checked_workers

    with (
        opened as client,
        checked_workers(client, lambda remark: click.echo(f"warning: {remark}", err=True)),
    ):
        yield client


def _reporting(path: str | None) -> contextlib.AbstractContextManager[Any]:
    if path is None:
        return contextlib.nullcontext()
    from distributed import performance_report

    report: contextlib.AbstractContextManager[Any] = performance_report(filename=path)
    return report


def _require_bokeh(asked: Any) -> None:
    if asked and importlib.util.find_spec("bokeh") is None:
        raise InputError(
            "Dask's dashboard and report need bokeh: pip install 'luxscale[dashboard]'"
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
