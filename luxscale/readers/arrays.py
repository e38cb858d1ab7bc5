"""Spectra as anyone may have them: named arrays in an HDF5, npz or FITS file.

An array has one row per star; rows are read a block at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from luxscale.readers.base import (
    BLOCK,
    MOST_BYTES,
    BadFile,
    Format,
    Hdu,
    HduList,
    Option,
    Spectra,
    compute_ivar,
)
from luxscale.readers.fitsrows import open_large_fits
from luxscale.readers.packing import unpack
from luxscale.schema.blocks import iterate_blocks

#: Pixels that a spectrum may have.
MOST_PIXELS = 2**20

#: An array that is larger than this, and takes this many times less in its file, is no data.
_LARGE, _MOST_PACKED = 2**30, 500


class Field:
    """An array of a file: its shape, and a function that reads its rows from one to another.

    Parameters
    ----------
    shape : tuple of int
    read_rows : callable
        ``read_rows(start, stop)`` returns the rows from ``start``, up to but without ``stop``; of a
        single value, that. Masked where values are missing.
    """

    def __init__(self, shape: tuple[int, ...], read_rows: Callable[[int, int], np.ndarray]):
        self.shape = shape
        self._read_rows = read_rows

    def read_rows(self, start: int, stop: int) -> np.ma.MaskedArray:
        """Return some rows, masked where values are missing; a single value as one row."""
        values = np.ma.asarray(self._read_rows(start, stop))
        return values if self.shape else values.reshape(1)

    def read_numbers(self, start: int, stop: int) -> np.ndarray:
        """Return some rows, NaN where numbers are missing."""
        values = self.read_rows(start, stop)
        if not np.ma.getmaskarray(values).any():
            return np.ma.getdata(values)
        return np.ma.filled(values.astype(float), np.nan)

    def read_all(self) -> np.ndarray:
        """Return all of it."""
        return self.read_numbers(0, self.shape[0])


Fields = dict[str, Callable[[], Field]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Source:
    """The arrays of a file that spectra are read from.

    Parameters
    ----------
    file : str
        Name of the file, by which stars without identifiers are called.
    found : dict of str to Field
        Arrays by what they are: ``flux``, ``ivar`` or ``error``, ``star``, ``mask``.
    extra : dict of str to Field
        Other columns to keep, by their names.
    wavelength : array, (pixel,)
    one_star : bool
        Whether the arrays are those of one star, (pixel,).
    """

    file: str
    found: dict[str, Field]
    extra: dict[str, Field]
    wavelength: np.ndarray
    one_star: bool


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
    """Read spectra from named arrays: flux and ivar (star, pixel), wavelength (pixel,), and others.

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
    with _open_fields(Path(path)) as fields, np.errstate(all="ignore"):
        found = {what: _get_field(fields, name) for what, name in names.items() if name}
        extra = {name: _get_field(fields, name) for name in columns.split(",") if name}
        yield from _read_blocks(found, extra, Path(path).name)


def _get_field(fields: Fields, name: str) -> Field:
    if name not in fields:
        name = name.lower()  # as FITS names are
    if name not in fields:
        there = ", ".join(list(fields)[:50]) or "none"
        raise BadFile(f"no array {name!r}; there are: {there}")
    return fields[name]()


def _read_blocks(found: dict[str, Field], extra: dict[str, Field], file: str) -> Iterator[Spectra]:
    source = _Source(
        file=file,
        found=found,
        extra=extra,
        wavelength=_read_wavelength(found["wavelength"]),
        one_star=len(found["flux"].shape) == 1,
    )
    n_stars, n_pixels = _check_shapes(source)
    block = max(1, min(BLOCK, MOST_BYTES // (8 * n_pixels)))
    for rows in iterate_blocks(n_stars, block):
        yield _read_block(source, rows.start, rows.stop)


def _check_shapes(source: _Source) -> tuple[int, int]:
    """Return the numbers of stars and pixels, which the shapes of all arrays agree on."""
    flux_shape = source.found["flux"].shape
    if source.one_star:
        n_stars, n_pixels = 1, flux_shape[0]
    else:
        n_stars, n_pixels = _check_flux_shape(flux_shape)
    if n_pixels != len(source.wavelength):
        raise BadFile(f"{n_pixels} pixels of flux, {len(source.wavelength)} wavelengths")
    for name, field in source.found.items():
        if name == "wavelength":
            continue
        is_one_name = n_stars == 1 and name == "star" and field.shape == ()
        expected = (n_stars,) if name == "star" else flux_shape
        if field.shape != expected and not is_one_name:
            raise BadFile(f"{name} has shape {field.shape}, expected {expected}")
    return n_stars, n_pixels


def _check_flux_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2 or not all(shape) or shape[1] > MOST_PIXELS:
        raise BadFile(f"flux has shape {shape}, expected stars and pixels")
    return shape[0], shape[1]


def _read_block(source: _Source, start: int, stop: int) -> Spectra:
    found = source.found
    flux = _read_pixels(source, "flux", start, stop).astype(float)
    if "error" in found:
        ivar = compute_ivar(_read_pixels(source, "error", start, stop))
    else:
        ivar = _read_pixels(source, "ivar", start, stop).astype(float)
    mask = None
    if "mask" in found:
        is_masked = _read_pixels(source, "mask", start, stop) != 0
        mask = is_masked.astype(np.uint8)
    if "star" in found:
        star = _convert_identifiers(found["star"].read_rows(start, stop))
    else:
        star = _make_row_names(source.file, start, stop)
    return Spectra(
        star=star,
        flux=flux,
        ivar=ivar,
        wavelength=source.wavelength,
        mask=mask,
        columns=_read_extra(source, start, stop),
    )


def _read_pixels(source: _Source, name: str, start: int, stop: int) -> np.ndarray:
    """Return rows of an array that has a number for each pixel: (star, pixel)."""
    field = source.found[name]
    values = field.read_all()[None] if source.one_star else field.read_numbers(start, stop)
    expected = (stop - start, len(source.wavelength))
    if values.shape != expected or values.dtype.kind not in "iufb":
        raise BadFile(f"{name} holds {values.dtype} of shape {values.shape}, no numbers of pixels")
    return values


def _read_extra(source: _Source, start: int, stop: int) -> dict[str, np.ndarray]:
    columns = {}
    for name, field in source.extra.items():
        values = field.read_rows(start, stop)
        if values.dtype.kind not in "iufbUS":
            raise BadFile(f"column {name!r} holds {values.dtype}, neither numbers nor text")
        columns[name] = _fill_column(values)
    return columns


def _fill_column(values: np.ma.MaskedArray) -> np.ndarray:
    """Return a column with NaN, -1 or "" where it is missing."""
    kind = values.dtype.kind
    if kind in "US":
        return _convert_text(values.filled(b"" if kind == "S" else ""))
    if not np.ma.getmaskarray(values).any():
        return np.ma.getdata(values)
    if kind == "i":
        return values.filled(-1)
    return np.ma.filled(values.astype(float), np.nan)


def _read_wavelength(field: Field) -> np.ndarray:
    values = np.zeros((0, 0))
    if len(field.shape) == 2 and field.shape[0]:
        values = field.read_numbers(0, 1)[0]
        block = max(1, min(BLOCK, MOST_BYTES // (8 * max(field.shape[1], 1))))
        for rows in iterate_blocks(field.shape[0], block):
            if (field.read_numbers(rows.start, rows.stop) != values).any():
                raise BadFile(
                    "wavelengths that differ between stars: one array serves all stars of a file"
                )
    elif len(field.shape) == 1 and field.shape[0] <= MOST_PIXELS:
        values = field.read_all()
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise BadFile(f"wavelength has shape {field.shape}, expected one number per pixel")
    return values.astype(float)


def _make_row_names(file: str, start: int, stop: int) -> np.ndarray:
    name = os.fsencode(file).decode("utf-8", "backslashreplace")
    return np.array([f"{name}:{row}" for row in range(start, stop)], object)


def _convert_identifiers(values: np.ma.MaskedArray) -> np.ndarray:
    """Return identifiers as int64, -1 where missing, or as text, then ""."""
    missing, data = np.ma.getmaskarray(values), np.ma.getdata(values)
    if data.dtype.kind in "iu":
        fits = missing | (data < 2**63)
        if fits.all():
            return np.where(missing, -1, data.astype(np.int64))
        return np.where(missing, "", data.astype(str)).astype(object)
    if data.dtype.kind not in "US":
        raise BadFile(f"star holds {data.dtype}, expected whole numbers or text")
    return _convert_text(data)


def _convert_text(values: np.ndarray) -> np.ndarray:
    words = []
    for value in values.ravel().tolist():
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        words.append(text.strip())
    return np.array(words, object).reshape(values.shape)


@contextlib.contextmanager
def _open_fields(path: Path) -> Iterator[Fields]:
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
                yield _list_hdf5(opened)
        elif magic.startswith(b"PK"):
            with zipfile.ZipFile(path) as packed, contextlib.ExitStack() as opened_streams:
                yield _list_npz(packed, opened_streams)
        elif magic.startswith(b"CDF"):
            raise BadFile("netCDF 3, which is not read; write netCDF 4, or HDF5, npz or FITS")
        else:
            with open_large_fits(path) as hdus:
                yield _list_fits(hdus)
    except (BadFile, GeneratorExit):
        raise
    except Exception as error:
        raise BadFile(f"damaged file: {type(error).__name__}: {str(error)[:200]}") from error


def _list_hdf5(opened: h5py.File) -> Fields:
    """Return the datasets of a file and of its groups.

    Links to other files are not followed, nor are loops.
    """
    found: Fields = {}

    def add_dataset(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = lambda: _make_hdf5_field(name, item)

    opened.visititems(add_dataset)  # meets hard links alone, and each thing once
    return found


def _make_hdf5_field(name: str, item: h5py.Dataset) -> Field:
    if item.is_virtual or item.external:
        raise BadFile(f"array {name!r} lies in another file, which is not opened")
    kind, itemsize = item.dtype.kind, item.dtype.itemsize
    is_text = kind == "S" or (kind == "O" and h5py.check_string_dtype(item.dtype) is not None)
    if kind not in "iufb" and not is_text:
        raise BadFile(f"array {name!r} holds {item.dtype}, neither numbers nor text")
    _check_packing(name, math.prod(item.shape) * itemsize, item.id.get_storage_size())
    # reading one value unpacks the whole chunk that it is in
    chunk_bytes = math.prod(item.chunks or (1,)) * itemsize
    if chunk_bytes > MOST_BYTES:
        raise BadFile(
            f"array {name!r} is in chunks of {chunk_bytes:,} bytes; write it in smaller ones"
        )

    attributes = dict(item.attrs)

    def read_rows(start: int, stop: int) -> np.ndarray:
        _check_size(name, (stop - start, *item.shape[1:]), itemsize)
        values = np.asarray(item[start:stop] if item.shape else item[()])
        if kind == "O":
            return np.array(values.tolist(), "S")
        return unpack(values, attributes)

    return Field(item.shape, read_rows)


def _check_packing(name: str, unpacked: int, packed: int) -> None:
    # a small file that claims gigabytes would fill the memory
    if unpacked > max(_LARGE, _MOST_PACKED * packed):
        raise BadFile(
            f"array {name!r} would be {unpacked:,} bytes, and takes {packed:,} in the file"
        )


def _check_size(name: str, shape: tuple[int, ...], itemsize: int) -> None:
    n_bytes = math.prod(shape) * itemsize
    if n_bytes > 2 * MOST_BYTES:
        raise BadFile(f"array {name!r} of shape {shape}, to be read at once, is too large")


def _list_npz(packed: zipfile.ZipFile, streams: contextlib.ExitStack) -> Fields:
    found: Fields = {}
    for info in packed.infolist():
        if info.filename.endswith(".npy"):
            name = info.filename.removesuffix(".npy")
            found[name] = functools.partial(_make_npz_field, packed, info, streams)
    return found


def _make_npz_field(
    packed: zipfile.ZipFile, info: zipfile.ZipInfo, streams: contextlib.ExitStack
) -> Field:
    """Return an array of an npz file, whose blocks of rows come from the packed stream in turn."""
    name = info.filename.removesuffix(".npy")
    _check_packing(name, info.file_size, info.compress_size)
    stream = streams.enter_context(packed.open(info))
    shape, fortran, dtype = _read_npy_header(stream)
    if dtype.hasobject or dtype.kind not in "iufbSU":
        raise BadFile(f"array {name!r} holds {dtype}, neither numbers nor text")
    if fortran and len(shape) > 1:
        raise BadFile(f"array {name!r} is in Fortran's order; write np.ascontiguousarray of it")
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    position = 0

    def read_rows(start: int, stop: int) -> np.ndarray:
        nonlocal position, stream
        if start < position:  # a packed stream goes forward alone: begin again
            stream.close()
            stream = streams.enter_context(packed.open(info))
            position = 0
            _read_npy_header(stream)
        shape_read: tuple[int, ...] = ()
        if shape:
            shape_read = (stop - start, *shape[1:])
            _skip_bytes(stream, (start - position) * row_bytes)
        _check_size(name, shape_read, dtype.itemsize)
        raw = _read_exactly(stream, math.prod(shape_read) * dtype.itemsize)
        position = stop
        values = np.frombuffer(raw, dtype).reshape(shape_read)
        return values.astype(dtype.newbyteorder("="))

    return Field(shape, read_rows)


def _read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise BadFile(f"an array of version {version} of numpy's format")
    return readers[version](stream, max_header_size=10_000)


def _skip_bytes(stream: IO[bytes], size: int) -> None:
    while size > 0:
        size -= len(_read_exactly(stream, min(size, 2**20)))


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    try:
        raw = stream.read(size)
    except (EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise BadFile(f"damaged: {error}") from error
    if len(raw) < size:
        raise BadFile("truncated: an array ends before it should")
    return raw


def _list_fits(hdus: HduList) -> Fields:
    """Return the images by name and number, and the columns of the first table."""
    found: Fields = {}
    for number, hdu in enumerate(hdus):
        if hdu.kind == "BINTABLE":
            names = hdu.read_rows(0, 1).names if hdu.shape[0] else ()
            for column in names:
                found.setdefault(column, functools.partial(_make_column_field, hdu, column))
        elif hdu.shape and all(hdu.shape):
            for name in {hdu.name.lower(), str(number)} - {""}:
                found.setdefault(name, functools.partial(Field, hdu.shape, hdu.read_rows))
    return found


def _make_column_field(hdu: Hdu, name: str) -> Field:
    first = hdu.read_rows(0, 1)[name]

    def read_rows(start: int, stop: int) -> np.ndarray:
        table = hdu.read_rows(start, stop)
        missing = table.find_missing(name)
        if missing.ndim == 1 and missing.any():
            return np.ma.array(table.get_identifiers(name), mask=missing)
        return table[name]

    return Field((hdu.shape[0], *first.shape[1:]), read_rows)


FORMATS = (
    Format(
        name="arrays",
        doc="named arrays, one row per star, in HDF5, npz or FITS",
        read=read_arrays,
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
