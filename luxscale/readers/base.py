"""What a reader gives: the spectra of a file as they stand there, and the facts of its format.

A reader changes nothing: no mask is applied, no pixel moved, no sentinel replaced. That is for
`luxscale.prepare`, which is the same for all formats.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from astropy.utils.exceptions import AstropyWarning

from luxscale.readers.compressed import remove_ending
from luxscale.readers.fitsfile import (
    MOST_BYTES,
    Hdu,
    HduList,
    open_fits,
    read_column,
    read_image,
    read_table,
)
from luxscale.readers.fitstable import BadFile, Header, Table

__all__ = [
    "BLOCK",
    "MOST_BYTES",
    "BadFile",
    "Format",
    "Hdu",
    "HduList",
    "Header",
    "Option",
    "Spectra",
    "Table",
    "check_wavelength",
    "open_fits",
    "read_column",
    "read_image",
    "read_table",
]

#: Stars that a file of many is read by.
BLOCK = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectra:
    """Spectra of some stars on one grid, as a file holds them.

    Parameters
    ----------
    star : array, (star,)
        Identifiers, text or int64; "" or a negative number where the file has none.
    flux, ivar : array, (star, pixel)
        Flux and its inverse variance, in whatever unit; not yet cleaned.
    wavelength : array, (pixel,)
        Pixel centres, ascending, in the unit and medium of the format.
    mask : array, (star, pixel), optional
        Bits of bad pixels, by the names that the format has for them.
    continuum : array, (star, pixel), optional
        The file's own continuum, in the unit of the flux.
    velocity : array, (star,), optional
        Velocity in km/s by which the lines stand shifted from the rest frame; 0 or None: rest
        frame.
    key : array, (star,), optional
        Identifiers that catalogues know the stars by, where these are not ``star``.
    unfit : array of str, (star,), optional
        Why a row is no spectrum of a star that can be used, "" of those that are.
    note : array of str, (star,), optional
        How a row was read otherwise than it stands in the file, "" of those that were not.
    columns : mapping of str to array, (star,)
        A few facts of each star: ``snr``, ``ra``, ``dec``, ...; NaN, -1 or "" where the file does
        not say.
    """

    star: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    wavelength: np.ndarray
    mask: np.ndarray | None = None
    continuum: np.ndarray | None = None
    velocity: np.ndarray | None = None
    key: np.ndarray | None = None
    unfit: np.ndarray | None = None
    note: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        n_stars, n_pixels = len(self.star), len(self.wavelength)
        for name in ("flux", "ivar", "mask", "continuum"):
            array = getattr(self, name)
            if array is not None and array.shape != (n_stars, n_pixels):
                raise BadFile(
                    f"{name} has shape {array.shape}, expected {(n_stars, n_pixels)}: stars, pixels"
                )
        per_star = [
            ("velocity", self.velocity),
            ("key", self.key),
            ("unfit", self.unfit),
            ("note", self.note),
            *self.columns.items(),
        ]
        for name, array in per_star:
            if array is not None and array.shape != (n_stars,):
                raise BadFile(
                    f"{name} has shape {array.shape}, expected one value for each of "
                    f"{n_stars} stars"
                )
        check_wavelength(self.wavelength)


def find_nameless(star: np.ndarray) -> np.ndarray:
    """Return where there is no identifier: bool, (star,)."""
    if star.dtype.kind in "iu":
        return star < 0
    return np.array([str(name).strip() == "" for name in star.tolist()], bool)


def explain_unfit(spectra: Spectra) -> np.ndarray:
    """Return why stars cannot be used, "" of those that can: (star,).

    Besides what the reader says, these have no identifier.
    """
    nameless = find_nameless(spectra.star)
    reason = np.where(nameless, "no identifier: the file leaves it blank", "").astype(object)
    if spectra.unfit is None:
        return reason
    return np.where(spectra.unfit == "", reason, spectra.unfit)


def take_stars(spectra: Spectra, rows: np.ndarray | slice) -> Spectra:
    """Return some of the stars.

    Parameters
    ----------
    spectra : Spectra
    rows : array of bool, (star,), or slice
    """
    parts = {}
    for name in ("star", "flux", "ivar", "mask", "continuum", "velocity", "key", "unfit", "note"):
        values = getattr(spectra, name)
        if values is not None:
            parts[name] = values[rows]
    columns = {name: values[rows] for name, values in spectra.columns.items()}
    return dataclasses.replace(spectra, columns=columns, **parts)


def take_pixels(spectra: Spectra, pixels: slice, wavelength: np.ndarray) -> Spectra:
    """Return some of the pixels, in the order of the slice, at these wavelengths."""
    parts = {}
    for name in ("flux", "ivar", "mask", "continuum"):
        values = getattr(spectra, name)
        if values is not None:
            parts[name] = values[:, pixels]
    return dataclasses.replace(spectra, wavelength=wavelength, **parts)


@dataclasses.dataclass(frozen=True)
class Option:
    """A setting of a format: its name on the command line, its default, and what it may be."""

    name: str
    default: str
    choices: tuple[str, ...] | None
    doc: str


def get_own_file(path: str) -> str:
    """Return the path itself: a star is read by the file that is named."""
    return path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """A file format: how it is read, and what its files have in common.

    Parameters
    ----------
    name : str
        As given to ``luxscale ingest``.
    doc : str
        One line for people.
    reader : callable
        ``reader(path, **options)`` yields `Spectra`, at most `BLOCK` stars at once; raises
        `BadFile`.
    grid : array, (pixel,), optional
        The grid that surveys of this format have unless told otherwise; None: that of the first
        file.
    units, medium : str
        Of the wavelengths: ``"Angstrom"``, ``"nm"`` or ``"um"``, ``"vacuum"`` or ``"air"``.
    bits : mapping of str to int
        Names of the mask's bits, and their numbers.
    bad : tuple of str
        Bits that make a pixel bad, by the field's usual choice.
    continuum : str
        What is done about the continuum unless told otherwise, see `luxscale.prepare`.
    most_error : float, optional
        A pixel of which the error is more than this many times the star's typical flux is bad; None
        where there is no such flux.
    velocities : bool
        Whether files give velocities, for their stars are not at rest; others are at rest as they
        are, or say nothing.
    rest_frame : bool
        Whether spectra are shifted to the rest frame unless told otherwise.
    options : tuple of Option
    pattern : tuple of str
        How files are named, by which they are found in a directory; compressed ones have another
        ending in addition.
    main : callable
        Of a file's path, returns that of the file by which its star is read, where a star has
        several.
    many : bool
        Whether a file holds many stars.
    general : bool
        Whether files of other formats may be read as it, too: a file counts as of this format only
        if it is of no other.
    tried : str
        ``"real"`` where the reader is tested on a real file, ``"description"`` where only on files
        built from the format's official description.
    """

    name: str
    doc: str
    reader: Callable[..., Iterator[Spectra]]
    grid: np.ndarray | None = None
    units: str = "Angstrom"
    medium: str = "vacuum"
    bits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    bad: tuple[str, ...] = ()
    continuum: str = "none"
    most_error: float | None = 10.0
    velocities: bool = False
    rest_frame: bool = True
    options: tuple[Option, ...] = ()
    pattern: tuple[str, ...] = ("*",)
    main: Callable[[str], str] = get_own_file
    many: bool = False
    general: bool = False
    tried: str = "description"

    def read(self, path: str | Path, **options: str) -> Iterator[Spectra]:
        """Yield the spectra of a file, at most `BLOCK` stars at once.

        What NumPy and astropy warn of is not shown while it is read; what is done with a block
        before the next is asked for keeps the settings of its own.

        Raises
        ------
        BadFile
        """
        blocks = self.reader(path, **options)
        while True:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyWarning)
                block = next(blocks, None)
            if block is None:
                return
            yield block

    def match_name(self, name: str) -> list[str]:
        """Return which of the patterns a file's name has, in capitals or not, compressed or not."""
        # fnmatch itself tells capitals apart on some systems alone
        plain = remove_ending(name.lower())
        return [pattern for pattern in self.pattern if fnmatchcase(plain, pattern.lower())]


def check_wavelength(wavelength: np.ndarray) -> None:
    """Check that wavelengths are positive, finite and ascending.

    Raises
    ------
    BadFile
    """
    if wavelength.ndim != 1 or len(wavelength) < 2:
        raise BadFile(f"a wavelength grid of shape {wavelength.shape}")
    # NaN fails any comparison; what ascends from above 0 and ends finite is finite
    if not (
        wavelength[0] > 0
        and (wavelength[1:] > wavelength[:-1]).all()
        and np.isfinite(wavelength[-1])
    ):
        raise BadFile("wavelengths that do not ascend, or are not finite")


def compute_ivar(error: np.ndarray) -> np.ndarray:
    """Return inverse variances of errors, 0 where these are 0, negative or not finite."""
    good = np.isfinite(error) & (error > 0)
    safe_error = np.where(good, error, 1).astype(float)
    with np.errstate(all="ignore"):
        return np.where(good, 1 / safe_error**2, 0)


def read_number(header: Header, key: str) -> float:
    """Return a number from a header, NaN where there is none."""
    value: Any = header.get(key)
    if type(value) in (int, float):
        return float(value)
    return float("nan")
