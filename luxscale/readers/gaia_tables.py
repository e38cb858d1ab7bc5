"""Tables of XP spectra, a row per source, as GaiaXPy and the archive write them.

CSV and ECSV, compressed or not, with arrays as text; FITS; VOTable.
"""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from luxscale.readers.base import BLOCK, BadFile, Hdu, Table
from luxscale.readers.compressed import UNPACK_ERRORS, unpack_stream
from luxscale.readers.fitsfile import open_large_fits
from luxscale.readers.gaia_rows import SOLUTION, SOURCE, Columns, XpRows, join_arrays
from luxscale.readers.gaia_text import parse_arrays, read_text
from luxscale.readers.votable import Row, read_votable
from luxscale.schema.blocks import iterate_blocks


def read_table_rows(path: str | Path, columns: Columns) -> Iterator[XpRows]:
    """Yield the rows of a table, some at a time.

    Raises
    ------
    BadFile
    """
    try:
        with Path(path).open("rb") as file, unpack_stream(file) as content:
            head = content.read(200)
            content.seek(0)
            is_fits = head.startswith(b"SIMPLE  =")
            if head.lstrip(codecs.BOM_UTF8 + b" \r\n\t").startswith((b"<?xml", b"<VOTABLE")):
                yield from _read_xml(content, columns)
            elif not is_fits:
                yield from read_text(content, columns)
        if is_fits:
            yield from _read_fits(path, columns)
    except (FileNotFoundError, IsADirectoryError):
        raise BadFile("no such file") from None
    except UNPACK_ERRORS as error:
        raise BadFile(f"cannot be unpacked: {error}") from error


def _read_fits(path: str | Path, columns: Columns) -> Iterator[XpRows]:
    with open_large_fits(path) as hdus:
        hdu = hdus[1]
        if hdu.kind != "BINTABLE" or len(hdu.shape) != 2:
            raise BadFile("no table in HDU 1")
        n_stars = hdu.shape[0]
        if not n_stars:
            raise BadFile("a table without rows")
        sampling = _read_sampling(hdu)
        for block in iterate_blocks(n_stars, BLOCK):
            rows = hdu.read_rows(block.start, block.stop)
            columns.check(rows.names)
            yield XpRows(
                star=_read_identifiers(rows, SOURCE),
                solution=_read_identifiers(rows, SOLUTION),
                arrays={name: _read_array(rows, name) for name in columns.arrays if name in rows},
                numbers={
                    name: _read_number(rows, name) for name in columns.numbers if name in rows
                },
                sampling=sampling,
            )


def _read_sampling(hdu: Hdu) -> np.ndarray | None:
    text = str(hdu.header.get("SAMPLING") or "")
    if not text:
        return None
    return parse_arrays([text], "the sampling")[0]


def _read_identifiers(rows: Table, name: str) -> np.ndarray:
    if name not in rows and name != SOURCE:
        return np.full(len(rows), -1, np.int64)
    values = rows.get_identifiers(name)
    if values.shape != (len(rows),) or values.dtype.kind not in "iu":
        raise BadFile(f"column {name!r} is not one whole number a row")
    return values.astype(np.int64)


def _read_array(rows: Table, name: str) -> np.ndarray:
    values = rows[name]
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise BadFile(f"column {name!r} of shape {values.shape} holds no arrays of numbers")
    return values


def _read_number(rows: Table, name: str) -> np.ndarray:
    values = rows[name]
    if values.shape != (len(rows),) or values.dtype.kind not in "iuf":
        raise BadFile(f"column {name!r} of shape {values.shape} holds no numbers")
    return values.astype(float)


def _read_xml(file: IO[bytes], columns: Columns) -> Iterator[XpRows]:
    n_rows = 0
    found = read_votable(file)
    while batch := list(itertools.islice(found, BLOCK)):
        names = list(batch[0])
        columns.check(names)
        yield XpRows(
            star=np.array([_take_identifier(row[SOURCE]) for row in batch], np.int64),
            solution=np.array(
                [_take_identifier(row.get(SOLUTION, np.zeros(0, int))) for row in batch], np.int64
            ),
            arrays={name: _stack_arrays(batch, name) for name in columns.arrays if name in names},
            numbers={
                name: np.array([_take_number(row[name]) for row in batch])
                for name in columns.numbers
                if name in names
            },
        )
        n_rows += len(batch)
    if not n_rows:
        raise BadFile("a table without rows")


def _take_identifier(values: np.ndarray) -> int:
    if values.dtype.kind not in "iu" or values.size > 1:
        raise BadFile("identifiers that are not one whole number a row")
    return int(values[0]) if values.size else -1


def _take_number(values: np.ndarray) -> float:
    return float(values[0]) if values.size == 1 else np.nan


def _stack_arrays(rows: Sequence[Row], name: str) -> np.ndarray:
    return join_arrays([row[name].astype(float) for row in rows], name)
