"""Commands that look at results: validate and info."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from luxscale.cli.base import JSON, format_count, main, parse_span, select_stars, show


@main.command(short_help="Check that a catalogue is complete; compare its labels.")
@click.argument("catalog")
@click.argument("survey")
@click.option(
    "--stars",
    callback=parse_span,
    metavar="START:STOP",
    help="Compare these stars of the catalogue only, by position.",
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
    stars: slice,
    figures: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Check that CATALOG is complete, and compare its labels with those of SURVEY."""
    from luxscale import plot, store
    from luxscale.analysis.evaluate import check_catalog, compare
    from luxscale.analysis.tables import format_table, to_records
    from luxscale.store import damage

    with damage.locate_damage(catalog):
        labelled, truth = store.open_dataset(catalog), store.open_survey(survey, check="structure")
        state = check_catalog(labelled, catalog)
        labelled = select_stars(labelled, stars, catalog)
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
