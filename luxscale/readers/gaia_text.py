"""Tables of XP spectra as text: CSV and ECSV, with arrays in brackets."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import pandas as pd

from luxscale.readers.base import BLOCK, BadFile
from luxscale.readers.gaia_rows import SOLUTION, SOURCE, Columns, XpRows

#: No row of a table is longer, with the correlations that GaiaXPy can give; nor are more read at
#: once.
_MOST_LINE, _MOST_LINES = 4 * 2**20, 64 * 2**20
_MOST_HEADER = 2**20

#: How tables write that there is nothing.
_BLANK = ("", "null", "nan", "none", "--")
_SAMPLING = re.compile(r"sampling:\s*\[(.*?)\]", re.DOTALL)
#: As ``str`` writes numbers of numpy 2 within a tuple.
_NUMPY = re.compile(r"np\.float(?:32|64)\(([^()]*)\)")


def read_text(file: IO[bytes], columns: Columns) -> Iterator[XpRows]:
    """Yield the rows of a table of text, some at a time.

    Raises
    ------
    BadFile
    """
    head, names = _read_head(file)
    if not names.strip():
        raise BadFile("a table without columns" if head else "empty file")
    separator = ","
    if head.startswith("# %ECSV") and "delimiter: ','" not in head:
        separator = " "
    words = names.decode("latin-1").split(separator)
    columns.check([word.strip(' "\r\n').lower() for word in words])
    sampling = None
    found = _SAMPLING.search(head.replace("\n#", " "))
    if found:
        sampling = parse_arrays([found[1]], "the sampling")[0]
    n_rows = 0
    while lines := _read_lines(file):
        rows = _parse_rows(names, lines, separator, columns, n_rows + 1)
        yield dataclasses.replace(rows, sampling=sampling)
        n_rows += len(rows.star)
    if not n_rows:
        raise BadFile("a table without rows")


def _read_head(file: IO[bytes]) -> tuple[str, bytes]:
    """Return the comments at the beginning of a table, and the line of its names."""
    comments: list[bytes] = []
    while (line := file.readline(_MOST_HEADER)).startswith(b"#"):
        comments.append(line)
        if sum(map(len, comments)) > _MOST_HEADER:
            raise BadFile("comments without end")
    return b"".join(comments).decode("latin-1"), line.removeprefix(codecs.BOM_UTF8)


def _read_lines(file: IO[bytes]) -> list[bytes]:
    """Return the next lines, a block of them or fewer where they are long."""
    lines: list[bytes] = []
    size = 0
    while len(lines) < BLOCK and size < _MOST_LINES and (line := file.readline(_MOST_LINE)):
        if len(line) == _MOST_LINE:
            raise BadFile(f"a line of more than {_MOST_LINE:,} bytes")
        size += len(line)
        if line.strip():
            lines.append(line)
    return lines


def _parse_rows(
    names: bytes, lines: Sequence[bytes], separator: str, columns: Columns, first: int
) -> XpRows:
    """Return a block of rows, of which the first has a number."""
    raw = io.BytesIO(names.rstrip(b"\r\n").lower() + b"\n" + b"".join(lines))
    try:
        _check_cells(names, lines[0], separator)
        table = pd.read_csv(
            raw,
            sep=separator,
            usecols=lambda name: name in columns,
            index_col=False,  # else a row of more cells gives an index, and names shift
            dtype=object,
            na_filter=False,
            encoding="latin-1",
        )
        star = _parse_identifiers(table[SOURCE].tolist())
        solution = np.full(len(star), -1, np.int64)
        if SOLUTION in table:
            solution = _parse_identifiers(table[SOLUTION].tolist())
        numbers = {
            name: pd.to_numeric(table[name], errors="coerce").to_numpy(float)
            for name in columns.numbers
            if name in table
        }
    except BadFile:
        raise
    except Exception as error:  # of damaged text pandas raises what it likes
        raise BadFile(f"damaged table: {type(error).__name__}: {str(error)[:200]}") from error
    where = f"of the star in row {first} or one after"
    arrays = {}
    for name in columns.arrays:
        if name in table:
            texts = [str(text) for text in table[name].tolist()]
            arrays[name] = parse_arrays(texts, f"{name} {where}")
    return XpRows(star=star, solution=solution, arrays=arrays, numbers=numbers)


def _check_cells(names: bytes, line: bytes, separator: str) -> None:
    """Refuse a row of more cells than there are names."""
    n_names, n_cells = (
        pd.read_csv(io.BytesIO(text), sep=separator, header=None, dtype=object, encoding="latin-1")
        .dropna(axis=1)
        .shape[1]
        for text in (names, line)
    )
    if n_cells > n_names:
        raise BadFile(
            f"{n_cells} values in a row under {n_names} names; arrays are to be in quotes"
        )


def _parse_identifiers(texts: Sequence[str]) -> np.ndarray:
    return np.array([_parse_identifier(text) for text in texts], np.int64)


def _parse_identifier(text: str) -> int:
    """Return the number of a source, -1 where it is left blank."""
    text = text.strip(' "')
    return -1 if text.lower() in _BLANK else int(text)


def parse_arrays(texts: Sequence[str], what: str) -> np.ndarray:
    """Return arrays that are written as text in brackets, of either kind, as rows.

    An empty one is a row of NaN, and so is one among others that holds anything but numbers.
    Nothing of the text is evaluated.

    Raises
    ------
    BadFile
        If they are of several lengths, or none holds numbers.
    """
    bare = [_strip_brackets(text) for text in texts]
    count = np.array([text.count(",") + 1 if text else 0 for text in bare])
    has_numbers = count > 0
    n_columns = int(count.max(initial=0))
    if (count[has_numbers] != n_columns).any():
        raise BadFile(
            f"{what}: {count[has_numbers].min()} to {n_columns} numbers, where all should have "
            "as many"
        )
    values = np.full((len(bare), n_columns), np.nan)
    if not n_columns:
        return values
    try:
        values[has_numbers] = _parse_numbers("\n".join(text for text in bare if text))
    except Exception as error:
        rows = np.flatnonzero(has_numbers).tolist()
        n_parsed = 0
        for row in rows:
            with contextlib.suppress(Exception):
                values[row] = _parse_numbers(bare[row])[0]
                n_parsed += 1
        if not n_parsed:
            reason = str(error)[:200]
            if bare[rows[0]].count(" ") > bare[rows[0]].count(","):
                reason = "commas are missing between them, as where pandas writes arrays of NumPy"
                reason += ", rounded; write lists, table.flux.map(list), or FITS"
            raise BadFile(f"{what} is no array of numbers: {reason}") from error
    return values


def _parse_numbers(text: str) -> np.ndarray:
    """Return lines of numbers with commas between."""
    table = pd.read_csv(io.StringIO(text), header=None, dtype=np.float64, skipinitialspace=True)
    return table.to_numpy()


def _strip_brackets(text: str) -> str:
    """Return an array without its brackets."""
    text = text.strip(' "').removeprefix("(").removeprefix("[")
    text = text.removesuffix(")").removesuffix("]").rstrip(", ")
    if "np" in text:
        return _NUMPY.sub(r"\1", text)
    return text
