"""Rows of a VOTable, some at a time: as text in XML, or binary within it (BINARY, BINARY2).

Nothing outside the file is fetched, no entity expanded, and what rows claim to hold is held against
what there is.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
from collections.abc import Iterator
from typing import IO, Any
from xml.parsers import expat

import numpy as np

from luxscale.readers.fitstable import BadFile

_CHUNK = 2**16
#: Bytes that a row, or a tag or comment, may have; columns; elements within each other.
_MOST_ROW, _MOST_FIELDS, _MOST_DEPTH = 4 * 2**20, 2000, 100

#: Types of elements; True and False, text and single bits are passed over.
_TYPES = {
    "boolean": "S1",
    "unsignedByte": ">u1",
    "short": ">i2",
    "int": ">i4",
    "long": ">i8",
    "char": "S1",
    "unicodeChar": "S2",
    "float": ">f4",
    "double": ">f8",
    "floatComplex": ">c8",
    "doubleComplex": ">c16",
}

Row = dict[str, np.ndarray]


@dataclasses.dataclass
class _Field:
    """A column: elements of each row, None where rows differ, and what stands for a missing one."""

    name: str
    kind: str
    count: int | None
    null: str | None = None


def read_votable(file: IO[bytes]) -> Iterator[Row]:
    """Yield the rows of the first table: numbers of each column by its name in lower case.

    A missing number is NaN, or of whole numbers an empty array.

    Raises
    ------
    BadFile
    """
    table = _Table()
    while chunk := file.read(_CHUNK):
        yield from table.feed(chunk)
        if table.is_complete:
            return
    table.feed_end()
    yield from table.take_rows()


class _Table:
    """What was read of a table so far."""

    def __init__(self) -> None:
        self.fields: list[_Field] = []
        self.is_complete = False
        self._rows: list[Row] = []
        self._cells: list[str] | None = None  # of the row that is being read
        self._text: list[str] | None = None  # of the cell or stream that is being read
        self._size = 0
        self._binary: bytearray | None = None
        self._has_flags = self._is_in_field = False
        self._depth = self._n_bytes = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._add_text
        self._parser.EntityDeclHandler = self._refuse_entity

    def feed(self, chunk: bytes) -> list[Row]:
        """Take more of the file; return the rows that are complete."""
        self._parse(chunk, False)
        if self._binary is not None:
            self._decode_stream()
        return self.take_rows()

    def feed_end(self) -> None:
        """Say that there is no more of the file."""
        self._parse(b"", True)

    def _parse(self, chunk: bytes, is_end: bool) -> None:
        self._n_bytes += len(chunk)
        try:
            self._parser.Parse(chunk, is_end)
        except BadFile:
            raise
        except (expat.ExpatError, LookupError, ValueError) as error:  # of encodings there are not
            if not self.is_complete:
                what = "damaged or truncated" if is_end else "damaged"
                raise BadFile(f"{what} VOTable: {error}") from error
        # what has no end so far, which the parser keeps
        if self._n_bytes - self._parser.CurrentByteIndex > _MOST_ROW:
            raise BadFile(f"a VOTable with a tag or comment of more than {_MOST_ROW:,} bytes")

    def take_rows(self) -> list[Row]:
        rows, self._rows = self._rows, []
        return rows

    def _refuse_entity(self, *_: Any) -> None:
        raise BadFile("a VOTable that declares entities, which none needs")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise BadFile(f"a VOTable of more than {_MOST_DEPTH} elements within each other")
        if self.is_complete:
            return
        tag = name.rpartition(":")[2]
        if tag == "FIELD":
            self._add_field(attributes)
            self._is_in_field = True
        elif tag == "VALUES" and self._is_in_field and "null" in attributes:
            self.fields[-1].null = attributes["null"]
        elif tag == "TR":
            self._cells, self._size = [], 0
        elif tag == "TD":
            self._text = []
        elif tag in ("BINARY", "BINARY2"):
            self._binary, self._has_flags = bytearray(), tag == "BINARY2"
        elif tag == "STREAM":
            if self._binary is None or attributes.get("encoding") != "base64":
                raise BadFile("a VOTable whose data lie elsewhere, or are not base64")
            self._text = []
        elif tag == "FITS":
            raise BadFile("a VOTable of FITS; give the FITS file itself")

    def _add_field(self, attributes: dict[str, str]) -> None:
        if len(self.fields) == _MOST_FIELDS:
            raise BadFile(f"a VOTable of more than {_MOST_FIELDS} columns")
        kind = attributes.get("datatype", "")
        if kind not in _TYPES:
            raise BadFile(
                f"a VOTable with a column of {kind or 'no type'}, which no spectra are in"
            )
        count = _parse_size(attributes.get("arraysize", "1"))
        if count is not None and count > _MOST_ROW:
            raise BadFile(f"a VOTable with a column of {count:,} elements a row")
        name = attributes.get("name") or attributes.get("ID") or ""
        self.fields.append(_Field(name.lower(), kind, count))

    def _add_text(self, text: str) -> None:
        if self._text is None:
            return
        self._text.append(text)
        self._size += len(text)
        if self._binary is None and self._size > _MOST_ROW:
            raise BadFile(f"a row of more than {_MOST_ROW:,} bytes")

    def _end(self, name: str) -> None:
        self._depth -= 1
        tag = name.rpartition(":")[2]
        if self.is_complete:
            return
        if tag == "TD" and self._cells is not None and self._text is not None:
            self._cells.append("".join(self._text))
            self._text = None
        elif tag == "TR" and self._cells is not None:
            self._rows.append(self._parse_row(self._cells))
            self._cells = None
        elif tag == "STREAM":
            self._decode_stream()
            if self._binary:
                raise BadFile("truncated: a VOTable that ends within a row")
            self._text = None
        elif tag == "FIELD":
            self._is_in_field = False
        elif tag == "TABLE":
            self.is_complete = True

    def _parse_row(self, cells: list[str]) -> Row:
        if len(cells) != len(self.fields):
            raise BadFile(f"a row of {len(cells)} cells in a VOTable of {len(self.fields)} columns")
        return {
            field.name: _parse_cell(field, cell)
            for field, cell in zip(self.fields, cells, strict=True)
            if np.dtype(_TYPES[field.kind]).kind in "iuf"
        }

    def _decode_stream(self) -> None:
        """Decode what has come of a stream, and the rows that are whole."""
        assert self._binary is not None
        if self._text is None:
            return
        letters = "".join("".join(self._text).split())
        n_whole = len(letters) // 4 * 4
        self._text = [letters[n_whole:]]
        try:
            self._binary += base64.b64decode(letters[:n_whole], validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadFile(f"damaged VOTable: {error}") from error
        start = 0
        while (found := self._decode_row(start)) is not None:
            row, start = found
            self._rows.append(row)
        del self._binary[:start]
        if len(self._binary) > _MOST_ROW:
            raise BadFile(f"a row of more than {_MOST_ROW:,} bytes")

    def _decode_row(self, start: int) -> tuple[Row, int] | None:
        """Return the row that begins at a byte, and where it ends; None if it is not all there."""
        assert self._binary is not None
        if not self.fields or start >= len(self._binary):
            return None
        flags = np.zeros(len(self.fields), bool)
        at = start
        if self._has_flags:
            n_bytes = -(-len(self.fields) // 8)
            raw = np.frombuffer(bytes(self._binary[at : at + n_bytes]), np.uint8)
            if len(raw) < n_bytes:
                return None
            flags = np.unpackbits(raw)[: len(self.fields)].astype(bool)
            at += n_bytes
        row = {}
        for field, is_null in zip(self.fields, flags.tolist(), strict=True):
            dtype, count = np.dtype(_TYPES[field.kind]), field.count
            if count is None:
                count = int.from_bytes(self._binary[at : at + 4], "big")
                at += 4
            n_bytes = count * dtype.itemsize
            if n_bytes > _MOST_ROW:
                raise BadFile(f"damaged VOTable: {count:,} elements in column {field.name!r}")
            if at + n_bytes > len(self._binary):
                return None
            if dtype.kind in "iuf":
                values = np.frombuffer(bytes(self._binary[at : at + n_bytes]), dtype)
                row[field.name] = _mark_missing(
                    field, values.astype(dtype.newbyteorder("=")), is_null
                )
            at += n_bytes
        if at == start:
            raise BadFile("damaged VOTable: rows of 0 bytes")
        return row, at


def _parse_size(text: str) -> int | None:
    """Return how many elements a row of a column has, None if that differs."""
    sizes = text.strip().split("x")
    if sizes[-1].endswith("*"):
        return None
    try:
        counts = [int(size) for size in sizes]
    except ValueError:
        raise BadFile(f"damaged VOTable: arraysize {text!r}") from None
    if min(counts) < 0:
        raise BadFile(f"damaged VOTable: arraysize {text!r}")
    return math.prod(counts)


def _parse_cell(field: _Field, text: str) -> np.ndarray:
    dtype = np.dtype(_TYPES[field.kind]).newbyteorder("=")
    words = text.replace(",", " ").split()
    try:
        if dtype.kind == "f":
            values = np.array([float(word) for word in words])
        else:
            values = np.array([int(word) for word in words], np.int64)
    except (ValueError, OverflowError):
        raise BadFile(
            f"column {field.name!r} of a VOTable holds {text[:30]!r}, no numbers"
        ) from None
    return _mark_missing(field, values, not words)


def _mark_missing(field: _Field, values: np.ndarray, is_null: bool) -> np.ndarray:
    if field.null is not None and values.size == 1 and str(values[0]) == field.null:
        is_null = True
    if not is_null:
        return values
    return values[:0] if values.dtype.kind != "f" else np.full(values.shape, np.nan)
