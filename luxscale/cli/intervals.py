"""The command that writes intervals of a catalogue's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from luxscale.cli.base import JSON, add_selection, format_count, main, select_stars, show

if TYPE_CHECKING:
    import xarray as xr

    from luxscale.schema.selection import Selection


@main.command(short_help="Write intervals of a catalogue's labels, of stated coverage.")
@click.argument("catalog")
@click.option("--survey", required=True, help="Survey with the trusted labels of held-out stars.")
@click.option(
    "--held-out",
    default=None,
    help="Catalogue of the held-out stars, by the same model. [default: CATALOG]",
)
@add_selection("Take these of the held-out stars only", untrained=True)
@click.option(
    "--model", default=None, help="Model that made both; its training stars are not held out."
)
@click.option(
    "--coverage", type=float, default=0.9, show_default=True, help="Share of stars within."
)
@click.option(
    "--bins",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Bins of the error, each with intervals of its own.",
)
@click.option("--out", required=True, help="Zarr store to write, on the stars of CATALOG.")
@click.option("--overwrite", is_flag=True, help="Replace intervals at --out.")
@JSON
def intervals(
    catalog: str,
    survey: str,
    held_out: str | None,
    selection: Selection,
    model: str | None,
    coverage: float,
    bins: int,
    out: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write intervals that hold the trusted labels of a stated share of CATALOG's stars.

    They come from stars that the model was not trained on, by conformal prediction: errors need not
    be right. Which those are --model says, or --stars, --where or --held-out. A trusted label has
    an error of its own, which the intervals hold too.
    """
    if model is None and held_out is None and selection.takes_all:
        raise click.UsageError(
            "intervals are of stars that the model was not trained on: name it with --model, or "
            "say which they are, with --stars, --where or --held-out"
        )
    from luxscale import store
    from luxscale.analysis.intervals import FORMAT, predict_intervals
    from luxscale.model.file import load_model
    from luxscale.model.predict import check_latents
    from luxscale.schema.selection import UNTRAINED, Selection
    from luxscale.store import damage

    store.claim_place(out, FORMAT, overwrite=overwrite)
    with damage.locate_damage(catalog):
        opened = store.open_dataset(catalog, kind="catalogue")
        truth = store.open_survey(survey, check="structure")
        known = opened if held_out is None else store.open_dataset(held_out, kind="catalogue")
        trained = None
        if model is not None:
            loaded = load_model(model)
            check_latents(known, loaded)
            trained = loaded.training_stars
        where = held_out or catalog
        taken = select_stars(known, selection, where, survey=truth, trained=trained)
        if trained is not None:
            untrained = Selection.read(None, UNTRAINED)
            taken = select_stars(taken, untrained, where, trained=trained)
        found = predict_intervals(opened, taken, truth, coverage=coverage, bins=bins)
        store.write_dataset(found, out, overwrite=overwrite)
    _show(found, out, as_json)


def _show(found: xr.Dataset, out: str, as_json: bool) -> None:
    """Print from how many held-out stars the intervals of each label are."""
    from luxscale.analysis.tables import align_rows

    coverage = found.attrs["coverage"]
    names = found["label"].values.tolist()
    columns = (found[name].values.tolist() for name in ("n_held_out", "coverage_err"))
    records = [
        {"label": name, "held_out": n, "coverage_err": err if n else None}
        for name, n, err in zip(names, *columns, strict=True)
    ]
    rows = [("label", "held-out stars", "coverage")]
    for each in records:
        share = "-"
        if each["held_out"]:
            share = f"{100 * coverage:.3g} +- {100 * each['coverage_err']:.2g}%"
        rows.append((each["label"], f"{each['held_out']:,}", share))
    text = f"{out}: intervals of {format_count(found.sizes['star'], 'star')}"
    facts = {"intervals": out, "stars": found.sizes["star"], "coverage": coverage}
    show({**facts, "labels": records}, f"{text}\n\n{align_rows(rows, n_words=1)}", as_json)
