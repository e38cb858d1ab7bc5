"""Arrays of varying length, which FITS tables keep behind their rows in a heap.

A row says how many elements it has and where; what it says is held against the heap before any is
read.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

#: The types of elements, by the letters that FITS has for them.
_TYPES = {
    "L": np.dtype("S1"),
    "B": np.dtype("u1"),
    "I": np.dtype(">i2"),
    "J": np.dtype(">i4"),
    "K": np.dtype(">i8"),
    "E": np.dtype(">f4"),
    "D": np.dtype(">f8"),
    "A": np.dtype("S1"),
}

#: Rows together may take as much in memory; more are no spectra.
MOST_JOINED = 128 * 2**20
_MOST_ROWS = 2**20


class HeapError(ValueError):
    """Rows that the heap does not hold, or that no spectrum is in."""


@dataclasses.dataclass(frozen=True)
class Heap:
    """Some bytes of a file.

    Parameters
    ----------
    raw : bytes, or what is sliced like them
        The file.
    start, size : int
        Where in it the heap begins, and how many bytes it has.
    """

    raw: Any
    start: int
    size: int

    def read_rows(self, descriptors: np.ndarray, kind: str) -> list[bytes]:
        """Return the bytes of each row.

        Parameters
        ----------
        descriptors : array of int64, (row, 2)
            Number of elements, and the byte of the heap at which they begin.
        kind : str
            Letter of the elements' type.

        Raises
        ------
        HeapError
        """
        if kind not in _TYPES:
            raise HeapError(f"arrays of a kind ({kind}) that no spectrum is in")
        itemsize = _TYPES[kind].itemsize
        count, offset = descriptors.reshape(-1, 2).T
        if len(count) > _MOST_ROWS:
            raise HeapError(f"{len(count):,} rows of arrays, to be read at once")
        # divided, since products of hostile counts overflow
        is_there = (count >= 0) & (count <= self.size // itemsize) & (offset >= 0)
        is_there &= offset <= self.size - np.where(is_there, count, 0) * itemsize
        is_there |= count == 0
        if not is_there.all():
            row = int(np.argmin(is_there))
            raise HeapError(
                f"row {row} should have {count[row]:,} elements at byte {offset[row]:,} of a heap "
                f"of {self.size:,} bytes: damaged FITS table"
            )
        if int(count.sum()) * itemsize > MOST_JOINED:
            raise HeapError(f"more than {MOST_JOINED:,} bytes of arrays, to be read at once")
        return [
            self._read(at, n * itemsize)
            for n, at in zip(count.tolist(), offset.tolist(), strict=True)
        ]

    def _read(self, offset: int, n_bytes: int) -> bytes:
        if not n_bytes:
            return b""
        first = self.start + offset
        found = self.raw[first : first + n_bytes]
        if len(found) < n_bytes:
            raise HeapError("truncated: the file ends before its heap does")
        return found


def join_rows(rows: list[bytes], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows as one array, and where they have elements: (row, element) both.

    Text is (row,).

    Raises
    ------
    HeapError
        If one is so much longer than the others that they do not fit in memory together.
    """
    dtype = _TYPES[kind]
    n_bytes = np.array([len(row) for row in rows], int)
    longest = int(n_bytes.max(initial=0))
    if longest * len(rows) > MOST_JOINED:
        raise HeapError(f"{len(rows):,} rows of up to {longest:,} bytes are too many")
    raw = b"".join(row.ljust(longest, b"\0") for row in rows)
    if kind == "A":
        text = np.zeros(len(rows), "S1")
        if longest:
            text = np.frombuffer(raw, f"S{longest}")
        return np.strings.decode(text, "latin-1"), np.ones(len(rows), bool)
    n_elements = longest // dtype.itemsize
    values = np.frombuffer(raw, dtype).reshape(len(rows), n_elements)
    count = n_bytes // dtype.itemsize
    is_there = np.arange(n_elements) < count[:, None]
    if kind == "L":
        return values == b"T", is_there
    return values.astype(dtype.newbyteorder("=")), is_there


def scale_values(stored: np.ndarray, scale: Any, zero: Any) -> np.ndarray:
    """Return what stored numbers mean: scale times them, plus zero.

    Whole numbers that begin at half of their range are unsigned ones.
    """
    factor = 1 if scale in (None, "") else scale
    offset = 0 if zero in (None, "") else zero
    if factor == 1 and offset == 0:
        return stored
    if stored.dtype.kind == "i" and factor == 1:
        half = 2 ** (8 * stored.dtype.itemsize - 1)
        if offset == half:
            unsigned = np.dtype(f"u{stored.dtype.itemsize}")
            return stored.view(unsigned) ^ unsigned.type(half)
    return stored * float(factor) + float(offset)
