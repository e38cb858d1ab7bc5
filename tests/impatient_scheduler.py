"""A preload for Dask's scheduler that gives a worker up after ``WORKER_TTL`` seconds of silence.

Clusters of the package set a minute, which goes before what Dask is told in the environment.
"""

import os


def dask_setup(scheduler):
    """Change how long a worker may be silent, and how often that is looked at."""
    scheduler.worker_ttl = float(os.environ["WORKER_TTL"])
    scheduler.periodic_callbacks["worker-ttl"].callback_time = 1000 * scheduler.worker_ttl
