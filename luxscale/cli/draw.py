"""The command that draws spectra of stars."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from luxscale.cli.base import JSON, main, show
from luxscale.errors import InputError


def _range(
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


@main.command()
@click.argument("survey")
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
    help="Catalogue, to draw the model's spectrum of a star; with --model.",
)
@click.option("--model", default=None, help="Model that the catalogue was made with.")
@click.option(
    "--range",
    "span",
    callback=_range,
    metavar="LEAST:GREATEST",
    help="Wavelengths to draw, in the survey's unit.",
)
@click.option("--output", default="flux", show_default=True, help="The spectrum, by name.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help=(
        "File to draw one star into; its ending says which kind (png, pdf, svg).  [default: "
        "STAR.png]"
    ),
)
@JSON
def plot(
    survey: str, stars: tuple[str, ...], rows: tuple[int, ...], as_json: bool, **given: Any
) -> None:
    """Draw the spectra of STARS of a SURVEY, by identifier, each into a file of its own.

    Bad pixels are marked; the title has the star's labels. With a catalogue and its model, the
    model's spectrum is drawn too, and what is left over, in sigma.
    """
    if not stars and not rows:
        raise click.UsageError("name a star by its identifier, or by its position with --row")
    if (given["catalog"] is None) != (given["model"] is None):
        raise click.UsageError("the model's spectrum needs both --catalog and --model")
    if given["out"] is not None and len(stars) + len(rows) > 1:
        raise click.UsageError(
            "--out is for one star; leave it out, and each is drawn into STAR.png"
        )
    from luxscale import plot as plots
    from luxscale import store
    from luxscale.model.file import load_model
    from luxscale.schema.variables import STAR
    from luxscale.store import damage

    held = store.open_survey(survey, check="structure")
    with damage.explain_damage(survey):
        at = _positions(held, survey, stars, rows)
    model = load_model(given["model"]) if given["model"] else None
    catalog = _catalog(given["catalog"], model) if given["catalog"] else None
    written = []
    for row in at:
        with damage.explain_damage(survey):
            one = held.isel({STAR: [row]}).compute()
        name = one[STAR].values.tolist()[0]
        found = None if catalog is None else _same_star(catalog, row, name, given["catalog"])
        axes = plots.spectrum(one, name, found, model, output=given["output"], span=given["span"])
        written.append(_save(axes[0].figure, given["out"] or Path(_file_name(name) + ".png")))
    show({"figures": written}, "\n".join(written), as_json)


def _positions(held: Any, path: str, stars: tuple[str, ...], rows: tuple[int, ...]) -> list[int]:
    from luxscale.schema.stars import find_stars
    from luxscale.schema.variables import STAR

    n = held.sizes[STAR]
    for row in rows:
        if row >= n:
            raise InputError(f"{path}: --row {row}, but it holds rows 0 to {n - 1}")
    named = find_stars(held, stars, path).tolist() if stars else []
    return list(dict.fromkeys([*named, *rows]))


def _catalog(path: str, model: Any) -> Any:
    """Open a catalogue, and refuse one that another model made."""
    from luxscale import store
    from luxscale.analysis.evaluate import require_catalog

    catalog = store.open_dataset(path)
    require_catalog(catalog, path)
    if catalog.attrs.get("model_fingerprint", model.fingerprint) != model.fingerprint:
        raise InputError(f"{path}: was made with another model; give the one that it was made with")
    return catalog


def _same_star(catalog: Any, row: int, name: Any, path: str) -> Any:
    """Return a star of a catalogue: the one in its row of the survey, or wherever it is, if it is done."""
    from luxscale.schema.stars import find_stars
    from luxscale.schema.status import find_done
    from luxscale.schema.variables import STAR
    from luxscale.store import damage

    with damage.explain_damage(path):
        if row >= catalog.sizes[STAR] or catalog[STAR][row].values.tolist() != name:
            row = int(find_stars(catalog, [name], path)[0])
        found = catalog.isel({STAR: [row]}).compute()
    if not find_done(found)[0]:
        raise InputError(f"{path}: star {name!r} has no labels yet, or its data could not be read")
    return found


def _file_name(star: Any) -> str:
    """Return an identifier as the name of a file."""
    return re.sub(r"[^\w.+-]", "_", str(star)).lstrip(".") or "star"


def _save(figure: Any, path: Path) -> str:
    if path.suffix[1:].lower() not in figure.canvas.get_supported_filetypes():
        raise InputError(
            f"{path}: figures are not written as {path.suffix or 'files without an ending'}; "
            "use .png"
        )
    figure.savefig(path, dpi=150)
    return str(path)
