"""A catalogue as a directory of Parquet files, written block by block."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from luxscale.errors import InputError
from luxscale.export.columns import Column
from luxscale.export.layout import Table
from luxscale.progress import Progress

#: Stars per file: files of some hundred megabytes suit every reader.
PART_STARS = 1_000_000

#: Numbers hardly repeat, so that dictionaries of them only cost.
OPTIONS: dict[str, Any] = {"compression": "zstd", "use_dictionary": False}


def write_parquet(table: Table, path: Path, shown: Progress) -> None:
    """Write a table as files ``part-00000.parquet`` and so on, of about a million stars each.

    Each block of stars is a row group.

    Raises
    ------
    InputError
        If pyarrow is missing.
    """
    pa, pq = import_pyarrow()
    schema = make_schema(pa, table)
    path.mkdir()
    shown.stage("writing rows")
    blocks_per_part = max(1, round(PART_STARS / table.block))
    # a table without rows is one file, which holds the schema
    n_parts = max(1, -(-table.n_stars // (blocks_per_part * table.block)))
    batches = (make_batch(pa, table, values, {}, schema) for values in table.read_blocks())
    done = 0
    for part in range(n_parts):
        with pq.ParquetWriter(path / f"part-{part:05d}.parquet", schema, **OPTIONS) as writer:
            for batch in itertools.islice(batches, blocks_per_part):
                writer.write_batch(batch, row_group_size=table.block)
                done += batch.num_rows
                shown.update(done)


def import_pyarrow() -> tuple[ModuleType, ModuleType]:
    """Import pyarrow and its module of Parquet files.

    Raises
    ------
    InputError
        If it is missing; says how to install it.
    """
    try:
        import pyarrow
        import pyarrow.dataset
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "Parquet needs the package pyarrow: pip install 'luxscale[export]'"
        ) from error
    return pyarrow, pyarrow.parquet


def make_schema(pa: ModuleType, table: Table) -> Any:
    """Return the Arrow schema: columns with units and descriptions, the file with provenance."""
    fields = [
        pa.field(c.name, _get_type(pa, c), metadata=_describe_column(c, table))
        for c in table.columns
    ]
    provenance = {f"luxscale.{name}": value for name, value in table.provenance.items()}
    return pa.schema(fields, provenance)


def _describe_column(column: Column, table: Table) -> dict[str, str]:
    """Return the metadata of a column."""
    metadata = {"description": column.doc, "unit": column.unit, **dict(column.attrs)}
    if len(column.shape) > 1:
        metadata["shape"] = json.dumps(column.shape)
    if column.source == "flags":
        flags = [{"bit": bit, "name": name, "meaning": doc} for bit, name, doc in table.flags]
        metadata["flags"] = json.dumps(flags)
    return metadata


def _get_type(pa: ModuleType, column: Column) -> Any:
    """Return the Arrow type of a column: a list of fixed length where a star has several values."""
    if column.is_text:
        return pa.string()
    number = pa.from_numpy_dtype(column.dtype)
    if not column.shape:
        return number
    return pa.list_(number, column.size)


def make_batch(
    pa: ModuleType,
    table: Table,
    values: Mapping[str, np.ndarray],
    first: Mapping[str, np.ndarray],
    schema: Any,
) -> Any:
    """Return a block as an Arrow record batch.

    Parameters
    ----------
    pa : module
        pyarrow.
    table : Table
    values : mapping of str to array, (star, ...)
        A block of the table's variables.
    first : mapping of str to array, (star,)
        Columns to put before those of the table.
    schema : Schema
        Of all of them.
    """
    arrays = [pa.array(column) for column in first.values()]
    arrays += [_make_array(pa, c, c.get_values(values)) for c in table.columns]
    return pa.record_batch(arrays, schema=schema)


def _make_array(pa: ModuleType, column: Column, values: Any) -> Any:
    """Return the values of a column as Arrow holds them."""
    if not column.shape:
        return pa.array(values, _get_type(pa, column))
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(values)), column.size)
