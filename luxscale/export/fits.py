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
from luxscale.export.columns import Column, Table
from luxscale.export.source import read
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

_KEYWORDS = {
    "title": "TITLE",
    "model_fingerprint": "LUXMODEL",
    "luxscale_version": "LUXVERS",
    "exported_by": "CREATOR",
}


def write(table: Table, path: Path, shown: Progress) -> None:
    """Write a table as the first extension of a FITS file, with checksums.

    Raises
    ------
    InputError
        If astropy is missing, or text is not ASCII, which is all that FITS tables hold.
    """
    fits = _astropy()
    widths = _widths(table, shown)
    dtype = np.dtype([(c.name, *_storage(c, widths)) for c in table.columns])
    shown.stage("writing rows")
    done = 0
    with fits.StreamingHDU(path, _header(fits, table, widths)) as stream:
        for values in table.blocks():
            rows = _rows(table, values, dtype)
            stream.write(rows.view(np.uint8))
            done += rows.size
            shown.update(done)
    shown.stage("adding checksums")
    with fits.open(path, mode="update", memmap=True) as written:
        for hdu in written:
            hdu.add_checksum()


def _astropy() -> Any:
    try:
        from astropy.io import fits
    except ImportError as error:
        raise InputError(
            "FITS needs the package astropy: pip install 'luxscale[export]'"
        ) from error
    return fits


def _widths(table: Table, shown: Progress) -> dict[str, int]:
    """Return the longest text of each column of text, found by reading them all once, block by block."""
    text = [c for c in table.columns if c.is_text]
    widths = dict.fromkeys((c.name for c in text), 1)
    if text:
        shown.stage("measuring text")
        for values in read({c.source: table.variables[c.source] for c in text}, table.block):
            for c in text:
                widths[c.name] = max([widths[c.name], *(len(s) for s in c.take(values) if s)])
    return widths


def _storage(column: Column, widths: Mapping[str, int]) -> tuple[Any, ...]:
    """Return NumPy dtype and shape of a column in the file."""
    if column.is_text:
        return (f"S{widths[column.name]}",)
    stored = {"b1": "u1", "u2": "i2", "u4": "i4", "u8": "i8"}.get(
        column.dtype.str[1:], column.dtype.str[1:]
    )
    return f">{stored}", column.shape


def _header(fits: Any, table: Table, widths: Mapping[str, int]) -> Any:
    """Return the header of the table, complete but for the values of the checksums."""
    columns = [_fits_column(fits, c, widths) for c in table.columns]
    header = fits.BinTableHDU.from_columns(fits.ColDefs(columns), nrows=0, name="CATALOG").header
    header["NAXIS2"] = table.n_stars
    for i, c in enumerate(table.columns, 1):
        header[f"TCOMM{i}"] = _ascii(c.doc)
    header["DATE"] = (
        datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "when the file was written, UTC",
    )
    for name, value in table.provenance.items():
        if name in _KEYWORDS:
            header[_KEYWORDS[name]] = _ascii(value)
        else:
            header["HISTORY"] = f"{name}: {_ascii(value)}"
    for bit, name, meaning in table.flags:
        header[f"FLAG{bit}"] = name, f"FLAGS & {1 << bit}"
        for line in textwrap.wrap(f"FLAGS bit {bit}, {name}: {_ascii(meaning)}", 72):
            header["COMMENT"] = line
    header["CHECKSUM"], header["DATASUM"] = "0" * 16, "0" * 10
    return header


def _fits_column(fits: Any, column: Column, widths: Mapping[str, int]) -> Any:
    name, unit = column.name.upper(), _ascii(column.unit) or None
    if column.is_text:
        return fits.Column(name, f"{widths[column.name]}A", unit=unit)
    dtype = column.dtype
    dim = "(" + ",".join(map(str, reversed(column.shape))) + ")" if len(column.shape) > 1 else None
    zero = 1 << (8 * dtype.itemsize - 1) if dtype.kind == "u" and dtype.itemsize > 1 else None
    return fits.Column(
        name, f"{column.size}{_LETTERS[dtype.str[1:]]}", unit=unit, dim=dim, bzero=zero
    )


def _rows(table: Table, values: Mapping[str, np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Return a block as rows, byte for byte as they stand in the file."""
    rows = np.empty(values["status"].size, dtype)
    for column in table.columns:
        rows[column.name] = _encoded(column, column.take(values))
    return rows


def _encoded(column: Column, values: Any) -> Any:
    if column.is_text:
        try:
            return [(s or "").encode("ascii") for s in values]
        except UnicodeEncodeError as error:
            raise InputError(
                f"column {column.name!r} holds {error.object!r}, and FITS tables hold ASCII "
                "only; export to .parquet"
            ) from error
    if column.dtype.kind == "b":
        return np.where(values, ord("T"), ord("F"))
    if column.dtype.kind == "u" and column.dtype.itemsize > 1:
        signed = np.dtype(f"i{column.dtype.itemsize}")
        return (
            values.view(signed) ^ np.iinfo(signed).min
        )  # the value less the offset that the header announces
    return values


def _ascii(text: str) -> str:
    """Return text as a header can hold it: what is not printable ASCII is written as an escape."""
    return (
        text
        if text.isascii() and text.isprintable()
        else text.encode("unicode_escape").decode("ascii")
    )
