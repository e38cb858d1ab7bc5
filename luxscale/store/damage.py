"""Chunks that can no longer be read, after a power failure say: found, and named with what to do.

All arrays of a catalogue that regions fill carry checksums, so damage shows when it is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from luxscale.errors import CannotWrite, InputError
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.variables import STAR
from luxscale.store import objects
from luxscale.store.arrays import list_arrays, open_array, open_group
from luxscale.store.chunks import get_chunk_rows

#: Chunks that are read at once in search of damage.
_AT_ONCE = 64


#: Errors of a file system that is away, or of a process that has no more files to open.
_AWAY = {
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ENODEV,
    errno.EHOSTDOWN,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
}

#: Other errors of a store that is out of reach. KeyError is Zarr's of an array that is not there: a
#: survey that was moved, or whose file system is gone.
_OUTAGES = (
    objects.ObjectError,
    PermissionError,
    ConnectionError,
    TimeoutError,
    MemoryError,
    KeyError,
)


def is_outage(error: BaseException) -> bool:
    """Return whether an error says that a store is out of reach for now.

    All other errors of reading say that what it holds is damaged.
    """
    if isinstance(error, OSError) and error.errno in _AWAY:
        return True
    return isinstance(error, _OUTAGES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Damage:
    """A chunk that cannot be read.

    Parameters
    ----------
    variable : str
    chunk : int
        Its number among the chunks of stars.
    start, stop : int
        The stars that it holds.
    reason : str
    """

    variable: str
    chunk: int
    start: int
    stop: int
    reason: str

    def __str__(self) -> str:
        stars = f"stars {self.start} to {self.stop}"
        return f"chunk {self.chunk} of {self.variable!r} ({stars}): {self.reason.rstrip('.')}"


def read_pieces(
    array: zarr.Array[Any], start: int, stop: int
) -> Iterator[tuple[int, int, np.ndarray | str]]:
    """Yield the rows of an array in as few pieces as can be read.

    Where something cannot be read, pieces are halved down to one chunk.

    Yields
    ------
    start, stop : int
    values : array, (row, ...), or str
        Why they cannot be read.
    """
    rows = get_chunk_rows(array)
    try:
        found: np.ndarray | str = np.asarray(array[start:stop])
    except Exception as error:  # codecs raise what they like
        if is_outage(error):
            raise
        if stop - start > rows:
            n_chunks = (stop - start + rows) // rows
            middle = start + rows * (n_chunks // 2)
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
        array = open_array(group, name)
        rows = get_chunk_rows(array)
        for block in iterate_blocks(array.shape[0], _AT_ONCE * rows):
            for start, stop, found in read_pieces(array, block.start, block.stop):
                if isinstance(found, str):
                    yield Damage(
                        variable=name, chunk=start // rows, start=start, stop=stop, reason=found
                    )


def list_filled(group: zarr.Group) -> list[str]:
    """Return the arrays of a catalogue that its regions fill."""
    filled = []
    for name, array in list_arrays(group):
        dims = getattr(array.metadata, "dimension_names", None)
        if dims and dims[0] == STAR and name != STAR:
            filled.append(name)
    return sorted(filled)


@contextlib.contextmanager
def locate_damage(path: str | Path) -> Iterator[None]:
    """Say of errors of reading a catalogue which chunk of it is damaged, and what to do.

    Raises
    ------
    InputError
    """
    try:
        yield
    except (InputError, CannotWrite):
        raise
    except Exception as error:  # as above
        if is_outage(error):
            raise
        group = open_group(path, "r")
        names = [name for name, array in list_arrays(group) if array.ndim]
        found = next(find_damage(group, names), None)
        if found is None:
            raise
        todo = "copy the catalogue from where it is whole, or make it again"
        if found.variable in list_filled(group):
            todo = (
                "run `luxscale label` again, with the same command: it does the damaged regions "
                "anew"
            )
        raise InputError(f"{path}: is damaged: {found}; {todo}") from error


def load_stars(stars: xr.Dataset, where: str) -> xr.Dataset:
    """Read some stars of a survey into memory.

    Raises
    ------
    InputError
        Says, of errors of reading, that the survey is damaged.
    """
    with explain_damage(where):
        return stars.load()


@contextlib.contextmanager
def explain_damage(path: str | Path) -> Iterator[None]:
    """Say of errors of reading a store that it is damaged.

    Which of its chunks is damaged is not looked for: in a large survey that takes hours.

    Raises
    ------
    InputError
    """
    try:
        yield
    except (InputError, OSError, MemoryError, objects.ObjectError):
        raise
    except Exception as error:  # as above
        what = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path}: cannot be read ({what}); copy it from where it is whole, or make it again"
        ) from error
