"""The command that draws the figures of the paper."""

from __future__ import annotations

from pathlib import Path

import click

from luxscale.cli.base import JSON, QUIET, main, show
from luxscale.training.recipes import NAMES


@main.command(short_help="Draw the figures of the paper.")
@click.argument("numbers", nargs=-1, metavar="[NUMBER]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("luxscale-paper"),
    show_default=True,
    help="Directory for the figures, and for surveys, models and catalogues.",
)
@click.option(
    "--fraction",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Number of stars, as a fraction of the paper's.",
)
@click.option(
    "--pixels",
    type=click.IntRange(100),
    default=8575,
    show_default=True,
    help="Pixels of simulated spectra.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="Directory of published files, for the figures that need them.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing figures.")
@click.option(
    "--recipe",
    type=click.Choice(NAMES),
    default=None,
    help="How to train. [default: linear with the paper's number of latents]",
)
@JSON
@QUIET
def paper(
    numbers: tuple[str, ...],
    out: Path,
    fraction: float,
    pixels: int,
    data: Path | None,
    recipe: str | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw the figures of the paper, all or those of these NUMBERs, from simulated and real giants.

    Figures with a word after the number, such as 7-xp, show the same for other data. Surveys,
    models and catalogues are kept in OUT/work (2 GB at full size) and reused by later calls.
    Figures 12, 13 and 17 need --data; without NUMBERs they are left out if their files are missing.
    All figures take minutes with --fraction 0.2, and at most an hour at full size.
    """
    from luxscale.paper import Study, draw

    study = Study(
        out=out,
        fraction=fraction,
        pixels=pixels,
        data=data,
        recipe=recipe,
        progress=not quiet,
    )
    drawn, lines = [], []
    for entry, path, note in draw(study, numbers, overwrite=overwrite):
        facts = {"figure": entry.number, "title": entry.title, "path": None, "note": note}
        result = f"left out: {note}"
        if path is not None:
            facts["path"] = result = str(path)
        drawn.append(facts)
        lines.append(f"{entry.number:>3}  {result}  {entry.title}")
    show({"figures": drawn}, "\n".join(lines), as_json)
