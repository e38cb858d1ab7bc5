"""How much time workers would save."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from luxscale.crossval.axes import Task
from luxscale.crossval.grid import Grid
from luxscale.schema.outputs import pick_outputs
from luxscale.training.methods import pick_method

#: Seconds of a task besides its arithmetic, of a star for each latent cubed (the solution for its
#: latents), and for each value and product of latents. Measured on 2,400 stars of 400 pixels and on
#: 4,000 of 8,575.
_TASK_SECONDS, _SOLVE_SECONDS, _PRODUCT_SECONDS = 0.5, 3e-8, 1.5e-9

#: Seconds by which each number of latents costs workers more than one process: all compile it.
_COMPILE_SECONDS = 2.5

#: Cores that the products of one process use.
_PRODUCT_CORES = 4


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
    n_stars = grid.n_stars * (1 - 1 / grid.folds)
    specs = pick_outputs(survey, grid.outputs, grid.survey)
    n_values = sum(survey.sizes[spec.dim] for spec in specs)
    in_turn = at_once = 0.0
    sizes = set()
    for group in grid.group_by_training(pending):
        recipe = grid.find_recipe(group[0].setting)
        n_trained = n_stars * group[0].share
        terms = pick_method(recipe.method).count_terms(recipe.latent_dim, recipe.settings)
        sizes.add(terms)
        in_turn += _TASK_SECONDS + _SOLVE_SECONDS * n_trained * terms**3
        n_products = recipe.latent_dim * (recipe.latent_dim + 1) / 2
        at_once += _PRODUCT_SECONDS * n_trained * n_values * n_products
    one_process = in_turn + at_once / min(workers, _PRODUCT_CORES)
    return one_process - (in_turn + at_once) / workers - _COMPILE_SECONDS * len(sizes)
