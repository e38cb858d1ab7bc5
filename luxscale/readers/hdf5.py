"""Arrays of an HDF5 file: its datasets, and the columns of those that are tables."""

from __future__ import annotations

import functools
import math
from typing import Any

import h5py
import numpy as np

from luxscale.readers.base import MOST_BYTES, BadFile
from luxscale.readers.field import Field, Fields, check_packing, check_size
from luxscale.readers.packing import note_fill, unpack


def list_hdf5(opened: h5py.File) -> Fields:
    """Return the datasets of a file and of its groups, and the columns of those that are tables.

    A column is called TABLE/COLUMN, and COLUMN where there is one table. Links to other files are
    not followed, nor are loops.
    """
    found: Fields = {}
    tables: dict[str, h5py.Dataset] = {}

    def add_dataset(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = functools.partial(_make_field, name, item)
            if item.dtype.names and len(item.shape) == 1:
                tables[name] = item

    opened.visititems(add_dataset)  # meets hard links alone, and each thing once
    for name, item in tables.items():
        del found[name]
        for column in item.dtype.names:
            read = functools.partial(_make_field, f"{name}/{column}", item, column)
            found[f"{name}/{column}"] = read
            if len(tables) == 1:
                found.setdefault(column, read)
    return found


def _make_field(name: str, item: h5py.Dataset, column: str = "") -> Field:
    """Return a dataset, or a column of one that is a table."""
    if item.is_virtual or item.external:
        raise BadFile(f"array {name!r} lies in another file, which is not opened")
    if item.shape is None:
        raise BadFile(f"array {name!r} is empty")
    dtype = item.dtype[column] if column else item.dtype
    shape = (*item.shape, *dtype.shape)
    kind = dtype.base.kind
    is_text = kind == "S" or (kind == "O" and h5py.check_string_dtype(dtype) is not None)
    if kind not in "iufb" and not is_text:
        raise BadFile(f"array {name!r} holds {dtype}, neither numbers nor text")
    row_bytes = item.dtype.itemsize
    check_packing(name, math.prod(item.shape) * row_bytes, item.id.get_storage_size())
    # reading one value unpacks the whole chunk that it is in
    chunk_bytes = math.prod(item.chunks or (1,)) * row_bytes
    if chunk_bytes > MOST_BYTES:
        raise BadFile(
            f"array {name!r} is in chunks of {chunk_bytes:,} bytes; write it in smaller ones"
        )
    source = item.fields(column) if column else item
    attributes = {} if column else note_fill(item.attrs, item.fillvalue)

    def read_rows(start: int, stop: int) -> np.ndarray:
        check_size(name, (stop - start, *shape[1:]), dtype.base.itemsize)
        values = np.asarray(source[start:stop] if shape else source[()])
        if kind == "O":
            return np.array(values.tolist(), "S")
        return unpack(values, attributes)

    return Field(shape, read_rows, _find_unit(attributes))


def _find_unit(attributes: dict[str, Any]) -> str:
    """Return the unit that attributes state, also as MATLAB and IDL do, in an array of one."""
    for name, stated in attributes.items():
        words = np.ravel(stated).tolist()
        if name.lower() in ("units", "unit") and len(words) == 1:
            (word,) = words
            if isinstance(word, bytes):
                return word.decode("utf-8", "replace")
            return word if isinstance(word, str) else ""
    return ""
