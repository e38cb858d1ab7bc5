"""What to cross-validate: the grid of settings, the stars and their folds, and the tasks."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.errors import InputError
from luxscale.schema.checks import check_unique
from luxscale.schema.outputs import OutputSpec, Role, pick_outputs
from luxscale.schema.variables import STAR
from luxscale.training.data import assign_folds
from luxscale.training.methods import (
    complete_settings,
    list_methods_with_free_latents,
    pick_method,
)

#: Dims that tell settings apart.
SETTING = ("latent_dim", "prior")

#: What the latents of held-out stars are inferred from: figure 14 of the paper, left and right.
GIVEN = ("spectra", "labels")


#: Seconds of a task besides its arithmetic, of a star for each latent cubed (the solution for its
#: latents), and for each value and product of latents. Measured on 2,400 stars of 400 pixels and on
#: 4,000 of 8,575.
_TASK_SECONDS, _SOLVE_SECONDS, _PRODUCT_SECONDS = 0.5, 3e-8, 1.5e-9

#: Seconds by which each number of latents costs workers more than one process: all compile it.
_COMPILE_SECONDS = 2.5

#: Cores that the products of one process use.
_PRODUCT_CORES = 4


class Task(NamedTuple):
    """One fold of one setting."""

    latent_dim: int
    prior: float
    fold: int

    @property
    def group(self) -> str:
        """Where its results lie in the store."""
        return f"parts/P{self.latent_dim}_prior{self.prior!r}_fold{self.fold}"

    def __str__(self) -> str:
        return f"P={self.latent_dim}, prior={self.prior:g}, fold {self.fold}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """What to cross-validate, into what: all that a task needs to know, as plain values.

    Parameters
    ----------
    survey, out : str
        Paths or URLs.
    latent_dims : tuple of int
    priors : tuple of float
    folds : int
    method : str
    outputs : tuple of str
    span : tuple of int
        First star, and the one after the last.
    settings : tuple of (name, value)
        Further settings of the method.
    identity : tuple of (name, value)
        What a store must agree on to be continued.
    """

    survey: str
    out: str
    latent_dims: tuple[int, ...]
    priors: tuple[float, ...]
    folds: int
    method: str
    outputs: tuple[str, ...]
    span: tuple[int, int]
    settings: tuple[tuple[str, Any], ...]
    identity: tuple[tuple[str, str], ...]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, in the order to run them."""
        return list_tasks(self.latent_dims, self.priors, self.folds)

    @property
    def trains_with_prior(self) -> bool:
        """Whether training depends on the prior of a setting, as the test step always does."""
        return "latent_precision" in pick_method(self.method).settings

    def group_by_training(self, tasks: Sequence[Task]) -> list[tuple[Task, ...]]:
        """Group tasks by the training that they share, in their order."""
        if self.trains_with_prior:
            return [(t,) for t in tasks]
        groups: dict[tuple[int, int], list[Task]] = {}
        for task in tasks:
            groups.setdefault((task.latent_dim, task.fold), []).append(task)
        return [tuple(group) for group in groups.values()]


def list_tasks(latent_dims: Sequence[int], priors: Sequence[float], folds: int) -> tuple[Task, ...]:
    """Return every fold of every setting, those that take longest first.

    So no worker is left with a long one at the end.
    """
    settings = itertools.product(latent_dims[::-1], priors, range(folds))
    return tuple(Task(*setting) for setting in settings)


def guess_saving(grid: Grid, survey: xr.Dataset, pending: Sequence[Task], workers: int) -> float:
    """Guess the seconds that workers save over one process, their start not counted.

    The guess serves only to choose between the two, and comes from rates that were measured
    elsewhere.

    Parameters
    ----------
    grid : Grid
    survey : Dataset
        Its sizes alone are read.
    pending : sequence of Task
    workers : int

    Returns
    -------
    float
    """
    start, stop = grid.span
    n_stars = (stop - start) * (1 - 1 / grid.folds)
    specs = pick_outputs(survey, grid.outputs, grid.survey)
    n_values = sum(survey.sizes[spec.dim] for spec in specs)
    in_turn = at_once = 0.0
    for latent_dim, *_ in (group[0] for group in grid.group_by_training(pending)):
        in_turn += _TASK_SECONDS + _SOLVE_SECONDS * n_stars * latent_dim**3
        n_products = latent_dim * (latent_dim + 1) / 2
        at_once += _PRODUCT_SECONDS * n_stars * n_values * n_products
    one_process = in_turn + at_once / min(workers, _PRODUCT_CORES)
    compiling = _COMPILE_SECONDS * len({task.latent_dim for task in pending})
    return one_process - (in_turn + at_once) / workers - compiling


def make_grid(
    survey: str | Path,
    out: str | Path,
    *,
    latent_dims: Sequence[int],
    priors: Sequence[float] = (1.0,),
    folds: int = 5,
    method: str = "marginal",
    outputs: Sequence[str] | None = None,
    stars: slice | None = None,
    **settings: Any,
) -> Grid:
    """Check a grid and the survey it is for; the parameters are those of `cross_validate`.

    Raises
    ------
    InputError
    """
    where, out = store.make_absolute(survey), store.make_absolute(out)
    dims = _sort_numbers("latent_dims", latent_dims, _is_count, "whole numbers, 1 or more", int)
    precisions = _sort_numbers("priors", priors, _is_precision, "positive numbers", float)
    _check_training(method, folds, settings)
    folds = int(folds)
    opened = store.open_survey(where, outputs=outputs)
    specs = pick_outputs(opened, outputs, where)
    span = _find_span(stars, opened.sizes[STAR], where)
    frame = make_frame(opened, specs, span, folds, where)
    _check_size(max(dims), opened, specs, frame.sizes[STAR], folds, where)
    names = tuple(s.name for s in specs)
    identity = {
        "survey": _compute_checksum(opened, specs, frame),
        "stars": json.dumps(span),
        "grid": json.dumps([dims, precisions]),
        "folds": json.dumps(folds),
        "method": method,
        "outputs": json.dumps(names),
        "settings": json.dumps(settings, sort_keys=True, default=str),
    }
    return Grid(
        survey=where,
        out=out,
        latent_dims=dims,
        priors=precisions,
        folds=folds,
        method=method,
        outputs=names,
        span=span,
        settings=tuple(settings.items()),
        identity=tuple(identity.items()),
    )


def _sort_numbers(
    name: str,
    values: Sequence[Any],
    is_good: Callable[[Any], bool],
    wanted: str,
    kind: Callable[[Any], Any],
) -> tuple[Any, ...]:
    """Return numbers in order and of one type, and refuse repeated ones and those of no use."""
    numbers = tuple(sorted(values))
    is_repeated = len(set(numbers)) < len(numbers)
    are_good = all(map(is_good, numbers))
    if not numbers or is_repeated or not are_good:
        raise InputError(f"{name} is {list(values)}; give {wanted}, each once")
    return tuple(map(kind, numbers))


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 1


def _is_precision(value: Any) -> bool:
    return math.isfinite(value) and value > 0


def _check_training(method: str, folds: int, settings: dict[str, Any]) -> None:
    """Refuse folds, a method or settings that cannot be cross-validated."""
    if not isinstance(folds, Integral) or int(folds) < 2:
        raise InputError(f"folds is {folds!r}; it must be a whole number of at least 2")
    if "latent_precision" in settings:
        raise InputError("latent_precision is what priors vary; leave it out")
    complete_settings(method, settings)
    methods = list_methods_with_free_latents()
    if method not in methods:
        raise InputError(
            f"method {method!r} has no number of latents or no prior to choose; take one of "
            f"{', '.join(methods)}"
        )


def _find_span(stars: slice | None, n: int, where: str) -> tuple[int, int]:
    """Return the first of the stars to use and the one after the last."""
    start, stop, step = (stars or slice(None)).indices(n)
    if step != 1 or start >= stop:
        raise InputError(
            f"{where}: stars={stars} takes none of its {n} stars; give a slice(START, STOP)"
        )
    return start, stop


def get_error_name(name: str) -> str:
    """Return the name of the one-sigma errors of an output."""
    return name.removesuffix("_value") + "_err"


def make_frame(
    survey: xr.Dataset, specs: Sequence[OutputSpec], span: tuple[int, int], folds: int, where: str
) -> xr.Dataset:
    """Return what all settings have in common: the stars with labels, their folds and labels.

    Parameters
    ----------
    survey : Dataset
    specs : sequence of OutputSpec
    span : (int, int)
        First star, and the one after the last.
    folds : int
    where : str
        Path of the survey, for messages.

    Returns
    -------
    Dataset
        ``star_row``, ``star_fold`` (star,) and trusted labels with errors (star, label), in memory.

    Raises
    ------
    InputError
    """
    label_specs = [s for s in specs if s.role is Role.LABELS]
    if not label_specs or len(label_specs) == len(specs):
        raise InputError(
            f"{where}: cross-validation predicts labels from spectra and spectra from labels, "
            f"and needs both; the outputs are {', '.join(s.name for s in specs)}: choose outputs "
            "of both kinds (--output), or add those that the survey lacks"
        )
    names = [v for s in label_specs for v in s.variables]
    labels = survey[names].isel({STAR: slice(*span)}).load(scheduler="synchronous")
    ivars, has_label = {}, np.zeros(labels.sizes[STAR], bool)
    for spec in label_specs:
        ivar = spec.ivar(labels[spec.name].values, labels[spec.noise].values)
        ivars[spec] = ivar
        has_label |= (ivar > 0).any(axis=1)
    rows = np.flatnonzero(has_label)
    if rows.size < folds:
        raise InputError(
            f"{where}: {rows.size} stars have a label and its error, too few for {folds} folds; "
            "take more stars (--stars) or fewer folds (--folds)"
        )
    stars = np.asarray(labels[STAR].values)[rows]
    check_unique(stars, where)
    variables: dict[str, Any] = {
        "star_row": (STAR, rows + span[0], {"long_name": "position of the star in the survey"}),
        "star_fold": (
            STAR,
            assign_folds(stars, folds),  # the rule of training, which looks at names only
            {"long_name": "fold that the star is left out in, by its identifier"},
        ),
    }
    for spec, ivar in ivars.items():
        known = ivar > 0
        error = np.where(known, 1 / np.sqrt(np.where(known, ivar, 1)), np.nan)
        trusted = {spec.name: labels[spec.name].values, get_error_name(spec.name): error}
        for name, values in trusted.items():
            doc = {"long_name": f"{name} of the survey"}
            of_stars = np.asarray(values, float)[rows]
            variables[f"trusted_{name}"] = ((STAR, spec.dim), of_stars, doc)
    coords = {k: v for k, v in labels.coords.items() if STAR not in v.dims}
    return xr.Dataset(variables, {**coords, STAR: stars})


def _check_size(
    latent_dim: int,
    survey: xr.Dataset,
    specs: Sequence[OutputSpec],
    n_stars: int,
    folds: int,
    where: str,
) -> None:
    largest_fold = -(-n_stars // folds)
    n_features = sum(survey.sizes[s.dim] for s in specs)
    least = min(n_stars - largest_fold, n_features)
    if latent_dim >= least:
        raise InputError(
            f"{where}: {latent_dim} latents are too many for the stars (less a fold) and "
            f"features that there are; choose fewer than {least}"
        )


def _compute_checksum(survey: xr.Dataset, specs: Sequence[OutputSpec], frame: xr.Dataset) -> str:
    """Return the SHA-256 of stars, labels, and the grids of spectra.

    Not of the flux, which is too large to read twice.
    """
    stars = "\n".join(map(str, frame[STAR].values.tolist()))
    digest = hashlib.sha256(stars.encode())
    for name in sorted(map(str, frame.data_vars)):
        if name.startswith("trusted_"):
            values = np.ascontiguousarray(frame[name].values)
            digest.update(name.encode())
            digest.update(values.tobytes())
    for spec in sorted(specs, key=lambda s: s.name):
        grid = survey[spec.dim].values.tolist()
        text = f"{spec} {survey[spec.name].dtype} {grid}"
        digest.update(text.encode())
    return digest.hexdigest()
