"""Clusters of worker processes: on this machine, already running, or as SLURM jobs.

Imports model and what it stands on.

Each is a context manager that yields a `distributed.Client`, for `label_survey(..., client=client)`
and its like. Importing it loads neither Dask's scheduler nor its workers: they come when a cluster
is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from luxscale.cluster.environment import gpus, worker_environment
from luxscale.model.threads import cpu_count

if TYPE_CHECKING:
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

#: Module of each name that is loaded when it is first used.
_HOMES = {
    "SlurmJobs": "slurm",
    "check_workers": "existing",
    "checked_workers": "existing",
    "existing_cluster": "existing",
    "job_script": "slurm",
    "local_cluster": "local",
    "slurm_cluster": "slurm",
}

if not TYPE_CHECKING:  # type checkers would take any name for one that exists

    def __getattr__(name: str) -> object:
        """Load a public name when it is first used."""
        if name not in _HOMES:
            raise AttributeError(f"module 'luxscale.cluster' has no attribute {name!r}")
        found = getattr(importlib.import_module(f"luxscale.cluster.{_HOMES[name]}"), name)
        globals()[name] = found
        return found
