"""Cross-validation over recipes, or sizes and the prior of a method (appendix A).

Imports runs, training and what they stand on.

Every fold of every setting is a task: train on the other folds, infer the stars of this one from
their spectra and from their labels, and write what was found as a Zarr group of its own, its
``status`` last. Where the prior is of the test step alone, as with method ``"marginal"``, the tasks
that differ in it only share one training. So a run that was interrupted goes on where it was, and
no two tasks ever write one chunk. When all have run, the results are put together in the order of
the survey's stars. Model spectra are not kept: they would be the survey times the number of
settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from luxscale.crossval.axes import Task, describe_setting, list_tasks, read_axes
from luxscale.crossval.choice import Choice, choose, find_axes, take_all_stars
from luxscale.crossval.fold import predict_left_out, run_tasks
from luxscale.crossval.grid import GIVEN, Grid, make_grid
from luxscale.crossval.learning import (
    SHARES,
    advise_on_stars,
    format_curve,
    list_curve,
    measure_learning_curve,
)
from luxscale.crossval.results import FORMAT, Results, is_done
from luxscale.crossval.saving import guess_saving
from luxscale.crossval.score import label_scores, scores, suggest_command
from luxscale.crossval.table import describe_gain, format_table, to_records
from luxscale.runs.log import RunLog
from luxscale.runs.target import complete, open_target
from luxscale.training.methods import LABEL_CLIP

__all__ = [
    "FORMAT",
    "GIVEN",
    "SHARES",
    "Choice",
    "Grid",
    "Results",
    "Task",
    "advise_on_stars",
    "choose",
    "cross_validate",
    "describe_gain",
    "describe_setting",
    "find_axes",
    "format_curve",
    "format_table",
    "guess_saving",
    "is_done",
    "label_scores",
    "list_curve",
    "list_tasks",
    "make_grid",
    "measure_learning_curve",
    "predict_left_out",
    "read_axes",
    "run_tasks",
    "scores",
    "suggest_command",
    "take_all_stars",
    "to_records",
]


def cross_validate(
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
    client: Any = None,
    log: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> xr.Dataset:
    """Train on all folds but one and predict that one, for every setting of a grid.

    Called again, it resumes.

    Parameters
    ----------
    survey : str or Path
        Survey, a Zarr store; its stars without any label take no part.
    out : str or Path
        Zarr store of the results, made, or continued if it is of the same stars, grid, method and
        settings.
    recipes : sequence of str, optional
        Recipes to compare, as of `luxscale.train`, with the sizes that the stars of all folds but
        one can carry. All that there are where neither they nor a method, its sizes or priors are
        given.
    latent_dims : sequence of int, optional
        Numbers of latents P; by default that of the method, or of each recipe.
    priors : sequence of float, optional
        Precisions of the Gaussian prior on latents, 1 / variance: 1 / Omega^2 for the paper's
        Omega; 1 by default. With method ``"alternating"`` it is the training's
        ``latent_precision`` too; ``"marginal"`` trains with 1 whatever it is, once. The curved
        method fits its prior, and takes none.
    shares : sequence of float, optional
        Shares of the stars of the other folds to train on, 1 among them: the points of a learning
        curve, see `measure_learning_curve`. Each holds the stars of the smaller ones.
    folds : int
    method, outputs
        As for `luxscale.train`; the method is ``"marginal"`` unless named.
    condition : str, optional
        What the stars to use satisfy, as of `luxscale.select`.
    stars : str or slice, optional
        Which of these to use, as of `luxscale.select`; a slice takes them by position.
    label_clip : float
        As for `luxscale.train`; each fold's training sets labels aside by itself. Stars left out
        are compared with all of their labels.
    client : distributed.Client, optional
        Cluster to run on; without one, tasks are done one after another in this process.
    log : str or Path, optional
        File to append the log of the run to, one JSON object per line.
    progress : bool
        Whether to show progress on standard error.
    **settings
        As for `luxscale.train`. One that is given as a list varies: ``gaussians=[20, 80]``.

    Returns
    -------
    Dataset
        On the axes of the grid and further dims, lazy. The axes are (latent_dim, prior) of a method
        with a free prior, (latent_dim,) of another, (recipe,) of recipes, and then the settings
        that vary and ``share``. Out of fold: ``label_value``, ``label_err``
        (star, label), predicted from the spectrum, with formal errors; ``spectrum_chi2``,
        ``label_chi2`` (given, star), with latents from spectra or from labels; ``n_pixels``,
        ``n_labels`` (star,). Of each fold: ``objective``, ``training_seconds``, ``seconds``,
        ``status`` (fold,). For all settings: ``star_fold``, ``star_row`` (star,) and the labels as
        the survey has them, ``trusted_label_value`` and ``trusted_label_err``. Model spectra are
        not kept.

    Raises
    ------
    InputError
        Before any work, if the survey or the grid cannot be used, ``out`` holds something else, or
        another run is under way into it.
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
        recipes=recipes,
        latent_dims=latent_dims,
        priors=priors,
        shares=shares,
        folds=folds,
        method=method,
        outputs=outputs,
        condition=condition,
        stars=stars,
        label_clip=label_clip,
        **settings,
    )
    with RunLog(log) as run_log, open_target(Results(grid), progress=progress) as run:
        return complete(run, client=client, log=run_log, progress=progress)
