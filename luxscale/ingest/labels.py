"""Labels of a catalogue, joined to the stars of a survey."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import zarr

from luxscale import store
from luxscale.ingest.layout import KEY
from luxscale.ingest.ledger import GROUP
from luxscale.labels import LabelTable, join
from luxscale.labels.join import find_rows
from luxscale.progress import Progress
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.placeholders import EVERY_SENTINEL, find_placeholders, is_sentinel
from luxscale.schema.variables import STAR, SURVEY

#: Chunks of labels that are joined at once.
_SLAB = 64

_NAMES = ("label_value", "label_err")


def write_labels(survey: str, table: LabelTable, chunk: int) -> int:
    """Write the labels of all stars of a survey, in place of those that it had.

    A number that would be a measurement among all rows of the catalogue, and stands for a missing
    value among those of the survey's stars, is missing, which is said on standard error.

    Parameters
    ----------
    survey : str
        Path or URL.
    table : LabelTable
    chunk : int
        Stars per chunk.

    Returns
    -------
    int
        Stars that have any label.
    """
    group = store.open_group(survey, "r+")
    keys = store.open_array(group, KEY if KEY in group else STAR)
    n_stars = keys.shape[0]
    table = _leave_out_placeholders(table, keys, _SLAB * chunk)
    shape = (n_stars, len(table.label))
    value_array, err_array = (_create_array(group, name, shape, chunk) for name in _NAMES)
    _write_words(group, "label", table.label)
    _write_words(group, "label_units", table.units)
    group.attrs["coordinates"] = "label_units"
    store.open_group(survey, "r+", GROUP).attrs["labels"] = table.source | {"counts": table.counts}
    n_labelled = 0
    for rows in iterate_blocks(n_stars, _SLAB * chunk):
        value, err, _ = join(table, _read_names(keys, rows))
        value_array[rows] = value
        err_array[rows] = err
        has_label = np.isfinite(value).any(axis=1)
        n_labelled += int(has_label.sum())
    return n_labelled


def _read_names(keys: zarr.Array[Any], rows: slice) -> np.ndarray:
    names = np.asarray(keys[rows])
    return names.astype(object) if names.dtype.kind == "T" else names


def _leave_out_placeholders(table: LabelTable, keys: zarr.Array[Any], block: int) -> LabelTable:
    """Return labels without those that stand for missing ones among the stars of a survey.

    Others of the catalogue may be as far off, and the survey would be refused for them.
    """
    suspect = is_sentinel(table.value, EVERY_SENTINEL)
    believes_all = table.source.get("settings", {}).get("sentinels") == ()
    if believes_all or not suspect.any():
        return table
    is_joined = np.zeros(len(table.key), bool)
    for stars in iterate_blocks(keys.shape[0], block):
        rows = find_rows(table, _read_names(keys, stars))
        is_joined[rows[rows >= 0]] = True
    known = np.isfinite(table.value) & is_joined[:, None]
    found = find_placeholders(table.value, known, each=True)
    counts = {}
    for label, n_found in zip(table.label, found.sum(0).tolist(), strict=True):
        if n_found:
            counts[f"{label}: sentinel among the survey's stars"] = n_found
            Progress("labels").say(
                f"{label}: left out {n_found:,} that stand for missing values by what the other "
                "stars of the survey have"
            )
    return dataclasses.replace(
        table,
        value=np.where(found, np.nan, table.value),
        err=np.where(found, np.nan, table.err),
        counts=table.counts | counts,
    )


def describe_unjoined(survey: str, table: LabelTable) -> str:
    """Say that no star of a survey is in a catalogue, with an identifier of each.

    Parameters
    ----------
    survey : str
        Path or URL.
    table : LabelTable
    """
    group = store.open_group(survey, "r")
    keys = store.open_array(group, KEY if KEY in group else STAR)
    ours, theirs = (np.asarray(names[:1]).tolist()[0] for names in (keys, table.key))
    remedy = (
        "name the catalogue's column of the survey's identifiers (--labels-setting key=COLUMN) and "
        "run the same command again"
    )
    if re.search(r":\d+$", str(ours)):
        remedy = (
            "stars are called FILE:ROW where nothing names them: name the array of identifiers "
            "(--option star=NAME) in a new survey"
        )
    return (
        f"WARNING: no star has a label: the survey's are like {ours!r}, the catalogue's like "
        f"{theirs!r}; {remedy}"
    )


def _create_array(
    group: zarr.Group, name: str, shape: tuple[int, int], chunk: int
) -> zarr.Array[Any]:
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
