"""What to cross-validate: the grid of settings, the stars and their folds, the tasks, and the store they fill."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr

from luxscale import store
from luxscale.errors import InputError
from luxscale.schema.checks import check_unique
from luxscale.schema.outputs import OutputSpec, Role, pick_outputs
from luxscale.schema.variables import STAR
from luxscale.training import _settings
from luxscale.training.data import TrainingData

FORMAT = "luxscale-crossval"
FORMAT_VERSION = 1

#: Methods of training that leave the number of latents free.
METHODS = ("marginal", "alternating")

#: Dims that tell settings apart.
SETTING = ("latent_dim", "prior")

#: What the latents of held-out stars are inferred from: figure 14 of the paper, left and right.
GIVEN = ("spectra", "labels")

#: Value of the attribute ``complete`` until stars and folds are written; then 0, and 1 when all
#: tasks are done.
_BEING_MADE = -1


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


@dataclasses.dataclass(frozen=True)
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
        return all_tasks(self.latent_dims, self.priors, self.folds)

    @property
    def trains_with_prior(self) -> bool:
        """Whether the prior of a setting is that of its training too, and not of the test step alone."""
        return "latent_precision" in _settings(self.method, dict(self.settings))

    def together(self, tasks: Sequence[Task]) -> list[tuple[Task, ...]]:
        """Group tasks by the training that they share, in their order."""
        if self.trains_with_prior:
            return [(t,) for t in tasks]
        shared = dict.fromkeys((t.latent_dim, t.fold) for t in tasks)
        return [tuple(t for t in tasks if (t.latent_dim, t.fold) == one) for one in shared]


def all_tasks(latent_dims: Sequence[int], priors: Sequence[float], folds: int) -> tuple[Task, ...]:
    """Return every fold of every setting, the longest first, so that no worker is left with one at the end."""
    return tuple(
        Task(p, prior, fold) for p in latent_dims[::-1] for prior in priors for fold in range(folds)
    )


def make_grid(
    survey: str | Path, out: str | Path, *, latent_dims: Sequence[int], priors: Sequence[float] = (1.0,), folds: int = 5,
    method: str = "marginal", outputs: Sequence[str] | None = None, stars: slice | None = None,
    **settings: Any,
) -> Grid:  # fmt: skip
    """Check a grid and the survey it is for; the parameters are those of `cross_validate`.

    Raises
    ------
    InputError
    """
    paths = [store.make_absolute(p) for p in (survey, out)]
    dims = _sorted(
        "latent_dims",
        latent_dims,
        lambda p: isinstance(p, Integral) and int(p) >= 1,
        "whole numbers, 1 or more",
    )
    precisions = _sorted("priors", priors, lambda x: math.isfinite(x) and x > 0, "positive numbers")
    if not isinstance(folds, Integral) or int(folds) < 2:
        raise InputError(f"folds is {folds!r}; it must be a whole number of at least 2")
    if "latent_precision" in settings:
        raise InputError("latent_precision is what priors vary; leave it out")
    _settings(method, settings)
    if method not in METHODS:
        raise InputError(
            f"method {method!r} has no number of latents to choose; take one of "
            f"{', '.join(METHODS)}"
        )
    opened = store.open_survey(paths[0], outputs=outputs)
    specs, n = pick_outputs(opened, outputs, paths[0]), opened.sizes[STAR]
    start, stop, step = (stars or slice(None)).indices(n)
    if step != 1 or start >= stop:
        raise InputError(
            f"{paths[0]}: stars={stars} takes none of its {n} stars; give a slice(START, STOP)"
        )
    names, span = tuple(s.name for s in specs), (start, stop)
    frame = _frame(opened, specs, span, int(folds), paths[0])
    _check_size(max(dims), opened, specs, frame.sizes[STAR], int(folds), paths[0])
    identity = {
        "survey": _checksum(opened, specs, frame),
        "stars": json.dumps(span),
        "grid": json.dumps([dims, precisions]),
        "folds": json.dumps(int(folds)),
        "method": method,
        "outputs": json.dumps(names),
        "settings": json.dumps(settings, sort_keys=True, default=str),
    }
    fixed = (int(folds), method, names, span)
    return Grid(*paths, dims, precisions, *fixed, tuple(settings.items()), tuple(identity.items()))


def _sorted(
    name: str, values: Sequence[Any], good: Callable[[Any], bool], what: str
) -> tuple[Any, ...]:
    made = tuple(sorted(values))
    if not made or len(set(made)) < len(made) or not all(map(good, made)):
        raise InputError(f"{name} is {list(values)}; give {what}, each once")
    return tuple(map(int if name == "latent_dims" else float, made))


def err_name(name: str) -> str:
    """Return the name of the one-sigma errors of an output."""
    return name.removesuffix("_value") + "_err"


def _frame(
    survey: xr.Dataset, specs: Sequence[OutputSpec], span: tuple[int, int], folds: int, where: str
) -> xr.Dataset:
    """Stars that have a label, the fold of each, and their labels: what all settings have in common, in memory."""
    named = [s for s in specs if s.role is Role.LABELS]
    if not named or len(named) == len(specs):
        raise InputError(
            f"{where}: cross-validation predicts labels from spectra and spectra from labels, "
            "and needs both; "
            f"the outputs are {', '.join(s.name for s in specs)}"
        )
    held = (
        survey[[v for s in named for v in s.variables]]
        .isel({STAR: slice(*span)})
        .load(scheduler="synchronous")
    )
    ivars = {s: s.ivar(*(held[v].values for v in s.variables)) for s in named}
    rows = np.flatnonzero(np.any([(w > 0).any(1) for w in ivars.values()], axis=0))
    if rows.size < folds:
        raise InputError(
            f"{where}: {rows.size} stars have a label and its error, too few for {folds} folds"
        )
    stars = np.asarray(held[STAR].values)[rows]
    check_unique(stars, where)
    variables: dict[str, Any] = {
        "star_row": (STAR, rows + span[0], {"long_name": "position of the star in the survey"}),
        "star_fold": (
            STAR,
            TrainingData((), (), (), (), (), stars).fold(
                folds
            ),  # the rule of training, which looks at names only
            {"long_name": "fold that the star is left out in, by its identifier"},
        ),
    }
    for s, w in ivars.items():
        error = np.where(w > 0, 1 / np.sqrt(np.where(w > 0, w, 1)), np.nan)
        for name, values in ((s.name, held[s.name].values), (err_name(s.name), error)):
            doc = {"long_name": f"{name} of the survey"}
            variables[f"trusted_{name}"] = ((STAR, s.dim), np.asarray(values, float)[rows], doc)
    coords = {k: v for k, v in held.coords.items() if STAR not in v.dims}
    return xr.Dataset(variables, {**coords, STAR: stars})


def _check_size(
    latent_dim: int,
    survey: xr.Dataset,
    specs: Sequence[OutputSpec],
    n_stars: int,
    folds: int,
    where: str,
) -> None:
    least = min(n_stars - -(-n_stars // folds), sum(survey.sizes[s.dim] for s in specs))
    if latent_dim >= least:
        raise InputError(
            f"{where}: {latent_dim} latents are too many for the stars (less a fold) and "
            "features that there are; "
            f"choose fewer than {least}"
        )


def _checksum(survey: xr.Dataset, specs: Sequence[OutputSpec], frame: xr.Dataset) -> str:
    """SHA-256 of stars, labels, and the grids of spectra; not of the flux, which is too large to read twice."""
    digest = hashlib.sha256("\n".join(map(str, frame[STAR].values.tolist())).encode())
    for name in sorted(str(v) for v in frame.data_vars if str(v).startswith("trusted_")):
        digest.update(name.encode() + np.ascontiguousarray(frame[name].values).tobytes())
    for s in sorted(specs, key=lambda s: s.name):
        digest.update(f"{s} {survey[s.name].dtype} {survey[s.dim].values.tolist()}".encode())
    return digest.hexdigest()


def prepare(grid: Grid) -> tuple[Task, ...]:
    """Make the store, or check that it may be continued; return the tasks that are pending.

    Raises
    ------
    InputError
        If something else is there, or results of another survey, grid, method or setting.
    """
    held = store.read_attributes(grid.out)
    if held is None or (held.get("format") == FORMAT and held.get("complete") == _BEING_MADE):
        _create(grid)
        return grid.tasks
    if held.get("format") != FORMAT:
        raise InputError(
            f"{grid.out}: holds {held.get('format', 'another Zarr store')!r}, not a "
            "cross-validation; choose another path"
        )
    changed = [name for name, value in grid.identity if held["identity"].get(name) != value]
    if changed:
        raise InputError(
            f"{grid.out}: a cross-validation made with another {' and '.join(changed)}; choose "
            "another path, or "
            "remove it and start again"
        )
    return pending(grid)


def _create(grid: Grid) -> None:
    survey = store.open_dataset(grid.survey)
    frame = _frame(
        survey, pick_outputs(survey, grid.outputs, grid.survey), grid.span, grid.folds, grid.survey
    )
    frame.attrs |= {
        "title": "cross-validation of Lux models made with luxscale",
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "identity": dict(grid.identity),
        "complete": _BEING_MADE,
    }
    store.write_dataset(frame, grid.out)
    group = store.open_group(grid.out, "r+")
    group.require_group("parts")  # here, so that no two tasks make it at once
    group.attrs["complete"] = 0


def pending(grid: Grid) -> tuple[Task, ...]:
    """Return the tasks that are not done."""
    return tuple(t for t in grid.tasks if not is_done(grid.out, t))


def is_done(path: str | Path, task: Task) -> bool:
    """Return whether the results of a task are in a store."""
    try:
        return store.open_group(path, "r", task.group).attrs.get("status") == 1
    except (FileNotFoundError, zarr.errors.GroupNotFoundError):
        return False
