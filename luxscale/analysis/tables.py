"""Comparisons of labels for people and programs: aligned text, records, decimals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.evaluate import STATISTICS, label_units

_HEADINGS = ("label", "unit", "n", "bias", "RMSE", "robust scatter", "median err", "pull")


def format_table(comparison: xr.Dataset) -> str:
    """Return what `compare` found as aligned plain text, a line a label.

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
    rows = [_HEADINGS, *map(_format_cells, to_records(comparison))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            c.ljust(w) if i < 2 else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _format_cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    figures = [record[k] for k in ("bias", "rmse", "robust_scatter", "median_err")]
    return (
        record["label"],
        record["unit"] or "-",
        str(record["n_stars"]),
        *(round_to(v, count_decimals(*figures[1:])) for v in figures),
        round_to(record["pull"], 2),
    )


def count_decimals(rmse: float | None, *others: float | None) -> int:
    """Return how many decimals show three digits of an RMSE and two of its companions."""
    wanted = [_count_places(rmse, 3), *(_count_places(v, 2) for v in others)]
    return min(6, max(wanted))


def _count_places(value: float | None, significant: int) -> int:
    if value is None or not np.isfinite(value) or value == 0:
        return 0
    exponent = int(
        f"{value:.{significant - 1}e}".split("e")[1]
    )  # after rounding: 99.99 counts as 100
    return max(0, significant - 1 - exponent)


def round_to(value: float | None, places: int) -> str:
    """Return a number with so many decimals, ``-`` for None or NaN, and no negative zero."""
    return "-" if value is None or not np.isfinite(value) else f"{value:z.{places}f}"


def to_records(comparison: xr.Dataset) -> list[dict[str, Any]]:
    """Return what `compare` found as a list of dicts, one a label, that JSON can hold.

    Parameters
    ----------
    comparison : Dataset
        From `compare`.

    Returns
    -------
    list of dict
        Keys ``label``, ``unit`` and the names of the statistics; None for NaN.
    """
    units = label_units(comparison)
    columns = {name: comparison[name].values.tolist() for name in STATISTICS}
    return [
        {
            "label": label,
            "unit": units[label],
            **{
                name: None if np.isnan(values[i]) else values[i] for name, values in columns.items()
            },
        }
        for i, label in enumerate(units)
    ]
