"""What files add to a survey: which stars stay, in which order, and under which name."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

#: Column of the identifiers that catalogues know stars by, where these are not ``star``.
KEY = "catalog_id"

#: Column that names the file of each star.
SOURCE = "source_file"

#: Stands for a whole file in a list of stars that were refused.
WHOLE_FILE = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What a session adds to a survey, in the order of its files.

    Parameters
    ----------
    star : array, (star,)
        Identifiers.
    file : array, (star,)
        Number of each star's file.
    source : array, (star, 2)
        Batch that read a star, and its row there.
    columns : dict of str to array, (star,)
    refused : list of (file, star, reason)
    masked : dict of str to int
        Pixels that were masked, by reason.
    notes : dict of str to int
        Spectra that were read otherwise than they stand in their files, by how.
    n_read : int
        Spectra that were read, those refused among them.
    resampled : int
    """

    star: np.ndarray
    file: np.ndarray
    source: np.ndarray
    columns: dict[str, np.ndarray]
    refused: list[tuple[int, str, str]]
    masked: dict[str, int]
    notes: dict[str, int]
    n_read: int
    resampled: int


def arrange_stars(
    parts: Sequence[Mapping[str, Any]], paths: Sequence[str], path_before: pd.Series
) -> Layout:
    """Decide which of the stars that were read stay.

    A file that failed while it was read gives none. Of a star that was read twice the spectrum with
    the highest signal-to-noise ratio stays, the first of equals; one that the survey has already
    stays as it is.

    Parameters
    ----------
    parts : sequence of dict
        What batches of files gave, as `luxscale.ingest.gather.Gathered.describe` has it.
    paths : sequence of str
        Of all files, by number.
    path_before : Series
        Files of the stars that the survey had before, by star.
    """
    masked: collections.Counter[str] = collections.Counter()
    notes: collections.Counter[str] = collections.Counter()
    refused = []
    frames = []
    for batch, part in enumerate(parts):
        masked.update(part["masked"])
        notes.update(part.get("notes", {}))  # an ingest that an older version began has none
        refused += [(int(file), str(star), str(why)) for file, star, why in part["refused"]]
        frames.append(_make_frame(part["facts"], batch))
    table = pd.concat(frames, ignore_index=True)
    broken = [file for file, star, _ in refused if star == WHOLE_FILE]
    n_read = len(table) + len(refused) - len(broken)
    table = table[~table["file"].isin(broken)]
    table = _name_apart(table, paths, path_before)
    table = _drop_duplicates(table, paths, path_before, refused)
    columns = {str(name): _make_column(table[name].tolist()) for name in table}
    source = np.stack([columns.pop("batch"), columns.pop("row")], axis=1)
    return Layout(
        star=columns.pop("star"),
        file=columns.pop("file").astype(int),
        source=source.astype(int),
        columns=columns,
        refused=sorted(refused),
        masked=dict(masked),
        notes=dict(notes),
        n_read=n_read,
        resampled=sum(part["resampled"] for part in parts),
    )


def _make_frame(facts: dict[str, list[Any]], batch: int) -> pd.DataFrame:
    """Return the facts of the stars of a batch, and where they are to be found: (star, fact)."""
    table = pd.DataFrame({"star": [], "file": [], "snr": []} | facts, dtype=object)
    return table.assign(batch=batch, row=np.arange(len(table))).astype(object)


def _make_column(values: list[Any]) -> np.ndarray:
    """Return a column: (star,), float64, int64 or object; what is missing is NaN, -1 or ""."""
    known = [value for value in values if not pd.isna(value)]
    missing: Any = np.nan
    dtype: Any = np.float64
    if known and all(isinstance(value, str) for value in known):
        missing, dtype = "", object
    elif known and all(isinstance(value, int | np.integer) for value in known):  # bool is one
        missing, dtype = -1, np.int64
    elif not all(isinstance(value, int | float | np.integer) for value in known):
        dtype = object
    return np.array([missing if pd.isna(value) else value for value in values], dtype)


def _name_apart(table: pd.DataFrame, paths: Sequence[str], path_before: pd.Series) -> pd.DataFrame:
    """Return the stars with names of their own, where a reader made the same for several files.

    A reader sees one file: it calls a star FILE:ROW, or a visit ID-NUMBER. The same name from
    another file is another spectrum, and gets the path before it.
    """
    is_made = np.zeros(len(table), bool)
    keys = table[KEY] if KEY in table else table["star"]
    stars = zip(table["star"], table["file"], keys, strict=True)
    for row, (star, file, key) in enumerate(stars):
        base = paths[file].rpartition("/")[2]
        is_visit = key is not None and str(star).startswith(f"{key}-")
        is_made[row] = is_visit or str(star).startswith(f"{base}:")
    made = table[is_made]
    n_files = made.groupby("star")["file"].nunique()
    shared = set(n_files.index[n_files > 1])
    names = table["star"].tolist()
    rows = np.flatnonzero(is_made).tolist()
    for i, star, file in zip(rows, made["star"], made["file"], strict=True):
        path = paths[file]
        before = path_before.get(star)
        name = str(star).removeprefix(path.rpartition("/")[2] + ":")
        apart = f"{path}:{name}"
        # a file that is read again has the names that it got before
        is_taken = before is not None and before != path
        is_new_and_shared = before is None and star in shared
        if apart in path_before.index or is_taken or is_new_and_shared:
            names[i] = apart
    return table.assign(star=np.array(names, object))


def _drop_duplicates(
    table: pd.DataFrame,
    paths: Sequence[str],
    path_before: pd.Series,
    refused: list[tuple[int, str, str]],
) -> pd.DataFrame:
    """Return the stars that are the ones to keep of their name, and put down the others."""
    is_old = table["star"].isin(path_before.index)
    old = table[is_old]
    for star, file in zip(old["star"], old["file"], strict=True):
        reason = f"duplicate: the survey has the star from {path_before[star]}"
        refused.append((int(file), str(star), reason))
    table = table[~is_old]
    snr = table["snr"].astype(float)
    by_snr = snr.sort_values(ascending=False, kind="stable", na_position="last")
    best = table.loc[by_snr.index].drop_duplicates("star")
    is_best = table.index.isin(best.index)
    worse = table[~is_best]
    best_file = worse["star"].map(best.set_index("star")["file"])
    for star, file, other in zip(worse["star"], worse["file"], best_file, strict=True):
        reason = f"duplicate: {paths[other]} has the star with S/N as high or higher"
        refused.append((int(file), str(star), reason))
    return table[is_best]
