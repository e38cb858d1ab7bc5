"""Columns in named arrays of an npz or HDF5 file, each read when it is asked for."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.errors import InputError
from luxscale.labels.rows import clean_text
from luxscale.readers.base import BadFile
from luxscale.readers.field import Field, Fields
from luxscale.readers.fields import get_field, open_fields
from luxscale.schema.blocks import iterate_blocks

#: Numbers that are read at once.
_BLOCK = 2**22

#: Columns that an array of a table may have: a spectrum's pixels are none.
_MOST_COLUMNS = 1000


class ArrayTable:
    """A table in named arrays, of which rows are what most of them have in common.

    Parameters
    ----------
    path : Path
        An array (row,) is a column; one (row, column) is as many, called NAME[0], NAME[1], ..., or
        by the names that the only other array of so many words has. Pickled objects are not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as fields:
            arrays, self._unreadable = _get_fields(fields)
            self.n_rows = _count_rows(arrays)
            self._columns = _list_columns(arrays, self.n_rows)
        if not self.n_rows and self._unreadable:
            raise InputError(f"{path}: {next(iter(self._unreadable.values()))}")
        self._units = {name: arrays[array].unit for name, (array, _) in self._columns.items()}
        self.names: list[str] = [*self._columns, *self._unreadable]

    @contextlib.contextmanager
    def _open(self) -> Iterator[Fields]:
        try:
            with open_fields(self.path) as fields:
                yield fields
        except BadFile as error:
            raise InputError(f"{self.path}: {error}") from error

    def get_unit(self, name: str) -> str:
        """Return the unit that the file states, or ""."""
        return self._units.get(name, "")

    def read(self, names: list[str]) -> dict[str, np.ma.MaskedArray]:
        """Return columns, masked where they are missing: (row,)."""
        for name in names:
            if name in self._unreadable:
                raise InputError(f"{self.path}: {self._unreadable[name]}")
        arrays = list(dict.fromkeys(self._columns[name][0] for name in names))
        with self._open() as fields:
            found = {array: self._read_array(get_field(fields, array)) for array in arrays}
        columns = {}
        for name in names:
            array, index = self._columns[name]
            columns[name] = found[array] if index is None else found[array][:, index]
        return columns

    def _read_array(self, field: Field) -> np.ma.MaskedArray:
        block = max(1, _BLOCK // max(1, int(np.prod(field.shape[1:]))))
        parts = [
            field.read_rows(rows.start, rows.stop) for rows in iterate_blocks(self.n_rows, block)
        ]
        return np.ma.concatenate(parts)


def _get_fields(fields: Fields) -> tuple[dict[str, Field], dict[str, str]]:
    """Return the arrays that can be read, and why others cannot."""
    arrays, unreadable = {}, {}
    for name in fields:
        try:
            arrays[name] = get_field(fields, name)
        except BadFile as error:
            unreadable[name] = str(error)
    return arrays, unreadable


def _count_rows(arrays: dict[str, Field]) -> int:
    """Return the length that most arrays have; of several, the greatest."""
    lengths = collections.Counter(field.shape[0] for field in arrays.values() if field.shape)
    if not lengths:
        return 0
    return max(lengths, key=lambda length: (lengths[length], length))


def _list_columns(arrays: dict[str, Field], n_rows: int) -> dict[str, tuple[str, int | None]]:
    """Return the array of each column, and its place in that, if it has several."""
    columns: dict[str, tuple[str, int | None]] = {}
    for array, field in arrays.items():
        if field.shape == (n_rows,):
            columns[array] = (array, None)
    for array, field in arrays.items():
        if len(field.shape) != 2 or field.shape[0] != n_rows or field.shape[1] > _MOST_COLUMNS:
            continue
        for index, name in enumerate(_name_columns(array, field.shape[1], arrays, n_rows)):
            columns.setdefault(name, (array, index))
    return columns


def _name_columns(array: str, number: int, arrays: dict[str, Field], n_rows: int) -> list[str]:
    words = [_read_words(field, number) for field in arrays.values()]
    found = [names for names in words if names]
    if len(found) == 1 and number != n_rows:  # else they are a column
        return found[0]
    return [f"{array}[{index}]" for index in range(number)]


def _read_words(field: Field, number: int) -> list[str]:
    """Return the words of an array, if it has so many, all different."""
    if field.shape != (number,):
        return []
    values = np.ma.getdata(field.read_rows(0, number))
    if values.dtype.kind not in "SU":
        return []
    words = clean_text(values).tolist()
    return words if len(set(words)) == number else []
