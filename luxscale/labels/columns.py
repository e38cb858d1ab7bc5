"""Columns of a table in a file: only those asked for are kept in memory, however wide the table."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from luxscale.errors import InputError
from luxscale.labels.arrays import ArrayTable
from luxscale.labels.parquet import ParquetTable
from luxscale.labels.text import BLANK, decode_text, drop_comments, find_separator, restore_names
from luxscale.readers.compressed import UNPACK_ERRORS, remove_ending, unpack_stream
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.names import suggest_names

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
    ".tsv": "ascii.csv",
    ".txt": "ascii.csv",
    ".dat": "ascii.csv",
    ".ecsv": "ascii.ecsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
}

#: Endings of files of named arrays.
_ARRAYS = (".npz", ".h5", ".hdf5")


class Columns:
    """A table in a file.

    Parameters
    ----------
    path : str or Path
        CSV, ECSV, Parquet, VOTable, npz or HDF5, by its ending; FITS by its first bytes. Text and
        FITS may be compressed (.gz, .bz2, .xz). A folder is one of Parquet. What separates columns
        of CSV is told by the first line.

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
        self.path = Path(path).expanduser()
        self._table: _FitsTable | _MemoryTable | ParquetTable | ArrayTable
        if self.path.is_dir():
            self._table = _open_parquet(self.path)
        elif not self.path.is_file():
            raise InputError(f"{self.path}: no such file")
        elif _is_fits(self.path):
            self._table = _FitsTable.open_first(self.path)
        else:
            self._table = _read_table(self.path)
        self.names = self._table.names
        self.n_rows = self._table.n_rows
        if self.n_rows < 1:
            raise InputError(f"{self.path}: its table has no rows")
        # of names that differ in case alone, the first counts
        self._by_fold = {name.lower(): name for name in reversed(self.names)}

    def find(self, name: str) -> str | None:
        """Return a column's name as it stands in the file, whatever its case, or None."""
        if name in self.names:
            return name
        return self._by_fold.get(name.lower())

    def require(self, name: str) -> str:
        """Return a column's name as it stands in the file.

        Raises
        ------
        InputError
            If there is none: names those that are similar.
        """
        found = self.find(name)
        if found is None:
            rows = f"{self.n_rows:,} rows of {len(self.names)} columns"
            do = suggest_names(name, self.names)
            if isinstance(self._table, _FitsTable):
                do = self._table.suggest_other(name) or do
            raise InputError(f"{self.path}: no column {name!r} ({rows}); {do}")
        if self.names.count(found) > 1:
            raise InputError(
                f"{self.path}: several columns are called {found!r}, and nothing says which is "
                "meant; give each a name of its own"
            )
        return found

    def get_unit(self, name: str) -> str:
        """Return the unit that the file states of a column, or ""."""
        return self._table.get_unit(self.require(name))

    def read(self, names: Iterable[str]) -> dict[str, np.ma.MaskedArray]:
        """Return columns by the names asked for: (row, ...), masked where missing in the file.

        Raises
        ------
        InputError
            If one is not there.
        """
        wanted = {name: self.require(name) for name in names}
        once_each = list(dict.fromkeys(wanted.values()))
        found = self._table.read(once_each)
        return {name: found[column] for name, column in wanted.items()}


def _is_fits(path: Path) -> bool:
    with path.open("rb") as packed, unpack_stream(packed) as file:
        try:
            return file.read(9) == b"SIMPLE  ="
        except UNPACK_ERRORS as error:
            raise InputError(f"{path}: damaged compressed file: {error}") from error


def _open_parquet(path: Path) -> ParquetTable:
    try:
        return ParquetTable(path)
    except ImportError as error:
        raise InputError(
            f"{path}: {error}; Parquet needs pip install 'luxscale[export]'"
        ) from error
    except Exception as error:  # of damaged files pyarrow raises what it likes
        raise InputError(f"{path}: no table in it: {type(error).__name__}: {error}") from error


def _read_table(path: Path) -> _MemoryTable | ParquetTable | ArrayTable:
    ending = Path(remove_ending(path.name)).suffix.lower()
    if ending in _ARRAYS:
        return ArrayTable(path)
    if ending not in _FORMATS:
        known = ", ".join([*_FORMATS, *_ARRAYS])
        raise InputError(f"{path}: not FITS, and its ending is none of {known}")
    if _FORMATS[ending] == "parquet":
        return _open_parquet(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _read_with_astropy(path, _FORMATS[ending])
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: no table in it: byte {error.start} is no UTF-8, as text has to be; write "
                "it as UTF-8, e.g. by iconv -f latin1 -t utf-8"
            ) from error
        except Exception as error:  # of damaged files astropy raises what it likes
            raise InputError(f"{path}: no table in it: {type(error).__name__}: {error}") from error


def _read_with_astropy(path: Path, table_format: str) -> _MemoryTable:
    from astropy.table import Table

    if not table_format.startswith("ascii."):
        return _MemoryTable(Table.read(path, format=table_format))
    with path.open("rb") as packed, unpack_stream(packed) as file:
        text = decode_text(file.read())
    if table_format == "ascii.ecsv":
        return _MemoryTable(Table.read(text.splitlines(), format=table_format))
    text = drop_comments(text)
    separator = find_separator(text)
    if separator == BLANK:  # lines that lack a column are refused, of which nobody knows which
        table_format = "ascii.basic"
    lines = text.splitlines()
    table = Table.read(lines, format=table_format, delimiter=separator, guess=False)
    return _MemoryTable(table, restore_names(table.colnames, lines[0], separator))


class _MemoryTable:
    """A table that astropy has read whole."""

    def __init__(self, table: Table, names: list[str] | None = None) -> None:
        self.table = table
        self.names: list[str] = names or list(table.colnames)
        self.n_rows = len(table)

    def get_unit(self, name: str) -> str:
        unit = self.table[name].unit
        return "" if unit is None else str(unit)

    def read(self, names: list[str]) -> dict[str, np.ma.MaskedArray]:
        return {n: np.ma.asarray(self.table[n]) for n in names}


class _FitsTable:
    """A binary table, read front to back in blocks of rows.

    A wide table is as slow to map as to read, and does not fit.
    """

    def __init__(self, path: Path, hdu: fits.BinTableHDU) -> None:
        self.path = path
        self.columns = hdu.columns
        self.names: list[str] = list(hdu.columns.names)
        self.n_rows = int(hdu.header["NAXIS2"])
        self.dtype = hdu.columns.dtype.newbyteorder(">")
        self.start = int(hdu.fileinfo()["datLoc"])
        row_bytes = self.dtype.itemsize
        if row_bytes != hdu.header["NAXIS1"] or row_bytes > MOST_ROW_BYTES:
            raise InputError(
                f"columns take {row_bytes:,} bytes per row, NAXIS1 says {hdu.header['NAXIS1']:,}"
            )

    @classmethod
    def open_first(cls, path: Path) -> _FitsTable:
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

    def suggest_other(self, name: str) -> str:
        """Say which other table of the file has a column, "" if none has."""
        from astropy.io import fits

        # what is damaged behind the first table is no reason to say less of that
        with warnings.catch_warnings(), contextlib.suppress(OSError, ValueError):
            warnings.simplefilter("ignore")
            with fits.open(self.path, memmap=True) as hdus:
                for number, hdu in enumerate(hdus):
                    names = getattr(hdu, "columns", fits.ColDefs([])).names
                    if name.lower() in map(str.lower, names):
                        return (
                            f"HDU {number} ({hdu.name}) has it, and the first table alone is read: "
                            f"write that one, e.g. Table.read(FILE, hdu={number}).write('t.fits')"
                        )
        return ""

    def get_unit(self, name: str) -> str:
        return str(self.columns[name].unit or "")

    def read(self, names: list[str]) -> dict[str, np.ma.MaskedArray]:
        parts: dict[str, list[np.ma.MaskedArray]] = {name: [] for name in names}
        for block in self._read_blocks():
            for name in names:
                values = _decode_column(block[name], self.columns[name], str(self.path))
                parts[name].append(values)
        return {name: np.ma.concatenate(blocks) for name, blocks in parts.items()}

    def _read_blocks(self) -> Iterator[np.ndarray]:
        row_bytes = self.dtype.itemsize
        block_rows = max(BLOCK_BYTES // row_bytes, 1)
        with self.path.open("rb") as packed, unpack_stream(packed) as file:
            file.seek(self.start)
            for rows in iterate_blocks(self.n_rows, block_rows):
                n_rows = rows.stop - rows.start
                raw = self._read_bytes(file, n_rows * row_bytes)
                yield np.frombuffer(raw, self.dtype)

    def _read_bytes(self, file: BinaryIO, size: int) -> bytes:
        try:
            raw = file.read(size)
        except UNPACK_ERRORS as error:
            raise InputError(f"{self.path}: damaged: {error}") from error
        if len(raw) < size:
            raise InputError(
                f"{self.path}: truncated: {self.n_rows:,} rows promised, not all are there"
            )
        return raw


def _decode_column(raw: np.ndarray, column: fits.Column, where: str) -> np.ma.MaskedArray:
    """Return what a column's bytes mean, apart from the block that holds them."""
    kind = column.format.lstrip("0123456789")[:1]
    if kind in ("P", "Q"):
        raise InputError(
            f"{where}: column {column.name!r} holds arrays of varying length, which no label "
            "is read from"
        )
    if raw.dtype.kind == "S":
        return np.ma.array(raw.copy())
    if column.format.endswith("L"):
        return np.ma.array(raw.view(np.uint8) == ord("T"))
    values = raw.astype(raw.dtype.newbyteorder("="))
    mask: np.ndarray | np.bool = np.False_
    if isinstance(column.null, int) and values.dtype.kind in "iu":
        mask = values == column.null
    scale, zero = column.bscale or 1, column.bzero or 0
    if isinstance(scale, str) or isinstance(zero, str):
        raise InputError(
            f"{where}: TSCAL or TZERO of column {column.name!r} is text ({scale!r}, {zero!r}), no "
            "number"
        )
    return np.ma.array(_apply_scale(values, scale, zero), mask=mask)


def _apply_scale(values: np.ndarray, scale: float, zero: float) -> np.ndarray:
    """Return scale * values + zero; whole numbers stay whole, where they can.

    FITS keeps unsigned whole numbers as signed ones and a zero.
    """
    if (scale, zero) == (1, 0):
        return values
    stays_whole = values.dtype.kind in "iu" and scale == 1 and zero == int(zero)
    if not stays_whole:
        return values * scale + zero
    if zero == 2**63:
        return values.astype(np.uint64) + np.uint64(2**63)
    return values.astype(np.int64) + int(zero)
