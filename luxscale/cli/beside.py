"""Helpers of a command that labels a survey, where work for them is to be expected."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from luxscale.cli.workplace import WORKERS_COST, Cluster

#: Work of one core, beside the kernel's, from which on helpers are started: it is a second or so of
#: the run.
_LEAST_SECONDS = 0.3


@contextlib.contextmanager
def start_helpers(
    survey: str, model: str, out: str, cluster: Cluster, *, given: tuple[str, ...], covariance: bool
) -> Iterator[Cluster]:
    """Start processes that prepare to label while this one plans it, and then help it.

    Where this process will do the work, and it is worth it.

    Parameters
    ----------
    survey, model, out : str
        Paths or URLs; ``out`` is the catalogue's.
    cluster : Cluster
        What was asked for.
    given : tuple of str
        Outputs to infer from.
    covariance : bool

    Yields
    ------
    Cluster
        With the helpers.
    """
    from luxscale.cluster.environment import environment, worker_environment
    from luxscale.model.threads import XLA_THREADS
    from luxscale.runs.helpers import start_helper

    count = 0
    if cluster == Cluster() and not os.path.exists(out):
        count = _choose_number(_peek_shapes(survey, given))
    alone = worker_environment(1)
    with contextlib.ExitStack() as stack:
        helpers = []
        for _ in range(count):
            work = (survey, model, given, covariance)
            started = start_helper("luxscale.labelling.region", "warm_up", work, alone)
            helpers.append(stack.enter_context(started))
        if helpers:  # each process has a core
            stack.enter_context(environment(dict.fromkeys(XLA_THREADS, "1")))
        yield dataclasses.replace(cluster, helpers=helpers)


def _choose_number(shapes: Sequence[Sequence[int]]) -> int:
    """Return how many helpers are started for spectra of these shapes: (star, pixel) each."""
    from luxscale.cluster.environment import gpus
    from luxscale.labelling.rates import KERNEL_CORES, guess_serial_seconds
    from luxscale.model.threads import count_threads

    if not shapes:
        return 0
    stars, pixels = shapes[0][0], sum(math.prod(shape[1:]) for shape in shapes)
    seconds = guess_serial_seconds(stars, pixels)
    cores = min(count_threads(), KERNEL_CORES)
    is_for_workers = seconds * (1 - 1 / cores) > WORKERS_COST
    if seconds < _LEAST_SECONDS or is_for_workers or gpus():
        return 0
    return cores - 1


def _peek_shapes(survey: str, given: Sequence[str]) -> list[list[int]]:
    """Return the shapes of a survey's arrays on this machine, without Zarr; empty if unknown."""
    try:
        return [json.loads(Path(survey, name, "zarr.json").read_bytes())["shape"] for name in given]
    except (OSError, ValueError, LookupError, TypeError):  # what is wrong the plan will say
        return []
