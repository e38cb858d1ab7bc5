"""Arrays of a file by their names: those of an HDF5, npz or FITS file, rows at a time.

What a file claims is checked before it is read: small files that unpack to gigabytes are refused.
"""

from __future__ import annotations

import contextlib
import functools
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from luxscale.readers.axis import read_axis, states_axis
from luxscale.readers.base import MOST_BYTES, BadFile, Hdu, HduList
from luxscale.readers.compressed import is_compressed, suggest_unpacking
from luxscale.readers.field import Field, Fields, check_packing, check_size
from luxscale.readers.fitsfile import open_large_fits
from luxscale.readers.hdf5 import list_hdf5

_REMEDY = (
    "write the arrays as one of these, e.g. np.savez('spectra.npz', flux=flux, ivar=ivar, "
    "wavelength=wavelength, star=id)"
)


def get_field(fields: Fields, name: str) -> Field:
    """Return an array by its name.

    Raises
    ------
    BadFile
        Names the arrays there are.
    """
    bare = name.strip().removeprefix("/")
    for spelled in (name, bare, bare.lower()):  # the last as FITS names are
        if spelled in fields:
            return fields[spelled]()
    there = ", ".join(list(fields)[:50]) or "none"
    raise BadFile(f"no array {name!r}; there are: {there}")


@contextlib.contextmanager
def open_fields(path: Path) -> Iterator[Fields]:
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
                yield list_hdf5(opened)
        elif magic.startswith(b"PK"):
            with zipfile.ZipFile(path) as packed, contextlib.ExitStack() as opened_streams:
                yield _list_npz(packed, opened_streams)
        elif magic.startswith(b"CDF"):
            raise BadFile("netCDF 3, which is not read; write netCDF 4, or HDF5, npz or FITS")
        elif magic and magic != b"SIMPLE  " and not is_compressed(magic):
            do = suggest_unpacking(magic) or _REMEDY
            raise BadFile(f"not a FITS file, nor HDF5 or npz; {do}")
        else:
            with open_large_fits(path) as hdus:
                yield _list_fits(hdus)
    except (BadFile, GeneratorExit):
        raise
    except Exception as error:
        raise BadFile(f"damaged file: {type(error).__name__}: {str(error)[:200]}") from error


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
    check_packing(name, info.file_size, info.compress_size)
    stream = streams.enter_context(packed.open(info))
    shape, fortran, dtype = _read_npy_header(stream)
    if dtype.hasobject or dtype.kind not in "iufbSU":
        raise BadFile(
            f"array {name!r} holds {dtype}, neither numbers nor text; write text as "
            "array.astype(str), numbers as array.astype(float)"
        )
    if fortran and len(shape) > 1:
        return _make_fortran_field(name, stream, shape, dtype)
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
        check_size(name, shape_read, dtype.itemsize)
        raw = _read_exactly(stream, math.prod(shape_read) * dtype.itemsize)
        position = stop
        values = np.frombuffer(raw, dtype).reshape(shape_read)
        return values.astype(dtype.newbyteorder("="))

    return Field(shape, read_rows)


def _make_fortran_field(
    name: str, stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype
) -> Field:
    """Return an array of which no row stands together, as of a transpose: read as a whole."""
    size = math.prod(shape) * dtype.itemsize
    if size > MOST_BYTES:
        raise BadFile(
            f"array {name!r} of {size:,} bytes is in Fortran's order, and too large to be read at "
            "once; write np.ascontiguousarray of it"
        )

    @functools.cache
    def read_whole() -> np.ndarray:
        values = np.frombuffer(_read_exactly(stream, size), dtype).reshape(shape, order="F")
        return values.astype(dtype.newbyteorder("="))

    return Field(shape, lambda start, stop: read_whole()[start:stop])


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
    """Return the images by name and number, and the columns of the first table.

    Where none is called wavelength, that is what the header of an image states of its pixels.
    """
    found: Fields = {}
    stated: Fields = {}
    images: dict[str, int] = {}
    for number, hdu in enumerate(hdus):
        if hdu.kind == "BINTABLE":
            names = hdu.read_rows(0, 1).names if hdu.shape[0] else ()
            for column in names:
                found.setdefault(column, functools.partial(_make_column_field, hdu, column))
        elif hdu.shape and all(hdu.shape):
            for name in {hdu.name.lower(), str(number)} - {""}:
                unit = str(hdu.header.get("BUNIT") or "")
                found.setdefault(name, functools.partial(Field, hdu.shape, hdu.read_rows, unit))
                if images.setdefault(name, number) != number:
                    found[name] = functools.partial(_refuse_images, name, images[name], number)
            if states_axis(hdu.header):
                stated.setdefault("wavelength", functools.partial(_make_axis_field, hdu))
    return stated | found


def _refuse_images(name: str, first: int, second: int) -> Field:
    raise BadFile(f"HDUs {first} and {second} are both called {name!r}; name one by its number")


def _make_axis_field(hdu: Hdu) -> Field:
    n_pixels = hdu.shape[-1]
    check_size("wavelength", (n_pixels,), 8)
    axis = read_axis(hdu.header, n_pixels)
    return Field((n_pixels,), lambda start, stop: axis.wavelength[start:stop], *axis[1:])


def _make_column_field(hdu: Hdu, name: str) -> Field:
    first = hdu.read_rows(0, 1)[name]

    def read_rows(start: int, stop: int) -> np.ndarray:
        table = hdu.read_rows(start, stop)
        missing = table.find_missing(name)
        if missing.ndim == 1 and missing.any():
            return np.ma.array(table.get_identifiers(name), mask=missing)
        return table[name]

    return Field((hdu.shape[0], *first.shape[1:]), read_rows, _find_column_unit(hdu, name))


def _find_column_unit(hdu: Hdu, name: str) -> str:
    for number in range(1, hdu.header.get_count("TFIELDS") + 1):
        if str(hdu.header.get(f"TTYPE{number}")).strip().lower() == name.lower():
            return str(hdu.header.get(f"TUNIT{number}") or "")
    return ""
