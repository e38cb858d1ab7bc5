"""The command that holds errors against the scatter of stars observed more than once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luxscale.cli.base import JSON, add_selection, main, select_stars, show

if TYPE_CHECKING:
    from luxscale.schema.selection import Selection


@main.command(short_help="Hold errors against the scatter of stars observed more than once.")
@click.argument("catalog")
@click.option(
    "--by", required=True, metavar="COLUMN", help="Column that all visits of a star share."
)
@click.option(
    "--survey", default=None, help="Survey that was labelled, for columns that CATALOG lacks."
)
@click.option(
    "--model",
    default=None,
    help="Model that the catalogue was made with, for ratios over formal errors.",
)
@click.option(
    "--over",
    multiple=True,
    metavar="COLUMN",
    help="Column or label by which visits are put into bins (repeat). [default: snr and teff, "
    "where they are there]",
)
@click.option("--bins", type=click.IntRange(1), default=4, show_default=True, help="Bins of each.")
@add_selection("Take these visits only")
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    default=None,
    help="File to draw the ratios into; its ending says which kind (png, pdf, svg).",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing figure.")
@JSON
def repeats(
    catalog: str,
    by: str,
    selection: Selection,
    figure: Path | None,
    overwrite: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure the scatter of CATALOG's labels between visits of the same star, over their errors.

    A row of the catalogue is a visit. What a model gets wrong of a star all its visits share:
    ratios below 1 do not say that errors are too large; those above 1 say that they are too small.
    """
    from luxscale import store
    from luxscale.analysis.repeat_tables import format_repeats, to_records
    from luxscale.analysis.repeats import measure_opened
    from luxscale.model.file import load_model
    from luxscale.store import damage

    target = store.claim_figure(figure, overwrite=overwrite) if figure else None
    survey = None
    with damage.locate_damage(catalog):
        opened = store.open_dataset(catalog, kind="catalogue")
        if given["survey"] is not None:
            survey = store.open_survey(given["survey"], check="structure")
        taken = select_stars(opened, selection, catalog, survey=survey)
        measured = measure_opened(
            taken,
            by,
            catalog,
            survey=survey,
            model=None if given["model"] is None else load_model(given["model"]),
            over=given["over"] or None,
            bins=given["bins"],
        )
    lines = [format_repeats(measured)]
    if target is not None:
        lines.append(f"figure {_draw(measured, target)}")
    facts = {**measured.attrs, "labels": to_records(measured)}
    show(facts, "\n\n".join(lines), as_json)


def _draw(measured: Any, target: Path) -> Path:
    """Draw the ratios in bins of the first quantity; return the path."""
    from luxscale import plot, store
    from luxscale.errors import InputError

    quantities = measured["quantity"].values[1:].tolist()
    if not quantities:
        raise InputError(
            "there is nothing to draw the ratios against: name the survey (--survey) for its snr, "
            "or a column (--over)"
        )
    axes = plot.repeats(measured, quantities[0])
    store.save_figure(axes[0].get_figure(root=True), target)
    return target
