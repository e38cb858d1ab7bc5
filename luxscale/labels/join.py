"""Labels of a table, in the order of a survey's stars."""

from __future__ import annotations

from typing import Any

import numpy as np

from luxscale.labels.base import LabelTable
from luxscale.labels.rows import clean_text
from luxscale.labels.text import drop_leading_zeros

#: What a column holds for a star that is not in the table, by kind.
_ABSENT: dict[str, Any] = {"f": np.nan, "i": -1, "u": 0, "b": False, "O": ""}


def join(
    table: LabelTable, keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return labels and errors of stars, and the table's columns.

    Parameters
    ----------
    table : LabelTable
    keys : array, (star,)
        Identifiers, text or integers; may repeat. Where the table's are text and these integers, or
        the other way round, they are compared as numbers: 001157 is 1157, as which a table of text
        may have been read.

    Returns
    -------
    value, err : array, (star, label)
        NaN where a star is not in the table, or its label missing.
    columns : dict of str to array, (star,)
        Those of the table (NaN, -1, False or "" for a star that is not in it), and ``matched``:
        whether it is.
    """
    rows = find_rows(table, np.asarray(keys))
    columns = {name: _take_rows(column, rows) for name, column in table.columns.items()}
    columns["matched"] = rows >= 0
    return _take_rows(table.value, rows), _take_rows(table.err, rows), columns


def _take_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return rows of an array; where the row is negative, what stands for an absent one."""
    shape = (rows.size, *array.shape[1:])
    taken = np.full(shape, _ABSENT[array.dtype.kind], array.dtype)
    there = rows >= 0
    taken[there] = array[rows[there]]
    return taken


def find_rows(table: LabelTable, keys: np.ndarray) -> np.ndarray:
    """Return the row of each key, -1 where there is none: (star,)."""
    table_has_text = table.key.dtype.kind == "O"
    if keys.dtype.kind not in "iu":
        text = clean_text(keys)
        if table_has_text:
            return table.index.get_indexer(text)
        return table.text_index.get_indexer(drop_leading_zeros(text))
    if table_has_text:
        return table.text_index.get_indexer(keys.astype(str).astype(object))
    return table.index.get_indexer(keys.astype(np.int64))
