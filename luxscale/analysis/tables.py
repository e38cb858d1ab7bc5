"""Comparisons of labels for people and programs: aligned text, records, decimals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.evaluate import STATISTICS
from luxscale.analysis.label_arrays import label_units

#: Statistics in the units of the label.
_IN_UNITS = ("bias", "rmse", "robust_scatter", "median_err")

#: Letters of a line, where tables are folded.
_WIDTH = 100

_HEADINGS = ("label", "unit", "n", "bias", "RMSE", "robust scatter", "median err", "pull")


def format_table(comparison: xr.Dataset) -> str:
    """Return what `compare` found as aligned plain text, one line per label.

    Parameters
    ----------
    comparison : Dataset
        From `compare`.

    Returns
    -------
    str
        Figures of a label share their decimals: three significant ones of the RMSE; ``-`` for NaN.

    Examples
    --------
    >>> from luxscale.analysis.evaluate import compare
    >>> from luxscale.analysis.tables import format_table
    >>> print(format_table(compare(catalog, survey)).splitlines()[0])
    label  unit            n    bias    RMSE  robust scatter  median err  pull
    """
    return format_records(to_records(comparison))


def format_records(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records of `to_records`, or of a model's ``held_out``, as `format_table` does."""
    cells = [_format_cells(record) for record in records]
    return align_rows([_HEADINGS, *cells], n_words=2)


def align_rows(rows: Sequence[Sequence[str]], n_words: int = 0) -> str:
    """Return rows of cells as lines of aligned columns.

    Parameters
    ----------
    rows : sequence of sequence of str
    n_words : int
        First columns that stand to the left; figures, the others, stand to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for cells in rows:
        words = map(str.ljust, cells[:n_words], widths[:n_words])
        figures = map(str.rjust, cells[n_words:], widths[n_words:])
        lines.append("  ".join([*words, *figures]).rstrip())
    return "\n".join(lines)


def fold_rows(
    rows: Sequence[Sequence[str]], groups: Sequence[int], *, repeated: int = 1, n_words: int = 0
) -> str:
    """Return rows of cells as aligned columns, folded into several tables where they are too wide.

    Parameters
    ----------
    rows : sequence of sequence of str
    groups : sequence of int
        How many of the columns after those that are repeated stay together, in their order.
    repeated : int
        First columns, which every table has.
    n_words : int
        As of `align_rows`.
    """
    tables: list[list[int]] = []
    columns = first = list(range(repeated))
    start = repeated
    for size in groups:
        group = list(range(start, start + size))
        start += size
        if columns != first and _measure_width(rows, columns + group) > _WIDTH:
            tables.append(columns)
            columns = first
        columns = columns + group
    tables.append(columns)
    return "\n\n".join(
        align_rows([[row[i] for i in columns] for row in rows], n_words) for columns in tables
    )


def _measure_width(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> int:
    widths = [max(len(row[i]) for row in rows) for i in columns]
    return sum(widths) + 2 * (len(widths) - 1)


def _format_cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    bias, *sizes = (record[name] for name in _IN_UNITS)
    places = count_decimals(*sizes)
    return (
        record["label"],
        record["unit"] or "-",
        str(record["n_stars"]),
        *(round_to(figure, places) for figure in (bias, *sizes)),
        round_to(record["pull"], 2),
    )


def count_decimals(rmse: float | None, *others: float | None) -> int:
    """Return how many decimals show three digits of an RMSE and two of its companions."""
    wanted = [_count_places(rmse, 3)]
    wanted += [_count_places(value, 2) for value in others]
    return min(6, max(wanted))


def _count_places(value: float | None, significant: int) -> int:
    if value is None or not np.isfinite(value) or value == 0:
        return 0
    digits = significant - 1
    # scientific notation rounds first: 99.99 counts as 100
    _, exponent = f"{value:.{digits}e}".split("e")
    return max(0, digits - int(exponent))


def round_to(value: float | None, places: int) -> str:
    """Return a number with so many decimals, ``-`` for None or NaN, and no negative zero."""
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:z.{places}f}"


def to_records(comparison: xr.Dataset) -> list[dict[str, Any]]:
    """Return what `compare` found as a list of dicts, one per label, that JSON can hold.

    Parameters
    ----------
    comparison : Dataset
        From `compare`.

    Returns
    -------
    list of dict
        Keys ``label``, ``unit`` and the names of the statistics; None for NaN.
    """
    columns = {name: comparison[name].values.tolist() for name in STATISTICS}
    records = []
    for i, (label, unit) in enumerate(label_units(comparison).items()):
        record: dict[str, Any] = {"label": label, "unit": unit}
        for name, values in columns.items():
            record[name] = _replace_nan(values[i])
        records.append(record)
    return records


def _replace_nan(value: float) -> float | None:
    """Return None for NaN, which JSON cannot hold."""
    if np.isnan(value):
        return None
    return value
