"""Where a command works: the options of clusters, and the cluster that they ask for."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from luxscale.cli.base import format_count
from luxscale.errors import InputError

#: Title of the page that Dask writes.
_TITLE = b"<title>Dask Performance Report</title>"

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

#: Seconds that a run on worker processes takes beyond its work, in which they start, import,
#: compile and end. Measured with two workers on two processors: 2.7 s on an idle machine.
_WORKERS_COST = 3.0


def _parse_range(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Read LEAST:MOST, of workers."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+):(\d+)", value)
    if match is not None:
        least, most = map(int, match.groups())
        if 1 <= least <= most:
            return least, most
    raise click.BadParameter("write LEAST:MOST, e.g. 1:20; at least 1")


_COUNT = click.IntRange(1)

#: Options of all clusters, in the order of the help text; then those of existing ones; then those
#: of SLURM.
_COMMON: dict[str, dict[str, Any]] = {
    "workers": {
        "type": click.IntRange(0),
        "help": "Worker processes; 0: no workers, run in this process. [default: one per GPU if "
        "JAX finds any, otherwise one per CPU core; 0 for small jobs]",
    },
    "adapt": {
        "callback": _parse_range,
        "metavar": "LEAST:MOST",
        "help": "Start workers when there is work for them, and stop those without work.",
    },
    "dashboard": {
        "type": click.IntRange(1, 65535),
        "is_flag": False,
        "flag_value": 8787,
        "metavar": "[PORT]",
        "help": "Show Dask's dashboard on 127.0.0.1. [port: 8787]",
    },
    "performance_report": {
        "type": click.Path(dir_okay=False),
        "metavar": "FILE.html",
        "help": "Write Dask's report of the run; an earlier one is replaced.",
    },
}
_EXISTING: dict[str, dict[str, Any]] = {
    "scheduler": {
        "metavar": "ADDRESS",
        "help": "Work on the Dask cluster of this scheduler, tcp:// or tls://.",
    },
    "tls_ca": {
        "type": _FILE,
        "help": "Certificate authority of a tls:// scheduler, PEM. [default: Dask's configuration]",
    },
    "tls_cert": {"type": _FILE, "help": "Certificate of this client, PEM."},
    "tls_key": {"type": _FILE, "help": "Key of the certificate, PEM."},
}
_SLURM: dict[str, dict[str, Any]] = {
    "slurm": {
        "is_flag": True,
        "help": "Run workers as SLURM jobs; say how many with --workers or --adapt.",
    },
    "job_workers": {"type": _COUNT, "help": "Workers in a job. [default: 1]"},
    "job_cores": {"type": _COUNT, "help": "CPU cores of a job. [default: one per worker]"},
    "job_memory": {"metavar": "SIZE", "help": "Memory of a job. [default: 3GB per worker]"},
    "walltime": {
        "metavar": "TIME",
        "help": "Wall time of a job, as SLURM writes it. [default: 1:00:00]",
    },
    "lifetime": {
        "metavar": "TIME",
        "help": "Time after which a worker passes on its work and exits, e.g. 50m. [default: 85% "
        "of the wall time, or 15 minutes less]",
    },
    "queue": {"metavar": "NAME", "help": "Partition to submit to."},
    "account": {"metavar": "NAME", "help": "Account to charge."},
    "directive": {
        "multiple": True,
        "metavar": "OPTION",
        "help": "Any option of sbatch (repeat), e.g. --directive=--gres=gpu:1",
    },
    "interface": {
        "metavar": "NAME",
        "help": "Network interface that this machine and the nodes share, e.g. ib0.",
    },
    "job_folder": {
        "type": click.Path(file_okay=False, path_type=Path),
        "help": "Shared directory for logs and certificates. [default: luxscale-slurm]",
    },
    "show_job_script": {"is_flag": True, "help": "Print the script of a job and do nothing."},
}
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
        """Yield a `distributed.Client`, or None to work in this process.

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
            if progress:
                click.echo("working in this process, which is sooner than with workers", err=True)
            yield None
            return
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
        return saving(cpu_count()) < _WORKERS_COST

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


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of clusters to a command, which gets them as one argument, ``cluster``."""

    @functools.wraps(command)
    def run_command(**arguments: Any) -> Any:
        chosen = {name: arguments.pop(name) for name in _ALL}
        ctx = click.get_current_context()
        return command(cluster=_make_cluster(ctx, chosen), **arguments)

    # the option that is added last is listed first
    for name, settings in reversed(_ALL.items()):
        add_option = click.option(_flag(name), name, **settings)
        run_command = add_option(run_command)
    return run_command


def _make_cluster(ctx: click.Context, chosen: dict[str, Any]) -> Cluster:
    """Make a Cluster of the options that were chosen, which must go together."""
    typed = click.core.ParameterSource.COMMANDLINE
    given = [name for name in _ALL if ctx.get_parameter_source(name) is typed]
    for name, others, why in _list_conflicts(chosen):
        wrong = [_flag(other) for other in given if other in others]
        if wrong:
            raise click.UsageError(f"{name}: leave out {', '.join(wrong)}; {why}")
    jobs: Any = None
    if chosen["slurm"]:
        jobs = _make_jobs(chosen)
    if chosen["show_job_script"]:
        from luxscale.cluster import job_script

        click.echo(job_script(jobs))
        ctx.exit()
    tls = {name: chosen[name] for name in ("tls_ca", "tls_cert", "tls_key") if chosen[name]}
    return Cluster(
        given=tuple(map(_flag, given)),
        workers=chosen["workers"],
        adapt=chosen["adapt"],
        dashboard=chosen["dashboard"],
        performance_report=chosen["performance_report"],
        scheduler=chosen["scheduler"],
        tls=tls,
        jobs=jobs,
    )


def _list_conflicts(chosen: dict[str, Any]) -> Iterator[tuple[str, set[str], str]]:
    """Yield options that exclude others: how the first is called, the others, and why."""
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


def _make_jobs(chosen: dict[str, Any]) -> Any:
    """Return the SLURM jobs that the options describe, which must say how many workers."""
    from luxscale.cluster import SlurmJobs

    workers = chosen["workers"]
    if not (workers or chosen["adapt"]):
        raise click.UsageError(
            "--slurm: say how many workers, with --workers N or --adapt LEAST:MOST"
        )
    least, most = chosen["adapt"] or (workers, workers)
    settings = {setting: chosen[name] for name, setting in _JOBS.items() if chosen[name]}
    return SlurmJobs(least=least, most=most, **settings)


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


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
