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
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from luxscale.readers.fitsheader import CARD, BadFile, Header
from luxscale.readers.fitstable import Table, scaled

#: A file of one star that is larger is not of its format: sixty visits of APOGEE take 30 MB.
MOST_BYTES = 128 * 2**20

BLOCK_BYTES = 2880
MOST_HEADER_BYTES = 400 * BLOCK_BYTES
_END = b"END     "

_BITPIX = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


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
        return self._read(memoryview(self._raw)[self._start : self._start + self.size], self.shape or (0,))

    def rows(self, start: int, stop: int) -> Any:
        """Return some rows of the `Table`, or of the image along its first axis; no others are read.

        Raises
        ------
        BadFile
            If the file does not hold them, or they are more than `MOST_BYTES`.
        """
        width = math.prod(self.shape[1:]) * abs(self.header["BITPIX"]) // 8
        if not (self.shape and width and (stop - start) * width <= MOST_BYTES):
            raise BadFile(f"HDU {self.name!r} of shape {self.shape} has no rows, or too long ones")
        raw = self._raw[self._start + start * width : self._start + stop * width]
        if len(raw) < (stop - start) * width:
            raise BadFile(f"truncated: HDU {self.name!r} should have {self.shape[0]:,} rows")
        return self._read(memoryview(raw), (stop - start, *self.shape[1:]))

    def _read(self, raw: memoryview, shape: tuple[int, ...]) -> Any:
        if self.kind == "BINTABLE":
            if len(shape) != 2 or self.header["BITPIX"] != 8 or (shape[0] and not shape[1]):
                raise BadFile(f"damaged FITS table: shape {shape}")
            return Table(self.header, raw, shape[0])
        if not self.is_image:
            raise BadFile(f"HDU {self.name!r} is a {self.kind}, which no spectra are in")
        values = np.frombuffer(raw, _BITPIX[self.header["BITPIX"]], math.prod(shape))
        return scaled(values.reshape(shape), self.header, "BSCALE", "BZERO")


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
