"""Wavelengths of named arrays, as files may have them: descending, or as their log10."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from luxscale.readers.base import (
    BLOCK,
    MOST_BYTES,
    BadFile,
    Spectra,
    check_wavelength,
    take_pixels,
    take_stars,
)
from luxscale.readers.field import Field
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.standard import (
    is_logarithmic,
    is_natural_logarithm,
    is_same_unit,
    measure_otherwise,
)

#: Pixels that a spectrum may have.
MOST_PIXELS = 2**20

#: What wavelengths may be said to be, and the unit that a survey then has; the first is the usual.
UNITS = {"Angstrom": "Angstrom", "nm": "nm", "um": "um", "log10": "Angstrom"}

#: Names of arrays of logarithms, and what files state as the unit of these.
_LOG_NAME = re.compile(r"(log|lg)(10)?_?(lam|lambda|wl|wav|wave|wavelength)s?", re.IGNORECASE)
_LOG_UNIT = re.compile(r"\W*(?:log|lg|dex)(?:10)?[\s(\[]+([^()\[\]]+)\W*", re.IGNORECASE)

#: What is said of stars whose wavelengths are not as a survey has them.
_RAISED = "whose wavelengths are log10 of Angstrom: 10**wavelength is taken"
_REVERSED = "whose wavelengths descend: all their pixels are put in reverse"
_CUT = "whose first or last pixels have no wavelength: these are left out"
_SHORT = "whose wavelengths are taken for Angstrom, and look like nm or micron (--option units=nm)"
_SHORT_LOG = "which look like log10 of nm (write 10**wavelength, and say --option units=nm)"

#: Angstrom that the spectra of stars seldom reach down to: that of hydrogen's edge.
_EDGE = 900.0


class Grid(NamedTuple):
    """Ascending wavelengths, which pixels of the file they are of, and what is said of it."""

    wavelength: np.ndarray
    pixels: slice
    note: str


@dataclasses.dataclass(frozen=True)
class Scale:
    """What the numbers that stand for wavelengths are: one of `UNITS`, or log10 of Angstrom."""

    units: str
    is_log: bool

    def convert(self, numbers: np.ndarray) -> Grid:
        """Return the wavelengths that numbers stand for: (pixel,).

        Raises
        ------
        BadFile
            If they are none.
        """
        known = np.flatnonzero(np.isfinite(numbers) & (numbers > 0))
        first, last = (known[0], known[-1]) if known.size else (0, numbers.size - 1)
        grid, pixels = numbers[first : last + 1], slice(first, last + 1)
        is_reversed = grid.size > 1 and bool((grid[1:] < grid[:-1]).all())
        if is_reversed:
            grid, pixels = grid[::-1], slice(last, first - 1 if first else None, -1)
        check_wavelength(grid)
        self._check_values(grid)
        wavelength = 10**grid if self.is_log else grid
        is_short = self.units == "Angstrom" and wavelength[0] < _EDGE
        said = {
            _CUT: grid.size < numbers.size,
            _RAISED: self.is_log,
            _REVERSED: is_reversed,
            _SHORT_LOG if self.is_log else _SHORT: is_short,
        }
        note = "; ".join(words for words, holds in said.items() if holds)
        return Grid(wavelength, pixels, note)

    def _check_values(self, grid: np.ndarray) -> None:
        """Refuse logarithms that are none, and such as nothing says to be some."""
        span = f"{grid[0]:.6g} to {grid[-1]:.6g}"
        if self.is_log:
            if not is_logarithmic(grid):
                raise BadFile(f"wavelengths are said to be log10 of Angstrom, and are {span}")
            return
        if self.units != "um" and is_logarithmic(grid):
            raise BadFile(
                f"wavelengths {span} look like log10, or are micron: say --option units=log10, "
                "or --option units=um"
            )
        if self.units == "Angstrom" and is_natural_logarithm(grid):
            raise BadFile(f"wavelengths {span} look like natural logarithms; write np.exp of them")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grids:
    """Wavelengths of the stars of a file.

    Parameters
    ----------
    field : Field
        What they are read from, (pixel,) or (star, pixel).
    scale : Scale
    first : Grid
        The first of them.
    is_common : bool
        Whether all stars are on it.
    """

    field: Field
    scale: Scale
    first: Grid
    is_common: bool

    @property
    def n_pixels(self) -> int:
        """Numbers that the file has for a star, or for all."""
        return self.field.shape[-1]

    def place(self, stars: Spectra, start: int) -> Iterator[Spectra]:
        """Yield stars on the grids that they have, together where it is one.

        Parameters
        ----------
        stars : Spectra
            With pixels in the order of the file, whatever their wavelengths.
        start : int
            Row of the first.
        """
        if self.is_common:
            yield _place(stars, self.first)
            return
        numbers = self.field.read_numbers(start, start + len(stars.star))
        for row, of_star in enumerate(numbers.astype(float)):
            star = take_stars(stars, slice(row, row + 1))
            why = ""
            try:
                grid = self.scale.convert(of_star)
            except BadFile as error:
                grid, why = self.first, str(error)
            yield dataclasses.replace(_place(star, grid), unfit=np.array([why], object))


def _place(stars: Spectra, grid: Grid) -> Spectra:
    notes = np.full(len(stars.star), grid.note, object)
    return dataclasses.replace(take_pixels(stars, grid.pixels, grid.wavelength), note=notes)


def open_grids(field: Field, name: str, units: str) -> Grids:
    """Return the wavelengths of a file.

    Parameters
    ----------
    field : Field
    name : str
        Of the array.
    units : str
        One of `UNITS`; logarithms are told by what the file states, or by the array's name, too.

    Raises
    ------
    BadFile
        If they are none, or in another unit by what the file states.
    """
    scale = _choose_scale(field.unit, name, units)
    numbers = _read_first(field)
    is_common = len(field.shape) == 1 or all(
        (field.read_numbers(rows.start, rows.stop) == numbers).all()
        for rows in iterate_rows(*field.shape)
    )
    first = scale.convert(numbers) if is_common else _find_usable(field, scale)
    return Grids(field=field, scale=scale, first=first, is_common=is_common)


def iterate_rows(n_stars: int, n_pixels: int) -> Iterator[slice]:
    """Yield the rows of blocks that memory holds."""
    return iterate_blocks(n_stars, max(1, min(BLOCK, MOST_BYTES // (8 * max(n_pixels, 1)))))


def _read_first(field: Field) -> np.ndarray:
    """Return the numbers of the first star, or of all: (pixel,)."""
    numbers = np.zeros((0, 0))
    if len(field.shape) == 2 and field.shape[0]:
        numbers = field.read_numbers(0, 1)[0]
    elif len(field.shape) == 1 and field.shape[0] <= MOST_PIXELS:
        numbers = field.read_all()
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
        raise BadFile(f"wavelength has shape {field.shape}, expected one number per pixel")
    return numbers.astype(float)


def _find_usable(field: Field, scale: Scale) -> Grid:
    """Return the first wavelengths of a star that are a grid."""
    first: BadFile | None = None
    for rows in iterate_rows(*field.shape):
        for numbers in field.read_numbers(rows.start, rows.stop).astype(float):
            try:
                return scale.convert(numbers)
            except BadFile as error:
                first = first or error
    assert first is not None
    raise first


def _choose_scale(stated: str, name: str, units: str) -> Scale:
    """Return what wavelengths are, by what the file states, the array's name, or the option."""
    unit = UNITS[units]
    is_log = units == "log10"
    logarithm = _LOG_UNIT.fullmatch(stated)
    if logarithm:
        stated = logarithm[1].strip()
        is_log = True
    elif _LOG_NAME.fullmatch(name.rpartition("/")[2]):
        is_log = unit == "Angstrom"
    if is_log and logarithm and not is_same_unit(stated, "Angstrom"):
        raise BadFile(
            f"the file states that wavelengths are logarithms of {stated}; write 10**wavelength"
        )
    if measure_otherwise(stated, unit):
        choices = [choice for choice in UNITS if is_same_unit(choice, stated)]
        do = f"say --option units={choices[0]}" if choices else f"write them in {_list_units()}"
        raise BadFile(f"the file states that wavelengths are in {stated}, not {unit}; {do}")
    return Scale(unit, is_log)


def _list_units() -> str:
    return " or ".join(dict.fromkeys(UNITS.values()))
