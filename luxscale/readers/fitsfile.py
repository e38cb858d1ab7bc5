"""FITS files, whose headers and tables astropy reads after their claims were checked.

Astropy takes whatever time and memory a header asks for: it goes through as many axes, columns and
bytes as that says. So each header is first held against the file, of which as much is read as is
asked for, and no more than has bounds. Whatever astropy raises, then, is the file's fault.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from luxscale.errors import InputError
from luxscale.readers.compressed import (
    UNPACK_ERRORS,
    FileBytes,
    open_bytes,
    suggest_unpacking,
)
from luxscale.readers.fitstable import BadFile, Header, Table, to_native_order
from luxscale.readers.heap import Heap
from luxscale.readers.tiles import is_compressed_image, read_image_shape, unpack_image

#: A file of one star that is larger is not of its format: sixty visits of APOGEE take 30 MB.
MOST_BYTES = 128 * 2**20

BLOCK_BYTES = 2880
MOST_HEADER_BYTES = 400 * BLOCK_BYTES
MOST_HDUS = 1000
#: The standard has up to 999; no spectrum has as many.
MOST_AXES = 9

#: Keywords of images whose numbers mean others than those that stand there.
_MEANINGS = ("BSCALE", "BZERO", "BLANK")

_IMAGE_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}

_TOO_LARGE = f"more than {MOST_BYTES / 1e6:,.0f} MB are no spectrum of one star"


class Hdu:
    """A header and the data that follow it."""

    def __init__(self, raw: bytes | FileBytes, start: int):
        self._raw, self._start = raw, start
        self._cards, length = _read_cards(raw, start)
        self.header = header = Header(self._cards)
        n_axes = header.get_count("NAXIS", most=MOST_AXES)
        sizes = [header.get_count(f"NAXIS{i}") for i in range(n_axes, 0, -1)]
        #: As numpy has it: the axis that changes fastest is the last.
        self.shape = tuple(sizes)
        if header.get("GROUPS") is True or header.get_count("GCOUNT", 1) != 1:
            raise BadFile("damaged FITS header, or random groups, which no spectra are in")
        header.get_count("PCOUNT", 0)
        self.name = str(header.get("EXTNAME") or "").strip()
        self.kind = str(header.get("XTENSION", "IMAGE")).strip()
        self._is_packed = is_compressed_image(header)
        if self._is_packed:
            self.kind, self.shape = "IMAGE", read_image_shape(header, MOST_AXES)
        self._data = start + length
        self._end = self._data + self._cards.data_size
        #: Where the next one starts.
        self.end = _round_to_blocks(self._end)

    @property
    def is_image(self) -> bool:
        """Whether the data are an array, and no table; a primary HDU's may have no elements."""
        return self.kind == "IMAGE"

    @functools.cached_property
    def data(self) -> Any:
        """The image, in the machine's byte order, or the `Table`.

        Raises
        ------
        BadFile
            If the file does not hold it, or it is more than `MOST_BYTES`.
        """
        if self._end > len(self._raw):
            raise BadFile(
                f"truncated: HDU {self.name!r} should end at byte {self._end:,} of "
                f"{len(self._raw):,}"
            )
        n_bytes = self._end - self._data
        if n_bytes > MOST_BYTES:
            raise BadFile(f"HDU {self.name!r} of {n_bytes:,} bytes is too large to be read whole")
        if self._is_plain:
            return self._convert_pixels(self._raw[self._data : self._end], self.shape)
        padded = self._raw[self._start : self.end]  # astropy looks for the padding
        return self._read(self.header, padded, self.shape)

    def read_rows(self, start: int, stop: int) -> Any:
        """Return some rows of the `Table`, or of the image along its first axis, reading no others.

        Raises
        ------
        BadFile
            If the file does not hold them, or they are more than `MOST_BYTES`.
        """
        n_rows = stop - start
        if not self.shape or not 0 <= start < stop <= self.shape[0]:
            raise BadFile(f"HDU {self.name!r} of shape {self.shape} has no rows {start} to {stop}")
        if self._is_packed and len(self.shape) != 2:
            return self.data[start:stop]
        n_axes = self.header["NAXIS"]
        row_size = math.prod(self.header[f"NAXIS{i}"] for i in range(1, n_axes))
        width = row_size * abs(self.header["BITPIX"]) // 8
        n_bytes = n_rows * width
        if not 0 < n_bytes <= MOST_BYTES:
            raise BadFile(
                f"HDU {self.name!r} of shape {self.shape} has too long rows, or empty ones"
            )
        first_byte = self._data + start * width
        raw = self._raw[first_byte : first_byte + n_bytes]
        if len(raw) < n_bytes:
            raise BadFile(f"truncated: HDU {self.name!r} should have {self.shape[0]:,} rows")
        shape = (n_rows, *self.shape[1:])
        if self._is_plain:
            return self._convert_pixels(raw, shape)
        # for astropy, as an HDU that has these rows alone
        cards = self._cards.copy()
        cards.update({f"NAXIS{n_axes}": n_rows, "PCOUNT": 0})
        padded = raw.ljust(_round_to_blocks(n_bytes), b"\0")
        return self._read(Header(cards), cards.tostring().encode() + padded, shape)

    @functools.cached_property
    def _is_plain(self) -> bool:
        """Whether the numbers of an image stand as they are meant, which needs no astropy."""
        is_stored = self.is_image and not self._is_packed
        return is_stored and not any(name in self.header for name in _MEANINGS)

    def _convert_pixels(self, raw: bytes, shape: tuple[int, ...]) -> np.ndarray:
        if not shape:
            return np.zeros(0)
        bits = self.header.get("BITPIX")
        if bits not in _IMAGE_TYPES:
            raise BadFile(f"damaged FITS header: BITPIX = {bits!r}")
        values = np.frombuffer(raw, _IMAGE_TYPES[bits], math.prod(shape))
        return to_native_order(values.reshape(shape))

    def _read(self, header: Header, raw: bytes, shape: tuple[int, ...]) -> Any:
        if self._is_packed:
            return unpack_image(header, Table(header, raw, self._find_heap()), shape)
        if self.kind == "BINTABLE":
            return Table(header, raw, self._find_heap())
        if not self.is_image:
            raise BadFile(f"HDU {self.name!r} is a {self.kind}, which no spectra are in")
        hdu_class = fits.ImageHDU if "XTENSION" in header else fits.PrimaryHDU
        data = hdu_class.fromstring(raw, uint=True).data
        if data is None:
            return np.zeros(0)
        return to_native_order(data)

    def _find_heap(self) -> Heap:
        """Return where the table keeps arrays of varying length: behind its rows, up to its end."""
        n_rows_bytes = self.header["NAXIS1"] * self.header["NAXIS2"]
        n_before = self.header.get_count("THEAP", n_rows_bytes)
        size = max(self._end - self._data - n_before, 0)
        return Heap(self._raw, self._data + n_before, size)


def _read_cards(raw: bytes | FileBytes, start: int) -> tuple[fits.Header, int]:
    """Return the header at a byte, and how many bytes it takes."""
    try:
        # nearly all headers are short, and a long slice is a long copy
        stream = io.BytesIO(raw[start : start + 20 * BLOCK_BYTES])
        return fits.Header.fromfile(stream), stream.tell()
    except OSError:  # it has no end so far
        stream = io.BytesIO(raw[start : start + MOST_HEADER_BYTES])
        return fits.Header.fromfile(stream), stream.tell()


def _round_to_blocks(n_bytes: int) -> int:
    n_blocks = -(-n_bytes // BLOCK_BYTES)
    return n_blocks * BLOCK_BYTES


class HduList:
    """The HDUs of a file, by number or name; those behind the one asked for are not looked at."""

    def __init__(self, raw: bytes | FileBytes):
        self._raw = raw
        self._hdus: list[Hdu] = []

    def __getitem__(self, key: int | str) -> Hdu:
        for number, hdu in enumerate(self):
            if key in (number, hdu.name):
                return hdu
        raise BadFile(f"has no HDU {key!r}")

    def __iter__(self) -> Iterator[Hdu]:
        number = 0
        while number < len(self._hdus) or self._find_next():
            yield self._hdus[number]
            number += 1

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: str) -> bool:
        return any(hdu.name == name for hdu in self)

    def _find_next(self) -> bool:
        """Find another HDU; whatever follows the last of a file is none."""
        start = 0
        if self._hdus:
            start = self._hdus[-1].end
            if not self._raw.startswith(b"XTENSION=", start):
                return False
        if len(self._hdus) == MOST_HDUS:
            raise BadFile(f"more than {MOST_HDUS} HDUs")
        self._hdus.append(Hdu(self._raw, start))
        return True


@contextlib.contextmanager
def open_fits(path: str | Path) -> Iterator[HduList]:
    """Open a FITS file of one star, plain or compressed by gzip, bzip2 or xz.

    Of a plain one no more is read than is asked for.

    Raises
    ------
    BadFile
        If it cannot be read, is empty, too large, or no FITS file; also for whatever else the use
        of it raises.
    """
    with _open_hdus(path, MOST_BYTES) as hdus:
        yield hdus


@contextlib.contextmanager
def open_large_fits(path: str | Path) -> Iterator[HduList]:
    """Open a FITS file of any size, of which `Hdu.read_rows` reads some rows.

    One compressed by gzip, bzip2 or xz may be as large as a file of one star, see `open_fits`.

    Raises
    ------
    BadFile
    """
    with _open_hdus(path, math.inf) as hdus:
        yield hdus


@contextlib.contextmanager
def _open_hdus(path: str | Path, most: float) -> Iterator[HduList]:
    """Open a FITS file of at most so many bytes."""
    if not Path(path).is_file():
        raise BadFile("no such file")
    with contextlib.ExitStack() as stack:
        try:
            raw = stack.enter_context(open_bytes(Path(path), MOST_BYTES))
        except UNPACK_ERRORS as error:
            raise BadFile(f"cannot be read: {type(error).__name__}: {error}") from error
        is_unpacked = isinstance(raw, bytes)
        if len(raw) > (MOST_BYTES if is_unpacked else most):
            raise BadFile(_TOO_LARGE)
        if not len(raw):
            raise BadFile("empty file")
        with _raise_bad_file():
            if not raw.startswith(b"SIMPLE  =", 0):
                raise BadFile(_explain_no_fits(raw))
            yield HduList(raw)


def _explain_no_fits(raw: bytes | FileBytes) -> str:
    """Say what to do about a file that is none, if it is compressed."""
    do = suggest_unpacking(raw[:8])
    if isinstance(raw, bytes):
        do = "HDF5 and npz are read unpacked alone: unpack it first if it is one"
    return f"not a FITS file; {do}" if do else "not a FITS file"


@contextlib.contextmanager
def _raise_bad_file() -> Iterator[None]:
    """Make a `BadFile` of whatever is raised, of which astropy has many kinds.

    Raises
    ------
    BadFile
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise BadFile(f"damaged FITS file: {type(error).__name__}: {error}") from error


def read_image(hdus: HduList, index: int | str) -> np.ndarray:
    """Return the rows of an image: (row, pixel), in the machine's byte order.

    Raises
    ------
    BadFile
        If there is none, or the file ends before it does.
    """
    hdu = hdus[index]
    has_spectra = hdu.is_image and len(hdu.shape) in (1, 2) and all(hdu.shape)
    if not has_spectra:
        raise BadFile(f"HDU {index!r} is no image of spectra: {hdu.kind} of shape {hdu.shape}")
    return np.atleast_2d(hdu.data)


def read_table(hdus: HduList, index: int | str) -> Table:
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


def read_column(rows: Table, name: str) -> np.ndarray:
    """Return a column of a table, in the machine's byte order: (row,) or (row, element).

    Raises
    ------
    BadFile
        If there is none of that name.
    """
    return rows[name]
