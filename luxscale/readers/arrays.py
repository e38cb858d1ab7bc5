"""Spectra as anyone may have them: named arrays in an HDF5, npz or FITS file, a row a star, read a block at a time."""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from luxscale.readers.apogee import ivar_of
from luxscale.readers.base import BLOCK, MOST_BYTES, BadFile, Format, Option, Spectra
from luxscale.readers.fitsrows import open_many
from luxscale.schema.blocks import iterate_blocks

#: Pixels that a spectrum may have.
MOST_PIXELS = 2**20

#: An array that is larger than this, and takes this many times less in its file, is no data.
_LARGE, _MOST_PACKED = 2**30, 500


class Field:
    """An array of a file: its shape, and a function that reads its rows from one to another (before it)."""

    def __init__(self, shape: tuple[int, ...], rows: Callable[[int, int], np.ndarray]):
        self.shape, self.rows = shape, rows

    def whole(self) -> np.ndarray:
        """Return all of it."""
        return self.rows(0, self.shape[0])


Fields = dict[str, Callable[[], Field]]


def read_arrays(
    path: str | Path,
    *,
    flux: str = "flux",
    ivar: str = "ivar",
    error: str = "",
    wavelength: str = "wavelength",
    star: str = "",
    mask: str = "",
    columns: str = "",
    units: str = "Angstrom",
    medium: str = "vacuum",
) -> Iterator[Spectra]:
    """Read spectra from named arrays: flux and ivar (star, pixel), wavelength (pixel,), and what else there is.

    A file of one star may have them (pixel,). In FITS, an array is an image HDU by its name or
    number, or a column of the only table; one that is the same in all rows will do as the
    wavelength. Where no array has the identifiers, a star is called FILE:ROW. ``units`` and
    ``medium`` are for those who use the wavelengths, which stay as they are.

    Raises
    ------
    BadFile
        Names the array that is missing or wrong, and those there are.
    """
    if not Path(path).is_file():
        raise BadFile("no such file")
    noise = {"error": error} if error else {"ivar": ivar}
    names = {"flux": flux, **noise, "wavelength": wavelength, "star": star, "mask": mask}
    with _open(Path(path)) as fields, np.errstate(all="ignore"):
        found = {what: _field(fields, name) for what, name in names.items() if name}
        extra = {name: _field(fields, name) for name in columns.split(",") if name}
        yield from _blocks(found, extra, Path(path).name)


def _field(fields: Fields, name: str) -> Field:
    name = name if name in fields else name.lower()  # as FITS names are
    if name not in fields:
        raise BadFile(f"no array {name!r}; there are: {', '.join(list(fields)[:50]) or 'none'}")
    return fields[name]()


def _blocks(found: dict[str, Field], extra: dict[str, Field], file: str) -> Iterator[Spectra]:
    wavelength = _wavelength(found["wavelength"])
    one = len(found["flux"].shape) == 1
    n_stars, n_pixels = (1, *found["flux"].shape) if one else _two(found["flux"].shape)
    if n_pixels != len(wavelength):
        raise BadFile(f"{n_pixels} pixels of flux, {len(wavelength)} wavelengths")
    for name, field in found.items():
        expected = {"wavelength": field.shape, "star": (n_stars,)}.get(name, found["flux"].shape)
        if field.shape != expected and not (one and name == "star" and field.shape == ()):
            raise BadFile(f"{name} has shape {field.shape}, expected {expected}")
    size = max(1, min(BLOCK, MOST_BYTES // (8 * n_pixels)))
    for rows in iterate_blocks(n_stars, size):
        yield _block(found, extra, (rows.start, rows.stop), one, wavelength, file)


def _two(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2 or not all(shape) or shape[1] > MOST_PIXELS:
        raise BadFile(f"flux has shape {shape}, expected stars and pixels")
    return shape[0], shape[1]


def _block(
    found: dict[str, Field],
    extra: dict[str, Field],
    part: tuple[int, int],
    one: bool,
    wavelength: np.ndarray,
    file: str,
) -> Spectra:
    n = part[1] - part[0]

    def pixels(name: str) -> np.ndarray:
        values = found[name].whole()[None] if one else found[name].rows(*part)
        if values.shape != (n, len(wavelength)) or values.dtype.kind not in "iufb":
            raise BadFile(
                f"{name} holds {values.dtype} of shape {values.shape}, no numbers of pixels"
            )
        return values

    flux = pixels("flux").astype(float)
    ivar = ivar_of(pixels("error")) if "error" in found else pixels("ivar").astype(float)
    mask = (pixels("mask") != 0).astype(np.uint8) if "mask" in found else None
    star = _identifiers(found["star"].rows(*part)) if "star" in found else _row_names(file, *part)
    columns = {name: field.rows(*part) for name, field in extra.items()}
    for name, values in columns.items():
        if values.dtype.kind not in "iufbUS":
            raise BadFile(f"column {name!r} holds {values.dtype}, neither numbers nor text")
        columns[name] = _text(values) if values.dtype.kind in "US" else values
    return Spectra(star, flux, ivar, wavelength, mask=mask, columns=columns)


def _wavelength(field: Field) -> np.ndarray:
    if len(field.shape) == 2 and field.shape[0]:
        rows = field.rows(0, min(field.shape[0], BLOCK))
        if (rows != rows[0]).any():
            raise BadFile(
                "wavelengths that differ between stars: one array serves all stars of a file"
            )
        values = rows[0]
    else:
        values = (
            field.whole()
            if len(field.shape) == 1 and field.shape[0] <= MOST_PIXELS
            else np.zeros(0)
        )
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise BadFile(f"wavelength has shape {field.shape}, expected one number a pixel")
    return values.astype(float)


def _row_names(file: str, start: int, stop: int) -> np.ndarray:
    return np.array([f"{file}:{row}" for row in range(start, stop)], object)


def _identifiers(values: np.ndarray) -> np.ndarray:
    """Return identifiers as int64 or text."""
    if values.dtype.kind in "iu" and values.size and values.max() < 2**63:
        return values.astype(np.int64)
    if values.dtype.kind not in "US":
        raise BadFile(f"star holds {values.dtype}, expected whole numbers or text")
    return _text(values)


def _text(values: np.ndarray) -> np.ndarray:
    words = (
        v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values.ravel().tolist()
    )
    return np.array([word.strip() for word in words], object).reshape(values.shape)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Fields]:
    """Open a file by what it begins with.

    Raises
    ------
    BadFile
        Also for whatever the libraries raise for damaged contents.
    """
    with path.open("rb") as file:
        magic = file.read(8)
    try:
        if magic == b"\x89HDF\r\n\x1a\n":
            with h5py.File(path, "r", locking=False) as opened:
                yield _hdf5(opened)
        elif magic.startswith(b"PK"):
            with zipfile.ZipFile(path) as packed:
                yield _npz(packed)
        else:
            with open_many(path) as hdus:
                yield _fits(hdus)
    except (BadFile, GeneratorExit):
        raise
    except Exception as error:
        raise BadFile(f"damaged file: {type(error).__name__}: {str(error)[:200]}") from error


def _hdf5(opened: h5py.File) -> Fields:
    """Return the datasets of a file and of its groups; links to other files are not followed, nor are loops."""
    found: Fields = {}

    def see(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = lambda: _dataset(name, item)

    opened.visititems(see)  # meets hard links alone, and each thing once
    return found


def _dataset(name: str, item: h5py.Dataset) -> Field:
    if item.is_virtual or item.external:
        raise BadFile(f"array {name!r} lies in another file, which is not opened")
    if item.dtype.kind not in "iufbSO" or (
        item.dtype.kind == "O" and h5py.check_string_dtype(item.dtype) is None
    ):
        raise BadFile(f"array {name!r} holds {item.dtype}, neither numbers nor text")
    _check_packing(name, math.prod(item.shape) * item.dtype.itemsize, item.id.get_storage_size())
    chunk = math.prod(item.chunks or (1,)) * item.dtype.itemsize
    if chunk > MOST_BYTES:
        raise BadFile(f"array {name!r} is in chunks of {chunk:,} bytes; write it in smaller ones")

    def rows(start: int, stop: int) -> np.ndarray:
        _check_size(name, (stop - start, *item.shape[1:]), item.dtype.itemsize)
        values = item[start:stop]
        return np.array(values.tolist(), "S") if values.dtype.kind == "O" else values

    return Field(item.shape, rows)


def _check_packing(name: str, unpacked: int, packed: int) -> None:
    if unpacked > max(_LARGE, _MOST_PACKED * packed):
        raise BadFile(
            f"array {name!r} would be {unpacked:,} bytes, and takes {packed:,} in the file"
        )


def _check_size(name: str, shape: tuple[int, ...], itemsize: int) -> None:
    if math.prod(shape) * itemsize > 2 * MOST_BYTES:
        raise BadFile(f"array {name!r} of shape {shape}, to be read at once, is too large")


def _npz(packed: zipfile.ZipFile) -> Fields:
    names = [info for info in packed.infolist() if info.filename.endswith(".npy")]
    return {info.filename[:-4]: (lambda info=info: _member(packed, info)) for info in names}  # type: ignore[misc]


def _member(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> Field:
    """Return an array of an npz file, whose rows come from the packed stream one block after another."""
    name = info.filename[:-4]
    _check_packing(name, info.file_size, info.compress_size)
    stream = packed.open(info)
    shape, fortran, dtype = _npy_header(stream)
    if dtype.hasobject or dtype.kind not in "iufbSU":
        raise BadFile(f"array {name!r} holds {dtype}, neither numbers nor text")
    if fortran and len(shape) > 1:
        raise BadFile(f"array {name!r} is in Fortran's order; write np.ascontiguousarray of it")
    at = 0

    def rows(start: int, stop: int) -> np.ndarray:
        nonlocal at, stream
        if start < at:
            stream, at = packed.open(info), 0
            _npy_header(stream)
        if not shape:
            shape_read: tuple[int, ...] = ()
        else:
            shape_read = (stop - start, *shape[1:])
            _skip(stream, math.prod((start - at, *shape[1:])) * dtype.itemsize)
        _check_size(name, shape_read, dtype.itemsize)
        raw = _exactly(stream, math.prod(shape_read) * dtype.itemsize)
        at = stop
        values = np.frombuffer(raw, dtype).reshape(shape_read)
        return values.astype(dtype.newbyteorder("="))

    return Field(shape, rows)


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise BadFile(f"an array of version {version} of numpy's format")
    return readers[version](stream, max_header_size=10_000)


def _skip(stream: IO[bytes], size: int) -> None:
    while size > 0:
        size -= len(_exactly(stream, min(size, 2**20)))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    try:
        raw = stream.read(size)
    except (EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise BadFile(f"damaged: {error}") from error
    if len(raw) < size:
        raise BadFile("truncated: an array ends before it should")
    return raw


def _fits(hdus: Any) -> Fields:
    """Return the images by name and number, and the columns of the first table."""
    found: Fields = {}
    for number, hdu in enumerate(hdus):
        if hdu.kind == "BINTABLE":
            if hdu.shape[0]:
                for column in hdu.rows(0, 1).names:
                    found.setdefault(column, lambda hdu=hdu, column=column: _column(hdu, column))  # type: ignore[misc]
        elif hdu.shape and all(hdu.shape):
            for name in {hdu.name.lower(), str(number)} - {""}:
                found.setdefault(name, lambda hdu=hdu: Field(hdu.shape, hdu.rows))  # type: ignore[misc]
    return found


def _column(hdu: Any, name: str) -> Field:
    first = hdu.rows(0, 1)[name]
    return Field((hdu.shape[0], *first.shape[1:]), lambda start, stop: hdu.rows(start, stop)[name])


FORMATS = (
    Format(
        "arrays",
        "named arrays, a row a star, in HDF5, npz or FITS",
        read_arrays,
        bits={"MASKED": 0},
        bad=("MASKED",),
        options=(
            Option("flux", "flux", None, "name of the flux"),
            Option("ivar", "ivar", None, "name of its inverse variance"),
            Option("error", "", None, "name of its error, in place of ivar"),
            Option(
                "wavelength", "wavelength", None, "name of the wavelengths, the same for all stars"
            ),
            Option("star", "", None, "name of the identifiers; without, FILE:ROW"),
            Option("mask", "", None, "name of what is not 0 where a pixel is bad"),
            Option("columns", "", None, "names of other columns to keep, by commas"),
            Option("units", "Angstrom", ("Angstrom", "nm"), "unit of the wavelengths"),
            Option("medium", "vacuum", ("vacuum", "air"), "what the wavelengths were measured in"),
        ),
        pattern=("*.h5", "*.hdf5", "*.npz", "*.fits"),
        many=True,
        tried="real",
    ),
)
