"""Estimates of a run before it starts: regions, memory, bytes and time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from luxscale import store
from luxscale.cluster import cpu_count
from luxscale.labelling.catalogue import Catalogue
from luxscale.labelling.plan import Plan, Region
from luxscale.labelling.rates import KERNEL_CORES, guess_kernel_seconds, guess_serial_seconds
from luxscale.model.blocks import BLOCK
from luxscale.model.lux import LuxModel
from luxscale.store.chunks import get_chunk_rows, read_sizes

#: Memory of a worker before it reads: Python, JAX, Dask; and copies of a region's input that exist
#: at once, decoded, as read, and as the kernel has them. Both measured; see benchmarks/scale.py.
#: One more is of the next region, which a run in one process reads ahead.
_BASE_BYTES, _COPIES, _AHEAD = 0.45e9, 2.5, 1.0

#: Stars on which the rate is measured.
_SAMPLE = 4 * BLOCK


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """Regions, memory, bytes and time that a run needs.

    Parameters
    ----------
    stars, regions : int
        That are pending.
    new_stars, changed_stars : int
        Those that the survey had not when the catalogue was made, and those whose data changed.
    again_stars : int
        Others that are done, and are done again since they share a region with stars that are not.
    region_stars : int
        Stars in a region.
    read_bytes : int
        Stored size of what is to be read.
    write_bytes : int
        Size of what is to be written, before compression.
    worker_bytes : int
        Memory of a worker at its peak; it depends on the region alone.
    core_seconds : float
        Processor time of one core, measured on the survey's first stars.
    seconds : float
        Time on ``cores`` cores.
    cores : int
    """

    stars: int
    new_stars: int
    changed_stars: int
    again_stars: int
    regions: int
    region_stars: int
    read_bytes: int
    write_bytes: int
    worker_bytes: int
    core_seconds: float
    seconds: float
    cores: int


def guess_saving(model: LuxModel, given: Sequence[str], stars: int, workers: int) -> float:
    """Guess the seconds that workers save over one process, their start not counted.

    The guess serves only to choose between the two (`luxscale.labelling.rates`). One process reads
    and writes on one core, and has several for the kernel.

    Parameters
    ----------
    model : LuxModel
    given : sequence of str
        Outputs to infer from.
    stars, workers : int

    Returns
    -------
    float
    """
    pixels = sum(len(model[name].coord) for name in given)
    serial_seconds = guess_serial_seconds(stars, pixels)
    kernel_seconds = guess_kernel_seconds(stars, pixels, model.latent_dim)
    one_process = serial_seconds + kernel_seconds / min(workers, KERNEL_CORES)
    return one_process - (serial_seconds + kernel_seconds) / workers


def estimate_run(plan: Plan, cores: int | None = None) -> Estimate:
    """Estimate what is left to do of a plan; changes nothing.

    Parameters
    ----------
    plan : Plan
    cores : int, optional
        Cores of all workers; those of this machine if not given.

    Raises
    ------
    InputError
        If the catalogue's path holds something else, or the survey changed under what is done.
    """
    catalogue = Catalogue(plan)
    pending = catalogue.preview_pending()
    stars = sum(r.stop - r.start for r in pending)
    cores = cores or cpu_count()
    core_seconds = stars * _measure_star_seconds(catalogue) if stars else 0.0
    region_bytes = plan.region_stars * _count_input_bytes(catalogue)
    return Estimate(
        stars=stars,
        new_stars=catalogue.n_added,
        changed_stars=catalogue.n_changed,
        again_stars=catalogue.n_again,
        regions=len(pending),
        region_stars=plan.region_stars,
        read_bytes=_count_stored_bytes(catalogue, pending),
        write_bytes=stars * _count_written_bytes(catalogue),
        worker_bytes=int(_BASE_BYTES + (_COPIES + _AHEAD) * region_bytes),
        core_seconds=round(core_seconds, 1),
        seconds=round(core_seconds / cores, 1),
        cores=cores,
    )


def _count_stored_bytes(catalogue: Catalogue, pending: Sequence[Region]) -> int:
    """Return the stored size of the chunks that pending regions read."""
    n_stars = catalogue.plan.n_stars
    needed = np.zeros(n_stars, bool)
    for region in pending:
        needed[region.start : region.stop] = True
    total = 0
    for name in catalogue.input_names:
        rows = get_chunk_rows(store.open_array(catalogue.survey, name))
        sizes = read_sizes(catalogue.survey, name, 0, n_stars)
        read = np.logical_or.reduceat(needed, np.arange(0, n_stars, rows))
        total += int(sizes[read & (sizes > 0)].sum())
    return total


def _count_input_bytes(catalogue: Catalogue) -> int:
    """Return the size of a star's input in memory."""
    arrays = [store.open_array(catalogue.survey, name) for name in catalogue.input_names]
    return sum(int(np.prod(a.shape[1:])) * a.dtype.itemsize for a in arrays)


def _count_written_bytes(catalogue: Catalogue) -> int:
    """Return the size of a star's results, the status among them, before compression."""
    status_bytes = 1
    return status_bytes + sum(result.bytes_per_star for result in catalogue.results)


def _measure_star_seconds(catalogue: Catalogue) -> float:
    """Measure the seconds that one core needs for a star, on the survey's first stars.

    They are labelled twice, for the first time compiles.
    """
    plan, inference = catalogue.plan, catalogue.inference
    survey, n = store.open_dataset(plan.survey), min(_SAMPLE, plan.n_stars)
    for _ in range(2):
        started = time.perf_counter()
        data = {name: np.asarray(survey[name][:n].values) for name in inference.variables}
        read_seconds = time.perf_counter() - started
        inference.infer(data)
        infer_seconds = time.perf_counter() - started - read_seconds
    # a whole chunk is read to have its first stars
    n_read = max(n, min(plan.chunk, plan.n_stars))
    return read_seconds / n_read + infer_seconds * cpu_count() / n
