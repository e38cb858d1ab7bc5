"""The command that says what lies at a path."""

from __future__ import annotations

import click

from luxscale.cli.base import JSON, main, show


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
