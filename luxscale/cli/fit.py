"""Commands that fit models: train and crossval."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from luxscale.cli.base import (
    JSON,
    QUIET,
    choose_log,
    main,
    parse_span,
    parse_windows,
    select_stars,
    show,
)
from luxscale.cli.clusters import Cluster, cluster_options
from luxscale.training.methods import METHODS, list_methods_with_free_latents
from luxscale.training.recipes import NAMES

if TYPE_CHECKING:
    import xarray as xr

    from luxscale.crossval.grid import Grid
    from luxscale.model.lux import LuxModel


@main.command()
@click.argument("survey")
@click.option("--out", required=True, help="Model to write, a Zarr store.")
@click.option(
    "--recipe",
    type=click.Choice(NAMES),
    default=None,
    help="A method with its sizes. [default: the best on stars left out]",
)
@click.option(
    "--latent-dim",
    type=click.IntRange(1),
    default=None,
    help="Number of latents P. [default: 48, of the curved method 12; The Cannon has one a label]",
)
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    default=None,
    help="How to train: by maximum marginal likelihood (linear; the default where a size is "
    "given), as in the paper, with products of latents, or The Cannon.",
)
@click.option(
    "--solver",
    type=click.Choice(METHODS["alternating"].settings["solver"].choices),
    default=None,
    help="Solver of the alternating method. [default: exact]",
)
@click.option(
    "--latent-precision",
    type=float,
    default=None,
    help="Precision of the prior on latents in training, of the alternating method. "
    "[default: 1e-6]",
)
@click.option(
    "--prior",
    type=float,
    default=None,
    help="Precision of the prior on latents at the test step. [default: 1]",
)
@click.option(
    "--window",
    "windows",
    multiple=True,
    callback=parse_windows,
    metavar="LABEL=LEAST:GREATEST",
    help="Infer this label from these wavelengths alone (repeat).",
)
@click.option(
    "--stars",
    callback=parse_span,
    metavar="START:STOP",
    help="Train on these stars only, by position.",
)
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
@click.option(
    "--tolerance",
    type=float,
    default=None,
    help="Gain at which to stop, per measured value. [default: 2e-5; of the alternating method "
    "2e-3]",
)
@click.option(
    "--folds",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Folds on which label misfit is measured; 1 measures none.",
)
@click.option("--overwrite", is_flag=True, help="Replace a model at --out.")
@JSON
@QUIET
def train(
    survey: str,
    out: str,
    recipe: str | None,
    latent_dim: int | None,
    method: str | None,
    solver: str | None,
    latent_precision: float | None,
    prior: float | None,
    windows: dict[str, list[tuple[float, float]]],
    stars: slice,
    outputs: tuple[str, ...],
    iterations: int | None,
    tolerance: float | None,
    folds: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train a model on the stars of SURVEY that have labels.

    Without --recipe, --method or sizes, the recipes that so many stars can carry are compared on
    stars left out, and the best is trained on all.
    """
    from luxscale import store
    from luxscale.model.file import FORMAT
    from luxscale.training import train as fit

    store.claim_place(out, FORMAT, overwrite=overwrite)
    found = store.open_survey(survey, check="structure", outputs=outputs or None)
    opened = select_stars(found, stars, survey)
    given = {
        "iterations": iterations,
        "solver": solver,
        "latent_precision": latent_precision,
        "tolerance": tolerance,
    }
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    trained = fit(
        opened,
        latent_dim,
        recipe=recipe,
        outputs=outputs or None,
        method=method,
        windows=windows,
        prior=prior,
        folds=folds,
        progress=not quiet,
        where=survey,
        **settings,
    )
    trained.save(out, overwrite=overwrite)
    _show_model(trained, out, as_json)


def _show_model(trained: LuxModel, out: str, as_json: bool) -> None:
    """Print what was trained, and where it is."""
    result = {
        "model": out,
        "fingerprint": trained.fingerprint,
        "latent_dim": trained.latent_dim,
        "stars": trained.provenance.n_stars,
        "outputs": [o.name for o in trained.outputs],
        "objective": [float(x) for x in trained.objective],
    }
    show(result, f"{trained}\nwritten to {out}", as_json)


@main.command(short_help="Choose P and the prior by cross-validation.")
@click.argument("survey")
@click.option(
    "--out", required=True, help="Store of results to write or to continue, a Zarr store."
)
@click.option(
    "--latent-dim",
    "latent_dims",
    type=click.IntRange(1),
    multiple=True,
    required=True,
    help="Number of latents P (repeat).",
)
@click.option(
    "--prior",
    "priors",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    default=(1.0,),
    show_default=True,
    help="Precision of the prior on latents, 1 / Omega^2 (repeat).",
)
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
    default="marginal",
    show_default=True,
    help="How to train: by maximum marginal likelihood, or as in the paper.",
)
@click.option(
    "--stars", callback=parse_span, metavar="START:STOP", help="Use these stars only, by position."
)
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
@click.option(
    "--log",
    default=None,
    help="File to append the log of the run to, a JSON object a line. [default: beside a store on "
    "this machine, OUT.log.jsonl]",
)
@cluster_options
@JSON
@QUIET
def crossval(
    survey: str,
    out: str,
    latent_dims: tuple[int, ...],
    priors: tuple[float, ...],
    folds: int,
    method: str,
    stars: slice,
    outputs: tuple[str, ...],
    iterations: int | None,
    log: str | None,
    cluster: Cluster,
    as_json: bool,
    quiet: bool,
) -> None:
    """Choose P and the prior by cross-validation on the labelled stars of SURVEY.

    The same command again resumes. Scores are chi2 per value of stars left out of training, medians
    over the folds.
    """
    from luxscale import crossval as cv
    from luxscale import store
    from luxscale.runs.log import RunLog
    from luxscale.runs.target import complete, open_target

    found = store.open_survey(survey, check="structure", outputs=outputs or None)
    select_stars(found, stars, survey)  # refuses positions that are not there
    settings: dict[str, Any] = {}
    if iterations is not None:
        settings["iterations"] = iterations
    grid = cv.make_grid(
        survey,
        out,
        latent_dims=latent_dims,
        priors=priors,
        folds=folds,
        method=method,
        outputs=outputs or None,
        stars=stars,
        **settings,
    )
    log = choose_log(log, out)
    with RunLog(log) as run_log, open_target(cv.Results(grid), progress=not quiet) as run:
        tasks = [task for group in run.pending for task in group]
        saving = functools.partial(cv.guess_saving, grid, found, tasks)
        with cluster.client(needed=bool(tasks), saving=saving, progress=not quiet) as client:
            results = complete(run, client=client, log=run_log, progress=not quiet)
    n_tasks = sum(map(len, run.pending))
    _show_choice(grid, results, out=out, n_tasks=n_tasks, log=log, as_json=as_json)


def _show_choice(
    grid: Grid, results: xr.Dataset, *, out: str, n_tasks: int, log: str | None, as_json: bool
) -> None:
    """Print the scores of all settings, which to choose, and the command to go on with."""
    from luxscale import crossval as cv
    from luxscale.analysis import tables

    choice = cv.choose(results)
    records = cv.to_records(results)
    labels = cv.label_scores(results, choice.latent_dim, choice.prior)
    go_on = cv.suggest_command(grid, choice)
    best = f"P={choice.best[0]}, prior={choice.best[1]:g}"
    counts = f"{len(records)} settings, {grid.folds} folds, {n_tasks:,} tasks done now"
    text = f"""{out}: {counts}

{cv.format_table(records, choice)}

* the fewest latents within one standard error of the best, {best}; out of fold:

{tables.format_table(labels)}

go on with
  {go_on}"""
    result = {
        "out": out,
        "settings": records,
        "chosen": choice._asdict(),
        "labels": tables.to_records(labels),
        "next": go_on,
        "log": log,
    }
    show(result, text, as_json)
