"""Binary tables of FITS files, of which no column is looked at but those that are asked for."""

from __future__ import annotations

import functools
import re

import numpy as np

from luxscale.readers.fitsheader import BadFile, Header

_TFORM = {"L": "S1", "B": ">u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "A": "S"}
#: Of a value in a table; single bits, complex numbers and arrays of variable length (X, C, M, P, Q) are not read here.
_BITS = dict(zip("LXBIJKAEDCMPQ", (8, 1, 8, 16, 32, 64, 8, 32, 64, 64, 128, 64, 128), strict=True))
#: Zero points by which FITS writes unsigned integers as signed ones.
_UNSIGNED = {2**15: "u2", 2**31: "u4", 2**63: "u8"}


class Table:
    """Rows of a binary table, read column by column: ``table["FLUX"]`` is (row,), or (row, element) of an array column.

    Names are as good in lower case as in upper; text comes stripped, the shape of elements (``TDIM``) is not looked at.
    """

    def __init__(self, header: Header, raw: memoryview, n_rows: int):
        self._header, self._raw = header, raw
        self._width, self._rows = header.count("NAXIS1"), n_rows
        self._columns: dict[str, tuple[int, int, int, str]] = {}
        offset = 0
        for number in range(1, header.count("TFIELDS") + 1):
            repeat, code, n_bytes = _form(str(header.get(f"TFORM{number}")))
            name = str(header.get(f"TTYPE{number}", "")).lower()
            self._columns.setdefault(name, (number, offset, repeat, code))
            offset += n_bytes
            if offset > self._width:
                raise BadFile(f"damaged FITS table: column {number} ends at byte {offset:,} of rows of {self._width:,}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in lower case."""
        return tuple(self._columns)

    def __len__(self) -> int:
        return self._rows

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._columns

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self:
            raise BadFile(f"table without column {name!r}")
        number, offset, repeat, code = self._columns[name.lower()]
        if code not in _TFORM:
            raise BadFile(f"column {name!r} is of a kind ({code}) that no spectrum is in")
        if code == "A":
            return _text(self._view(offset, 1, f"S{repeat}")[:, 0]) if repeat else np.full(self._rows, "")
        values = self._view(offset, repeat, _TFORM[code])
        values = values[:, 0] if repeat == 1 else values
        if code == "L":
            return values == b"T"
        return scaled(values, self._header, f"TSCAL{number}", f"TZERO{number}")

    def _view(self, offset: int, repeat: int, kind: str) -> np.ndarray:
        dtype = np.dtype(kind)
        strides = (self._width, dtype.itemsize)
        return np.ndarray((self._rows, repeat), dtype, self._raw, offset if self._rows * repeat else 0, strides)


@functools.lru_cache(1024)
def _form(text: str) -> tuple[int, str, int]:
    """Return how often a column repeats what kind of value, and its bytes in a row."""
    found = re.match(r"\s*(\d*)([LXBIJKAEDCMPQ])", text)
    if not found:
        raise BadFile(f"damaged FITS table: no column is of the form {text!r}")
    repeat, code = int(found[1] or 1), found[2]
    return repeat, code, -(-repeat * _BITS[code] // 8)


def _text(values: np.ndarray) -> np.ndarray:
    return np.array([value.decode("latin-1").strip() for value in values.tolist()], str)


def scaled(values: np.ndarray, header: Header, scale_key: str, zero_key: str) -> np.ndarray:
    """Return numbers as meant, in the machine's byte order."""
    scale, zero = header.get(scale_key, 1), header.get(zero_key, 0)
    values = values.astype(values.dtype.newbyteorder("="), copy=True)
    if not {type(scale), type(zero)} <= {int, float}:
        raise BadFile(f"damaged FITS header: {scale_key} = {scale!r}, {zero_key} = {zero!r}")
    if (scale, zero) == (1, 0):
        return values
    if scale == 1 and values.dtype.kind == "i" and _UNSIGNED.get(zero) == f"u{values.dtype.itemsize}":
        return values.view(_UNSIGNED[zero]) ^ np.array(zero, _UNSIGNED[zero])
    with np.errstate(all="ignore"):
        return values * float(scale) + float(zero)
