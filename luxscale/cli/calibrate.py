"""The command that calibrates the errors of a model, or takes the calibration away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from luxscale.cli.base import JSON, add_selection, main, refuse_options, select_stars, show

if TYPE_CHECKING:
    from luxscale.model.lux import LuxModel
    from luxscale.schema.selection import Selection


@main.command(short_help="Calibrate the errors of a model on held-out stars and repeats.")
@click.argument("model")
@click.option("--catalog", default=None, help="Labels that the model gives held-out stars.")
@click.option("--survey", default=None, help="Survey that was labelled, with trusted labels.")
@click.option(
    "--by",
    default="star",
    metavar="COLUMN",
    help="Column that all visits of a star share. [default: each row is a star]",
)
@add_selection("Calibrate on these rows of the catalogue only")
@click.option("--remove", is_flag=True, help="Take the calibration away, to the last bit.")
@JSON
def calibrate(
    model: str,
    catalog: str | None,
    survey: str | None,
    by: str,
    selection: Selection,
    remove: bool,
    as_json: bool,
) -> None:
    """Calibrate the errors of MODEL's labels, in place, on stars that it was not trained on.

    Visits of one star tell by how much formal errors are too small, trusted labels what visits
    share. Catalogues made before keep their errors: --relabel them.
    """
    from luxscale.analysis.error_calibration import format_calibration
    from luxscale.model.file import load_model

    if remove == bool(catalog or survey) or bool(catalog) != bool(survey):
        raise click.UsageError("give --catalog and --survey, or --remove")
    if catalog is None or survey is None:
        refuse_options(("by", "where", "stars"), "--catalog and --survey")
        _remove(model, as_json)
        return
    calibrated = _calibrate(load_model(model), catalog, survey, by, selection)
    calibrated.save(model, overwrite=True)
    found = calibrated["label_value"].calibration
    assert found is not None
    counts = found.facts["counts"]
    text = (
        f"{model}: calibration {found.version}; of {counts['once'] + counts['repeated']:,} stars "
        f"{counts['repeated']:,} have two visits or more, {counts['most_visits']:,} at most, and "
        f"{counts['trained']:,} are of training and left out; {counts['not_done']:,} rows are not "
        f"done, {counts['without_star']:,} have no {by!r}"
    )
    show({"model": model, **found.facts}, f"{text}\n\n{format_calibration(found)}", as_json)


def _remove(model: str, as_json: bool) -> None:
    from luxscale.analysis.error_calibration import remove_calibration
    from luxscale.model.file import load_model

    loaded = load_model(model)
    plain = remove_calibration(loaded)
    removed = plain != loaded
    if removed:
        plain.save(model, overwrite=True)
    text = "the calibration is removed" if removed else "has no calibration"
    show({"model": model, "removed": removed}, f"{model}: {text}", as_json)


def _calibrate(
    model: LuxModel, catalog: str, survey: str, by: str, selection: Selection
) -> LuxModel:
    from luxscale import store
    from luxscale.analysis.error_calibration import calibrate_opened
    from luxscale.store import damage

    with damage.locate_damage(catalog):
        opened = store.open_dataset(catalog, kind="catalogue")
        seen = store.open_survey(survey, check="structure")
        taken = select_stars(opened, selection, catalog, survey=seen)
        return calibrate_opened(model, taken, seen, by, catalog)
