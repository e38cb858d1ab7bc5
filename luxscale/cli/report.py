"""The command that writes a catalogue's report."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from luxscale.cli.base import JSON, QUIET, add_selection, format_count, main, show

if TYPE_CHECKING:
    from luxscale.schema.selection import Selection


@main.command()
@click.argument("catalog")
@click.option("--out", default="report.html", show_default=True, help="Page to write, NAME.html.")
@click.option("--truth", default=None, help="Survey with trusted labels, to compare with.")
@add_selection("Compare these stars of the catalogue alone", untrained=True)
@click.option(
    "--survey",
    default=None,
    help="Survey that was labelled, for spectra and S/N. [default: the one the log names]",
)
@click.option(
    "--model",
    default=None,
    help="Model that the catalogue was made with, for fits. [default: the one the log names]",
)
@click.option(
    "--log", default=None, help="Log of the runs. [default: CATALOG.log.jsonl, if it is there]"
)
@click.option("--overwrite", is_flag=True, help="Replace a report at --out.")
@JSON
@QUIET
def report(
    catalog: str, out: str, selection: Selection, as_json: bool, quiet: bool, **given: Any
) -> None:
    """Describe CATALOG on one self-contained page of HTML.

    The page can be read anywhere and attached to a release. With trusted labels it holds the
    agreement with them and the calibration of errors; with survey and model how well spectra are
    fitted, and the worst ones. It says what is left out. It needs no other file and no network.
    """
    from luxscale.report import write_report

    if given["truth"] is None and not selection.takes_all:
        raise click.UsageError(
            "--stars and --where say which stars to compare; name the survey to compare with, with "
            "--truth"
        )
    made = write_report(
        catalog,
        out,
        condition=selection.condition,
        stars=selection.choice.text or None,
        progress=not quiet,
        **given,
    )
    size = made.bytes / 1e6
    stars = format_count(made.stars, "star")
    if made.compared is not None:
        stars += f", {made.compared:,} of them compared with trusted labels"
    text = f"{made.path}: {stars}, {size:,.2f} MB"
    show(dataclasses.asdict(made), text, as_json)
