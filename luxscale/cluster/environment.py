"""What a worker needs in its environment, and the GPUs of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points

from luxscale.model.threads import XLA_THREADS

_OTHER_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

#: Freed memory stays with the process: by default glibc returns every large buffer to the system,
#: and the next region has all its pages zeroed anew (180,000 faults, 0.44 s of system time a region
#: of 1,024 APOGEE spectra with Dask's own settings; 800 and 0.02 s with these). One arena, because
#: others hold no buffer above 64 MB; and no mapping at all, because older versions refuse a high
#: threshold for it.
_MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
}

#: The same as numbers of glibc's `mallopt`, which takes no more than an int.
_MALLOPT = {-8: 1, -4: 0, -1: 2**31 - 1}

#: Dask's settings for workers: how often one notes what its task is at, for the dashboard, and how
#: busy its own loop is. Dask's own, every 10 and 20 ms, take 3% of a processor; these take 1%.
DASK_SETTINGS = {
    "distributed.worker.profile.interval": "100ms",
    "distributed.admin.tick.interval": "500ms",
}


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, as workers do; where the system lets it."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOPT.items():
            mallopt(parameter, value)


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment variables of a worker; they must be set before its process starts.

    Parameters
    ----------
    threads : int
        Threads that XLA and BLAS may use.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> from luxscale.cluster import worker_environment
    >>> worker_environment(1)["NPROC"]
    '1'
    """
    limits = dict.fromkeys((*XLA_THREADS, *_OTHER_THREADS), str(threads))
    dask = {f"DASK_{name.upper().replace('.', '__')}": v for name, v in DASK_SETTINGS.items()}
    return {**limits, **_MALLOC, **dask, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that start meanwhile, then put the old ones back."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def gpus() -> list[str]:
    """Return the GPUs that JAX can use on this machine, as ``CUDA_VISIBLE_DEVICES`` names them.

    JAX is not imported: a client that opened a GPU would take memory on it from the workers.

    Returns
    -------
    list of str
        Numbers or identifiers; none where JAX has no CUDA plugin.
    """
    if not _has_cuda_plugin() or os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device not in ("", "-1")]
    return [str(i) for i in range(_count_gpus())]


def _has_cuda_plugin() -> bool:
    return any("cuda" in plugin.name for plugin in entry_points(group="jax_plugins"))


def _count_gpus() -> int:
    command = shutil.which("nvidia-smi")
    if command is None:
        return 0
    listed = subprocess.run([command, "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
