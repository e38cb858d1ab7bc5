"""Workers as SLURM jobs, through dask-jobqueue (the extra ``slurm``)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
from dask.utils import parse_bytes, parse_timedelta
from distributed import Client, Security

from luxscale.cluster.environment import worker_environment
from luxscale.errors import InputError
from luxscale.progress import Progress

#: Seconds between looks at the queue while no worker has come.
_LOOK = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlurmJobs:
    """What to ask SLURM for.

    Parameters
    ----------
    least, most : int
        Workers to keep; between the two, jobs come and go as there is work. Jobs that end are
        replaced.
    workers : int
        Workers per job; more than one for clusters that allot whole nodes.
    cores : int, optional
        CPU cores per job, shared among its workers; one per worker if not given.
    memory : str, optional
        Memory a job, e.g. ``"3GB"``; 3 GB a worker if not given.
    walltime : str
        As SLURM writes it: ``minutes``, ``hours:minutes:seconds``, ``days-hours``, ...
    lifetime : str, optional
        Time after which a worker hands its work on and ends, e.g. ``"50m"``; 85% of the wall time,
        or 15 minutes less, if not given.
    queue, account : str, optional
        Partition and account; Dask's ``jobqueue.slurm`` configuration, else SLURM's default.
    directives : tuple of str
        Further options of ``sbatch``, e.g. ``"--gres=gpu:1"``.
    interface : str, optional
        Network interface, e.g. ``ib0``, over which this machine and the nodes reach each other.
    folder : Path
        Directory, shared with the nodes, for the logs of jobs and the certificates of this run.
    """

    least: int
    most: int
    workers: int = 1
    cores: int | None = None
    memory: str | None = None
    walltime: str = "1:00:00"
    lifetime: str | None = None
    queue: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    interface: str | None = None
    folder: Path = Path("luxscale-slurm")


@contextlib.contextmanager
def slurm_cluster(
    jobs: SlurmJobs, *, dashboard: int | None = None, progress: bool = True
) -> Iterator[Client]:
    """Start workers as SLURM jobs, and wait until the first has come.

    Scheduler and workers speak TLS with certificates made for this run: the network is shared with
    others.

    Parameters
    ----------
    jobs : SlurmJobs
    dashboard : int, optional
        Port of Dask's dashboard on 127.0.0.1 (needs the extra ``dashboard``); without it there is
        none.
    progress : bool
        Whether to say on standard error what is being waited for.

    Yields
    ------
    distributed.Client

    Raises
    ------
    InputError
        If the extra or SLURM is missing, SLURM refuses the job, or all jobs end before a worker has
        come.
    """
    cls, options = _make_cluster_class(), _job_options(jobs)
    _submit_nothing(jobs)
    scheduler = {
        "dashboard": dashboard is not None,
        "dashboard_address": f"127.0.0.1:{dashboard or 0}",
    }
    with contextlib.ExitStack() as stack:
        security = stack.enter_context(_certificates(jobs.folder))
        try:
            cluster = stack.enter_context(
                cls(security=security, scheduler_options=scheduler, **options)
            )
        except (RuntimeError, ValueError) as error:  # e.g. no such network interface
            raise InputError(f"the Dask scheduler could not start: {error}") from error
        client = stack.enter_context(Client(cluster))
        # also where the two are equal: a cluster of a fixed size never replaces jobs that ended
        cluster.adapt(minimum=jobs.least, maximum=jobs.most)
        _await_worker(cluster, client, jobs, Progress("SLURM", enabled=progress))
        yield client


def job_script(jobs: SlurmJobs) -> str:
    """Return the script of a job.

    The addresses and names in angle brackets are filled in when a run starts.

    Parameters
    ----------
    jobs : SlurmJobs

    Returns
    -------
    str

    Raises
    ------
    InputError
        If the extra is missing, or a setting cannot be.

    Examples
    --------
    >>> from luxscale.cluster import SlurmJobs, job_script
    >>> print(job_script(SlurmJobs(least=1, most=20, walltime="30:00")))
    #!/usr/bin/env bash
    ...
    #SBATCH -t 30:00
    ...
    """
    cls, options = _make_cluster_class(), _job_options(jobs)
    security = _security("<authority>", "<certificate>", "<key>")
    job = cls.job_cls(
        "tls://<scheduler>", name="<name>", protocol="tls://", security=security, **options
    )
    return str(job.job_script())


def _job_options(jobs: SlurmJobs) -> dict[str, Any]:
    cores, memory = jobs.cores or jobs.workers, jobs.memory or f"{3 * jobs.workers}GB"
    if cores < jobs.workers:
        raise InputError(
            f"{jobs.workers} workers need as many processors, but a job has {cores}; ask for more "
            "cores"
        )
    try:
        parse_bytes(memory)
    except ValueError:
        raise InputError(f"memory of a job: {memory!r} is no size; write e.g. 8GB") from None
    lifetime, stagger = _choose_lifetime(jobs)
    exports = [f"export {k}={v}" for k, v in worker_environment(cores // jobs.workers).items()]
    return {
        "job_name": "luxscale",
        "cores": jobs.workers,  # tasks at a time; XLA's threads have the rest
        "processes": jobs.workers,
        "job_cpu": cores,
        "memory": memory,
        "walltime": jobs.walltime,
        "queue": jobs.queue,
        "account": jobs.account,
        "interface": jobs.interface,
        "job_extra_directives": list(jobs.directives),
        "job_script_prologue": [*dask.config.get("jobqueue.slurm.job-script-prologue"), *exports],
        "worker_extra_args": [
            "--lifetime",
            f"{lifetime:.0f}s",
            "--lifetime-stagger",
            f"{stagger:.0f}s",
            "--no-dashboard",
        ],
        "log_directory": str(jobs.folder.absolute()),
    }


def _choose_lifetime(jobs: SlurmJobs) -> tuple[float, float]:
    """Return the seconds after which a worker ends, and by how much they differ among workers.

    They differ so that workers do not all end at once.
    """
    wall = _read_walltime(jobs.walltime)
    margin = min(0.15 * wall, 900.0)
    if jobs.lifetime is not None:
        try:
            margin = wall - parse_timedelta(jobs.lifetime)
        except (ValueError, KeyError):
            raise InputError(f"lifetime: {jobs.lifetime!r} is no time; write e.g. 50m") from None
        if not 0 < margin < wall:
            raise InputError(
                f"a lifetime of {jobs.lifetime} does not end before the wall time, {jobs.walltime}"
            )
    return wall - margin, min(margin, wall - margin) / 3


def _read_walltime(walltime: str) -> float:
    """Return the seconds of a time as SLURM writes it.

    That is minutes, minutes:seconds, hours:minutes:seconds or days-hours[:minutes[:seconds]].
    """
    days, _, clock = walltime.rpartition("-")
    try:
        parts = [int(p) for p in clock.split(":")]
        if days or len(parts) == 3:
            hours, minutes, seconds = (*parts, 0, 0)[:3]
        else:
            hours, (minutes, seconds) = 0, (*parts, 0)[:2]
        hours += 24 * int(days or 0)
        total = 3600 * hours + 60 * minutes + seconds
    except ValueError:
        total = 0
    if total <= 0 or len(parts) > 3:
        raise InputError(
            f"wall time: {walltime!r} is no time of SLURM's; write HOURS:MINUTES:SECONDS"
        )
    return float(total)


def _submit_nothing(jobs: SlurmJobs) -> None:
    """Ask SLURM whether it would take the job.

    A job that is refused later is only seen as a worker that never comes.
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            "there is no sbatch on this machine; run on a node of the cluster from which jobs "
            "are submitted"
        )
    script = job_script(jobs)
    answer = subprocess.run(
        ["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise InputError(
            f"SLURM refuses the job: {answer.stderr.strip()}; look at it with --show-job-script"
        )


def _await_worker(cluster: Any, client: Client, jobs: SlurmJobs, progress: Progress) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            return client.wait_for_workers(1, timeout=_LOOK)
        ids = [str(job.job_id) for job in cluster.workers.values() if job.job_id]
        if ids and not _any_queued(ids):
            raise InputError(
                f"the SLURM jobs {', '.join(ids)} ended before a worker reached the scheduler at "
                f"{cluster.scheduler_address}; their logs lie in {jobs.folder}, and "
                "--interface names the network"
            )
        progress.say(
            f"waiting for the first of {len(ids)} jobs to start "
            f"({', '.join(ids) or 'none submitted yet'})"
        )


def _any_queued(ids: list[str]) -> bool:
    """Return whether SLURM has any of these jobs still.

    It may fail on jobs that it has forgotten, and then lists the others.
    """
    command = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(ids)}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return bool(listed.stdout.strip())


@contextlib.contextmanager
def _certificates(folder: Path) -> Iterator[Security]:
    """Make a certificate and key for one run, and remove them after it.

    Only their owner may read the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Security.temporary()
    with tempfile.TemporaryDirectory(
        prefix="certificates-", dir=folder.absolute()
    ) as name:  # mode 0700
        ca, cert, key = (Path(name) / f"{part}.pem" for part in ("ca", "cert", "key"))
        ca.write_text(made.tls_ca_file)
        cert.write_text(made.tls_client_cert)
        key.write_text(made.tls_client_key)
        yield _security(ca, cert, key)


def _security(ca: Path | str, cert: Path | str, key: Path | str) -> Security:
    roles = ("scheduler", "worker", "client")
    pairs = {
        f"tls_{role}_{part}": str(path)
        for role in roles
        for part, path in (("cert", cert), ("key", key))
    }
    return Security(tls_ca_file=str(ca), require_encryption=True, **pairs)


def _make_cluster_class() -> Any:
    """Return the SLURMCluster of dask-jobqueue, made to replace jobs of several workers too."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise InputError("SLURM needs dask-jobqueue: pip install 'luxscale[slurm]'") from None

    class Cluster(SLURMCluster):  # type: ignore[misc]
        """Lets go of a job when all its workers have gone.

        distributed looks for a job by the name of the worker that left, but workers that share a
        job are called JOB-0, JOB-1, ...: such a job would count as running for ever, and none would
        take its place.
        """

        def _update_worker_status(self, op: str, msg: Any) -> None:
            if op == "remove":
                name = str(self.scheduler_info["workers"][msg]["name"])
                delay = parse_timedelta(dask.config.get("distributed.deploy.lost-worker-timeout"))
                job = name.rpartition("-")[0]
                asyncio.get_running_loop().call_later(delay, self._release_job, job)
            super()._update_worker_status(op, msg)

        def _release_job(self, job: str) -> None:
            there = {
                str(w["name"]).rpartition("-")[0] for w in self.scheduler_info["workers"].values()
            }
            if job in self.workers and job not in there:
                self._futures.add(asyncio.ensure_future(self.workers.pop(job).close()))

    return Cluster
