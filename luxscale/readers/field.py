"""An array of a file, of which rows are read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from luxscale.readers.base import MOST_BYTES, BadFile

#: An array that is larger than this, and takes this many times less in its file, is no data.
_LARGE, _MOST_PACKED = 2**30, 500


class Field:
    """An array of a file: its shape, and a function that reads its rows from one to another.

    Parameters
    ----------
    shape : tuple of int
    read_rows : callable
        ``read_rows(start, stop)`` returns the rows from ``start``, up to but without ``stop``; of a
        single value, that. Masked where values are missing.
    unit, medium : str
        That the file states, or "".
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        read_rows: Callable[[int, int], np.ndarray],
        unit: str = "",
        medium: str = "",
    ):
        self.shape = shape
        self.unit = unit
        self.medium = medium
        self._read_rows = read_rows

    def read_rows(self, start: int, stop: int) -> np.ma.MaskedArray:
        """Return some rows, masked where values are missing; a single value as one row."""
        values = np.ma.asarray(self._read_rows(start, stop))
        return values if self.shape else values.reshape(1)

    def read_numbers(self, start: int, stop: int) -> np.ndarray:
        """Return some rows, NaN where numbers are missing."""
        values = self.read_rows(start, stop)
        if not np.ma.getmaskarray(values).any():
            return np.ma.getdata(values)
        return np.ma.filled(values.astype(float), np.nan)

    def read_all(self) -> np.ndarray:
        """Return all of it."""
        return self.read_numbers(0, self.shape[0])


def flatten_field(field: Field) -> Field:
    """Return an array of arrays of one, (row, 1), as some programs write a column, as (row,)."""
    if len(field.shape) < 2 or math.prod(field.shape[1:]) != 1:
        return field
    return Field(
        field.shape[:1],
        lambda start, stop: field.read_rows(start, stop).reshape(stop - start),
        field.unit,
    )


#: Arrays by their names.
Fields = dict[str, Callable[[], Field]]


def check_packing(name: str, unpacked: int, packed: int) -> None:
    """Refuse an array that takes far more bytes than its file: it would fill the memory.

    Raises
    ------
    BadFile
    """
    if unpacked > max(_LARGE, _MOST_PACKED * packed):
        raise BadFile(
            f"array {name!r} would be {unpacked:,} bytes, and takes {packed:,} in the file"
        )


def check_size(name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse to read more of an array at once than a file of one star may have.

    Raises
    ------
    BadFile
    """
    n_bytes = math.prod(shape) * itemsize
    if n_bytes > 2 * MOST_BYTES:
        raise BadFile(f"array {name!r} of shape {shape}, to be read at once, is too large")
