"""Commands that make data: the demo and simulated surveys."""

from __future__ import annotations

from pathlib import Path

import click

from luxscale.cli.base import JSON, QUIET, ROUND, format_count, main, show
from luxscale.training.recipes import NAMES


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("luxscale-demo"),
    show_default=True,
    help="Directory to make.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Worker processes. [default: one per CPU core]",
)
@click.option(
    "--recipe",
    type=click.Choice(NAMES),
    default=None,
    help="How to train. [default: the best on stars left out]",
)
@JSON
@QUIET
def demo(out: Path, workers: int | None, recipe: str | None, as_json: bool, quiet: bool) -> None:
    """Label 3,000 real Gaia XP giants and compare with APOGEE.

    Compares recipes on 3,000 other stars and trains the best, labels on a local Dask cluster,
    writes figures. No network, about two minutes.
    """
    from luxscale.analysis.tables import format_table, to_records
    from luxscale.examples.demo import run_demo

    made = run_demo(out, workers=workers, recipe=recipe, progress=not quiet)
    text = f"""
{made.summary.n_stars:,} stars labelled that training had not seen; inferred against APOGEE:

{format_table(made.comparison)}

figures     {"  ".join(str(f) for f in made.figures)}
survey      {made.survey}
unlabelled  {made.unlabelled}
model       {made.model}
catalogue   {made.catalog}

Open the catalogue:
  import xarray as xr
  catalog = xr.open_zarr("{made.catalog}", consolidated=False)
  catalog.label_value.sel(label="fe_h").plot.hist(bins=50)"""
    result = {
        "labels": to_records(made.comparison),
        "figures": [str(f) for f in made.figures],
        "survey": str(made.survey),
        "unlabelled": str(made.unlabelled),
        "model": str(made.model),
        "catalog": str(made.catalog),
    }
    show(result, text, as_json)


@main.command(short_help="Write a synthetic survey of red giants with known labels.")
@click.argument("out")
@click.option("--stars", type=click.IntRange(1), required=True, help="Number of stars.")
@click.option(
    "--snr",
    type=float,
    nargs=2,
    default=(30.0, 200.0),
    show_default=True,
    help="Least and greatest S/N.",
)
@click.option(
    "--pixels", type=click.IntRange(2), default=None, help="Pixels of a spectrum. [default: 4288]"
)
@click.option(
    "--missing-labels",
    type=float,
    default=0.1,
    show_default=True,
    help="Fraction of labels missing.",
)
@click.option(
    "--bad-pixels", type=float, default=0.03, show_default=True, help="Fraction of pixels missing."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of what is random.")
@click.option(
    "--visits",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Visits of each star, a row each; of several the column object names the star.",
)
@ROUND
@click.option(
    "--chunk", type=click.IntRange(1), default=1024, show_default=True, help="Stars per chunk."
)
@click.option("--overwrite", is_flag=True, help="Replace a survey at OUT.")
@QUIET
def simulate(
    out: str,
    stars: int,
    snr: tuple[float, float],
    pixels: int | None,
    missing_labels: float,
    bad_pixels: float,
    seed: int,
    rounding: float | None,
    visits: int,
    chunk: int,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Write a synthetic survey of red giants with known labels to OUT, chunk by chunk."""
    from luxscale.examples.simulate import simulate_survey
    from luxscale.progress import Progress

    rows = stars * visits
    with Progress("simulating", rows, unit="spectra", enabled=not quiet) as shown:
        simulate_survey(
            out,
            stars,
            snr=snr,
            n_pixels=pixels,
            missing_labels=missing_labels,
            bad_pixels=bad_pixels,
            seed=seed,
            rounding=rounding,
            visits=visits,
            chunk=chunk,
            overwrite=overwrite,
            progress=lambda done, _: shown.update(done),
        )
    each = f", {format_count(visits, 'visit')} each" if visits > 1 else ""
    click.echo(f"{out}: {format_count(stars, 'star')}{each}")
