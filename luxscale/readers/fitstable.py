"""Headers and binary tables of FITS files, by astropy, after what they claim was checked."""

from __future__ import annotations

import functools
import math
import re
import string
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from astropy.io import fits

from luxscale.errors import InputError
from luxscale.readers.heap import Heap, HeapError, join_rows, scale_values

#: The standard has up to 999; so has astropy.
MOST_COLUMNS = 999

#: What columns are read: numbers, text, true or false; no single bits or complex numbers.
_KINDS = "LBIJKEDA"

#: The format of a column of arrays that lie in the heap, by their number and place there.
_IN_HEAP = re.compile(r"\s*[01]?[PQ]([A-Z])")


class BadFile(InputError):
    """A file that cannot be used; the message is the reason, without the file's name."""


class Header(Mapping[str, Any]):
    """Keywords of a header and their values: text, int, float, bool, None.

    None stands for what is left blank, or is no value: some real files have NAN there without
    quotes.
    """

    def __init__(self, cards: fits.Header):
        self._cards = cards

    def __getitem__(self, key: str) -> Any:
        try:
            value = self._cards[key]
        except fits.VerifyError:
            return None
        if isinstance(value, fits.card.Undefined):
            return None
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._cards

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self._cards))

    def __len__(self) -> int:
        return len(set(self._cards))

    def get_count(self, key: str, default: int | None = None, most: float = math.inf) -> int:
        """Return a number of things, refused if negative, fractional or beyond a limit."""
        value = self.get(key, default)
        if type(value) is not int or not 0 <= value <= most:
            raise BadFile(f"damaged FITS header: {key} = {value!r}")
        return value


class Table:
    """Rows of a binary table, whose columns are taken by name, in any case of letters.

    ``table["FLUX"]`` is (row,), or (row, element) of an array column; rows of fewer elements than
    the longest end in NaN. Astropy takes some 0.2 ms a column to set up a table, even if one of
    them is asked for; of an empty table none is.
    """

    def __init__(self, header: Header, raw: bytes, heap: Heap):
        self._raw, self._heap = raw, heap
        self._width = header.get_count("NAXIS1")
        self._n_rows = header.get_count("NAXIS2")
        n_columns = header.get_count("TFIELDS", most=MOST_COLUMNS)
        names = [str(header.get(f"TTYPE{i}") or "") for i in range(1, n_columns + 1)]
        #: Names of the columns, in lower case.
        self.names = tuple(name.lower() for name in names)

    def __len__(self) -> int:
        return self._n_rows

    def __contains__(self, name: str) -> bool:
        return name.lower() in self.names

    def __getitem__(self, name: str) -> np.ndarray:
        kind = self._get_kind(name)
        if kind is None:
            return self._read_heap_column(name)
        if kind not in _KINDS:
            raise BadFile(f"column {name!r} is of a kind ({kind}) that no spectrum is in")
        values = np.asarray(self._rows[name])
        if values.dtype.kind == "U":
            return np.strings.strip(values)
        missing = self.find_missing(name)
        if missing.any():
            values = np.where(missing, np.nan, values)
        if values.ndim > 2:
            values = values.reshape(self._n_rows, -1)
        return to_native_order(values)

    def get_identifiers(self, name: str) -> np.ndarray:
        """Return a column with -1 where whole numbers are missing: (row,)."""
        missing = self.find_missing(name)
        if missing.ndim == 1 and missing.any():
            values = np.asarray(self._rows[name])
            if values.dtype.kind in "iu":
                return np.where(missing, -1, values.astype(np.int64))
        return self[name]  # NaN in a column that TSCAL makes one of fractions

    def find_missing(self, name: str) -> np.ndarray:
        """Return where a column of whole numbers has the one that stands for none (TNULL)."""
        if self._get_kind(name) is None:
            return np.zeros(self._n_rows, bool)  # in the heap, where they become NaN
        null = self._rows.columns[name].null
        stored = self._rows.view(np.ndarray)[self._rows.columns[name].name]
        if not isinstance(null, int) or stored.dtype.kind not in "iu":
            return np.zeros(stored.shape, bool)
        return np.asarray(stored == null)

    def read_packed(self, name: str) -> list[bytes]:
        """Return what the heap holds for each row of a column, byte for byte."""
        if self._get_kind(name) is not None:
            raise BadFile(f"column {name!r} holds no arrays of varying length")
        _, rows = self._read_heap(name)
        return rows

    def _get_kind(self, name: str) -> str | None:
        """Return the letter of a column's kind, None if its arrays lie in the heap."""
        if name not in self:
            raise BadFile(f"table without column {name!r}")
        column_format = self._rows.columns[name].format
        if _IN_HEAP.match(column_format):
            return None
        return column_format.lstrip(string.digits)[:1]

    def _read_heap(self, name: str) -> tuple[str, list[bytes]]:
        """Return the letter of the kind of arrays in the heap, and those of each row."""
        column = self._rows.columns[name]
        kind = _IN_HEAP.match(column.format)[1]  # type: ignore[index]
        stored = self._rows.view(np.ndarray)[column.name]
        try:
            return kind, self._heap.read_rows(stored.astype(np.int64), kind)
        except HeapError as error:
            raise BadFile(f"column {name!r}: {error}") from error

    def _read_heap_column(self, name: str) -> np.ndarray:
        kind, rows = self._read_heap(name)
        try:
            values, is_there = join_rows(rows, kind)
        except HeapError as error:
            raise BadFile(f"column {name!r}: {error}") from error
        if values.dtype.kind == "U":
            return np.strings.strip(values)
        column = self._rows.columns[name]
        if isinstance(column.null, int) and values.dtype.kind in "iu":
            is_there &= values != column.null
        values = scale_values(values, column.bscale, column.bzero)
        if not is_there.all():
            values = np.where(is_there, values, np.nan)
        return values

    @functools.cached_property
    def _rows(self) -> fits.FITS_rec:
        hdu = fits.BinTableHDU.fromstring(self._raw, uint=True)
        columns_width = hdu.columns.dtype.itemsize
        if columns_width != self._width:
            raise BadFile(
                f"damaged FITS table: rows of {self._width:,} bytes, columns of {columns_width:,}"
            )
        return hdu.data


def to_native_order(values: np.ndarray) -> np.ndarray:
    """Return numbers in the machine's byte order."""
    return values.astype(values.dtype.newbyteorder("="))
