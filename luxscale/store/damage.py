"""Chunks that can no longer be read of a catalogue, after a power failure say: found, and named with what to do.

All arrays of a catalogue that regions fill carry checksums, so damage shows when it is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from luxscale import store
from luxscale.errors import InputError
from luxscale.schema.variables import STAR
from luxscale.store import s3
from luxscale.store.chunks import get_chunk_rows

#: Chunks that are read at once in search of damage.
_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Damage:
    """Chunk ``chunk`` of a variable, of stars ``start`` to ``stop``, and why it cannot be read."""

    variable: str
    chunk: int
    start: int
    stop: int
    reason: str

    def __str__(self) -> str:
        return (
            f"chunk {self.chunk} of {self.variable!r} (stars {self.start} to {self.stop}): "
            f"{self.reason.rstrip('.')}"
        )


def read_pieces(
    array: zarr.Array[Any], start: int, stop: int
) -> Iterator[tuple[int, int, np.ndarray | str]]:
    """Yield an array's rows, as few pieces as can be: where something cannot be read, chunk by chunk, or why."""
    rows = get_chunk_rows(array)
    try:
        found: np.ndarray | str = np.asarray(array[start:stop])
    except Exception as error:  # codecs raise what they like
        if store.is_outage(error):
            raise
        if stop - start > rows:
            middle = start + rows * ((stop - start + rows) // rows // 2)
            yield from read_pieces(array, start, middle)
            yield from read_pieces(array, middle, stop)
            return
        found = f"{type(error).__name__}: {error}"
    yield start, stop, found


def read_readable(array: zarr.Array[Any], otherwise: Any) -> np.ndarray:
    """Return an array's values, and another value for the rows that cannot be read."""
    values = np.full(array.shape, otherwise, array.dtype)
    for start, stop, found in read_pieces(array, 0, array.shape[0]):
        if not isinstance(found, str):
            values[start:stop] = found
    return values


def find_damage(group: zarr.Group, names: Iterable[str]) -> Iterator[Damage]:
    """Read arrays, a bounded number of chunks at once, and yield what is damaged."""
    for name in names:
        array = store.open_array(group, name)
        rows, n = get_chunk_rows(array), array.shape[0]
        for first in range(0, n, _AT_ONCE * rows):
            for start, stop, found in read_pieces(array, first, min(first + _AT_ONCE * rows, n)):
                if isinstance(found, str):
                    yield Damage(name, start // rows, start, stop, found)


def list_filled(group: zarr.Group) -> list[str]:
    """Return the arrays of a catalogue that its regions fill."""
    dims = {
        name: getattr(array.metadata, "dimension_names", None) for name, array in group.arrays()
    }
    return sorted(name for name, on in dims.items() if on and on[0] == STAR and name != STAR)


@contextlib.contextmanager
def locate_damage(path: str | Path) -> Iterator[None]:
    """Where reading a catalogue fails because some of it is damaged, say what, and what to do about it.

    Raises
    ------
    InputError
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # as above
        if store.is_outage(error):
            raise
        group = store.open_group(path, "r")
        found = next(
            find_damage(group, (name for name, array in group.arrays() if array.ndim)), None
        )
        if found is None:
            raise
        todo = (
            "run `luxscale label` again, with the same command: it does the damaged regions anew"
            if found.variable in list_filled(group)
            else "copy the catalogue from where it is whole, or make it again"
        )
        raise InputError(f"{path}: is damaged: {found}; {todo}") from error


@contextlib.contextmanager
def explain_damage(path: str | Path) -> Iterator[None]:
    """Where reading a store fails, say that it is damaged; what `named` says of catalogues would cost a survey hours.

    Raises
    ------
    InputError
    """
    try:
        yield
    except (InputError, OSError, MemoryError, s3.ObjectError):
        raise
    except Exception as error:  # as above
        what = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path}: cannot be read ({what}); copy it from where it is whole, or make it again"
        ) from error
