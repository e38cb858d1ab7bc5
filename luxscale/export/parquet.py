"""A catalogue as a directory of Parquet files, written block by block."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from luxscale.errors import InputError
from luxscale.export.columns import Column, Table
from luxscale.progress import Progress

#: Stars a file: files of some hundred megabytes suit every reader.
PART_STARS = 1_000_000

#: Numbers hardly repeat, so that dictionaries of them only cost.
OPTIONS: dict[str, Any] = {"compression": "zstd", "use_dictionary": False}


def write(table: Table, path: Path, shown: Progress) -> None:
    """Write a table as files ``part-00000.parquet`` and on, of about a million stars each, a row group a block.

    Raises
    ------
    InputError
        If pyarrow is missing.
    """
    pa, pq = pyarrow_modules()
    schema = schema_of(pa, table)
    per_part = max(1, round(PART_STARS / table.block))
    path.mkdir()
    shown.stage("writing rows")
    done = 0
    batches = (batch_of(pa, table, values, {}, schema) for values in table.blocks())
    for part in range(max(1, -(-table.n_stars // (per_part * table.block)))):
        with pq.ParquetWriter(path / f"part-{part:05d}.parquet", schema, **OPTIONS) as writer:
            for _, batch in zip(range(per_part), batches, strict=False):
                writer.write_batch(batch, row_group_size=table.block)
                done += batch.num_rows
                shown.update(done)


def pyarrow_modules() -> tuple[ModuleType, ModuleType]:
    """Import pyarrow, or say how to get it."""
    try:
        import pyarrow
        import pyarrow.dataset
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "Parquet needs the package pyarrow: pip install 'luxscale[export]'"
        ) from error
    return pyarrow, pyarrow.parquet


def schema_of(pa: ModuleType, table: Table) -> Any:
    """Return the Arrow schema: units and descriptions with the columns, provenance with the file."""
    fields = [pa.field(c.name, _type(pa, c), metadata=_about(c, table)) for c in table.columns]
    return pa.schema(
        fields, {f"luxscale.{name}": value for name, value in table.provenance.items()}
    )


def _about(column: Column, table: Table) -> dict[str, str]:
    about = {"description": column.doc, "unit": column.unit, **dict(column.attrs)}
    if len(column.shape) > 1:
        about["shape"] = json.dumps(column.shape)
    if column.source == "flags":
        about["flags"] = json.dumps(
            [{"bit": bit, "name": name, "meaning": doc} for bit, name, doc in table.flags]
        )
    return about


def _type(pa: ModuleType, column: Column) -> Any:
    value = pa.string() if column.is_text else pa.from_numpy_dtype(column.dtype)
    return pa.list_(value, column.size) if column.shape else value


def batch_of(
    pa: ModuleType,
    table: Table,
    values: Mapping[str, np.ndarray],
    first: Mapping[str, np.ndarray],
    schema: Any,
) -> Any:
    """Return a block as an Arrow record batch, after columns ``first`` that the table has not."""
    arrays = [pa.array(v) for v in first.values()]
    return pa.record_batch(
        [*arrays, *(_array(pa, c, c.take(values)) for c in table.columns)], schema=schema
    )


def _array(pa: ModuleType, column: Column, values: Any) -> Any:
    if not column.shape:
        return pa.array(values, _type(pa, column))
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(values)), column.size)
