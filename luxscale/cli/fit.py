"""The command that trains a model, and what it has in common with cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from luxscale.cli.base import (
    JSON,
    QUIET,
    Command,
    add_selection,
    main,
    parse_windows,
    refuse_options,
    select_stars,
    show,
)
from luxscale.cli.clusters import cluster_options
from luxscale.cli.workplace import Cluster
from luxscale.training.methods import (
    FOLDS,
    LABEL_CLIP,
    METHODS,
    list_methods_with,
    list_sizes,
)
from luxscale.training.recipes import NAMES

if TYPE_CHECKING:
    from luxscale.model.lux import LuxModel
    from luxscale.schema.selection import Selection


def add_sizes(*, several: bool) -> Callable[[Command], Command]:
    """Add an option for each size of a model; they come as keywords by name."""

    def add(command: Command) -> Command:
        for name, setting in reversed(list_sizes().items()):
            methods = " and ".join(list_methods_with(name))
            repeat = " (repeat)" if several else ""
            command = click.option(
                f"--{name}",
                type=click.IntRange(0 if setting.zero else 1),
                multiple=several,
                help=f"{setting.size}, {methods} method{repeat}. [default: {setting.default}]",
            )(command)
        return command

    return add


add_label_clip = click.option(
    "--label-clip",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="Set labels aside that differ from what their spectra tell by more than so many robust "
    "standard deviations, and keep groups of 3 or more with larger errors; inf keeps all as they "
    "are. "
    f"[default: {LABEL_CLIP:g}]",
)


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
    help="Number of latents P. [default: 48, or 12 for curved; The Cannon has one per label]",
)
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    default=None,
    help="How to train: by maximum marginal likelihood (linear; the default where a size "
    "or another setting is given), as in the paper, with products of latents, or The Cannon.",
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
    "--nuisance",
    multiple=True,
    metavar="NAME:WIDTH,...",
    help="Infer with each star what its spectrum has beside it (repeat): continuum:DEGREE, "
    "velocity:WIDTHkm/s, resolution:WIDTH:POWER, TEMPLATES.npz; linear models only.",
)
@click.option(
    "--window",
    "windows",
    multiple=True,
    callback=parse_windows,
    metavar="LABEL=LEAST:GREATEST",
    help="Infer this label from these wavelengths only (repeat).",
)
@add_selection("Train on these stars only")
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
    "--noise",
    type=click.Choice(METHODS["curved"].settings["noise"].choices),
    default=None,
    help="Noise of pixels, curved method. [default: correlated]",
)
@add_sizes(several=False)
@click.option(
    "--folds",
    type=click.IntRange(1),
    default=None,
    help=f"Folds on which label misfit is measured; 1 measures none. [default: {FOLDS}]",
)
@add_label_clip
@click.option(
    "--initial",
    help="Go on from this model, on the same stars or others, which may have more labels and "
    "outputs; or from a checkpoint. Its settings are kept.",
)
@click.option(
    "--checkpoint",
    help="Write the model so far here every minute and on Ctrl-C, a Zarr store.",
)
@click.option(
    "--unlabelled",
    type=click.IntRange(1),
    default=None,
    help="So many stars without labels take part, with less weight, in recipe curved, the default "
    "then, or cubic; otherwise they are left out.",
)
@click.option("--overwrite", is_flag=True, help="Replace a model at --out.")
@click.option(
    "--chunked",
    is_flag=True,
    help="Train a linear model on more stars than memory holds, chunk by chunk; the same command "
    "again goes on.",
)
@click.option(
    "--region-stars",
    type=click.IntRange(1),
    default=None,
    help="Stars per task of --chunked, rounded to whole chunks of the survey.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the memory and bytes that --chunked needs, and stop."
)
@click.option(
    "--log",
    default=None,
    help="File to append the log of --chunked to, one JSON object per line. [default: beside the "
    "model, OUT.log.jsonl]",
)
@cluster_options
@JSON
@QUIET
def train(
    survey: str,
    out: str,
    selection: Selection,
    chunked: bool,
    region_stars: int | None,
    dry_run: bool,
    log: str | None,
    cluster: Cluster,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Train a model on the stars of SURVEY that have labels.

    Without --recipe, --method, --prior, sizes or another setting such as --iterations, all recipes
    with enough training stars are compared on stars left out, and the best is trained on all.
    """
    from luxscale import store
    from luxscale.model.file import FORMAT

    store.claim_place(out, FORMAT, overwrite=overwrite)
    # the others, by name, are arguments of `luxscale.train`; what is not given has its default
    options = {name: value for name, value in given.items() if value not in (None, (), {})}
    options["where"] = survey
    trained: LuxModel | None
    if chunked:
        from luxscale.cli.chunked import train_chunked

        _refuse_options_in_memory()
        trained = train_chunked(
            survey,
            out,
            selection,
            {"region_stars": region_stars, **options},
            cluster=cluster,
            dry_run=dry_run,
            log=log,
            overwrite=overwrite,
            as_json=as_json,
            progress=not quiet,
        )
    else:
        refuse_options(("region_stars", "dry_run", "log"), "--chunked", cluster.given)
        _check_checkpoint(options.get("checkpoint"), out)
        trained = _train_in_memory(survey, selection, options, progress=not quiet)
        trained.save(out, overwrite=overwrite)
    if trained is not None:
        _show_model(trained, out, as_json)


def _train_in_memory(
    survey: str, selection: Selection, options: Mapping[str, Any], *, progress: bool
) -> LuxModel:
    from luxscale import store
    from luxscale.training import train as fit

    opened = store.open_survey(survey, check="structure", outputs=options.get("outputs"))
    return fit(select_stars(opened, selection, survey), progress=progress, **options)


def _refuse_options_in_memory() -> None:
    """Refuse, for training over chunks, the options that only training in memory has."""
    refuse_options(("initial", "checkpoint"), "training in memory; this one goes on by itself")
    refuse_options(("nuisance",), "training in memory, which measures errors with them")
    refuse_options(("unlabelled",), "training in memory")


def _check_checkpoint(checkpoint: str | None, out: str) -> None:
    from luxscale import store

    if checkpoint and store.make_absolute(checkpoint) == store.make_absolute(out):
        raise click.UsageError("--checkpoint is --out; choose another path for the checkpoint")


def _show_model(trained: LuxModel, out: str, as_json: bool) -> None:
    """Print what was trained, and where it is."""
    result = {
        "model": out,
        "fingerprint": trained.fingerprint,
        "latent_dim": trained.latent_dim,
        "stars": trained.provenance.n_stars,
        "outputs": [o.name for o in trained.outputs],
        "objective": [float(x) for x in trained.objective],
        "held_out": trained.held_out,
    }
    show(result, f"{trained}\nwritten to {out}", as_json)
