"""What to cross-validate: the grid of settings, the stars and their folds, and the tasks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from luxscale import store
from luxscale.crossval.axes import (
    LATENT_DIM,
    PRIOR,
    RECIPE,
    SHARE,
    Axes,
    Setting,
    Task,
    list_settings,
    list_tasks,
    write_axes,
)
from luxscale.crossval.axis_values import is_several, make_axes, make_shares
from luxscale.crossval.frame import describe_roles
from luxscale.crossval.learning import count_share
from luxscale.crossval.sample import open_sample
from luxscale.errors import InputError
from luxscale.schema.selection import Selection
from luxscale.training.load import LEAST_MEASURED
from luxscale.training.methods import (
    LABEL_CLIP,
    complete_settings,
    list_methods_with_free_latents,
    pick_method,
)
from luxscale.training.recipes import NAMES, Recipe, find_recipe, list_recipes
from luxscale.training.settings import check_label_clip

#: What the latents of held-out stars are inferred from: figure 14 of the paper, left and right.
GIVEN = ("spectra", "labels")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """What to cross-validate, into what: all that a task needs to know, as plain values.

    Parameters
    ----------
    survey, out : str
        Paths or URLs.
    axes : tuple of (name, values)
        What varies: ``recipe``, ``latent_dim``, ``prior``, or a setting of the method.
    folds : int
    recipes : tuple of Recipe
        Those on the axis, else a single one; axes take the place of what they say.
    settings : tuple of (name, value)
        Further settings of the method, the same everywhere.
    outputs : tuple of str
    selection : Selection
        Stars of the survey to use.
    n_stars : int
        How many these are.
    label_clip : float
        As for `luxscale.train`.
    identity : tuple of (name, value)
        What a store must agree on to be continued.
    """

    survey: str
    out: str
    axes: Axes
    folds: int
    recipes: tuple[Recipe, ...]
    settings: tuple[tuple[str, Any], ...]
    outputs: tuple[str, ...]
    selection: Selection
    n_stars: int
    identity: tuple[tuple[str, str], ...]
    label_clip: float = LABEL_CLIP

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, in the order to run them."""
        return list_tasks(self.axes, self.folds)

    def find_recipe(self, setting: Setting) -> Recipe:
        """Return what to train at a setting."""
        return _find_recipe(self.recipes, dict(self.settings), setting)

    def group_by_training(self, tasks: Sequence[Task]) -> list[tuple[Task, ...]]:
        """Group tasks by the training that they share, in their order."""
        groups: dict[tuple[Any, ...], list[Task]] = {}
        for task in tasks:
            recipe = self.find_recipe(task.setting)
            sizes = tuple(recipe.settings.items())
            key = (recipe.name, recipe.latent_dim, sizes, task.share, task.fold)
            groups.setdefault(key, []).append(task)
        return [tuple(group) for group in groups.values()]


def _find_recipe(
    recipes: Sequence[Recipe], settings: Mapping[str, Any], setting: Setting
) -> Recipe:
    """Return the recipe of a setting, with what the other axes say of it.

    A method that trains with a prior of its user's choice trains with that of the setting.
    """
    values = dict(setting)
    name = values.pop(RECIPE, recipes[0].name)
    recipe = next(r for r in recipes if r.name == name)
    latent_dim = values.pop(LATENT_DIM, recipe.latent_dim)
    prior = values.pop(PRIOR, None)
    values.pop(SHARE, None)
    if prior is not None and "latent_precision" in pick_method(recipe.method).settings:
        values["latent_precision"] = prior
    every = {**recipe.settings, **settings, **values}
    return dataclasses.replace(recipe, latent_dim=latent_dim, settings=every)


def make_grid(
    survey: str | Path,
    out: str | Path,
    *,
    recipes: Sequence[str] | None = None,
    latent_dims: Sequence[int] | None = None,
    priors: Sequence[float] | None = None,
    shares: Sequence[float] | None = None,
    folds: int = 5,
    method: str | None = None,
    outputs: Sequence[str] | None = None,
    condition: str | None = None,
    stars: str | slice | None = None,
    label_clip: float = LABEL_CLIP,
    **settings: Any,
) -> Grid:
    """Check a grid and the survey it is for; the parameters are those of `cross_validate`.

    Raises
    ------
    InputError
    """
    where, out = store.make_absolute(survey), store.make_absolute(out)
    varied = {name: value for name, value in settings.items() if is_several(value)}
    fixed = {name: value for name, value in settings.items() if name not in varied}
    folds = _check_folds(folds)
    by_recipe = _check_method(method, recipes, latent_dims, priors, settings)
    label_clip = check_label_clip(label_clip)
    sample = open_sample(where, outputs=outputs, condition=condition, stars=stars, folds=folds)
    if by_recipe:
        bases = _pick_recipes(recipes, sample.sizes)
        _check_sizes(bases, latent_dims, settings)
    else:
        bases = (_make_base(method or "marginal"),)
    grid = Grid(
        survey=where,
        out=out,
        axes=make_axes(bases, by_recipe, latent_dims, priors, varied) + make_shares(shares),
        folds=folds,
        recipes=bases,
        settings=tuple(fixed.items()),
        outputs=sample.outputs,
        selection=sample.selection,
        n_stars=sample.rows.size,
        label_clip=label_clip,
        identity=(),
    )
    _check_recipes(grid, sample.fewest, sample.n_features)
    trainings = _identify_trainings(grid, by_recipe)
    identity = {**sample.identity, **trainings, **describe_roles(sample.specs)}
    return dataclasses.replace(grid, identity=tuple(identity.items()))


def _check_method(
    method: str | None,
    recipes: Sequence[str] | None,
    latent_dims: Sequence[int] | None,
    priors: Sequence[float] | None,
    settings: Mapping[str, Any],
) -> bool:
    """Check what says how to train, and return whether that is by recipes.

    It is where recipes are named, and where nothing is said at all.
    """
    given = (method, latent_dims, priors)
    by_recipe = recipes is not None or (not settings and all(value is None for value in given))
    _check_training(method, by_recipe, priors, settings)
    return by_recipe


def _check_sizes(
    recipes: Sequence[Recipe], latent_dims: Sequence[int] | None, settings: Mapping[str, Any]
) -> None:
    """Refuse sizes and settings beside an ensemble, each of whose members has its own."""
    given = [*settings, *(["latent_dims"] if latent_dims is not None else [])]
    ensembles = [recipe.name for recipe in recipes if recipe.others]
    if given and ensembles:
        raise InputError(
            f"{', '.join(given)} beside recipe {ensembles[0]!r}, whose members have sizes of "
            "their own; leave one of them out"
        )


def _identify_trainings(grid: Grid, by_recipe: bool) -> dict[str, str]:
    """Return what the identity of a store says of its trainings."""
    identity = {
        "grid": write_axes(grid.axes),
        "folds": json.dumps(grid.folds),
        "method": ", ".join(dict.fromkeys(base.method for base in grid.recipes)),
        "outputs": json.dumps(grid.outputs),
        "settings": json.dumps(dict(grid.settings), sort_keys=True, default=str),
        "label_clip": str(grid.label_clip),
    }
    if by_recipe:
        identity["recipe"] = json.dumps([base.describe() for base in grid.recipes])
    return identity


def _make_base(method: str) -> Recipe:
    """Return a method as it is without further settings."""
    return Recipe(name=method, method=method, latent_dim=pick_method(method).latent_dim)


def _pick_recipes(names: Sequence[str] | None, sizes: tuple[int, int, int]) -> tuple[Recipe, ...]:
    """Return recipes by name, all that the stars can carry if None, the simplest first."""
    if names is None:
        return tuple(list_recipes(*sizes)[0])
    if not names or len(set(names)) < len(names):
        raise InputError(f"recipes is {list(names)}; give names, each once")
    return tuple(find_recipe(name, *sizes) for name in sorted(names, key=_rank_recipe))


def _rank_recipe(name: str) -> int:
    return NAMES.index(name) if name in NAMES else len(NAMES)


def _check_folds(folds: int) -> int:
    if not isinstance(folds, Integral) or int(folds) < 2:
        raise InputError(f"folds is {folds!r}; it must be a whole number of at least 2")
    return int(folds)


def _check_training(
    method: str | None,
    by_recipe: bool,
    priors: Sequence[float] | None,
    settings: Mapping[str, Any],
) -> None:
    """Refuse a method or settings that cannot be cross-validated."""
    if "latent_precision" in settings:
        raise InputError("latent_precision is what priors vary; leave it out")
    if by_recipe:
        if method is not None or priors is not None:
            raise InputError("recipes name method and prior; leave these out, or the recipes")
        return
    chosen = pick_method(method or "marginal")
    if chosen.latents_are_labels:
        raise InputError(
            f"method {method!r} has no number of latents to choose; take one of "
            f"{', '.join(list_methods_with_free_latents())}"
        )
    for prior in priors or ():
        chosen.choose_prior(prior)


def _check_recipes(grid: Grid, fewest: int, n_features: int) -> None:
    """Refuse what cannot be trained with the stars that its folds and shares leave."""
    for setting in list_settings(grid.axes):
        n_left = count_share(fewest, dict(setting).get(SHARE, 1.0))
        _check_recipe(grid.find_recipe(setting), n_left, n_features, grid.survey)


def _check_recipe(recipe: Recipe, n_stars: int, n_features: int, where: str) -> None:
    """Refuse settings that a method does not have, too few stars, and too many latents for data."""
    complete_settings(recipe.method, recipe.settings)
    if n_stars < LEAST_MEASURED:
        raise InputError(
            f"{where}: {n_stars} labelled stars are too few to train on (less a fold, and the "
            f"least share of a learning curve); at least {LEAST_MEASURED} are needed: take more "
            "stars, or greater shares (--share)"
        )
    least = min(n_stars, n_features)
    if recipe.latent_dim >= least:
        raise InputError(
            f"{where}: {recipe.latent_dim} latents are too many for the stars (less a fold, and "
            "the least share of a learning curve) and features that there are; choose fewer than "
            f"{least}, or greater shares"
        )
