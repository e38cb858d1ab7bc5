"""The command that compares a catalogue with trusted labels, or with another catalogue."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luxscale.cli.base import JSON, add_selection, format_count, main, select_stars, show
from luxscale.errors import InputError

if TYPE_CHECKING:
    from luxscale.schema.selection import Selection


@main.command(short_help="Check that a catalogue is complete; compare its labels.")
@click.argument("catalog")
@click.argument("other", metavar="SURVEY | NEW")
@add_selection("Compare these stars of the catalogue only", untrained=True)
@click.option(
    "--model",
    default=None,
    help="Model that the catalogue was made with, for --stars untrained.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Directory to write figures to.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing figures.")
@JSON
def validate(
    catalog: str,
    other: str,
    selection: Selection,
    model: str | None,
    figures: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Check that CATALOG is complete, and compare its labels with those of SURVEY.

    Where the other is a catalogue too, it is NEW: say by how much its labels and flags differ from
    those of CATALOG, and for which stars most. A condition names what CATALOG has, or else the
    other, as snr.
    """
    from luxscale import store
    from luxscale.analysis.evaluate import check_catalog
    from luxscale.schema.outputs import is_catalog
    from luxscale.store import damage

    with damage.locate_damage(catalog):
        labelled, truth = store.open_dataset(catalog), store.open_survey(other, check="structure")
        states = {catalog: check_catalog(labelled, catalog)}
        trained = _find_trained(labelled, model)
        labelled = select_stars(labelled, selection, catalog, survey=truth, trained=trained)
        is_new = is_catalog(truth)
        target = _claim_figure(figures, overwrite, is_new=is_new)
        if not is_new:
            found, text = _compare_labels(labelled, truth)
    if is_new:
        with damage.locate_damage(other):
            states[other] = check_catalog(truth, other)
            found, text = _compare_catalogs(catalog, labelled, other, truth)
    written = [] if target is None else [_draw(labelled, truth, target, is_new=is_new)]
    lines = [_describe_state(path, state) for path, state in states.items()]
    lines += ["", text, *(f"\nfigure {path}" for path in written)]
    facts = {**states[catalog], **found, "figures": written}
    if is_new:
        facts["new"] = states[other]
    show(facts, "\n".join(lines), as_json)
    if any(state["done"] < state["stars"] or state["not_finite"] for state in states.values()):
        sys.exit(1)


def _find_trained(labelled: Any, model: str | None) -> Any:
    """Return the stars that a catalogue's model was trained on; None if no model is given."""
    from luxscale.model.file import load_model
    from luxscale.model.predict import check_latents

    if model is None:
        return None
    loaded = load_model(model)
    check_latents(labelled, loaded)
    return loaded.training_stars


def _compare_labels(labelled: Any, truth: Any) -> tuple[dict[str, Any], str]:
    """Compare with trusted labels: facts for JSON, and text."""
    from luxscale.analysis.evaluate import match_labels, measure_pairs
    from luxscale.analysis.tables import format_table, to_records
    from luxscale.analysis.trusted_errors import advise_on_truth

    pairs = match_labels(labelled, truth)
    comparison = measure_pairs(pairs)
    advice = [*advise_on_truth(pairs), *_advise_on_empty(labelled, truth)]
    facts = {"labels": to_records(comparison), "advice": advice}
    return facts, "\n".join([format_table(comparison), *advice])


def _advise_on_empty(labelled: Any, truth: Any) -> list[str]:
    """Say how many of the compared stars have no data; nothing if none."""
    from luxscale.schema import flags
    from luxscale.schema.stars import match_stars

    if "flags" not in labelled:
        return []
    rows, _ = match_stars(labelled, truth)
    empty = flags.count(labelled["flags"].values[rows]).get("no_data")
    if not empty:
        return []
    return [
        f"{empty:,} of {format_count(rows.size, 'star')} have no data, and the labels of the "
        "average star: without them, add --where 'not no_data'"
    ]


def _compare_catalogs(old: str, labelled: Any, new: str, other: Any) -> tuple[dict[str, Any], str]:
    """Compare with another catalogue: facts for JSON, and text."""
    from luxscale.analysis.changes import compare_catalogs, format_change, to_records

    if _is_same(old, new):
        raise InputError(
            f"{new}: both are the same catalogue; give another one of the same stars, or a survey "
            "with trusted labels"
        )
    change = compare_catalogs(labelled, other)
    facts = {**dataclasses.asdict(change), "labels": to_records(change)}
    # of stars the catalogue's own facts have the name
    facts["compared"], facts["changed_flags"] = facts.pop("stars"), facts.pop("flags")
    return facts, format_change(change)


def _is_same(old: str, new: str) -> bool:
    if "://" in old or "://" in new:
        return old.rstrip("/") == new.rstrip("/")
    return os.path.realpath(old) == os.path.realpath(new)


def _claim_figure(figures: Path | None, overwrite: bool, *, is_new: bool) -> Path | None:
    """Return where the figure is to be drawn, if a directory is given."""
    from luxscale import store

    if not figures:
        return None
    name = "changes.png" if is_new else "labels.png"
    store.claim_figure_in(figures, name, overwrite=overwrite)
    return figures / name


def _draw(labelled: Any, other: Any, target: Path, *, is_new: bool) -> str:
    """Draw the comparison; return the path."""
    from luxscale import plot, store

    draw = plot.changes if is_new else plot.labels_figure
    store.save_figure(draw(labelled, other), target)
    return str(target)


def _describe_state(path: str, state: dict[str, Any]) -> str:
    """Say how far a catalogue is."""
    return (
        f"{path}: {state['done']:,} of {format_count(state['stars'], 'star')} done, "
        f"{state['not_finite']:,} of them without finite labels; the data of "
        f"{state['unreadable']:,} could not be read"
    )
