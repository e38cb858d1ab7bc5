"""The store that a cross-validation fills: a group for each task, put together at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from luxscale import store
from luxscale.crossval.axes import Task, describe_axis
from luxscale.crossval.fold import run_tasks
from luxscale.crossval.frame import make_frame
from luxscale.crossval.grid import GIVEN, Grid
from luxscale.errors import RunError
from luxscale.runs.executors import describe_error
from luxscale.runs.job import Job, Runner
from luxscale.runs.target import BEING_MADE, check_place, clear_place
from luxscale.schema.attributes import pack_attribute
from luxscale.schema.outputs import pick_outputs

FORMAT = "luxscale-crossval"
FORMAT_VERSION = 1

_DOC = {
    "spectrum_chi2": "held-out chi2 of the spectra: sum of (f - B z)^2 / (sigma^2 + s^2), "
    "equation A1",
    "label_chi2": "held-out chi2 of the labels: sum of (l - A z)^2 / sigma^2, equation A1",
    "n_pixels": "pixels in spectrum_chi2; 0 = the star has no spectrum, and counts nowhere",
    "n_labels": "labels in label_chi2",
    "objective": "objective per star at the end of training",
    "training_seconds": "wall time of training",
    "seconds": "wall time of the task: reading, training, inference; and of those before it that "
    "share the training",
    "status": "0 = not done, 1 = done",
}


_GIVEN = "what the latents are inferred from"


@dataclasses.dataclass(frozen=True)
class Results:
    """The store of a cross-validation: a `luxscale.runs.target.Target`.

    Its items are groups of tasks that share a training.
    """

    grid: Grid

    title = "cross-validating"

    @property
    def path(self) -> str:
        """Path or URL of the store."""
        return self.grid.out

    def claim(self) -> bool:
        """Return whether there is something to continue.

        Raises
        ------
        InputError
            If something else is there, or results of another survey, grid, method or setting.
        """
        return check_place(
            self.path,
            kind="cross-validation",
            store_format=FORMAT,
            identity=dict(self.grid.identity),
        )

    def create(self) -> list[tuple[Task, ...]]:
        """Write the stars, their folds and labels; return all tasks by training."""
        grid = self.grid
        survey = store.open_dataset(grid.survey)
        specs = pick_outputs(survey, grid.outputs, grid.survey)
        rows = grid.selection.find_rows(survey, grid.survey)
        frame = make_frame(survey, specs, rows, grid.folds, grid.survey)
        frame.attrs |= {
            "title": "cross-validation of Lux models made with luxscale",
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "identity": pack_attribute(dict(grid.identity)),
            "complete": BEING_MADE,
        }
        with store.explain_writing(self.path):
            clear_place(self.path)
            store.write_arrays(frame, self.path)
            group = store.open_group(self.path, "r+")
            group.require_group("parts")  # here, so that no two tasks make it at once
            group.attrs["complete"] = 0
        return grid.group_by_training(grid.tasks)

    def resume(self) -> list[tuple[Task, ...]]:
        """Return the tasks that are not done, by training."""
        return self.grid.group_by_training(self.list_pending())

    def list_pending(self) -> tuple[Task, ...]:
        """Return the tasks that are not done."""
        return tuple(t for t in self.grid.tasks if not is_done(self.path, t))

    @property
    def job(self) -> Job:
        """What is done with each group of tasks."""
        return Job(
            task=run_tasks,
            plan=self.grid,
            where=self.path,
            title=self.title,
            unit="tasks",
            event="tasks",
            size=len,
            label=lambda tasks: [str(t) for t in tasks],
            total=len(self.grid.tasks),
        )

    def fill(self, pending: Sequence[tuple[Task, ...]], runner: Runner) -> xr.Dataset:
        """Do tasks, put the results of all together, and open them.

        Raises
        ------
        RunError
            Names a task that could not be done; all others are, and are in the store.
        """
        _, failed = runner.run_job(self.job, pending)
        attributes = store.read_attributes(self.path) or {}
        if attributes.get("complete") != 1:
            self.finalise()
        n_tasks = sum(map(len, pending))
        if failed:
            n_failed = sum(map(len, failed))
            tasks, error = next(iter(failed.items()))
            raise RunError(
                f"{self.path}: {n_failed} of {n_tasks} tasks could not be done; {tasks[0]}: "
                f"{describe_error(error)}. The others are done; mend the cause and run the same "
                "again"
            ) from error
        return store.open_dataset(self.path)

    def describe_start(self, pending: Sequence[tuple[Task, ...]]) -> dict[str, Any]:
        """Return what the log says at the start of a run that has these tasks to do."""
        settings = dataclasses.asdict(self.grid) | {"identity": dict(self.grid.identity)}
        return {"plan": settings, "tasks": sum(map(len, pending))}

    def describe_end(
        self, pending: Sequence[tuple[Task, ...]], results: xr.Dataset
    ) -> dict[str, Any]:
        """Return what the log says at the end of a run that did these tasks."""
        return {"tasks": sum(map(len, pending))}

    def finalise(self) -> None:
        """Put the results of all tasks that are done together, in the order of the survey's stars.

        Where a task is not done they are NaN.
        """
        grid = self.grid
        fold = store.open_dataset(self.path)["star_fold"].values
        axes = dict(grid.axes)
        settings = tuple(map(len, axes.values()))
        status = np.zeros((*settings, grid.folds), np.uint8)
        named = {"status": _make_variable("status", (*axes, "fold"), status)}
        for task in grid.tasks:
            if not is_done(self.path, task):
                continue
            setting = tuple(axes[name].index(value) for name, value in task.setting)
            status[(*setting, task.fold)] = 1
            part = _open_part(self.path, task)
            for name, values in part.data_vars.items():
                name = str(name)
                if name not in named:
                    named[name] = _make_empty(name, values, axes, fold.size, grid.folds)
                # of each star of the fold, or one value of the fold itself
                at = fold == task.fold if values.dims else task.fold
                named[name].values[(*setting, at)] = values.values
        attributes = {**(store.read_attributes(self.path) or {}), "complete": 0}
        made = xr.Dataset(named, _make_coords(grid), attributes)
        with store.explain_writing(self.path):
            place = store.locate(self.path)
            made.to_zarr(place, mode="a", consolidated=False, zarr_format=3)
            group = store.open_group(self.path, "r+")
            group.attrs["complete"] = int(status.all())


def is_done(path: str | Path, task: Task) -> bool:
    """Return whether the results of a task are in a store."""
    try:
        return store.open_group(path, "r", task.group).attrs.get("status") == 1
    except (FileNotFoundError, zarr.errors.GroupNotFoundError):
        return False


def _open_part(path: str, task: Task) -> xr.Dataset:
    """Open what a task found, without Dask."""
    return xr.open_zarr(store.locate(path), group=task.group, chunks=None, consolidated=False)


def _make_empty(
    name: str, like: xr.DataArray, axes: Mapping[str, Sequence[Any]], n_stars: int, folds: int
) -> xr.Variable:
    """Return the variable of all settings, NaN or 0, for what a task found of its fold."""
    missing = np.nan if like.dtype.kind == "f" else 0
    dims: tuple[Hashable, ...] = ("fold",)
    sizes: tuple[int, ...] = (folds,)
    if like.dims:
        dims = like.dims
        sizes = (n_stars, *like.shape[1:])
    values = np.full((*map(len, axes.values()), *sizes), missing, like.dtype)
    return _make_variable(name, (*axes, *dims), values)


def _make_variable(name: str, dims: tuple[Hashable, ...], values: np.ndarray) -> xr.Variable:
    of_labels = f"{name} predicted from the spectra by models that have not seen the star"
    doc = _DOC.get(name, of_labels)
    return xr.Variable(dims, values, {"long_name": doc})


def _make_coords(grid: Grid) -> dict[str, Any]:
    coords: dict[str, Any] = {}
    for name, values in (*grid.axes, ("given", GIVEN)):
        is_text = isinstance(values[0], str)
        array = np.array(values, object) if is_text else np.array(values)
        doc = _GIVEN if name == "given" else describe_axis(name)
        coords[name] = (name, array, {"long_name": doc})
    return coords
