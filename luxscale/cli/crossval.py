"""The command that cross-validates."""

from __future__ import annotations

import functools
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luxscale.cli.base import JSON, QUIET, add_selection, choose_log, main, select_stars, show
from luxscale.cli.clusters import cluster_options
from luxscale.cli.fit import add_label_clip, add_sizes
from luxscale.cli.workplace import Cluster
from luxscale.training.methods import LABEL_CLIP, list_methods_with_free_latents
from luxscale.training.recipes import NAMES

if TYPE_CHECKING:
    import xarray as xr

    from luxscale.crossval.choice import Choice
    from luxscale.crossval.grid import Grid
    from luxscale.schema.selection import Selection


@main.command(short_help="Compare recipes or sizes of models on stars left out.")
@click.argument("survey")
@click.option(
    "--out", required=True, help="Store of results to write or to continue, a Zarr store."
)
@click.option(
    "--recipe",
    "recipes",
    type=click.Choice(NAMES),
    multiple=True,
    help="Method with its sizes (repeat). [default: all that have enough training stars]",
)
@click.option(
    "--latent-dim",
    "latent_dims",
    type=click.IntRange(1),
    multiple=True,
    help="Number of latents P (repeat). [default: the method's or the recipe's]",
)
@click.option(
    "--prior",
    "priors",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    help="Precision of the prior on latents, 1 / Omega^2 (repeat). [default: 1; the curved method "
    "fits one]",
)
@click.option(
    "--learning-curve",
    is_flag=True,
    help="Train on 1/8, 1/4 and 1/2 of the stars, too, and say what more stars would bring.",
)
@click.option(
    "--share",
    "shares",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    help="Share of the stars to train on for a learning curve (repeat); 1 comes by itself.",
)
@click.option("--figure", help="Draw the learning curve into this file.")
@click.option("--overwrite", is_flag=True, help="Replace the figure.")
@add_sizes(several=True)
@click.option(
    "--folds",
    type=click.IntRange(2),
    default=5,
    show_default=True,
    help="Parts of the stars, each left out of training once.",
)
@click.option(
    "--method",
    type=click.Choice(list_methods_with_free_latents()),
    default=None,
    help="How to train: by maximum marginal likelihood (the default where a size, a prior or "
    "--iterations is given), as in the paper, or with products of latents.",
)
@add_selection("Use these stars only")
@click.option(
    "--output",
    "outputs",
    multiple=True,
    help="Output to model (repeat). [default: all of the survey]",
)
@click.option(
    "--iterations",
    type=click.IntRange(1),
    default=None,
    help="Most iterations. [default: the method's]",
)
@add_label_clip
@click.option(
    "--log",
    default=None,
    help="File to append the log of the run to, one JSON object per line. [default: beside a "
    "store on this machine, OUT.log.jsonl]",
)
@cluster_options
@JSON
@QUIET
def crossval(
    survey: str,
    out: str,
    recipes: tuple[str, ...],
    latent_dims: tuple[int, ...],
    priors: tuple[float, ...],
    learning_curve: bool,
    shares: tuple[float, ...],
    figure: str | None,
    overwrite: bool,
    folds: int,
    method: str | None,
    selection: Selection,
    outputs: tuple[str, ...],
    label_clip: float | None,
    log: str | None,
    cluster: Cluster,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Choose a recipe, or sizes and the prior of a method, by cross-validation on SURVEY.

    Its labelled stars are left out of training in turn. Without --recipe, --method, sizes,
    --prior or --iterations, all recipes with enough training stars are compared. The same command
    again resumes.
    Settings are compared by the labels of stars left out of training, pooled over the folds.
    """
    from luxscale import crossval as cv
    from luxscale import store

    found = store.open_survey(survey, check="structure", outputs=outputs or None)
    select_stars(found, selection, survey)  # refuses stars that are not there
    if learning_curve or shares:
        shares = tuple(dict.fromkeys([*(shares or cv.SHARES), 1.0]))
    target = _claim_figure(figure, bool(shares), overwrite)
    settings = {name: values for name, values in given.items() if values not in (None, ())}
    grid = cv.make_grid(
        survey,
        out,
        recipes=recipes or None,
        latent_dims=latent_dims or None,
        priors=priors or None,
        shares=shares or None,
        folds=folds,
        method=method,
        outputs=outputs or None,
        condition=selection.condition,
        stars=selection.choice.text or None,
        label_clip=LABEL_CLIP if label_clip is None else label_clip,
        **settings,
    )
    log = choose_log(log, out)
    results, n_tasks = _run(grid, found, log, cluster, progress=not quiet)
    about: dict[str, Any] = {"out": out, "n_tasks": n_tasks, "log": log, "figure": target}
    _show_choice(grid, results, as_json=as_json, **about)


def _run(
    grid: Grid, survey: xr.Dataset, log: str | None, cluster: Cluster, *, progress: bool
) -> tuple[xr.Dataset, int]:
    """Do what is pending; return the results and the number of tasks done."""
    from luxscale import crossval as cv
    from luxscale.runs.log import RunLog
    from luxscale.runs.target import complete, open_target

    with RunLog(log) as run_log, open_target(cv.Results(grid), progress=progress) as run:
        tasks = [task for group in run.pending for task in group]
        saving = functools.partial(cv.guess_saving, grid, survey, tasks)
        with cluster.client(needed=bool(tasks), saving=saving, progress=progress) as client:
            results = complete(run, client=client, log=run_log, progress=progress)
    return results, len(tasks)


def _claim_figure(figure: str | None, has_curve: bool, overwrite: bool) -> Path | None:
    """Return where the learning curve is to be drawn."""
    if figure is None:
        return None
    if not has_curve:
        raise click.UsageError("--figure draws the learning curve; add --learning-curve")
    from luxscale import store

    return store.claim_figure(figure, overwrite=overwrite)


def _show_choice(
    grid: Grid,
    results: xr.Dataset,
    *,
    out: str,
    n_tasks: int,
    log: str | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Print the scores of all settings, which to choose, and the command to go on with."""
    from luxscale import crossval as cv
    from luxscale.analysis import tables

    choice = cv.choose(results)
    records = cv.to_records(results)
    labels = cv.label_scores(cv.take_all_stars(results), dict(choice.setting))
    go_on = cv.suggest_command(grid, choice)
    gain = cv.describe_gain(records, choice)
    curve, about_curve = _describe_curve(results, choice, figure)
    counts = f"{len(records)} settings, {grid.folds} folds, {n_tasks:,} tasks done in this run"
    text = f"""{out}: {counts}

{cv.format_table(records, choice)}

* chosen: {_explain_choice(choice, gain)}

the chosen setting, out of fold:

{tables.format_table(labels)}
{about_curve}
go on with
  {go_on}"""
    result = {
        "out": out,
        "settings": records,
        "chosen": choice.to_record(),
        "labels": tables.to_records(labels),
        "gain": gain,
        **curve,
        "next": go_on,
        "log": log,
    }
    show(result, text, as_json)


def _explain_choice(choice: Choice, gain: str) -> str:
    """Return why a setting is chosen, and what the best would bring."""
    from luxscale import crossval as cv

    if not gain:
        return "the best"
    best = cv.describe_setting(choice.best)
    gains = textwrap.fill(f"the best, {best}, would bring RMSE of {gain}", 100)
    return f"the simplest within one standard error of the best\n{gains}"


def _describe_curve(
    results: xr.Dataset, choice: Choice, figure: Path | None
) -> tuple[dict[str, Any], str]:
    """Return the learning curve of the chosen setting for programs and for people, and draw it."""
    if "share" not in results.dims:
        return {}, ""
    from luxscale import crossval as cv
    from luxscale import plot, store

    curve = cv.measure_learning_curve(results, dict(choice.setting))
    advice = cv.advise_on_stars(curve)
    text = f"\nits learning curve:\n\n{cv.format_curve(curve)}\n{textwrap.fill(advice, 100)}\n"
    found: dict[str, Any] = {"learning_curve": cv.list_curve(curve), "more_stars": advice}
    if figure is not None:
        store.save_figure(plot.learning_curve(curve)[0].get_figure(root=True), figure)
        text += f"drawn in {figure}\n"
        found["figure"] = str(figure)
    return found, text
