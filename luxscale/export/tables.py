"""A catalogue as CSV, ECSV or VOTable, by astropy, which holds it in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table as AstropyTable

from luxscale.export.columns import Column
from luxscale.export.layout import Table
from luxscale.progress import Progress

#: Formats of astropy by ending.
FORMATS = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv", ".vot": "votable"}

#: Types that VOTable has not, and the smallest of its own that hold their values.
_VOTABLE_TYPES = {"u2": "i4", "u4": "i8"}

#: Columns that every CSV of an export has, in this order.
CSV_NAMES = b",chi2,n_pixels,flags,status"


def write_table(table: Table, path: Path, shown: Progress, suffix: str) -> None:
    """Write a table in the format of an ending.

    CSV has a column for each element of a vector, and neither units nor descriptions.
    """
    made = make_astropy_table(table, shown)
    shown.stage("writing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # VOTable knows no dex
        if suffix == ".csv":
            made = _split_vectors(made)
        if suffix == ".vot":
            _write_votable(made, path)
        else:
            # identifiers may begin with blanks
            made.write(path, format=FORMATS[suffix], strip_whitespace=False)


def _read_blocks(table: Table) -> Iterable[Mapping[str, np.ndarray]]:
    """Return the blocks of a table, an empty one if it has no stars."""
    if table.n_stars:
        return table.read_blocks()
    return [{name: variable.values for name, variable in table.variables.items()}]


def make_astropy_table(table: Table, shown: Progress) -> AstropyTable:
    """Return a table in memory, its columns with units and descriptions."""
    parts: dict[str, list[Any]] = {column.name: [] for column in table.columns}
    done = 0
    for block in _read_blocks(table):
        for column in table.columns:
            parts[column.name].append(_get_values(column, block))
        done += block["status"].size
        shown.update(done)
    made = AstropyTable(meta=dict(table.provenance))
    for column in table.columns:
        made[column.name] = np.concatenate(parts[column.name])
        made[column.name].unit = column.unit or None
        made[column.name].description = column.doc
    return made


def _split_vectors(table: AstropyTable) -> AstropyTable:
    """Return a table with a column for each element of a vector."""
    made = AstropyTable(meta=table.meta)
    for name in table.colnames:
        values = table[name]
        if values.ndim == 1:
            made[name] = values
            continue
        for place in np.ndindex(*values.shape[1:]):
            made["_".join([name, *map(str, place)])] = values[(slice(None), *place)]
    return made


def _convert_for_votable(values: np.ndarray) -> np.ndarray:
    """Return values in a type that VOTable has; whole numbers beyond its largest become text."""
    kind = values.dtype.str[1:]
    if kind != "u8":
        return values.astype(_VOTABLE_TYPES.get(kind, values.dtype), copy=False)
    fits = values.size == 0 or values.max() <= np.iinfo(np.int64).max
    return values.astype(np.int64 if fits else str)


def _write_votable(made: AstropyTable, path: Path) -> None:
    """Write a table with its provenance, which astropy leaves out."""
    from astropy.io.votable import from_table

    for name in made.colnames:
        made.replace_column(name, _convert_for_votable(made[name]))
    votable = from_table(made)
    votable.description = "; ".join(f"{name}: {value}" for name, value in made.meta.items())
    votable.to_xml(str(path))


def _get_values(column: Column, block: Any) -> np.ndarray:
    values = column.get_values(block)
    if column.is_text:
        return np.array([text or "" for text in values], str)
    return np.asarray(values)
