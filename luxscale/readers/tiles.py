"""Images that are compressed row by row in a FITS table, by gzip alone, as masks of DESI are."""

from __future__ import annotations

import math
import zlib

import numpy as np

from luxscale.readers.fitstable import BadFile, Header, Table
from luxscale.readers.heap import MOST_JOINED, scale_values

#: What accepts a stream of gzip.
_GZIP_BITS = 31

_METHODS = ("GZIP_1", "GZIP_2")

_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", -32: ">f4", -64: ">f8"}


def is_compressed_image(header: Header) -> bool:
    """Return whether a table holds an image."""
    return header.get("XTENSION") == "BINTABLE" and header.get("ZIMAGE") is True


def read_image_shape(header: Header, most_axes: int) -> tuple[int, ...]:
    """Return the shape of the image that a table holds, the axis that changes fastest last."""
    n_axes = header.get_count("ZNAXIS", most=most_axes)
    return tuple(header.get_count(f"ZNAXIS{i}") for i in range(n_axes, 0, -1))


def unpack_image(header: Header, rows: Table, shape: tuple[int, ...]) -> np.ndarray:
    """Return an image, or some of its rows, of the rows of the table: of the given shape.

    Whole numbers that are missing (BLANK) are NaN.

    Raises
    ------
    BadFile
        If it is compressed in another way, or is not what the header says.
    """
    dtype = _find_type(header, rows, shape)
    n_bytes = shape[-1] * dtype.itemsize
    n_rows = math.prod(shape[:-1])
    if len(rows) != n_rows or n_rows * n_bytes > MOST_JOINED:
        raise BadFile(f"an image of shape {shape}, compressed as {len(rows):,} rows")
    lines = [_unpack_line(line, n_bytes) for line in rows.read_packed("COMPRESSED_DATA")]
    raw = np.frombuffer(b"".join(lines), np.uint8)
    if header["ZCMPTYPE"] == "GZIP_2":  # the bytes of one significance together
        by_significance = raw.reshape(n_rows, dtype.itemsize, -1)
        raw = by_significance.swapaxes(1, 2).ravel()
    native = raw.view(dtype).astype(dtype.newbyteorder("="))
    values = native.reshape(shape)
    scaled = scale_values(values, header.get("BSCALE"), header.get("BZERO"))
    blank = header.get("BLANK", header.get("ZBLANK"))
    if type(blank) is not int or dtype.kind not in "iu":
        return scaled
    is_blank = values == blank
    if not is_blank.any():
        return scaled
    return np.where(is_blank, np.nan, scaled)


def _find_type(header: Header, rows: Table, shape: tuple[int, ...]) -> np.dtype:
    """Return the type of the pixels of an image that is compressed by rows, exactly."""
    method, bits = header.get("ZCMPTYPE"), header.get("ZBITPIX")
    sizes = [header.get(f"ZTILE{i}", 1) for i in range(2, len(shape) + 1)]
    is_by_rows = header.get("ZTILE1", shape[-1]) == shape[-1] and all(n == 1 for n in sizes)
    is_exact = rows.names == ("compressed_data",)
    if method not in _METHODS or bits not in _TYPES or not is_by_rows or not is_exact:
        raise BadFile(
            f"an image that is compressed by {method}, not by gzip row by row; unpack it, by "
            "funpack or astropy"
        )
    return np.dtype(_TYPES[bits])


def _unpack_line(packed: bytes, n_bytes: int) -> bytes:
    stream = zlib.decompressobj(_GZIP_BITS)
    unpacked = stream.decompress(packed, n_bytes + 1)
    if len(unpacked) != n_bytes:
        raise BadFile(f"damaged image: a row of {len(unpacked):,} bytes, expected {n_bytes:,}")
    if not stream.eof:
        raise BadFile("damaged image: a row that ends before its checksum")
    return unpacked
