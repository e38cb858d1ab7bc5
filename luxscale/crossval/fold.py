"""One task of a cross-validation: train without a fold, predict its stars, write the results."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import dask
import numpy as np
import xarray as xr

from luxscale import store
from luxscale.crossval.axes import PRIOR, Task
from luxscale.crossval.frame import get_error_name
from luxscale.crossval.grid import Grid
from luxscale.crossval.learning import take_share
from luxscale.model.infer import infer_few
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output
from luxscale.model.predict import is_linear_between, predict, predict_mean
from luxscale.model.priors import GaussianPrior
from luxscale.runs.executors import name_worker
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.outputs import pick_outputs
from luxscale.schema.variables import STAR
from luxscale.store.damage import load_stars
from luxscale.training import train

#: Stars whose model spectra are in memory at once.
_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a task reports of the folds that it did.

    Parameters
    ----------
    tasks : tuple of str
    seconds : float
        Wall time.
    worker : str
        Host and process.
    """

    tasks: tuple[str, ...]
    seconds: float
    worker: str


def run_tasks(grid: Grid, tasks: Sequence[Task]) -> Outcome:
    """Do one fold of one setting, or of several that share its training, and write it.

    Nothing of a task counts as done until its ``status`` is written, which is last.

    Raises
    ------
    CannotWrite
    """
    # left to Dask, what is computed here would go to the worker's cluster, and the worker start
    # another task meanwhile
    with dask.config.set(scheduler="synchronous"):
        seconds = _train_and_predict(grid, tasks)
    return Outcome(tuple(map(str, tasks)), seconds, name_worker())


def _train_and_predict(grid: Grid, tasks: Sequence[Task]) -> float:
    """Train once, and do each task with the model; returns the wall time in seconds."""
    started = time.monotonic()
    frame = store.open_dataset(grid.out)
    rows = frame["star_row"].values
    left_out = frame["star_fold"].values == tasks[0].fold
    taken = take_share(frame[STAR].values[~left_out], tasks[0].share)
    training_stars = _read_stars(grid, rows[~left_out][taken])
    model = _train(grid, tasks[0], training_stars)
    training_seconds = time.monotonic() - started
    stars = _read_stars(grid, rows[left_out])
    for task in tasks:
        part = predict_left_out(_take_prior(model, task), stars)
        part = part.assign(
            objective=model.objective[-1],
            training_seconds=training_seconds,
            seconds=time.monotonic() - started,
        )
        with store.explain_writing(grid.out):
            _write(part, grid, task)
    return time.monotonic() - started


def _write(part: xr.Dataset, grid: Grid, task: Task) -> None:
    """Write what a task found, its status last."""
    place = store.locate(grid.out)
    part.to_zarr(place, group=task.group, mode="w", consolidated=False, zarr_format=3)
    group = store.open_group(grid.out, "r+", task.group)
    group.attrs["status"] = 1


def _read_stars(grid: Grid, rows: np.ndarray) -> xr.Dataset:
    """Return stars of the survey, in memory."""
    survey = store.open_dataset(grid.survey)
    specs = pick_outputs(survey, grid.outputs, grid.survey)
    names = [v for s in specs for v in s.variables]
    stars = survey[names].isel({STAR: rows})
    return load_stars(stars, grid.survey)


def _train(grid: Grid, task: Task, stars: xr.Dataset) -> LuxModel:
    return train(
        stars,
        recipe=grid.find_recipe(task.setting),
        outputs=grid.outputs,
        folds=1,
        label_clip=grid.label_clip,
        progress=False,
        where=f"{grid.survey} without fold {task.fold}",
    )


def _take_prior(model: LuxModel, task: Task) -> LuxModel:
    """Return a model with the prior of a setting, where that is free."""
    precision = dict(task.setting).get(PRIOR)
    if precision is None:
        return model
    return dataclasses.replace(model, prior=GaussianPrior(precision))


def predict_left_out(model: LuxModel, stars: xr.Dataset) -> xr.Dataset:
    """Predict stars that a model has not seen from their spectra, and from their labels.

    Parameters
    ----------
    model : LuxModel
    stars : Dataset
        Stars with the model's outputs, in memory.

    Returns
    -------
    Dataset
        Labels predicted from the spectra and their formal errors (star, label), as ``label_value``
        and ``label_err``; ``spectrum_chi2``, ``label_chi2`` (star, given) of equation A1;
        ``n_pixels``, ``n_labels`` (star,).
    """
    spectra = [o for o in model.outputs if not o.is_label]
    labels = model.labels
    from_spectra = infer_few(stars, model, [o.name for o in spectra])
    from_labels = infer_few(stars, model, [o.name for o in labels])
    catalogs = [from_spectra, from_labels]
    spectrum_chi2, n_pixels = _measure_spectra(model, catalogs, stars)
    label_chi2, n_labels = _measure_labels(model, catalogs, stars)
    # a star without a spectrum counts nowhere: its labels and its spectrum cannot both be predicted
    seen = n_pixels > 0
    seen_rows = seen[:, None]
    by_given = (STAR, "given")
    variables: dict[str, Any] = {
        "spectrum_chi2": (by_given, np.where(seen_rows, spectrum_chi2, 0)),
        "label_chi2": (by_given, np.where(seen_rows, label_chi2, 0)),
        "n_pixels": (STAR, n_pixels),
        "n_labels": (STAR, np.where(seen, n_labels, 0)),
    }
    for o in labels:
        by_label = (STAR, o.spec.dim)
        value = from_spectra[o.name].values
        error = from_spectra[o.spec.noise].values
        variables[o.name] = (by_label, np.where(seen_rows, value, np.nan))
        variables[get_error_name(o.name)] = (by_label, np.where(seen_rows, error, np.nan))
    return xr.Dataset(variables)


def _measure_spectra(
    model: LuxModel, catalogs: Sequence[xr.Dataset], stars: xr.Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Return the chi2 of all but labels given each catalogue, and the number of values.

    (star, given) and (star,). The scatter s of pixels is in the variance: equation A1. What spectra
    are given is the fit to them, what labels are given the mean of what is possible.
    """
    n = stars.sizes[STAR]
    chi2 = np.zeros((n, len(catalogs)))
    count = np.zeros(n, np.int32)
    for o in (o for o in model.outputs if not o.is_label):
        for block in iterate_blocks(n, _BLOCK):
            some = stars.isel({STAR: block})
            ivar, data = _read_values(o, some)
            from_spectra, from_labels = (c.isel({STAR: block}) for c in catalogs)
            fit = predict(from_spectra, model, o.name).values
            predicted = _predict_from_labels(model, o, some, from_labels)
            for i, values in enumerate((fit, predicted)):
                residual = np.where(ivar > 0, data - values, 0)
                found, n_values = o.noise.measure_chi2(ivar, residual)
                chi2[block, i] += found
            count[block] += np.rint(n_values).astype(np.int32)
    return chi2, count


def _predict_from_labels(
    model: LuxModel, output: Output, stars: xr.Dataset, catalog: xr.Dataset
) -> np.ndarray:
    """Return the mean of an output given labels: (star, feature)."""
    labels = [o.name for o in model.labels]
    if is_linear_between(model, output.name, labels):
        return np.asarray(predict(catalog, model, output.name).values)
    return np.asarray(predict_mean(stars, model, output.name, labels)[output.name].values)


def _measure_labels(
    model: LuxModel, catalogs: Sequence[xr.Dataset], stars: xr.Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Return the chi2 of labels given each catalogue, and the number of labels.

    (star, given) and (star,). What the model adds to their errors is not in the variance: equation
    A1.
    """
    n = stars.sizes[STAR]
    chi2 = np.zeros((n, len(catalogs)))
    count = np.zeros(n, np.int32)
    for o in model.labels:
        ivar, data = _read_values(o, stars)
        for i, catalog in enumerate(catalogs):
            residual = np.where(ivar > 0, data - catalog[o.name].values, 0)
            chi2[:, i] += (ivar * residual**2).sum(1)
        count += (ivar > 0).sum(1, dtype=np.int32)
    return chi2, count


def _read_values(output: Output, stars: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return inverse variances, 0 where a feature is missing or not used, and values."""
    data = stars[output.spec.name].values
    ivar = output.spec.ivar(data, stars[output.spec.noise].values).astype(float)
    good = (ivar > 0) & np.asarray(output.used, bool)
    return np.where(good, ivar, 0), data
