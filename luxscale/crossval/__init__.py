"""Cross-validation over the number of latents P and the precision of their prior (the paper's appendix A).

Every fold of every setting is a task: train on the other folds, infer the stars of this one from
their spectra and from their labels, and write what was found as a Zarr group of its own, its
``status`` last. Where the prior is of the test step alone, as with method ``"marginal"``, the tasks
that differ in it only share one training. So a run that was interrupted goes on where it was, and
no two tasks ever write one chunk. When all have run, the results are put together in the order of
the survey's stars. Model spectra are not kept: they would be the survey times the number of
settings.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.crossval.fold import held_out, run_task
from luxscale.crossval.grid import (
    FORMAT,
    GIVEN,
    SETTING,
    Grid,
    Task,
    all_tasks,
    is_done,
    make_grid,
    pending,
    prepare,
)
from luxscale.crossval.score import (
    Choice,
    choose,
    format_table,
    label_scores,
    next_step,
    scores,
    to_records,
)
from luxscale.labelling.run import RunError
from luxscale.progress import Progress

__all__ = [
    "FORMAT", "GIVEN", "Choice", "Grid", "Task", "all_tasks", "choose", "complete", "cross_validate", "finalise", "format_table",
    "held_out", "is_done", "label_scores", "make_grid", "next_step", "pending", "prepare", "run", "run_task", "scores",
    "to_records",
]  # fmt: skip

_DOC = {
    "spectrum_chi2": "held-out chi2 of the spectra: sum of (f - B z)^2 / (sigma^2 + s^2), equation A1",
    "label_chi2": "held-out chi2 of the labels: sum of (l - A z)^2 / sigma^2, equation A1",
    "n_pixels": "pixels in spectrum_chi2; 0 = the star has no spectrum, and counts nowhere",
    "n_labels": "labels in label_chi2",
    "objective": "objective per star at the end of training",
    "training_seconds": "wall time of training",
    "seconds": "wall time of the task: reading, training, inference; and of those before it that share "
    "the training",
    "status": "0 = not done, 1 = done",
}


def cross_validate(
    survey: str | Path,
    out: str | Path,
    *,
    latent_dims: Sequence[int],
    priors: Sequence[float] = (1.0,),
    folds: int = 5,
    method: str = "marginal",
    outputs: Sequence[str] | None = None,
    stars: slice | None = None,
    client: Any = None,
    progress: bool = True,
    **settings: Any,
) -> xr.Dataset:
    """Train on all folds but one and predict that one, for every setting of a grid; called again, it resumes.

    Parameters
    ----------
    survey : str or Path
        Survey, a Zarr store; its stars without any label take no part.
    out : str or Path
        Zarr store of the results, made, or continued if it is of the same stars, grid, method and
        settings.
    latent_dims : sequence of int
        Numbers of latents P.
    priors : sequence of float
        Precisions of the Gaussian prior on latents, 1 / variance: 1 / Omega^2 for the paper's
        Omega. With method ``"alternating"`` it is the training's ``latent_precision`` too;
        ``"marginal"`` trains with 1 whatever it is, once.
    folds : int
    method, outputs
        As for `luxscale.train`.
    stars : slice, optional
        Stars of the survey to use, by position.
    client : distributed.Client, optional
        Cluster to run on; without one, tasks are done one after another in this process.
    progress : bool
        Whether to show progress on standard error.
    **settings
        As for `luxscale.train`.

    Returns
    -------
    Dataset
        On (latent_dim, prior) and further dims, lazy. Out of fold: ``label_value``, ``label_err``
        (star, label), predicted from the spectrum, with formal errors; ``spectrum_chi2``,
        ``label_chi2`` (given, star), with latents from spectra or from labels; ``n_pixels``,
        ``n_labels`` (star,). Of each fold: ``objective``, ``training_seconds``, ``seconds``,
        ``status`` (fold,). For all settings: ``star_fold``, ``star_row`` (star,) and the labels as
        the survey has them, ``trusted_label_value`` and ``trusted_label_err``. Model spectra are
        not kept.

    Raises
    ------
    InputError
        Before any work, if the survey or the grid will not do, or ``out`` holds something else.
    RunError
        If tasks could not be done; all others are, and are in the store.

    Notes
    -----
    A task of 5,000 stars of 8,575 pixels, 4,000 of them in training, takes 1.8 GB at its peak; a
    worker runs one at a time. A survey counts as the same if its stars, labels and grids are; its
    flux is not read twice to find out.
    """
    grid = make_grid(
        survey,
        out,
        latent_dims=latent_dims,
        priors=priors,
        folds=folds,
        method=method,
        outputs=outputs,
        stars=stars,
        **settings,
    )
    return complete(grid, prepare(grid), client=client, progress=progress)


def complete(
    grid: Grid, todo: Sequence[Task], *, client: Any = None, progress: bool = True
) -> xr.Dataset:
    """Do what is pending of a grid, put the results together, and open them.

    Raises
    ------
    RunError
        Names the tasks that could not be done; all others are, and are in the store.
    """
    failed = run(grid, todo, client=client, progress=progress)
    if (store.read_attributes(grid.out) or {}).get("complete") != 1:
        finalise(grid)
    if failed:
        task, error = next(iter(failed.items()))
        raise RunError(
            f"{grid.out}: {len(failed)} of {len(todo)} tasks could not be done; {task}: "
            f"{type(error).__name__}: {error}. "
            "The others are done; mend the cause and run the same again"
        ) from error
    return store.open_dataset(grid.out)


def run(
    grid: Grid, tasks: Sequence[Task], *, client: Any = None, progress: bool = True
) -> dict[Task, BaseException]:
    """Do tasks, on a cluster or one after another; returns those that failed, and why."""
    failed: dict[Task, BaseException] = {}
    with Progress("cross-validating", len(tasks), unit="tasks", enabled=progress) as shown:
        groups = grid.together(tasks)
        attempts = (
            _in_process(grid, groups) if client is None else _on_cluster(grid, groups, client)
        )
        done = 0
        for group, error in attempts:
            if error is not None:
                failed |= dict.fromkeys(group, error)
                shown.say(
                    f"{' and '.join(map(str, group))} failed: {type(error).__name__}: {error}"
                )
            done += len(group)
            shown.update(done, f"last {group[-1]}")
    return failed


_Attempts = Iterator[tuple[tuple[Task, ...], BaseException | None]]


def _in_process(grid: Grid, groups: Sequence[tuple[Task, ...]]) -> _Attempts:
    for group in groups:
        try:
            run_task(grid, *group)
        except Exception as error:
            yield group, error
        else:
            yield group, None


def _on_cluster(grid: Grid, groups: Sequence[tuple[Task, ...]], client: Any) -> _Attempts:
    from distributed import as_completed

    futures = [client.submit(run_task, grid, *group, pure=False, retries=1) for group in groups]
    by_key = {f.key: g for f, g in zip(futures, groups, strict=True)}
    for future in as_completed(futures):
        yield by_key[future.key], future.exception()
        future.release()


def finalise(grid: Grid) -> None:
    """Put the results of all tasks that are done together, in the order of the survey's stars; NaN for the others."""
    fold = store.open_dataset(grid.out)["star_fold"].values
    settings = (len(grid.latent_dims), len(grid.priors))
    held = {"status": _variable("status", ("fold",), np.zeros((*settings, grid.folds), np.uint8))}
    for task in grid.tasks:
        if not is_done(grid.out, task):
            continue
        at = grid.latent_dims.index(task.latent_dim), grid.priors.index(task.prior)
        held["status"].values[(*at, task.fold)] = 1
        part = xr.open_zarr(
            store.locate(grid.out), group=task.group, chunks=None, consolidated=False
        )
        for name, v in part.data_vars.items():
            if name not in held:
                shape = (*settings, fold.size if v.dims else grid.folds, *v.shape[1:])
                empty = np.full(shape, np.nan if v.dtype.kind == "f" else 0, v.dtype)
                held[str(name)] = _variable(str(name), v.dims or ("fold",), empty)
            held[str(name)].values[(*at, fold == task.fold if v.dims else task.fold)] = v.values
    coords = {
        "latent_dim": (
            "latent_dim",
            np.array(grid.latent_dims),
            {"long_name": "number of latents P"},
        ),
        "prior": (
            "prior",
            np.array(grid.priors),
            {"long_name": "precision of the prior on latents, 1 / variance"},
        ),
        "given": (
            "given",
            np.array(GIVEN, object),
            {"long_name": "what the latents are inferred from"},
        ),
    }
    made = xr.Dataset(held, coords, {**(store.read_attributes(grid.out) or {}), "complete": 0})
    made.to_zarr(store.locate(grid.out), mode="a", consolidated=False, zarr_format=3)
    store.open_group(grid.out, "r+").attrs["complete"] = int(held["status"].values.all())


def _variable(name: str, dims: tuple[Hashable, ...], values: np.ndarray) -> xr.Variable:
    doc = _DOC.get(name, f"{name} predicted from the spectra by models that have not seen the star")
    return xr.Variable((*SETTING, *dims), values, {"long_name": doc})
