"""Where a command works: the options of clusters."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from luxscale.cli.workplace import Cluster

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


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


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
