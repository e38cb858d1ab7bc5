"""What a training over chunks takes, before it starts: memory, disk and bytes to read."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from luxscale import store
from luxscale.chunked.plan import Plan
from luxscale.chunked.prepare import Prepared, count_sum_bytes
from luxscale.errors import InputError
from luxscale.schema.outputs import Role
from luxscale.store import chunks
from luxscale.training.left_out import list_parts
from luxscale.training.marginal import count_scatter_steps
from luxscale.training.principal_start import ROUNDS

#: Memory of a worker before it reads, and of the client: Python, JAX, Dask, programs. These, and
#: those below, are fitted to what benchmarks/chunked.py measures.
_BASE_BYTES, _CLIENT_BYTES = 0.5e9, 0.9e9

#: Copies, of the stored chunks that are read at once, of a batch in float32, and of the sums.
_CHUNK_COPIES, _BATCH_COPIES, _SUM_COPIES = 4.0, 7.0, 6.0

#: Bytes of a star on the client: its name, and for each label and latent.
_NAME_BYTES, _LABEL_BYTES, _LATENT_BYTES = 300, 120, 10

#: Bytes that what a star left out tells of a label takes on the client, from some outputs alone:
#: three numbers, as they are collected and as they are read again.
_PART_BYTES = 48

#: Components of spectra that labels are screened by, on the client.
_COMPONENTS = 40

#: Passes over the stars before the first iteration, but for the rounds of its start: moments,
#: counts, typical stars, scores, errors; latents and weights of the start.
_FIRST_PASSES = 7

#: Seconds that a star takes in all passes of a training, on one core, and what share of them one
#: process without workers spends on one core alone.
_STAR_SECONDS, _SERIAL = 0.03, 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a training takes.

    Parameters
    ----------
    stars, regions, chunks : int
        Stars to train on, tasks of a pass, and chunks of the survey that these read.
    worker_bytes, client_bytes : int
        Memory of a worker at its peak, which does not depend on the number of stars, and of this
        process, which does.
    folder_bytes : int
        Disk that the folder of the training takes at its peak.
    pass_bytes : int
        Stored size of what a pass over the stars reads.
    first_passes, passes, last_passes : int
        Before the first iteration, of all iterations at most, and for what stars left out tell.
    iterations : int
        At most.
    """

    stars: int
    regions: int
    chunks: int
    worker_bytes: int
    client_bytes: int
    folder_bytes: int
    pass_bytes: int
    first_passes: int
    passes: int
    last_passes: int
    iterations: int


def estimate_training(prepared: Prepared) -> Estimate:
    """Estimate what a training takes; writes nothing."""
    plan, request = prepared.plan, prepared.request
    iterations = int(request.settings.get("iterations", 30))
    fitted = sum(count_scatter_steps(i) > 0 for i in range(iterations))
    sums = count_sum_bytes(plan.sizes, plan.latent_dim)
    n_chunks = np.unique(prepared.rows // plan.chunk).size
    folds = request.folds if request.folds > 1 else 0
    in_folds = 2 * folds * sums if folds else 0  # kept in float64
    return Estimate(
        stars=plan.n_stars,
        regions=len(plan.regions),
        chunks=n_chunks,
        worker_bytes=count_worker_bytes(plan),
        client_bytes=_count_client_bytes(plan),
        folder_bytes=len(plan.regions) * sums + in_folds,
        pass_bytes=_count_stored_bytes(prepared),
        first_passes=_FIRST_PASSES + ROUNDS,
        passes=iterations + fitted + 1,
        last_passes=folds + 1 if folds else 0,
        iterations=iterations,
    )


def count_worker_bytes(plan: Plan) -> int:
    """Return the memory of a worker at its peak, which does not depend on the number of stars."""
    pixels = 8 * sum(plan.sizes)
    sums = count_sum_bytes(plan.sizes, plan.latent_dim)
    return int(
        _BASE_BYTES
        + _CHUNK_COPIES * plan.chunk * pixels
        + _BATCH_COPIES * plan.batch * pixels
        + _SUM_COPIES * sums
    )


def check_memory(client: Any, plan: Plan) -> None:
    """Refuse workers that lack the memory for a region.

    Raises
    ------
    InputError
        Names the worker, and says what to do.
    """
    needed = count_worker_bytes(plan)
    workers = client.scheduler_info(n_workers=-1)["workers"]
    for address, worker in sorted(workers.items()):
        limit = worker.get("memory_limit") or 0
        if 0 < limit < needed:
            raise InputError(
                f"worker {address} has {limit / 1e9:.2f} GB of memory, and the training needs "
                f"{needed / 1e9:.2f} GB a worker: start fewer workers or give them more memory "
                "(--workers, --job-memory), or take fewer stars at once (--region-stars, below "
                f"{plan.batch})"
            )


def guess_saving(stars: int, workers: int) -> float:
    """Guess the seconds that workers save over one process, their start not counted."""
    of_all = _STAR_SECONDS * stars
    one_process = of_all * (_SERIAL + (1 - _SERIAL) / workers)
    return one_process - of_all / workers


def _count_client_bytes(plan: Plan) -> int:
    named = sum(
        size
        for spec, size in zip(plan.outputs, plan.sizes, strict=True)
        if spec.role is not Role.SPECTRUM
    )
    latents = plan.latent_dim + _COMPONENTS
    n_parts = len(list_parts([plan.outputs[i].name for i in plan.measured]))
    label_bytes = _LABEL_BYTES + _PART_BYTES * n_parts
    star_bytes = _NAME_BYTES + label_bytes * named + _LATENT_BYTES * latents
    return int(_CLIENT_BYTES + plan.n_stars * star_bytes)


def _count_stored_bytes(prepared: Prepared) -> int:
    """Return the stored size of the chunks that a pass reads."""
    plan = prepared.plan
    group = store.open_group(plan.survey, "r")
    n_stars = int(prepared.rows[-1]) + 1
    total = 0
    for spec in plan.outputs:
        if spec.role is not Role.SPECTRUM:
            continue
        for name in spec.variables:
            rows = chunks.get_chunk_rows(store.open_array(group, name))
            sizes = chunks.read_sizes(group, name, 0, n_stars)
            read = np.unique(prepared.rows // rows)
            total += int(np.maximum(sizes[read], 0).sum())
    return total
