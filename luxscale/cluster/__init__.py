"""Clusters of worker processes: on this machine, already running, or as SLURM jobs.

Imports errors, progress and what they stand on.

Each is a context manager that yields a `distributed.Client`, for `label_survey(..., client=client)`
and its like.
"""

from luxscale.cluster.environment import cpu_count, gpus, worker_environment
from luxscale.cluster.existing import check_workers, checked_workers, existing_cluster
from luxscale.cluster.local import local_cluster
from luxscale.cluster.slurm import SlurmJobs, job_script, slurm_cluster

__all__ = [
    "SlurmJobs",
    "check_workers",
    "checked_workers",
    "cpu_count",
    "existing_cluster",
    "gpus",
    "job_script",
    "local_cluster",
    "slurm_cluster",
    "worker_environment",
]
