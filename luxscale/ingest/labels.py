"""Labels of a catalogue, joined to the stars of a survey."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr

from luxscale import store
from luxscale.ingest.ledger import GROUP, KEY
from luxscale.labels import LabelTable, join
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.variables import STAR, SURVEY

#: Chunks of labels that are joined at once.
_SLAB = 64

_NAMES = ("label_value", "label_err")


def write_labels(survey: str, table: LabelTable, chunk: int) -> int:
    """Write the labels of all stars of a survey, in place of those that it had; return how many stars have any.

    Parameters
    ----------
    survey : str
        Path or URL.
    table : LabelTable
    chunk : int
        Stars a chunk.
    """
    group = store.open_group(survey, "r+")
    keys = store.open_array(group, KEY if KEY in group else STAR)
    arrays = [_new_array(group, name, (keys.shape[0], len(table.label)), chunk) for name in _NAMES]
    for name, words in (("label", table.label), ("label_units", table.units)):
        _write_words(group, name, words)
    group.attrs["coordinates"] = "label_units"
    store.open_group(survey, "r+", GROUP).attrs["labels"] = table.source | {"counts": table.counts}
    labelled, slab = 0, _SLAB * chunk
    for rows in iterate_blocks(keys.shape[0], slab):
        names = np.asarray(keys[rows])
        value, err, _ = join(table, names.astype(object) if names.dtype.kind == "T" else names)
        for array, values in zip(arrays, (value, err), strict=True):
            array[rows] = values
        labelled += int(np.isfinite(value).any(axis=1).sum())
    return labelled


def _new_array(group: zarr.Group, name: str, shape: tuple[int, int], chunk: int) -> zarr.Array[Any]:
    made = group.create_array(
        name,
        shape=shape,
        chunks=(chunk, shape[1]),
        dtype=np.float64,
        fill_value=np.nan,
        compressors=store.make_codecs(np.dtype(np.float64)),
        dimension_names=(STAR, "label"),
        overwrite=True,
    )
    made.attrs["long_name"] = next(v.doc for v in SURVEY if v.name == name)
    return store.open_array(group, name)


def _write_words(group: zarr.Group, name: str, words: Any) -> None:
    text = np.dtypes.StringDType()
    made = group.create_array(
        name,
        shape=(len(words),),
        chunks=(len(words),),
        dtype=text,
        dimension_names=("label",),
        overwrite=True,
    )
    made[:] = np.array(words, text)


def forget_new(survey: str, first: int, total: int) -> None:
    """Make labels as long as a survey that has grown; stars from ``first`` have none."""
    group = store.open_group(survey, "r+")
    for name in _NAMES:
        if name in group:
            array = store.open_array(group, name)
            array.resize((total, *array.shape[1:]))
            array[first:total] = np.nan
