"""The part of FITS that spectra need, read without trust: the images and binary tables of a file held in memory.

Astropy is for any FITS file, and takes 20 to 60 ms over a table of 200 columns, as spectra come with; of a damaged header
it may also ask for any time and memory. Here nothing is read but what is asked for, and no header is believed that says
more than the file holds.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from luxscale.schema import InputError

#: A file of one star that is larger is not of its format: sixty visits of APOGEE take 30 MB.
MOST_BYTES = 128 * 2**20

BLOCK_BYTES = 2880
CARD = 80
MOST_HEADER_BYTES = 400 * BLOCK_BYTES
_END = b"END     "

_BITPIX = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_TFORM = {"L": "S1", "B": ">u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "A": "S"}
#: Of a value in a table; single bits, complex numbers and arrays of variable length (X, C, M, P, Q) are not read here.
_BITS = {
    "L": 8,
    "X": 1,
    "B": 8,
    "I": 16,
    "J": 32,
    "K": 64,
    "A": 8,
    "E": 32,
    "D": 64,
    "C": 64,
    "M": 128,
    "P": 64,
    "Q": 128,
}
#: Zero points by which FITS writes unsigned integers as signed ones.
_UNSIGNED = {2**15: "u2", 2**31: "u4", 2**63: "u8"}


class BadFile(InputError):
    """A file that cannot be used; the message is the reason, without the file's name."""


class Header(Mapping[str, Any]):
    """Keywords of a header and their values: text, int, float, bool, or None where it is left blank."""

    def __init__(self, raw: bytes):
        self._cards: dict[bytes, bytes] = {}
        for at in range(0, len(raw), CARD):
            if raw[at + 8 : at + 10] == b"= ":
                self._cards.setdefault(raw[at : at + 8].rstrip(), raw[at + 10 : at + CARD])

    def __getitem__(self, key: str) -> Any:
        return _value(self._cards[key.upper().encode("latin-1", "replace")].decode("latin-1"))

    def __iter__(self) -> Iterator[str]:
        return (key.decode("latin-1") for key in self._cards)

    def __len__(self) -> int:
        return len(self._cards)

    def count(self, key: str, default: int | None = None) -> int:
        """Return a number of things, which no header may have negative or fractional."""
        value = self.get(key, default)
        if type(value) is not int or value < 0:
            raise BadFile(f"damaged FITS header: {key} = {value!r}")
        return value


_TEXT = re.compile(r" *'((?:[^']|'')*)'")


def _value(text: str) -> Any:
    if found := _TEXT.match(text):
        return found[1].replace("''", "'").rstrip()
    word = text.partition("/")[0].strip()
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(word.replace("D", "E"))
    return {"T": True, "F": False, "": None}.get(word, word)


class Table:
    """Rows of a binary table, read column by column: ``table["FLUX"]`` is (row,), or (row, element) of an array column.

    Names are as good in lower case as in upper; text comes stripped, the shape of elements (``TDIM``) is not looked at.
    """

    def __init__(self, header: Header, raw: memoryview):
        self._header, self._raw = header, raw
        self._width, self._rows = header.count("NAXIS1"), header.count("NAXIS2")
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
        return _scaled(values, self._header, f"TSCAL{number}", f"TZERO{number}")

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


def _scaled(values: np.ndarray, header: Header, scale_key: str, zero_key: str) -> np.ndarray:
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


class Hdu:
    """A header and the data that follow it."""

    def __init__(self, raw: bytes, start: int):
        end = _header_end(raw, start)
        self.header = Header(raw[start:end])
        self._raw, self._start = raw, _whole(end)
        self.name = str(self.header.get("EXTNAME") or "").strip()
        self.kind = str(self.header.get("XTENSION", "IMAGE")).strip()
        n_axes = self.header.count("NAXIS")
        groups = self.header.get("GROUPS") is True or self.header.count("GCOUNT", 1) != 1
        if n_axes > 9 or self.header.get("BITPIX") not in _BITPIX or groups:
            raise BadFile("damaged FITS header, or data of a kind that no spectra are in")
        #: As numpy has it: the axis that changes fastest is the last.
        self.shape = tuple(self.header.count(f"NAXIS{i}") for i in range(n_axes, 0, -1))
        n = math.prod(self.shape) if self.shape else 0
        self.size = (n + self.header.count("PCOUNT", 0)) * (abs(self.header["BITPIX"]) // 8)
        #: Where the next one starts.
        self.end = _whole(self._start + self.size)

    @property
    def is_image(self) -> bool:
        """Whether the data are an array, and no table; that of a primary HDU may have no elements."""
        return self.kind == "IMAGE"

    @functools.cached_property
    def data(self) -> Any:
        """The image, in the machine's byte order, or the `Table`.

        Raises
        ------
        BadFile
            If the file does not hold it.
        """
        if self._start + self.size > len(self._raw):
            raise BadFile(f"truncated: HDU {self.name!r} should have {self.size:,} bytes")
        raw = memoryview(self._raw)[self._start : self._start + self.size]
        if self.kind == "BINTABLE":
            if len(self.shape) != 2 or self.header["BITPIX"] != 8 or (self.shape[0] and not self.shape[1]):
                raise BadFile(f"damaged FITS table: shape {self.shape}")
            return Table(self.header, raw)
        if not self.is_image:
            raise BadFile(f"HDU {self.name!r} is a {self.kind}, which no spectra are in")
        values = np.frombuffer(raw, _BITPIX[self.header["BITPIX"]], math.prod(self.shape) if self.shape else 0)
        return _scaled(values.reshape(self.shape or (0,)), self.header, "BSCALE", "BZERO")


def _whole(n: int) -> int:
    return -(-n // BLOCK_BYTES) * BLOCK_BYTES


def _header_end(raw: bytes, start: int) -> int:
    """Return where the card END of a header starts, looking no farther than a header may go."""
    at = raw.find(_END, start, start + MOST_HEADER_BYTES)
    while at >= 0 and (at - start) % CARD:
        at = raw.find(_END, at + 1, start + MOST_HEADER_BYTES)
    if at < 0:
        raise BadFile("truncated or damaged: a FITS header without end")
    return at


class HduList:
    """The HDUs of a file, by number or name; those behind the one that is asked for are not looked at."""

    def __init__(self, raw: bytes):
        self._raw = raw
        self._hdus: list[Hdu] = []

    def __getitem__(self, key: int | str) -> Hdu:
        for number, hdu in enumerate(self):
            if key in (number, hdu.name):
                return hdu
        raise BadFile(f"has no HDU {key!r}")

    def __iter__(self) -> Iterator[Hdu]:
        number = 0
        while number < len(self._hdus) or self._scan():
            yield self._hdus[number]
            number += 1

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: str) -> bool:
        return any(hdu.name == name for hdu in self)

    def _scan(self) -> bool:
        """Find another HDU; whatever follows the last of a file is none."""
        start = self._hdus[-1].end if self._hdus else 0
        if start and not self._raw.startswith(b"XTENSION=", start):
            return False
        self._hdus.append(Hdu(self._raw, start))
        return True


@contextlib.contextmanager
def open_fits(path: str | Path) -> Iterator[HduList]:
    """Open a FITS file of one star, plain or compressed by gzip, read whole.

    Raises
    ------
    BadFile
        If it cannot be read, is empty, too large, or no FITS file; also for whatever numbers in it make numpy raise.
    """
    try:
        raw = _read(Path(path))
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(f"cannot be read: {type(error).__name__}: {error}") from error
    if not raw.startswith(b"SIMPLE  ="):
        raise BadFile("not a FITS file" if raw else "empty file")
    try:
        yield HduList(raw)
    except BadFile:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise BadFile(f"damaged FITS file: {type(error).__name__}: {error}") from error


def _read(path: Path) -> bytes:
    """Return a file's contents, unpacked; of what unpacks to too much, no more than shows it."""
    if not path.is_file():
        raise BadFile("no such file")
    if path.stat().st_size > MOST_BYTES:
        raise BadFile(_TOO_LARGE)
    raw = path.read_bytes()
    if raw.startswith(b"\x1f\x8b"):
        with gzip.open(path) as packed:
            raw = packed.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise BadFile(_TOO_LARGE)
    return raw


_TOO_LARGE = f"more than {MOST_BYTES / 1e6:,.0f} MB are no spectrum of one star"


def image(hdus: HduList, index: int | str) -> np.ndarray:
    """Return the rows of an image: (row, pixel), in the machine's byte order.

    Raises
    ------
    BadFile
        If there is none, or the file ends before it does.
    """
    hdu = hdus[index]
    if not hdu.is_image or len(hdu.shape) not in (1, 2) or not all(hdu.shape):
        raise BadFile(f"HDU {index!r} is no image of spectra: {hdu.kind} of shape {hdu.shape}")
    return np.atleast_2d(hdu.data)


def table(hdus: HduList, index: int | str) -> Table:
    """Return a binary table.

    Raises
    ------
    BadFile
        If there is none, or the file ends before it does.
    """
    hdu = hdus[index]
    if hdu.kind != "BINTABLE":
        raise BadFile(f"HDU {index!r} is no table")
    return hdu.data


def field(rows: Table, name: str) -> np.ndarray:
    """Return a column of a table, in the machine's byte order: (row,) or (row, element).

    Raises
    ------
    BadFile
        If there is none of that name.
    """
    return rows[name]
