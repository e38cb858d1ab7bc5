"""A catalogue as a FITS binary table, streamed to disk.

Rows go out through astropy's `StreamingHDU`, which is public, holds one block at a time and checks
that exactly the announced number of bytes is written. A file made to size and filled through a
memory map would do as well, but its pages count as the process's own memory until they are written
back. The checksums are added afterwards in place, for which the header keeps room.
"""

from __future__ import annotations

import datetime
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from luxscale.errors import InputError
from luxscale.export.columns import Column
from luxscale.export.layout import Table
from luxscale.export.source import read_blocks
from luxscale.progress import Progress

#: FITS letters of what a column can hold, by NumPy kind and size; unsigned integers are stored
#: signed, with an offset.
_LETTERS = {
    "f4": "E",
    "f8": "D",
    "u1": "B",
    "i2": "I",
    "i4": "J",
    "i8": "K",
    "u2": "I",
    "u4": "J",
    "u8": "K",
    "b1": "L",
}

#: Types that are stored as another of the same size.
_STORED = {"b1": "u1", "u2": "i2", "u4": "i4", "u8": "i8"}

#: Numbers of columns have three digits.
_MOST_COLUMNS = 999

#: Header keywords of the provenance; what else it holds is written as HISTORY.
_KEYWORDS = {
    "title": "TITLE",
    "model_fingerprint": "LUXMODEL",
    "luxscale_version": "LUXVERS",
    "exported_by": "CREATOR",
}


def write_fits(table: Table, path: Path, shown: Progress) -> None:
    """Write a table as the first extension of a FITS file, with checksums.

    Raises
    ------
    InputError
        If astropy is missing, or text is not ASCII, which is all that FITS tables hold.
    """
    fits = _import_fits()
    widths = _measure_widths(table, shown)
    dtype = np.dtype([(c.name, *_get_storage(c, widths)) for c in table.columns])
    shown.stage("writing rows")
    done = 0
    with fits.StreamingHDU(path, _make_header(fits, table, widths)) as stream:
        for block in table.read_blocks():
            rows = _make_rows(table, block, dtype)
            stream.write(rows.view(np.uint8))
            done += rows.size
            shown.update(done)
    shown.stage("adding checksums")
    with fits.open(path, mode="update", memmap=True) as written:
        for hdu in written:
            hdu.add_checksum()


def check_number(table: Table, where: str) -> None:
    """Refuse a table of more columns than FITS has room for.

    Raises
    ------
    InputError
    """
    n_columns = len(table.columns)
    if n_columns > _MOST_COLUMNS:
        raise InputError(
            f"{where}: {n_columns:,} columns, of which FITS tables hold {_MOST_COLUMNS}; export to "
            ".parquet"
        )


def _import_fits() -> Any:
    """Import astropy's module of FITS files, or say how to get it."""
    try:
        from astropy.io import fits
    except ImportError as error:
        raise InputError(
            "FITS needs the package astropy: pip install 'luxscale[export]'"
        ) from error
    return fits


def _measure_widths(table: Table, shown: Progress) -> dict[str, int]:
    """Return the length of the longest text of each column of text; reads them all."""
    columns = [c for c in table.columns if c.is_text]
    widths = {c.name: 1 for c in columns}
    if not columns:
        return widths
    shown.stage("measuring text")
    variables = {c.source: table.variables[c.source] for c in columns}
    for block in read_blocks(variables, table.block):
        for c in columns:
            lengths = [len(text) for text in c.get_values(block) if text]
            widths[c.name] = max([widths[c.name], *lengths])
    return widths


def _get_storage(column: Column, widths: Mapping[str, int]) -> tuple[Any, ...]:
    """Return NumPy dtype and shape of a column in the file."""
    if column.is_text:
        return (f"S{widths[column.name]}",)
    kind = column.dtype.str[1:]
    stored = _STORED.get(kind, kind)
    return f">{stored}", column.shape


def _make_header(fits: Any, table: Table, widths: Mapping[str, int]) -> Any:
    """Return the header of the table, complete but for the values of the checksums."""
    columns = fits.ColDefs([_make_fits_column(fits, c, widths) for c in table.columns])
    header = fits.BinTableHDU.from_columns(columns, nrows=0, name="CATALOG").header
    header["NAXIS2"] = table.n_stars
    for i, column in enumerate(table.columns, 1):
        header[f"TCOMM{i}"] = _escape(column.doc)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    header["DATE"] = now, "when the file was written, UTC"
    for name, value in table.provenance.items():
        if name in _KEYWORDS:
            header[_KEYWORDS[name]] = _escape(value)
        else:
            header["HISTORY"] = f"{name}: {_escape(value)}"
    for bit, name, meaning in table.flags:
        header[f"FLAG{bit}"] = name, f"FLAGS & {1 << bit}"
        for line in textwrap.wrap(f"FLAGS bit {bit}, {name}: {_escape(meaning)}", 72):
            header["COMMENT"] = line
    # room for the checksums, which are added in place
    header["CHECKSUM"] = "0" * 16
    header["DATASUM"] = "0" * 10
    return header


def _make_fits_column(fits: Any, column: Column, widths: Mapping[str, int]) -> Any:
    """Return the definition of a column, without values."""
    name, unit = column.name.upper(), _escape(column.unit) or None
    if column.is_text:
        return fits.Column(name, f"{widths[column.name]}A", unit=unit)
    letter = _LETTERS[column.dtype.str[1:]]
    dim = zero = None
    if len(column.shape) > 1:
        # FITS counts dimensions from the fastest
        dim = f"({','.join(map(str, reversed(column.shape)))})"
    if _has_offset(column):
        zero = 1 << (8 * column.dtype.itemsize - 1)
    return fits.Column(name, f"{column.size}{letter}", unit=unit, dim=dim, bzero=zero)


def _has_offset(column: Column) -> bool:
    """Whether values are stored signed, less an offset: FITS has no such unsigned type."""
    return column.dtype.kind == "u" and column.dtype.itemsize > 1


def _make_rows(table: Table, block: Mapping[str, np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Return a block as rows, byte for byte as they stand in the file."""
    rows = np.empty(block["status"].size, dtype)
    for column in table.columns:
        rows[column.name] = _encode_values(column, column.get_values(block))
    return rows


def _encode_values(column: Column, values: Any) -> Any:
    """Return the values of a column as FITS stores them."""
    if column.is_text:
        try:
            return [(text or "").encode("ascii") for text in values]
        except UnicodeEncodeError as error:
            raise InputError(
                f"column {column.name!r} holds {error.object!r}, and FITS tables hold ASCII "
                "only; export to .parquet"
            ) from error
    if column.dtype.kind == "b":
        return np.where(values, ord("T"), ord("F"))
    if _has_offset(column):
        # to flip the highest bit is to subtract the offset that the header announces
        signed = np.dtype(f"i{column.dtype.itemsize}")
        return values.view(signed) ^ np.iinfo(signed).min
    return values


def _escape(text: str) -> str:
    """Return text as a header can hold it: what is not printable ASCII is written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")
