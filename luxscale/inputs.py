"""The chunks that a run reads: their sizes, so that a survey that changed under a catalogue is noticed, and missing ones.

Zarr reads a chunk that is not there as one full of fill values, which would be labelled like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync

from luxscale import store

#: Size of a chunk that is not there.
MISSING = -1

#: Requests for sizes under way at once.
_AT_ONCE = 64


def chunk_rows(array: zarr.Array[Any]) -> int:
    """Return the number of stars in a stored chunk of an array; a shard is one."""
    return int((getattr(array, "shards", None) or array.chunks)[0])


def sizes(group: zarr.Group, name: str, start: int, stop: int) -> np.ndarray:
    """Return the stored size in bytes of each chunk of an array that holds stars ``start`` to ``stop``: (chunk,), int64."""
    array = store.array(group, name)
    rows, rest = chunk_rows(array), (0,) * (array.ndim - 1)
    numbers = range(start // rows, -(-stop // rows))
    keys = [f"{array.path}/{array.metadata.encode_chunk_key((i, *rest))}" for i in numbers]
    return np.array(sync(_sizes(array.store, keys)), np.int64)


async def _sizes(place: Any, keys: Iterable[str]) -> list[int]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def size(key: str) -> int:
        async with gate:
            try:
                return int(await place.getsize(key))
            except FileNotFoundError:
                return MISSING

    return await asyncio.gather(*map(size, keys))


def refuse_missing(group: zarr.Group, names: Iterable[str], start: int, stop: int) -> None:
    """Raise FileNotFoundError if a chunk that holds some of the stars is not there."""
    for name in names:
        rows = chunk_rows(store.array(group, name))
        for i, size in enumerate(sizes(group, name, start, stop), start // rows):
            if size == MISSING:
                raise FileNotFoundError(f"chunk {i} of {name!r} is missing")
