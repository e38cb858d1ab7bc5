"""The command that writes a catalogue in the formats of other tools."""

from __future__ import annotations

import dataclasses

import click

from luxscale.cli.base import JSON, QUIET, format_count, main, show


@main.command(short_help="Write a catalogue as FITS, Parquet, CSV, ECSV or VOTable.")
@click.argument("catalog")
@click.option(
    "--out",
    required=True,
    help="NAME.fits, a binary table; NAME.csv, .ecsv or .vot; or NAME.parquet, a directory.",
)
@click.option("--survey", default=None, help="Survey that the catalogue was made of, for --column.")
@click.option(
    "--column", "columns", multiple=True, help="Column of the survey to add, e.g. ra (repeat)."
)
@click.option("--covariance", is_flag=True, help="Add covariances of the labels.")
@click.option("--no-latents", is_flag=True, help="Leave out the latents.")
@click.option(
    "--healpix-order",
    type=click.IntRange(0, 5),
    default=None,
    help="Partition Parquet by sky position, in the HATS layout; needs --column ra --column dec.",
)
@click.option(
    "--healpix-margin",
    type=float,
    default=None,
    metavar="ARCSEC",
    help="Add a margin cache of this width, for matches across the borders of files.",
)
@click.option(
    "--unfinished", is_flag=True, help="Export stars that are not done too, without values."
)
@click.option("--overwrite", is_flag=True, help="Replace an export at --out.")
@JSON
@QUIET
def export(
    catalog: str,
    out: str,
    survey: str | None,
    columns: tuple[str, ...],
    covariance: bool,
    no_latents: bool,
    healpix_order: int | None,
    healpix_margin: float | None,
    unfinished: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write CATALOG as a table of FITS, Parquet, CSV, ECSV or VOTable, one row per star."""
    from luxscale.export import export_catalog

    if bool(survey) != bool(columns):
        raise click.UsageError(
            "--survey and --column go together: name the survey and its columns to add"
        )
    made = export_catalog(
        catalog,
        out,
        survey=survey,
        columns=columns,
        covariance=covariance,
        latents=not no_latents,
        healpix_order=healpix_order,
        healpix_margin=healpix_margin,
        unfinished=unfinished,
        overwrite=overwrite,
        progress=not quiet,
    )
    counts = {"not done": made.not_done, "whose data could not be read": made.unreadable}
    left = "".join(f", {n:,} of them {what}" for what, n in counts.items() if n)
    text = (
        f"{made.path}: {format_count(made.rows, 'star')}{left}, {len(made.columns)} columns, "
        f"{made.bytes / 1e6:,.1f} MB"
    )
    show(dataclasses.asdict(made), text, as_json)
