"""FITS files of one star, by astropy, whose headers are checked before astropy acts on them.

Astropy takes whatever time and memory a header asks for: it goes through as many axes, columns and
bytes as that says. So each header is first held against the file, which is read whole and of
bounded size. Whatever astropy raises, then, is the file's fault.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import string
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from luxscale.errors import InputError
from luxscale.readers.compressed import UNPACK_ERRORS, read_unpacked

#: A file of one star that is larger is not of its format: sixty visits of APOGEE take 30 MB.
MOST_BYTES = 128 * 2**20

BLOCK_BYTES = 2880
MOST_HEADER_BYTES = 400 * BLOCK_BYTES
MOST_HDUS = 1000
#: The standard has up to 999 of both; no spectrum has as many axes.
MOST_AXES, MOST_COLUMNS = 9, 999

#: What columns are read: numbers, text, true or false; no single bits, complex numbers, or arrays
#: of variable length.
_KINDS = "LBIJKEDA"

_TOO_LARGE = f"more than {MOST_BYTES / 1e6:,.0f} MB are no spectrum of one star"


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

    ``table["FLUX"]`` is (row,), or (row, element) of an array column. Astropy takes some 0.2 ms a
    column to set up a table, even if one of them is asked for; of an empty table none is.
    """

    def __init__(self, header: Header, raw: bytes):
        self._raw = raw
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
        if name not in self:
            raise BadFile(f"table without column {name!r}")
        column_format = self._rows.columns[name].format
        kind = column_format.lstrip(string.digits)[:1]
        if kind in "PQ":
            raise BadFile(
                f"column {name!r} holds arrays of varying length, which are not read; take the "
                "table as CSV, or write arrays of one length"
            )
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
        return _to_native_order(values)

    def get_identifiers(self, name: str) -> np.ndarray:
        """Return a column with -1 where whole numbers are missing: (row,)."""
        missing = self.find_missing(name)
        values = np.asarray(self._rows[name])
        if missing.ndim == 1 and missing.any() and values.dtype.kind in "iu":
            return np.where(missing, -1, values.astype(np.int64))
        return self[name]  # NaN in a column that TSCAL makes one of fractions

    def find_missing(self, name: str) -> np.ndarray:
        """Return where a column of whole numbers has the one that stands for none (TNULL)."""
        null = self._rows.columns[name].null
        stored = self._rows.view(np.ndarray)[self._rows.columns[name].name]
        if not isinstance(null, int) or stored.dtype.kind not in "iu":
            return np.zeros(stored.shape, bool)
        return np.asarray(stored == null)

    @functools.cached_property
    def _rows(self) -> fits.FITS_rec:
        hdu = fits.BinTableHDU.fromstring(self._raw, uint=True)
        columns_width = hdu.columns.dtype.itemsize
        if columns_width != self._width:
            raise BadFile(
                f"damaged FITS table: rows of {self._width:,} bytes, columns of {columns_width:,}"
            )
        return hdu.data


def _to_native_order(values: np.ndarray) -> np.ndarray:
    return values.astype(values.dtype.newbyteorder("="))


class Hdu:
    """A header and the data that follow it."""

    def __init__(self, raw: bytes, start: int):
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
            If the file does not hold it.
        """
        if self._end > len(self._raw):
            raise BadFile(
                f"truncated: HDU {self.name!r} should end at byte {self._end:,} of "
                f"{len(self._raw):,}"
            )
        padded = self._raw[self._start : self.end]  # astropy looks for the padding
        return self._read(self.header, padded)

    def read_rows(self, start: int, stop: int) -> Any:
        """Return some rows of the `Table`, or of the image along its first axis, reading no others.

        Raises
        ------
        BadFile
            If the file does not hold them, or they are more than `MOST_BYTES`.
        """
        row_size = math.prod(self.shape[1:])
        width = row_size * abs(self.header["BITPIX"]) // 8
        n_rows = stop - start
        n_bytes = n_rows * width
        is_there = self.shape and 0 <= start < stop <= self.shape[0]
        if not is_there or not 0 < n_bytes <= MOST_BYTES:
            raise BadFile(
                f"HDU {self.name!r} of shape {self.shape} has no rows {start} to {stop}, or "
                "too long ones"
            )
        first_byte = self._data + start * width
        raw = self._raw[first_byte : first_byte + n_bytes]
        if len(raw) < n_bytes:
            raise BadFile(f"truncated: HDU {self.name!r} should have {self.shape[0]:,} rows")
        # for astropy, as an HDU that has these rows alone
        cards = self._cards.copy()
        cards.update({f"NAXIS{len(self.shape)}": n_rows, "PCOUNT": 0})
        padded = raw.ljust(_round_to_blocks(n_bytes), b"\0")
        return self._read(Header(cards), cards.tostring().encode() + padded)

    def _read(self, header: Header, raw: bytes) -> Any:
        if self.kind == "BINTABLE":
            return Table(header, raw)
        if not self.is_image:
            raise BadFile(f"HDU {self.name!r} is a {self.kind}, which no spectra are in")
        hdu_class = fits.ImageHDU if "XTENSION" in header else fits.PrimaryHDU
        data = hdu_class.fromstring(raw, uint=True).data
        if data is None:
            return np.zeros(0)
        return _to_native_order(data)


def _read_cards(raw: bytes, start: int) -> tuple[fits.Header, int]:
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
    """Open a FITS file of one star, plain or compressed by gzip or bzip2, read whole.

    Raises
    ------
    BadFile
        If it cannot be read, is empty, too large, or no FITS file; also for whatever else the use
        of it raises.
    """
    try:
        raw = _read_bytes(Path(path))
    except UNPACK_ERRORS as error:
        raise BadFile(f"cannot be read: {type(error).__name__}: {error}") from error
    if not raw:
        raise BadFile("empty file")
    if not raw.startswith(b"SIMPLE  ="):
        raise BadFile("not a FITS file")
    with raise_bad_file():
        yield HduList(raw)


@contextlib.contextmanager
def raise_bad_file() -> Iterator[None]:
    """Make a `BadFile` of whatever is raised, of which astropy has many kinds.

    What astropy warns of is not shown.

    Raises
    ------
    BadFile
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            raise BadFile(f"damaged FITS file: {type(error).__name__}: {error}") from error


def _read_bytes(path: Path) -> bytes:
    """Return a file's contents, unpacked; of what unpacks to too much, no more than shows it."""
    if not path.is_file():
        raise BadFile("no such file")
    if path.stat().st_size > MOST_BYTES:
        raise BadFile(_TOO_LARGE)
    raw = read_unpacked(path, MOST_BYTES)
    if len(raw) > MOST_BYTES:
        raise BadFile(_TOO_LARGE)
    return raw


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
