"""Columns of a table in a file: only those asked for are kept in memory, however wide the table."""

from __future__ import annotations

import contextlib
import gzip
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from luxscale.errors import InputError
from luxscale.labels.base import close_names

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table

#: Bytes of a FITS table that are read at once.
BLOCK_BYTES = 64 * 2**20

#: A row of more bytes is none of a catalogue; those of the widest known take 6 kB.
MOST_ROW_BYTES = 4 * 2**20

#: Formats of astropy by ending.
_FORMATS = {
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
}


class Columns:
    """A table in a file.

    Parameters
    ----------
    path : str or Path
        FITS (also with gzip), CSV, ECSV, Parquet or VOTable, by its ending; FITS by its first
        bytes.

    Attributes
    ----------
    names : list of str
    n_rows : int

    Raises
    ------
    InputError
        If there is no such file, no table in it, or no row.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file")
        self._table = _FitsTable.of(self.path) if _is_fits(self.path) else _read_table(self.path)
        self.names, self.n_rows = self._table.names, self._table.n_rows
        if self.n_rows < 1:
            raise InputError(f"{self.path}: its table has no rows")
        self._by_fold = {n.lower(): n for n in reversed(self.names)}

    def find(self, name: str) -> str | None:
        """Return a column's name as it stands in the file, whatever its case; None: there is none."""
        return name if name in self.names else self._by_fold.get(name.lower())

    def need(self, name: str) -> str:
        """Return a column's name as it stands in the file.

        Raises
        ------
        InputError
            If there is none: names those that are similar.
        """
        found = self.find(name)
        if found is None:
            rows = f"{self.n_rows:,} rows of {len(self.names)} columns"
            raise InputError(
                f"{self.path}: no column {name!r} ({rows}); {close_names(name, self.names)}"
            )
        return found

    def read(self, names: Iterable[str]) -> dict[str, np.ma.MaskedArray]:
        """Return columns by the names asked for: (row, ...), masked where the file says they are missing.

        Raises
        ------
        InputError
            If one is not there.
        """
        wanted = {n: self.need(n) for n in names}
        found = self._table.read(list(dict.fromkeys(wanted.values())))
        return {n: found[c] for n, c in wanted.items()}


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb") if packed else path.open("rb"))


def _is_fits(path: Path) -> bool:
    with _open(path) as file:
        try:
            return file.read(9) == b"SIMPLE  ="
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: damaged gzip file: {error}") from error


def _read_table(path: Path) -> _MemoryTable:
    from astropy.table import Table

    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending not in _FORMATS:
        raise InputError(f"{path}: not FITS, and its ending is none of {', '.join(_FORMATS)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _MemoryTable(Table.read(path, format=_FORMATS[ending]))
        except ImportError as error:
            raise InputError(
                f"{path}: {error}; Parquet needs pip install 'luxscale[export]'"
            ) from error
        except Exception as error:  # of damaged files astropy raises what it likes
            raise InputError(f"{path}: no table in it: {type(error).__name__}: {error}") from error


class _MemoryTable:
    """A table that astropy has read whole."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.names: list[str] = list(table.colnames)
        self.n_rows = len(table)

    def read(self, names: list[str]) -> dict[str, np.ma.MaskedArray]:
        return {n: np.ma.asarray(self.table[n]) for n in names}


class _FitsTable:
    """A binary table, read front to back in blocks of rows: a wide table is as slow to map as to read, and does not fit."""

    def __init__(self, path: Path, hdu: fits.BinTableHDU) -> None:
        self.path = path
        self.columns = hdu.columns
        self.names: list[str] = list(hdu.columns.names)
        self.n_rows = int(hdu.header["NAXIS2"])
        self.dtype = hdu.columns.dtype.newbyteorder(">")
        self.start = int(hdu.fileinfo()["datLoc"])
        if self.dtype.itemsize != hdu.header["NAXIS1"] or self.dtype.itemsize > MOST_ROW_BYTES:
            raise InputError(
                f"columns take {self.dtype.itemsize:,} bytes a row, NAXIS1 says "
                f"{hdu.header['NAXIS1']:,}"
            )

    @classmethod
    def of(cls, path: Path) -> _FitsTable:
        """Return the first table of a file that has rows, or, if none has, the first."""
        from astropy.io import fits

        first = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with fits.open(path, memmap=True, lazy_load_hdus=True) as hdus:
                    for hdu in hdus:
                        if isinstance(hdu, fits.BinTableHDU):
                            first = first or cls(path, hdu)
                            if hdu.header["NAXIS2"] > 0:
                                return cls(path, hdu)
            except Exception as error:  # of damaged files astropy raises what it likes
                raise InputError(
                    f"{path}: damaged FITS file: {type(error).__name__}: {error}"
                ) from error
        if first is None:
            raise InputError(f"{path}: no binary table in this FITS file")
        return first

    def read(self, names: list[str]) -> dict[str, np.ma.MaskedArray]:
        parts: dict[str, list[np.ma.MaskedArray]] = {n: [] for n in names}
        for block in self._blocks():
            for name in names:
                parts[name].append(_decode(block[name], self.columns[name], str(self.path)))
        return {n: np.ma.concatenate(p) for n, p in parts.items()}

    def _blocks(self) -> Iterator[np.ndarray]:
        size = self.dtype.itemsize
        rows = max(BLOCK_BYTES // size, 1)
        with contextlib.closing(_open(self.path)) as file:
            file.seek(self.start)
            for first in range(0, self.n_rows, rows):
                count = min(rows, self.n_rows - first)
                raw = self._take(file, count * size)
                yield np.frombuffer(raw, self.dtype)

    def _take(self, file: BinaryIO, size: int) -> bytes:
        try:
            raw = file.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self.path}: damaged: {error}") from error
        if len(raw) < size:
            raise InputError(
                f"{self.path}: truncated: {self.n_rows:,} rows promised, not all are there"
            )
        return raw


def _decode(raw: np.ndarray, column: fits.Column, where: str) -> np.ma.MaskedArray:
    """Return what a column's bytes mean, apart from the block that holds them."""
    if column.format.lstrip("0123456789")[:1] in "PQ":
        raise InputError(
            f"{where}: column {column.name!r} holds arrays of varying length, which no label "
            "is read from"
        )
    if raw.dtype.kind == "S":
        return np.ma.array(raw.copy())
    if column.format.endswith("L"):
        return np.ma.array(raw.view(np.uint8) == ord("T"))
    values = raw.astype(raw.dtype.newbyteorder("="))
    mask = (
        values == column.null
        if isinstance(column.null, int) and values.dtype.kind in "iu"
        else np.False_
    )
    return np.ma.array(_scaled(values, column.bscale or 1, column.bzero or 0), mask=mask)


def _scaled(values: np.ndarray, scale: float, zero: float) -> np.ndarray:
    """Return scale * values + zero; whole numbers stay whole, as FITS keeps unsigned ones by their zero."""
    if values.dtype.kind not in "iu" or scale != 1 or zero != int(zero):
        return values if (scale, zero) == (1, 0) else values * scale + zero
    if zero == 2**63:
        return values.astype(np.uint64) + np.uint64(2**63)
    return values.astype(np.int64) + int(zero) if zero else values
