"""What a reader of a format gives: the spectra of a file as they stand there, and the facts of the format.

A reader changes nothing: no mask is applied, no pixel moved, no sentinel replaced. That is for `luxscale.prepare`, which
is the same for all formats.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luxscale.schema import InputError

if TYPE_CHECKING:
    from astropy.io import fits

#: A file of one star that is larger is not of its format: sixty visits of APOGEE take 30 MB.
MOST_BYTES = 128 * 2**20

#: Stars that a file of many is read by.
BLOCK = 1024


class BadFile(InputError):
    """A file that cannot be used; the message is the reason, without the file's name."""


@dataclasses.dataclass(frozen=True)
class Spectra:
    """Spectra of some stars on one grid, as a file holds them.

    Parameters
    ----------
    star : array, (star,)
        Identifiers, text or int64; unique within the file.
    flux, ivar : array, (star, pixel)
        Flux and its inverse variance, in whatever unit; not yet cleaned.
    wavelength : array, (pixel,)
        Pixel centres, ascending, in the unit and medium of the format.
    mask : array, (star, pixel), optional
        Bits of bad pixels, by the names that the format has for them.
    continuum : array, (star, pixel), optional
        The file's own continuum, in the unit of the flux.
    velocity : array, (star,), optional
        Velocity in km/s by which the lines stand shifted from the rest frame; 0 or None: rest frame.
    key : array, (star,), optional
        Identifiers that catalogues know the stars by, where these are not ``star``.
    columns : mapping of str to array, (star,)
        A few facts of each star: ``snr``, ``ra``, ``dec``, ...; NaN, -1 or "" where the file does not say.
    """

    star: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    wavelength: np.ndarray
    mask: np.ndarray | None = None
    continuum: np.ndarray | None = None
    velocity: np.ndarray | None = None
    key: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.star), len(self.wavelength))
        for name in ("flux", "ivar", "mask", "continuum"):
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise BadFile(f"{name} has shape {array.shape}, expected {shape}: stars, pixels")


@dataclasses.dataclass(frozen=True)
class Option:
    """A setting of a format: its name for the command line, what it is without being set, and what it may be."""

    name: str
    default: str
    choices: tuple[str, ...] | None
    doc: str


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format: how it is read, and what its files have in common.

    Parameters
    ----------
    name : str
        As given to ``luxscale ingest``.
    doc : str
        One line for people.
    read : callable
        ``read(path, **options)`` yields `Spectra`, at most `BLOCK` stars at once; raises `BadFile`.
    grid : array, (pixel,), optional
        The grid that surveys of this format have unless told otherwise; None: that of the first file.
    units, medium : str
        Of the wavelengths: ``"Angstrom"`` or ``"nm"``, ``"vacuum"`` or ``"air"``.
    bits : mapping of str to int
        Names of the mask's bits, and their numbers.
    bad : tuple of str
        Bits that make a pixel bad, by the field's usual choice.
    continuum : str
        What is done about the continuum unless told otherwise, see `luxscale.prepare`.
    rest_frame : bool
        Whether ``velocity`` is taken out unless told otherwise.
    options : tuple of Option
    pattern : tuple of str
        How files are named, by which they are found in a directory.
    many : bool
        Whether a file holds many stars.
    tried : str
        ``"real"`` where the reader is tested on a real file, ``"description"`` where only on files built from the
        format's official description.
    """

    name: str
    doc: str
    read: Callable[..., Iterator[Spectra]]
    grid: np.ndarray | None = None
    units: str = "Angstrom"
    medium: str = "vacuum"
    bits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    bad: tuple[str, ...] = ()
    continuum: str = "none"
    rest_frame: bool = True
    options: tuple[Option, ...] = ()
    pattern: tuple[str, ...] = ("*",)
    many: bool = False
    tried: str = "description"


@contextlib.contextmanager
def open_fits(path: str | Path) -> Iterator[fits.HDUList]:
    """Open a FITS file of one star, read whole; astropy's warnings about it are left to the checks of the reader.

    Raises
    ------
    BadFile
        If it is empty, too large, or no FITS file; also for whatever astropy raises inside the ``with``.
    """
    from astropy.io import fits

    size = Path(path).stat().st_size
    if not size or size > MOST_BYTES:
        raise BadFile("empty file" if not size else f"{size / 1e6:,.0f} MB are no spectrum of one star")
    raw = Path(path).read_bytes()
    if not raw.startswith(b"SIMPLE  ="):
        raise BadFile("not a FITS file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.open(io.BytesIO(raw), memmap=False, lazy_load_hdus=True) as hdus:
                yield hdus
        except BadFile:
            raise
        except Exception as error:  # of damaged files astropy raises what it likes
            raise BadFile(f"damaged FITS file: {type(error).__name__}: {error}") from error


def image(hdus: fits.HDUList, index: int | str) -> np.ndarray:
    """Return the rows of an image: (row, pixel), in the machine's byte order.

    Raises
    ------
    BadFile
        If there is none, or the file ends before it does.
    """
    hdu = _hdu(hdus, index)
    shape = hdu.shape
    if not hdu.is_image or len(shape) not in (1, 2) or not all(shape):
        raise BadFile(f"HDU {index!r} is no image of spectra: shape {shape}")
    data = np.atleast_2d(hdu.data)
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def table(hdus: fits.HDUList, index: int | str) -> fits.FITS_rec:
    """Return a binary table.

    Raises
    ------
    BadFile
        If there is none, or the file ends before it does.
    """
    from astropy.io import fits

    hdu = _hdu(hdus, index)
    if not isinstance(hdu, fits.BinTableHDU):
        raise BadFile(f"HDU {index!r} is no table")
    return hdu.data


def _hdu(hdus: fits.HDUList, index: int | str) -> Any:
    """Return an HDU of which all bytes are there, whatever its header says."""
    try:
        hdu = hdus[index]
    except (IndexError, KeyError):
        raise BadFile(f"has no HDU {index!r}") from None
    place = hdu.fileinfo()
    if place["datLoc"] + hdu.size > place["file"].size:
        raise BadFile(f"truncated: HDU {index!r} should have {hdu.size:,} bytes")
    return hdu


def field(rows: fits.FITS_rec, name: str) -> np.ndarray:
    """Return a column of a table, in the machine's byte order.

    Raises
    ------
    BadFile
        If there is none of that name.
    """
    if name.lower() not in (n.lower() for n in rows.names):
        raise BadFile(f"table without column {name!r}")
    data = np.asarray(rows[name])
    return data.astype(data.dtype.newbyteorder("="), copy=False)
