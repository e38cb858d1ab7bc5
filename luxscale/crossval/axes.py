"""The axes of a grid: what its settings are told apart by, and the tasks that they make."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from luxscale.training.methods import list_sizes

#: Axes that are no settings of a method.
RECIPE, LATENT_DIM, PRIOR, SHARE = "recipe", "latent_dim", "prior", "share"

#: Axes of the grid of a method whose prior is free and that varies no other setting.
PLAIN = (LATENT_DIM, PRIOR)


Setting = tuple[tuple[str, Any], ...]
Axes = tuple[tuple[str, tuple[Any, ...]], ...]


class Task(NamedTuple):
    """One fold of one setting, the name and the value on each axis of the grid."""

    setting: Setting
    fold: int

    @property
    def share(self) -> float:
        """Of the stars of the other folds, how many are trained on."""
        return float(dict(self.setting).get(SHARE, 1.0))

    @property
    def group(self) -> str:
        """Where its results lie in the store."""
        values = "_".join(f"{name_axis(name)}{value}" for name, value in self.setting)
        return f"parts/{values}_fold{self.fold}"

    def __str__(self) -> str:
        return f"{describe_setting(self.setting)}, fold {self.fold}"


def describe_setting(setting: Setting) -> str:
    """Return a setting as text, such as ``P=4, prior=1``."""
    return ", ".join(f"{name_axis(name)}={format_value(value)}" for name, value in setting)


def describe_axis(name: str) -> str:
    """Return what varies along an axis."""
    if name in _MEANINGS:
        return _MEANINGS[name]
    sizes = list_sizes()
    return sizes[name].size if name in sizes else f"Setting {name}"


_MEANINGS = {
    RECIPE: "Recipe",
    LATENT_DIM: "Number of latents P",
    PRIOR: "Precision of the prior on latents, 1 / variance",
    SHARE: "Share of the stars of the other folds that is trained on",
}


def name_axis(name: str) -> str:
    """Return the name of an axis in tables."""
    return "P" if name == LATENT_DIM else name


def format_value(value: Any) -> str:
    """Return a value on an axis as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def list_settings(axes: Axes) -> tuple[Setting, ...]:
    """Return every setting of a grid, in the order of its axes."""
    names = [name for name, _ in axes]
    products = itertools.product(*(values for _, values in axes))
    return tuple(tuple(zip(names, chosen, strict=True)) for chosen in products)


def list_tasks(axes: Axes, folds: int) -> tuple[Task, ...]:
    """Return every fold of every setting, those that take longest first.

    So no worker is left with a long one at the end.
    """
    longest_first = tuple(
        (name, values if name == PRIOR else values[::-1]) for name, values in axes
    )
    return tuple(Task(s, fold) for s in list_settings(longest_first) for fold in range(folds))


def read_axes(identity: Mapping[str, str]) -> Axes:
    """Return the axes of the grid from the identity of a store."""
    grid = json.loads(identity["grid"])
    if all(isinstance(entry[0], str) for entry in grid):
        return tuple((name, tuple(values)) for name, values in grid)
    return tuple((name, tuple(values)) for name, values in zip(PLAIN, grid, strict=True))


def write_axes(axes: Axes) -> str:
    """Return the axes as `read_axes` reads them; those of 0.1.0 as it wrote them."""
    if tuple(name for name, _ in axes) == PLAIN:
        return json.dumps([values for _, values in axes])
    return json.dumps(axes)
