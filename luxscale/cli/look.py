"""Commands that look at results: validate and info."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luxscale.cli.base import JSON, add_selection, format_count, main, select_stars, show

if TYPE_CHECKING:
    from luxscale.schema.selection import Selection


@main.command(short_help="Check that a catalogue is complete; compare its labels.")
@click.argument("catalog")
@click.argument("survey")
@add_selection("Compare these stars of the catalogue only", untrained=True)
@click.option(
    "--model",
    default=None,
    help="Model that the catalogue was made with, for --stars untrained.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Directory to write figures to.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing figures.")
@JSON
def validate(
    catalog: str,
    survey: str,
    selection: Selection,
    model: str | None,
    figures: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Check that CATALOG is complete, and compare its labels with those of SURVEY.

    A condition names what CATALOG has, or else SURVEY, as snr.
    """
    from luxscale import plot, store
    from luxscale.analysis.evaluate import check_catalog, compare
    from luxscale.analysis.tables import format_table, to_records
    from luxscale.model.file import load_model
    from luxscale.model.predict import check_latents
    from luxscale.store import damage

    with damage.locate_damage(catalog):
        labelled, truth = store.open_dataset(catalog), store.open_survey(survey, check="structure")
        state = check_catalog(labelled, catalog)
        trained = None
        if model is not None:
            loaded = load_model(model)
            check_latents(labelled, loaded)
            trained = loaded.training_stars
        labelled = select_stars(labelled, selection, catalog, survey=truth, trained=trained)
        comparison = compare(labelled, truth)
    written = []
    if figures:
        figures.mkdir(parents=True, exist_ok=True)
        target = store.claim_figure(figures / "labels.png", overwrite=overwrite)
        store.save_figure(plot.labels_figure(labelled, truth), target)
        written = [str(figures / "labels.png")]
    text = "\n".join(
        [
            f"{catalog}: {state['done']:,} of {format_count(state['stars'], 'star')} done, "
            f"{state['not_finite']:,} of them without finite labels; the data of "
            f"{state['unreadable']:,} could not be read",
            "",
            format_table(comparison),
            *(f"\nfigure {f}" for f in written),
        ]
    )
    show({**state, "labels": to_records(comparison), "figures": written}, text, as_json)
    if state["done"] < state["stars"] or state["not_finite"]:
        sys.exit(1)


@main.command(short_help="Describe the survey, model or catalogue at PATH.")
@click.argument("path")
@click.option("--check", is_flag=True, help="Read and check every value of a survey.")
@click.option(
    "--quarantine",
    is_flag=True,
    help="List the files, and stars of files, that a survey could not use.",
)
@JSON
def info(path: str, check: bool, quarantine: bool, as_json: bool) -> None:
    """Describe the survey, model, catalogue or cross-validation at PATH."""
    from luxscale.cli.format import format_facts, format_quarantine
    from luxscale.info import describe as look

    if quarantine and check:
        raise click.UsageError("--quarantine reads no values to --check; give one of them")
    if quarantine:
        rows = look.quarantine(path)
        show(rows, format_quarantine(rows), as_json)
    else:
        found = look.describe(path, check=check)
        show(found, format_facts(found), as_json)
