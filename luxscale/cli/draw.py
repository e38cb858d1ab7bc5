"""The command that draws spectra of stars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from luxscale.cli.base import JSON, file_options, main, refuse_options, show
from luxscale.errors import InputError

#: Bytes of a star's name in that of a file, of which file systems take 255.
_MOST_BYTES = 200


def _parse_range(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, float] | None:
    """Read LEAST:GREATEST, of wavelengths."""
    if value is None:
        return None
    try:
        least, greatest = map(float, value.split(":"))
    except ValueError:
        raise click.BadParameter("write LEAST:GREATEST, e.g. 15090:15822") from None
    return least, greatest


@main.command(short_help="Draw the spectra of stars of a survey.")
@click.argument("survey", metavar="SURVEY | FILE")
@click.argument("stars", nargs=-1)
@click.option(
    "--row",
    "rows",
    type=click.IntRange(0),
    multiple=True,
    help="Star by its position, from 0 (repeat).",
)
@click.option(
    "--catalog",
    default=None,
    help="Catalogue made with the model, whose latents are then not inferred again.",
)
@click.option("--model", default=None, help="Model, whose spectrum of a star is drawn too.")
@click.option(
    "--velocities",
    is_flag=True,
    help="Draw the velocities of the stars of --catalog, and their errors, against S/N instead.",
)
@file_options
@click.option(
    "--range",
    "span",
    callback=_parse_range,
    metavar="LEAST:GREATEST",
    help="Wavelengths to draw, in the survey's unit.",
)
@click.option("--output", default="flux", show_default=True, help="The spectrum, by name.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "File to draw one star into; its ending says which kind (png, pdf, svg). [default: "
        "STAR.png]"
    ),
)
@click.option("--overwrite", is_flag=True, help="Replace existing figures.")
@JSON
def plot(
    survey: str,
    stars: tuple[str, ...],
    rows: tuple[int, ...],
    velocities: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Draw the spectra of STARS of a SURVEY, by identifier, each into a file of its own.

    Bad pixels are marked; the title has the star's labels. With a model, its spectrum and the
    residuals, in units of the error, are drawn too. The star of a survey FILE needs no name.
    """
    if velocities:
        figures = [_plot_velocities(survey, [*stars, *rows], **given)]
    else:
        figures = _plot_spectra(survey, stars, rows, **given)
    written = list(map(str, figures))
    show({"figures": written}, "\n".join(written), as_json)


def _plot_spectra(
    survey: str,
    stars: tuple[str, ...],
    rows: tuple[int, ...],
    *,
    catalog: str | None,
    out: Path | None,
    overwrite: bool,
    **given: Any,
) -> list[Path]:
    """Draw the spectra of stars, each into a file; return the paths."""
    from luxscale import store
    from luxscale.model.file import load_model
    from luxscale.plot.star import open_stars
    from luxscale.schema.variables import STAR
    from luxscale.store import damage

    if catalog is not None and given["model"] is None:
        raise click.UsageError("the spectrum of a catalogue's star needs --model, too")
    if out is not None and len(stars) + len(rows) > 1:
        raise click.UsageError(
            "--out is for one star; leave it out, and each is drawn into STAR.png"
        )
    model = None if given["model"] is None else load_model(given["model"])
    if not store.is_data_file(survey):
        refuse_options(("file_format", "options"), "files; a survey says how it was read")
    opened = open_stars(
        survey, model, check="structure", format=given["file_format"], options=given["options"]
    )
    if not stars and not rows:
        _require_one_star(opened, survey)
        rows = (0,)
    with damage.explain_damage(survey):
        positions = _find_positions(opened, survey, stars, rows)
        names = opened[STAR][positions].values.tolist()
    paths = [out] if out else _make_file_names(names)
    targets = [store.claim_figure(path, overwrite=overwrite) for path in paths]
    labelled = None if catalog is None else _open_catalog(catalog, model)
    for row, name, path, target in zip(positions, names, paths, targets, strict=True):
        with damage.explain_damage(survey):
            star = opened.isel({STAR: [row]}).compute()
        latents = None
        if labelled is not None:
            latents = _find_in_catalog(labelled, row, name, str(catalog))
        figure = _draw_star(star, name, model, latents, output=given["output"], span=given["span"])
        _check_ending(figure, path)
        store.save_figure(figure, target)
    return paths


def _draw_star(star: Any, name: Any, model: Any, labelled: Any, **how: Any) -> Any:
    """Draw a star, with its model spectrum from the latents of a catalogue if one is given."""
    from luxscale import plot as plots

    if labelled is None:
        axes = plots.star(star, name, model, **how)
    else:
        axes = plots.spectrum(star, name, labelled, model, **how)
    return axes[0].figure


def _plot_velocities(
    survey: str,
    chosen: Sequence[Any],
    *,
    catalog: str | None,
    out: Path | None,
    overwrite: bool,
    output: str,
    **of_spectra: Any,
) -> Path:
    """Draw the velocities of a catalogue into a file; return its path."""
    if chosen or output != "flux" or any(of_spectra.values()):
        raise click.UsageError(
            "--velocities draws no spectra: give SURVEY, --catalog, --out and --overwrite alone"
        )
    if catalog is None:
        raise click.UsageError("--velocities are those of a catalogue; name it with --catalog")
    path = out or Path("velocities.png")
    _draw_velocities(survey, catalog, path, overwrite=overwrite)
    return path


def _draw_velocities(survey: str, catalog: str, path: Path, *, overwrite: bool) -> None:
    """Draw the velocities of a catalogue into a file, with the S/N of its survey."""
    from luxscale import plot as plots
    from luxscale import store
    from luxscale.analysis.evaluate import require_catalog
    from luxscale.plot.velocities import NAMES
    from luxscale.schema.stars import match_stars
    from luxscale.store import damage

    target = store.claim_figure(path, overwrite=overwrite)
    surveyed, found = store.open_dataset(survey), store.open_dataset(catalog)
    require_catalog(found, catalog)
    if "snr" not in surveyed:
        raise InputError(f"{survey}: has no variable 'snr' (star), against which they are drawn")
    rows, survey_rows = match_stars(found, surveyed)
    names = [name for name in (*NAMES, "flags", "status") if name in found]
    with damage.explain_damage(catalog):
        stars = found[names].isel(star=rows).compute()
    with damage.explain_damage(survey):
        snr = surveyed["snr"].isel(star=survey_rows).values
    try:
        axes = plots.velocities(stars, snr)
    except InputError as error:
        raise InputError(f"{catalog}: {error}") from error
    _check_ending(axes[0].figure, path)
    store.save_figure(axes[0].figure, target)


def _require_one_star(survey: Any, path: str) -> None:
    """Refuse a survey of several stars, of which none is named."""
    from luxscale.schema.variables import STAR

    n_stars = survey.sizes[STAR]
    if n_stars != 1:
        names = survey[STAR][:3].values.tolist()
        more = ", ..." if n_stars > len(names) else ""
        raise click.UsageError(
            f"{path} has {n_stars:,} stars; name a star by its identifier "
            f"({', '.join(map(str, names))}{more}), or by its position with --row"
        )


def _find_positions(
    survey: Any, path: str, stars: tuple[str, ...], rows: tuple[int, ...]
) -> list[int]:
    """Return the positions of stars in a survey, each once: by identifier, then by row."""
    from luxscale.schema.stars import find_stars
    from luxscale.schema.variables import STAR

    last = survey.sizes[STAR] - 1
    for row in rows:
        if row > last:
            raise InputError(f"{path}: --row {row}, but it holds rows 0 to {last}")
    positions = []
    if stars:
        positions = find_stars(survey, stars, path).tolist()
    positions += rows
    return list(dict.fromkeys(positions))


def _open_catalog(path: str, model: Any) -> Any:
    """Open a catalogue, and refuse one that another model made."""
    from luxscale import store
    from luxscale.analysis.evaluate import require_catalog
    from luxscale.model.predict import check_latents

    catalog = store.open_dataset(path)
    require_catalog(catalog, path)
    try:
        check_latents(catalog, model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return catalog


def _find_in_catalog(catalog: Any, row: int, name: Any, path: str) -> Any:
    """Return a star of a catalogue, in its row of the survey or wherever it is.

    Raises
    ------
    InputError
        If it is not there, or not done.
    """
    from luxscale.schema.stars import find_stars
    from luxscale.schema.status import find_done
    from luxscale.schema.variables import STAR
    from luxscale.store import damage

    with damage.explain_damage(path):
        is_there = row < catalog.sizes[STAR] and catalog[STAR][row].values.tolist() == name
        if not is_there:
            row = int(find_stars(catalog, [name], path)[0])
        star = catalog.isel({STAR: [row]}).compute()
    if not find_done(star)[0]:
        raise InputError(f"{path}: star {name!r} has no labels yet, or its data could not be read")
    return star


def _make_file_names(stars: Sequence[Any]) -> list[Path]:
    """Return the names of files for stars, numbered where those of two would be the same."""
    names: list[str] = []
    for star in stars:
        name = re.sub(r"[^\w.+-]", "_", str(star)).lstrip(".") or "star"
        name = name.encode()[:_MOST_BYTES].decode(errors="ignore")
        number, unused = 1, name
        # file systems may take upper and lower case for the same
        while unused.lower() in {other.lower() for other in names}:
            number += 1
            unused = f"{name}-{number}"
        names.append(unused)
    return [Path(f"{name}.png") for name in names]


def _check_ending(figure: Any, path: Path) -> None:
    ending = path.suffix[1:].lower()
    if ending not in figure.canvas.get_supported_filetypes():
        raise InputError(
            f"{path}: figures are not written as {path.suffix or 'files without an ending'}; "
            "use .png"
        )
