"""Rows of a survey's variables, decoded straight to where they stay.

Zarr decodes a chunk into memory of its own and copies it to where it belongs. Chunks as luxscale
writes them are decoded here without that. All others, and those that cannot be decoded so, are read
by xarray.
"""

from __future__ import annotations

import math
from typing import Any

import google_crc32c
import numpy as np
import xarray as xr
import zarr
from numcodecs.blosc import Blosc
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec

from luxscale.store.arrays import open_array
from luxscale.store.chunks import get_chunk_rows, open_strict, read_chunks
from luxscale.store.fills import open_exactly

#: Bytes of a checksum, at the end of a chunk; and where in the header of Blosc the decoded size is.
_CHECKSUM, _SIZE = 4, slice(4, 8)

#: Arrays that begin at a multiple of so many bytes XLA takes as they are; others it copies.
_ALIGNMENT = 64

#: Of xarray, that a variable is not what is stored.
_PACKED = {"scale_factor", "add_offset", "_Unsigned", "missing_value"}


class Rows:
    """Variables of a survey, by rows. A chunk that is missing raises.

    Parameters
    ----------
    path : str
    """

    def __init__(self, path: str) -> None:
        place: Any = open_strict(path)
        self._stored = zarr.open_group(place, mode="r")
        self._decoded = open_exactly(
            place, chunks=None, consolidated=False, create_default_indexes=False
        )
        self._plain: dict[str, zarr.Array[Any] | None] = {}

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return rows of a variable, as xarray decodes them: (star, ...)."""
        if name not in self._plain:
            self._plain[name] = self._find_plain(name)
        array = self._plain[name]
        found = None if array is None else _read_rows(array, start, stop)
        if found is None:
            found = np.asarray(self._decoded[name][start:stop].values)
        return found

    def _find_plain(self, name: str) -> zarr.Array[Any] | None:
        """Return the array of a variable, if it is decoded here and is what xarray returns."""
        array = open_array(self._stored, name)
        is_same = _is_stored_as_it_is(self._decoded[name].variable, array.dtype)
        return array if is_same and _is_plain(array) else None


def _is_stored_as_it_is(variable: xr.Variable, dtype: np.dtype) -> bool:
    """Whether the values of a variable are those of its array."""
    fill = variable.encoding.get("_FillValue", np.nan)
    is_packed = bool(_PACKED & variable.encoding.keys())
    return variable.dtype == dtype and not is_packed and fill != fill


def _is_plain(array: zarr.Array[Any]) -> bool:
    """Whether the chunks of an array hold whole stars, compressed by Blosc and nothing else."""
    if array.metadata.zarr_format != 3 or array.shards or array.filters:
        return False
    if array.serializer != BytesCodec() or array.chunks[1:] != array.shape[1:]:
        return False
    compressor, *others = array.compressors or (None,)
    return isinstance(compressor, BloscCodec) and others in ([], [Crc32cCodec()])


def _read_rows(array: zarr.Array[Any], start: int, stop: int) -> np.ndarray | None:
    """Return rows of a plain array; None if what is stored cannot be decoded."""
    found = _allocate((stop - start, *array.shape[1:]), array.dtype)
    rows = get_chunk_rows(array)
    first = start - start % rows
    for place, chunk in enumerate(read_chunks(array, start, stop)):
        begin = first + place * rows - start  # where its first star is among those asked for
        whole = slice(begin, begin + rows)
        is_whole = begin >= 0 and begin + rows <= len(found)
        decoded = found[whole] if is_whole else _allocate(array.chunks, array.dtype)
        if not _decode(chunk, decoded, has_checksum=len(array.compressors) > 1):
            return None
        if not is_whole:
            part = slice(max(begin, 0), begin + rows)
            asked = found[part]
            asked[...] = decoded[part.start - begin :][: len(asked)]
    return found


def _decode(chunk: np.ndarray, out: np.ndarray, *, has_checksum: bool) -> bool:
    """Decode a chunk; return whether it could be."""
    if has_checksum:
        chunk, checksum = chunk[:-_CHECKSUM], chunk[-_CHECKSUM:]
        if google_crc32c.value(chunk) != int.from_bytes(checksum.tobytes(), "little"):
            return False
    if int.from_bytes(chunk[_SIZE].tobytes(), "little") != out.nbytes:
        return False
    try:
        Blosc().decode(chunk, out)
    except (RuntimeError, ValueError):  # xarray will say it
        return False
    return True


def _allocate(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array to be filled."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
