"""Rows of tables of XP spectra, however these are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from luxscale.readers.fitstable import BadFile

#: Columns of identifiers.
SOURCE, SOLUTION = "source_id", "solution_id"

#: Solutions of a release, by which its tables are known.
_RELEASES = {4545469030156206080: "DR3"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a table are wanted.

    Parameters
    ----------
    arrays, numbers : tuple of str
        Columns of an array, and of a number, a row; those that the table lacks are left out.
    check : callable
        Of the names of all columns, in lower case, raises `BadFile` where these are no such table.
    """

    arrays: tuple[str, ...]
    numbers: tuple[str, ...]
    check: Callable[[Sequence[str]], None]

    def __contains__(self, name: str) -> bool:
        return name in (*self.arrays, *self.numbers, SOURCE, SOLUTION)


@dataclasses.dataclass(frozen=True, kw_only=True)
class XpRows:
    """Some rows of a table.

    Parameters
    ----------
    star, solution : array of int64, (row,)
        Identifiers of the source, and of the processing that made the row; -1 where blank.
    arrays : dict of str to array, (row, element)
        NaN where a row has none.
    numbers : dict of str to array, (row,)
    sampling : array, (element,), optional
        The wavelengths that the table gives for all.
    """

    star: np.ndarray
    solution: np.ndarray
    arrays: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]
    sampling: np.ndarray | None = None

    def get_number(self, name: str) -> np.ndarray:
        """Return a column of numbers, NaN without: (row,)."""
        if name in self.numbers:
            return self.numbers[name]
        return np.full(len(self.star), np.nan)

    def name_release(self) -> np.ndarray:
        """Return the Gaia release that each row is of, "" if it does not say, or none we know."""
        return np.array([_RELEASES.get(number, "") for number in self.solution.tolist()], object)


def join_arrays(rows: Sequence[np.ndarray], what: str) -> np.ndarray:
    """Return arrays of one length as rows, NaN all through where one is empty.

    Raises
    ------
    BadFile
    """
    sizes = {len(row) for row in rows} - {0}
    if len(sizes) > 1:
        raise BadFile(
            f"{what}: {min(sizes)} to {max(sizes)} numbers, where all should have as many"
        )
    joined = np.full((len(rows), max(sizes, default=0)), np.nan)
    for row, values in enumerate(rows):
        if len(values):
            joined[row] = values
    return joined
