"""Stored chunks: their sizes and marks, reading that notices a missing one, flushing to disk.

By its marks a survey that changed under a catalogue is noticed. Zarr reads a chunk that is not
there as one full of fill values, which would be labelled like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import math
import os
import zipfile
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.storage
from zarr.abc.store import SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import WrapperStore

from luxscale.store.arrays import locate, open_array

#: Size of a chunk that is not there.
MISSING = -1

#: Bytes at the end of a chunk that mark it: luxscale's own codecs put a checksum there.
_TAIL = 8

#: Requests under way at once.
_AT_ONCE = 64


def get_chunk_shape(array: zarr.Array[Any]) -> tuple[int, ...]:
    """Return the shape of the stored chunks of an array; a shard is one."""
    return tuple(getattr(array, "shards", None) or array.chunks)


def get_chunk_rows(array: zarr.Array[Any]) -> int:
    """Return the number of stars in a stored chunk of an array."""
    return int(get_chunk_shape(array)[0])


def describe_slow(group: zarr.Group, names: Iterable[str]) -> list[str]:
    """Say which arrays lie in chunks that are slow to read, and what to do about it.

    Returns
    -------
    list of str
        A sentence for all arrays that are slow for the same reason.
    """
    slow: dict[str, list[str]] = {}
    for name in names:
        reason = _find_slow(open_array(group, name))
        if reason:
            slow.setdefault(reason, []).append(repr(name))
    return [
        f"{', '.join(arrays)}: {reason}; a survey that luxscale.store.write_dataset wrote is read "
        "faster"
        for reason, arrays in slow.items()
    ]


def _find_slow(array: zarr.Array[Any]) -> str:
    """Return why the chunks of an array are slow to read; empty if they are not."""
    n_stars, *features = array.shape
    rows, *lengths = get_chunk_shape(array)
    n_parts = math.prod(-(-n // length) for n, length in zip(features, lengths, strict=True))
    if n_parts > 1:
        return f"the values of a star are in {n_parts} chunks"
    if rows == 1 and n_stars > 1:
        return "every star is in a chunk of its own"
    return ""


def read_sizes(group: zarr.Group, name: str, start: int, stop: int) -> np.ndarray:
    """Return the stored sizes of an array's chunks of stars, in bytes.

    Returns
    -------
    array, (chunk of stars,), int64
        Of those that hold stars ``start`` to ``stop``. Where features are in chunks too, the sum
        over them; what is not above 0 if one of them is empty or missing.
    """
    place, keys = _list_keys(open_array(group, name), start, stop)
    sizes = np.array(sync(_gather(_read_size, place, keys.ravel())), np.int64).reshape(keys.shape)
    is_whole = (sizes > 0).all(axis=1)
    return np.where(is_whole, sizes.sum(axis=1), sizes.min(axis=1))


def read_marks(group: zarr.Group, name: str, start: int, stop: int) -> np.ndarray:
    """Return what tells each chunk from another in its place: its stored size and its last bytes.

    Returns
    -------
    array, (chunk, 2), int64
        Of the chunks that hold stars ``start`` to ``stop``. Where features are in chunks too, as
        many rows for each chunk of stars as there are of these.
    """
    place, keys = _list_keys(open_array(group, name), start, stop)
    return np.array(sync(_gather(_read_mark, place, keys.ravel())), np.int64).reshape(-1, 2)


def read_chunks(array: zarr.Array[Any], start: int, stop: int) -> list[np.ndarray]:
    """Return what is stored of an array's chunks that hold stars ``start`` to ``stop``.

    Returns
    -------
    list of array, (byte,)
        In the order of the array.

    Raises
    ------
    FileNotFoundError
        If one is missing.
    """
    place, keys = _list_keys(array, start, stop)
    return sync(_gather(_read_chunk, place, keys.ravel()))


def _list_keys(array: zarr.Array[Any], start: int, stop: int) -> tuple[Any, np.ndarray]:
    """Return the store of an array, and the keys of the chunks that hold some of the stars.

    The keys are (chunk of stars, chunk of features), the latter in the order of the array.
    """
    rows, *lengths = get_chunk_shape(array)
    first = start // rows
    last = -(-stop // rows)
    counts = []
    for size, length in zip(array.shape[1:], lengths, strict=True):
        counts.append(-(-size // length))
    keys = []
    for number in itertools.product(range(first, last), *map(range, counts)):
        key = array.metadata.encode_chunk_key(number)
        keys.append(f"{array.path}/{key}")
    table = np.array(keys, object)
    return array.store, table.reshape(last - first, math.prod(counts))


async def _gather(
    ask: Callable[[Any, str], Awaitable[Any]], place: Any, keys: Iterable[str]
) -> list[Any]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(key: str) -> Any:
        async with gate:
            return await ask(place, key)

    return await asyncio.gather(*map(one, keys))


async def _read_chunk(place: Any, key: str) -> np.ndarray:
    found = _require_chunk(key, await place.get(key, default_buffer_prototype()))
    stored: np.ndarray = found.as_numpy_array()
    return stored


async def _read_size(place: Any, key: str) -> int:
    try:
        return int(await place.getsize(key))
    except (FileNotFoundError, zipfile.BadZipFile):  # the size of what is packed is read
        return MISSING


async def _read_mark(place: Any, key: str) -> tuple[int, int]:
    size = await _read_size(place, key)
    if size <= 0:
        return size, 0
    tail = await place.get(key, default_buffer_prototype(), SuffixByteRequest(_TAIL))
    if not tail:
        return size, 0
    return size, int.from_bytes(tail.to_bytes()[-_TAIL:], "little", signed=True)


#: Names of what is no chunk.
_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


class Strict(WrapperStore[Any]):
    """A store that raises where a chunk is missing, and Zarr would read fill values.

    Asked beforehand, a survey could go away between the question and the reading.
    """

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return what lies at a key; FileNotFoundError if that is a chunk and nothing does."""
        return _require_chunk(key, await super().get(key, prototype, byte_range))

    def get_sync(self, key: str, **options: Any) -> Any:
        """Return the same at once, which newer versions of Zarr ask for."""
        return _require_chunk(key, super().get_sync(key, **options))  # type: ignore[misc]


def _require_chunk(key: str, found: Any) -> Any:
    if found is None and not key.endswith(_METADATA):
        raise FileNotFoundError(f"chunk {key!r} is missing")
    return found


def open_strict(path: str) -> Strict:
    """Return the store at a path or URL, to be read strictly."""
    place = locate(path)
    if isinstance(place, str):
        place = zarr.storage.LocalStore(place, read_only=True)
    return Strict(place)


def count_groups(group: zarr.Group, names: Iterable[str]) -> int:
    """Count how many groups of these names are inside a group; what they hold is not read."""
    keys = [f"{group.path}/{name}/zarr.json".lstrip("/") for name in names]
    return sum(sync(_gather(lambda place, key: place.exists(key), group.store, keys)))


def flush_chunks(arrays: Iterable[zarr.Array[Any]], start: int, stop: int) -> None:
    """Have the system put the chunks of arrays that hold some of the stars on its disk.

    Zarr leaves that to the system, which at a power failure may have kept what was written last and
    not the rest. Object storage has done so by itself.
    """
    files = []
    for array in arrays:
        place, keys = _list_keys(array, start, stop)
        if isinstance(place, zarr.storage.LocalStore):
            files += [place.root / key for key in keys.ravel()]
    # at once: one write of the file system's journal serves many
    list(_start_flushers(os.getpid()).map(_flush, files))


@functools.cache
def _start_flushers(process: int) -> ThreadPoolExecutor:
    # kept, as a thread that starts where no memory is left may leave its starter waiting for good
    return ThreadPoolExecutor(_AT_ONCE)


def _flush(path: Path) -> None:
    # a chunk of fill values alone is not stored
    with contextlib.suppress(FileNotFoundError):
        _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
