"""FITS files of one star, by astropy, with a check of what a header claims before astropy acts on it.

Astropy takes whatever time and memory a header asks for: it goes through as many axes, columns and
bytes as that says. So each header is first held against the file, which is read whole and of
bounded size. Whatever astropy raises, then, is the file's fault.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import math
import string
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from luxscale.errors import InputError

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
    """Keywords of a header and their values: text, int, float, bool; None where it is left blank, or is no value.

    Some real files have NAN there without quotes.
    """

    def __init__(self, cards: fits.Header):
        self._cards = cards

    def __getitem__(self, key: str) -> Any:
        try:
            value = self._cards[key]
        except fits.VerifyError:
            return None
        return None if isinstance(value, fits.card.Undefined) else value

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self._cards))

    def __len__(self) -> int:
        return len(set(self._cards))

    def count(self, key: str, default: int | None = None, most: float = math.inf) -> int:
        """Return a number of things, which no header may have negative, fractional, or beyond a limit."""
        value = self.get(key, default)
        if type(value) is not int or not 0 <= value <= most:
            raise BadFile(f"damaged FITS header: {key} = {value!r}")
        return value


class Table:
    """Rows of a binary table: ``table["FLUX"]`` is (row,), or (row, element) of an array column; in any case of letters.

    Astropy takes some 0.2 ms a column to set up a table, even if one of them is asked for; of an
    empty table none is.
    """

    def __init__(self, header: Header, raw: bytes):
        self._raw = raw
        self._width, self._n = header.count("NAXIS1"), header.count("NAXIS2")
        columns = range(1, header.count("TFIELDS", most=MOST_COLUMNS) + 1)
        #: Names of the columns, in lower case.
        self.names = tuple(str(header.get(f"TTYPE{i}") or "").lower() for i in columns)

    def __len__(self) -> int:
        return self._n

    def __contains__(self, name: str) -> bool:
        return name.lower() in self.names

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self:
            raise BadFile(f"table without column {name!r}")
        kind = self._rows.columns[name].format.lstrip(string.digits)[:1]
        if kind not in _KINDS:
            raise BadFile(f"column {name!r} is of a kind ({kind}) that no spectrum is in")
        values = np.asarray(self._rows[name])
        if values.dtype.kind == "U":
            return np.strings.strip(values)
        return _native(values.reshape(self._n, -1) if values.ndim > 2 else values)

    @functools.cached_property
    def _rows(self) -> fits.FITS_rec:
        hdu = fits.BinTableHDU.fromstring(self._raw, uint=True)
        if hdu.columns.dtype.itemsize != self._width:
            raise BadFile(
                f"damaged FITS table: rows of {self._width:,} bytes, columns of "
                f"{hdu.columns.dtype.itemsize:,}"
            )
        return hdu.data


def _native(values: np.ndarray) -> np.ndarray:
    return values.astype(values.dtype.newbyteorder("="))


class Hdu:
    """A header and the data that follow it."""

    def __init__(self, raw: bytes, start: int):
        self._raw, self._start = raw, start
        self._cards, length = _cards(raw, start)
        self.header = header = Header(self._cards)
        #: As numpy has it: the axis that changes fastest is the last.
        self.shape = tuple(
            header.count(f"NAXIS{i}") for i in range(header.count("NAXIS", most=MOST_AXES), 0, -1)
        )
        if header.get("GROUPS") is True or header.count("GCOUNT", 1) != 1:
            raise BadFile("damaged FITS header, or random groups, which no spectra are in")
        header.count("PCOUNT", 0)
        self.name = str(header.get("EXTNAME") or "").strip()
        self.kind = str(header.get("XTENSION", "IMAGE")).strip()
        self._data = start + length
        self._end = self._data + self._cards.data_size
        #: Where the next one starts.
        self.end = _whole(self._end)

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
        if self._end > len(self._raw):
            raise BadFile(
                f"truncated: HDU {self.name!r} should end at byte {self._end:,} of "
                f"{len(self._raw):,}"
            )
        return self._read(
            self.header, self._raw[self._start : self.end]
        )  # with its padding, which astropy looks for

    def rows(self, start: int, stop: int) -> Any:
        """Return some rows of the `Table`, or of the image along its first axis; no others are read.

        Raises
        ------
        BadFile
            If the file does not hold them, or they are more than `MOST_BYTES`.
        """
        width = math.prod(self.shape[1:]) * abs(self.header["BITPIX"]) // 8
        if not (
            self.shape
            and 0 <= start < stop <= self.shape[0]
            and 0 < (stop - start) * width <= MOST_BYTES
        ):
            raise BadFile(
                f"HDU {self.name!r} of shape {self.shape} has no rows {start} to {stop}, or "
                "too long ones"
            )
        raw = self._raw[self._data + start * width : self._data + stop * width]
        if len(raw) < (stop - start) * width:
            raise BadFile(f"truncated: HDU {self.name!r} should have {self.shape[0]:,} rows")
        # for astropy, as an HDU that has these alone
        cards = self._cards.copy()
        cards.update({f"NAXIS{len(self.shape)}": stop - start, "PCOUNT": 0})
        return self._read(
            Header(cards), cards.tostring().encode() + raw.ljust(_whole(len(raw)), b"\0")
        )

    def _read(self, header: Header, raw: bytes) -> Any:
        if self.kind == "BINTABLE":
            return Table(header, raw)
        if not self.is_image:
            raise BadFile(f"HDU {self.name!r} is a {self.kind}, which no spectra are in")
        data = (
            (fits.ImageHDU if "XTENSION" in header else fits.PrimaryHDU)
            .fromstring(raw, uint=True)
            .data
        )
        return np.zeros(0) if data is None else _native(data)


def _cards(raw: bytes, start: int) -> tuple[fits.Header, int]:
    """Return the header at a byte, and how many bytes it takes; nearly all are short, and a long slice is a long copy."""
    try:
        stream = io.BytesIO(raw[start : start + 20 * BLOCK_BYTES])
        return fits.Header.fromfile(stream), stream.tell()
    except OSError:  # it has no end so far
        stream = io.BytesIO(raw[start : start + MOST_HEADER_BYTES])
        return fits.Header.fromfile(stream), stream.tell()


def _whole(n: int) -> int:
    return -(-n // BLOCK_BYTES) * BLOCK_BYTES


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
        if len(self._hdus) == MOST_HDUS:
            raise BadFile(f"more than {MOST_HDUS} HDUs")
        self._hdus.append(Hdu(self._raw, start))
        return True


@contextlib.contextmanager
def open_fits(path: str | Path) -> Iterator[HduList]:
    """Open a FITS file of one star, plain or compressed by gzip, read whole.

    Raises
    ------
    BadFile
        If it cannot be read, is empty, too large, or no FITS file; also for whatever else the use
        of it raises.
    """
    try:
        raw = _read(Path(path))
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(f"cannot be read: {type(error).__name__}: {error}") from error
    if not raw.startswith(b"SIMPLE  ="):
        raise BadFile("not a FITS file" if raw else "empty file")
    with blaming_the_file():
        yield HduList(raw)


@contextlib.contextmanager
def blaming_the_file() -> Iterator[None]:
    """Make a `BadFile` of whatever is raised, which astropy has many kinds of, and say nothing of what astropy warns of.

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
