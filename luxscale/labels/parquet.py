"""Columns of Parquet, in a file or in a folder of files, each read when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from luxscale.errors import InputError


class ParquetTable:
    """A table in Parquet.

    Parameters
    ----------
    path : Path
        A file, or a folder of them, such as a HATS catalogue.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow.dataset

        self.path = path
        inner = path / "dataset"  # of a HATS catalogue
        place = inner if inner.is_dir() else path
        self._data = pyarrow.dataset.dataset(str(place), format="parquet")
        self.names: list[str] = list(self._data.schema.names)
        self.n_rows = int(self._data.count_rows())

    def get_unit(self, name: str) -> str:
        """Return the unit that the file states, or ""."""
        metadata = self._data.schema.field(name).metadata or {}
        return metadata.get(b"unit", b"").decode("utf-8", "replace")

    def read(self, names: list[str]) -> dict[str, np.ma.MaskedArray]:
        """Return columns, masked where they are null: (row,)."""
        table = self._data.to_table(columns=names)
        return {name: self._convert(table.column(name), name) for name in names}

    def _convert(self, column: Any, name: str) -> np.ma.MaskedArray:
        import pyarrow as pa

        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_decimal(column.type):  # whole ones may be of more digits than integers
            column = column.cast(pa.float64() if column.type.scale else pa.string())
        mask = column.is_null().to_numpy().astype(bool)
        kind = column.type
        if _is_text(kind):
            words = [_decode(word) for word in column.to_pylist()]
            return np.ma.array(np.array(words, object), mask=mask)
        if pa.types.is_null(kind):
            return np.ma.array(np.full(self.n_rows, np.nan), mask=mask)
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not is_number and not pa.types.is_boolean(kind):
            raise InputError(
                f"{self.path}: column {name!r} holds {kind}, from which nothing can be read; write "
                "it as numbers or text"
            )
        return np.ma.array(column.fill_null(False if not is_number else 0).to_numpy(), mask=mask)


def _is_text(kind: Any) -> bool:
    """Return whether a type is of text, which some programs write as bytes."""
    from pyarrow import types

    return (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
    )


def _decode(word: str | bytes | None) -> str:
    if isinstance(word, bytes):
        return word.decode("utf-8", "replace")
    return word or ""
