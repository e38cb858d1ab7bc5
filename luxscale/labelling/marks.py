"""Marks of the survey's chunks, by which a catalogue notices that its survey changed.

A mark is the stored size of a chunk and its last bytes. A catalogue keeps those of all chunks that
its run reads, as they were before, in its group ``run``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr

from luxscale import store
from luxscale.errors import InputError
from luxscale.store import damage
from luxscale.store.chunks import get_chunk_rows, read_marks, read_sizes

_COMMENT = (
    "each chunk of the survey when it was to be read: size in bytes (-1 = missing), and last 8 "
    "bytes as a little-endian integer"
)


#: Attribute of the group: the kind of each variable that the run reads, by its name.
_KINDS = "kinds"

#: End of the name of marks that take the place of others, of another number of chunks.
_NEXT = ".next"


def record_marks(catalogue: zarr.Group, marks: dict[str, np.ndarray], *, new: bool = False) -> None:
    """Write the marks of each variable into a catalogue.

    A run that is killed meanwhile leaves the old marks or the new: each array is one chunk, written
    in place, or first beside it where the survey has more chunks.

    Parameters
    ----------
    catalogue : Group
    marks : dict of str to array, (chunk, 2)
        By variable of the survey.
    new : bool
        Whether the catalogue is being made, and has none.
    """
    group = catalogue.require_group(store.RUN)
    for name, values in marks.items():
        if new:
            _create(group, name, values)
            continue
        if name + _NEXT in group:
            _take_over(group, name)
        if name in group and store.open_array(group, name).shape == values.shape:
            store.open_array(group, name)[:] = values
        else:
            _create(group, name + _NEXT, values)
            _take_over(group, name)
    if new:
        group.attrs["comment"] = _COMMENT


def record_kinds(catalogue: zarr.Group, survey: zarr.Group, names: Sequence[str]) -> None:
    """Write into a catalogue of what kind the survey's variables are that its run reads."""
    catalogue.require_group(store.RUN).attrs[_KINDS] = _read_kinds(survey, names)


def _read_kinds(survey: zarr.Group, names: Sequence[str]) -> dict[str, str]:
    return {name: str(store.open_array(survey, name).dtype) for name in names}


def find_other_kinds(survey: str, catalog: str) -> list[str]:
    """Say which variables of a survey are of another kind than when a catalogue was begun.

    Parameters
    ----------
    survey, catalog : str
        Paths or URLs.
    """
    before: Any = {}
    if store.RUN in store.open_group(catalog, "r"):
        before = store.open_group(catalog, "r", store.RUN).attrs.get(_KINDS, {})
    theirs = store.open_group(survey, "r")
    now = _read_kinds(theirs, [name for name in before if name in theirs])
    return [
        f"{name} was {before[name]}, is {kind} now"
        for name, kind in now.items()
        if kind != before[name]
    ]


def _create(group: zarr.Group, name: str, values: np.ndarray) -> None:
    group.create_array(name, data=values, chunks=values.shape, overwrite=True)


def _take_over(group: zarr.Group, name: str) -> None:
    """Put marks in the place that they were written beside, if they are whole."""
    if _is_whole(group, name + _NEXT):
        _create(group, name, np.asarray(store.open_array(group, name + _NEXT)[:]))
    del group[name + _NEXT]


def _is_whole(group: zarr.Group, name: str) -> bool:
    """Return whether marks are there; Zarr reads a chunk that is not as zeros."""
    if name not in group:
        return False
    n_chunks = store.open_array(group, name).shape[0]
    return bool(read_sizes(group, name, 0, n_chunks).min() > 0)


def load_marks(path: str, group: zarr.Group, name: str) -> np.ndarray | None:
    """Return the marks that a catalogue keeps of a variable; None if it keeps none.

    Parameters
    ----------
    path : str
        Of the catalogue, for messages.
    group : Group
        The group ``run`` of the catalogue.
    name : str
        Of the variable.

    Raises
    ------
    InputError
        If they cannot be read.
    """
    place = name + _NEXT if _is_whole(group, name + _NEXT) else name
    if place not in group:
        return None
    array = store.open_array(group, place)
    ((_, _, found),) = damage.read_pieces(array, 0, array.shape[0])
    if not _is_whole(group, place):
        found = "it is not there"
    if isinstance(found, str):
        kept = f"{store.RUN}/{name}"
        raise InputError(
            f"{path}: what it kept of the survey's chunks, {kept}, is damaged ({found}); if the "
            f"survey is as it was, delete {kept} in it and run the same command again, else "
            "remove the catalogue"
        )
    return found


def find_changed(
    array: zarr.Array, before: np.ndarray, now: np.ndarray, done: np.ndarray
) -> np.ndarray:
    """Find the chunks of a variable that changed after some of their stars were labelled.

    Parameters
    ----------
    array : Array
        The variable of the survey.
    before, now : array, (chunk, 2)
        Marks of its chunks, see `luxscale.store.chunks.read_marks`; of fewer chunks before, where
        the survey has grown.
    done : array, (star,)
        Where the catalogue has labels.

    Returns
    -------
    array, (chunk of stars,), bool
    """
    starts = np.arange(0, done.size, get_chunk_rows(array))
    has_done = np.add.reduceat(done, starts) > 0
    # a chunk of stars has several rows of marks where features are in chunks too
    marks_now = now.reshape(starts.size, -1)
    n_known = min(before.size // marks_now.shape[1], starts.size)
    marks_before = before.ravel()[: n_known * marks_now.shape[1]].reshape(n_known, -1)
    differs = np.ones(starts.size, bool)
    differs[:n_known] = (marks_before != marks_now[:n_known]).any(axis=1)
    changed: np.ndarray = has_done & differs
    return changed


def compare_marks(
    survey: zarr.Group, catalog: str, marks: dict[str, np.ndarray], done: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Find the stars whose data are others than those that they were labelled from.

    Labels of data that are not there any more, which nothing replaces, count as they were; in
    ``marks`` those chunks get back the marks that they had.

    Parameters
    ----------
    survey : Group
    catalog : str
        Path or URL of the catalogue, which keeps the marks that there were.
    marks : dict of str to array, (chunk, 2)
        By variable, as they are now.
    done : array, (star,)
        Where the catalogue has labels.

    Returns
    -------
    changed : array, (star,), bool
    gone : list of str
        Says for each variable which chunks are not there any more.
    """
    kept = store.open_group(catalog, "r", store.RUN)
    stars, gone = np.zeros_like(done), []
    for name, now in marks.items():
        before = load_marks(catalog, kept, name)
        if before is None:
            continue
        array = store.open_array(survey, name)
        changed = find_changed(array, before, now, done)
        is_gone = changed & (now[:, 0].reshape(changed.size, -1) <= 0).any(axis=1)
        if is_gone.any():
            gone.append(describe_changed(array, is_gone, done.size))
            rows = np.flatnonzero(np.repeat(is_gone, len(now) // is_gone.size))
            rows = rows[rows < len(before)]
            now[rows] = before[rows]
        stars |= np.repeat(changed & ~is_gone, get_chunk_rows(array))[: done.size]
    return stars, gone


def describe_changed(array: zarr.Array, changed: np.ndarray, n_stars: int) -> str:
    """Say how many chunks of a variable changed, and which is the first; empty if none did."""
    if not changed.any():
        return ""
    rows, first = get_chunk_rows(array), int(np.argmax(changed))
    start, stop = first * rows, min((first + 1) * rows, n_stars)
    return (
        f"{changed.sum()} chunks of {array.basename!r} from which it has labels, first chunk "
        f"{first} (stars {start} to {stop})"
    )


def find_changed_input(survey: str, catalog: str, done: np.ndarray) -> str:
    """Say which chunks of a survey changed after a catalogue was made of them.

    Of each chunk only the size and the last bytes are read.

    Parameters
    ----------
    survey, catalog : str
        Paths or URLs.
    done : array, (star,)
        Where the catalogue has labels.

    Returns
    -------
    str
        Empty if none changed, or the catalogue kept nothing.

    Raises
    ------
    InputError
        If what it kept cannot be read.
    """
    group = store.open_group(catalog, "r")
    if store.RUN not in group:
        return ""
    kept = store.open_group(catalog, "r", store.RUN)
    theirs = store.open_group(survey, "r")
    for name in sorted(theirs.array_keys()):
        before = load_marks(catalog, kept, name)
        if before is None:
            continue
        now = read_marks(theirs, name, 0, done.size)
        array = store.open_array(theirs, name)
        changed = find_changed(array, before, now, done)
        if changed.any():
            return f"{describe_changed(array, changed, done.size)}, are not what they were"
    return ""
