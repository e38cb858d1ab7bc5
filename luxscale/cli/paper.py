"""The command that draws the figures of the paper."""

from __future__ import annotations

from pathlib import Path

import click

from luxscale.cli.base import JSON, QUIET, main, show


@main.command()
@click.argument("numbers", nargs=-1, metavar="[NUMBER]...")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("luxscale-paper"), show_default=True,
    help="Directory for the figures, and for surveys, models and catalogues.",
)  # fmt: skip
@click.option("--fraction", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Number of stars over the paper's.")  # fmt: skip
@click.option(
    "--pixels",
    type=click.IntRange(100),
    default=8575,
    show_default=True,
    help="Pixels of simulated spectra.",
)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False, exists=True), default=None,
              help="Directory of published files, for the figures that need them.")  # fmt: skip
@JSON
@QUIET
def paper(
    numbers: tuple[str, ...],
    out: Path,
    fraction: float,
    pixels: int,
    data: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw the figures of the paper, all or those of these NUMBERs, from simulated and real giants.

    Figures with one more word after the number, such as 7-xp, show the same of other data. What is
    made on the way is kept in OUT/work, 2 GB at full size. Figures 12, 13 and 17 need --data;
    without NUMBERs they are left out where it lacks their files. All take minutes with --fraction
    0.2, and an hour at most at full size.
    """
    from luxscale.paper import Study, draw

    study = Study(out, fraction=fraction, pixels=pixels, data=data, progress=not quiet)
    drawn = [
        {
            "figure": e.number,
            "title": e.title,
            "path": None if path is None else str(path),
            "note": note,
        }
        for e, path, note in draw(study, numbers)
    ]
    lines = [
        f"{d['figure']:>3}  {d['path'] or 'left out: ' + str(d['note'])}  {d['title']}"
        for d in drawn
    ]
    show({"figures": drawn}, "\n".join(lines), as_json)
