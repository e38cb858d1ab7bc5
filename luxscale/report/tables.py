"""The tables of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.evaluate import STATISTICS
from luxscale.analysis.label_arrays import label_units
from luxscale.analysis.tables import count_decimals, to_records
from luxscale.report.cells import (
    UNKNOWN,
    Cell,
    Heading,
    Table,
    format_count,
    format_number,
    format_percent,
)
from luxscale.report.measure import State
from luxscale.report.sample import Sample
from luxscale.report.sources import Inputs
from luxscale.schema import flags
from luxscale.schema.variables import STAR

#: Labels in the table of the worst stars.
_MOST_LABELS = 3

#: Statistics in the units of the label.
_IN_UNITS = ("bias", "rmse", "robust_scatter", "median_err")

#: Headings of the statistics.
_SHORT = {
    "n_stars": "stars",
    "bias": "bias",
    "rmse": "RMSE",
    "robust_scatter": "robust scatter",
    "median_err": "median err",
    "pull": "pull",
}


_STATISTICS = tuple(Heading(_SHORT[name], True, about) for name, about in STATISTICS.items())


def tabulate_counts(state: State) -> Table:
    """Return how many stars there are of each kind."""
    meanings = {
        "stars": "in the catalogue",
        "done": "labelled",
        "not done": "not labelled yet",
        "unreadable": "the survey's data could not be read",
        "not_finite": "done, but a label or its error is not finite",
        "flagged": "done, with at least one flag",
    }
    counts = dict(state.counts)
    counts["not done"] = counts["stars"] - counts["done"] - counts["unreadable"]
    rows = [
        (
            Cell(kind.replace("_", " ")),
            Cell(meaning),
            format_count(counts[kind]),
            format_percent(counts[kind], counts["stars"]),
        )
        for kind, meaning in meanings.items()
    ]
    headings = (
        Heading("kind"),
        Heading("meaning"),
        Heading("stars", True),
        Heading("of all", True),
    )
    return Table("Stars of the catalogue.", headings, tuple(rows))


def tabulate_labels(sample: Sample) -> Table:
    """Return how labels and their errors are distributed."""
    numbers = ("5%", "16%", "median", "84%", "95%", "median err", "known")
    headings = (
        Heading("label"),
        Heading("unit"),
        *(Heading(text, True) for text in numbers),
    )
    values = sample.catalog["label_value"].values
    errors = sample.catalog["label_err"].values
    rows = []
    for j, (name, unit) in enumerate(label_units(sample.catalog).items()):
        known = values[np.isfinite(values[:, j]), j]
        sigma = errors[np.isfinite(errors[:, j]), j]
        median_err = float(np.median(sigma)) if sigma.size else None
        spread = [math.nan] * 5
        if known.size:
            spread = np.percentile(known, (5, 16, 50, 84, 95)).tolist()
        places = count_decimals(None, median_err)
        row = (
            Cell(_unescape(name)),
            Cell(unit),
            *(format_number(value, places) for value in spread),
            format_number(median_err, places),
            format_percent(known.size, len(values)),
        )
        rows.append(row)
    return Table(f"Labels: percentiles of {sample.description}.", headings, tuple(rows))


def _unescape(name: str) -> str:
    """Return a name without the escapes that Matplotlib asks for."""
    return name.replace(r"\$", "$")


def tabulate_agreement(comparison: xr.Dataset) -> Table:
    """Return what `luxscale.report.measure.compare_all` found."""
    about = (
        "median error over the robust scatter of the trusted labels; 1 if the spectrum says "
        "nothing of the label"
    )
    headings = (
        Heading("label"),
        Heading("unit"),
        *_STATISTICS,
        Heading("err / spread", True, about),
    )
    ratios = comparison["err_over_spread"].values.tolist()
    rows = []
    for record, ratio in zip(to_records(comparison), ratios, strict=True):
        name, unit = Cell(record["label"]), Cell(record["unit"])
        statistics = _format_statistics(record, _count_places([record]))
        rows.append((name, unit, *statistics, format_number(ratio, 2)))
    return Table("Inferred labels against trusted ones.", headings, tuple(rows))


def _format_statistics(record: dict[str, Any], places: int) -> tuple[Cell, ...]:
    """Return the cells of a label's statistics."""
    return (
        format_count(record["n_stars"]),
        *(format_number(record[name], places) for name in _IN_UNITS),
        format_number(record["pull"], 2),
    )


def _count_places(records: Iterable[dict[str, Any]]) -> int:
    """Return the decimals that the statistics of a label need, in all of the records."""
    return max(count_decimals(*(record[k] for k in _IN_UNITS[1:])) for record in records)


def tabulate_by_snr(bins: Sequence[tuple[float, float, xr.Dataset]], sample: Sample) -> Table:
    """Return what `luxscale.report.measure.compare_by_snr` found."""
    headings = (Heading("label"), Heading("S/N", True), *_STATISTICS)
    rows = []
    for of_label in zip(*(to_records(found) for _, _, found in bins), strict=True):
        # the same decimals in all bins
        places = _count_places(of_label)
        for (least, greatest, _), record in zip(bins, of_label, strict=True):
            name = Cell(_unescape(record["label"]))
            snr = Cell(f"{least:.3g}-{greatest:.3g}", least)
            rows.append((name, snr, *_format_statistics(record, places)))
    caption = f"The same in bins of S/N, of {sample.description}."
    return Table(caption, headings, tuple(rows))


def tabulate_flags(state: State) -> Table:
    """Return every flag with its meaning and how many stars carry it."""
    tried = state.counts["done"] + state.counts["unreadable"]
    rows = []
    for name, meaning in flags.FLAGS:
        bit, carried = int(flags.BIT[name]), state.flags.get(name, 0)
        row = (
            Cell(name),
            Cell(str(bit), bit),
            Cell(meaning),
            format_count(carried),
            format_percent(carried, tried),
        )
        rows.append(row)
    headings = (
        Heading("flag"),
        Heading("value", True),
        Heading("meaning"),
        Heading("stars", True),
        Heading("of these stars", True),
    )
    return Table(
        "Flags of stars that are done or could not be read; a star may carry several.",
        headings,
        tuple(rows),
    )


def tabulate_worst(inputs: Inputs, rows: np.ndarray, ratio: np.ndarray) -> Table:
    """Return the stars that are fitted worst.

    Parameters
    ----------
    inputs : Inputs
    rows : array, (worst,)
        Their positions in the catalogue.
    ratio : array, (star,)
        Chi2 per pixel of all stars.
    """
    small = inputs.catalog.drop_vars(["latent", "label_cov"], errors="ignore")
    worst = small.isel({STAR: rows}).compute()
    units = list(label_units(worst).items())[:_MOST_LABELS]
    headings = (
        Heading("star"),
        Heading("row", True),
        Heading("χ² per pixel", True),
        Heading("pixels", True),
        Heading("flags"),
        *(Heading(name, True, unit) for name, unit in units),
    )
    values, errors = worst["label_value"].values, worst["label_err"].values
    places = [_count_column_places(errors[:, j]) for j in range(len(units))]
    chi2_places = count_decimals(float(ratio[rows].min()))
    made = []
    for i, row in enumerate(rows.tolist()):
        labels = values[i, : len(places)].tolist()
        cells = (
            Cell(str(worst[STAR].values.tolist()[i])),
            format_count(row),
            format_number(float(ratio[row]), chi2_places),
            format_count(int(worst["n_pixels"].values[i])),
            Cell(_format_flags(int(worst["flags"].values[i]))),
            *(format_number(value, p) for value, p in zip(labels, places, strict=True)),
        )
        made.append(cells)
    return Table("Stars with the largest χ² per pixel.", headings, tuple(made))


def _format_flags(carried: int) -> str:
    """Return the names of the flags of a star."""
    names = [name for name, bit in flags.BIT.items() if carried & int(bit)]
    return ", ".join(names) or UNKNOWN


def _count_column_places(errors: np.ndarray) -> int:
    """Return the decimals of a column of labels, for two digits of the median of their errors."""
    known = errors[np.isfinite(errors)]
    if not known.size:
        return 3
    return count_decimals(None, float(np.median(known)))
