"""Puts what batches read in order: which stars stay, where they stand, and the task that writes a chunk of the survey."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import zarr

from luxscale import store
from luxscale.errors import InputError
from luxscale.ingest import ledger
from luxscale.ingest.plan import Piece, Session
from luxscale.runs.executors import Clock, name_worker
from luxscale.schema.variables import STAR

#: Stars a chunk of columns, which are small and read whole.
_COLUMN_CHUNK = 2**16

#: Column that names the file of each star.
SOURCE = "source_file"


@dataclasses.dataclass(frozen=True)
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
    n_read: int
    resampled: int


def lay_out(session: Session) -> Layout:
    """Decide which of the stars that were read stay.

    A file that failed while it was read gives none. Of a star that was read twice the spectrum with
    the highest signal-to-noise ratio stays, the first of equals; one that the survey has already
    stays as it is.
    """
    found = [ledger.part(session, b.index) or {} for b in session.batches]
    frames = [_frame(p["facts"], b.index) for p, b in zip(found, session.batches, strict=True)]
    table = pd.concat(frames, ignore_index=True)
    refused = [(int(f), str(s), str(r)) for p in found for f, s, r in p["refused"]]
    masked: collections.Counter[str] = collections.Counter()
    for part in found:
        masked.update(part["masked"])
    n_read = len(table) + sum(s != ledger.WHOLE_FILE for _, s, _ in refused)
    broken = [f for f, s, _ in refused if s == ledger.WHOLE_FILE]
    table = table[~table["file"].isin(broken)]
    table = _first_of_each(session, table, refused)
    columns = {str(name): _array(table[name].tolist()) for name in table}
    source = np.stack([columns.pop("batch"), columns.pop("row")], axis=1).astype(int)
    star, file = columns.pop(STAR), columns.pop("file").astype(int)
    resampled = sum(p["resampled"] for p in found)
    return Layout(star, file, source, columns, sorted(refused), dict(masked), n_read, resampled)


def _frame(facts: dict[str, list[Any]], batch: int) -> pd.DataFrame:
    """Return the facts of the stars of a batch, and where they are to be found: (star, fact)."""
    table = pd.DataFrame({"star": [], "file": [], "snr": []} | facts, dtype=object)
    return table.assign(batch=batch, row=np.arange(len(table))).astype(object)


def _array(values: list[Any]) -> np.ndarray:
    """Return a column: (star,), float64, int64 or object; what is missing is NaN, -1 or ""."""
    known = [v for v in values if not pd.isna(v)]
    if known and all(isinstance(v, str) for v in known):
        return np.array(["" if pd.isna(v) else v for v in values], object)
    if known and all(isinstance(v, int | np.integer) for v in known):  # bool is one
        return np.array([-1 if pd.isna(v) else int(v) for v in values], np.int64)
    numbers = all(isinstance(v, int | float | np.integer) for v in known)
    return np.array(
        [np.nan if pd.isna(v) else v for v in values], np.float64 if numbers else object
    )


def _first_of_each(
    session: Session, table: pd.DataFrame, refused: list[tuple[int, str, str]]
) -> pd.DataFrame:
    """Return the stars that are the ones to keep of their name, and put down the others."""
    there, paths = _there(session), ledger.session_files(session)
    old = table["star"].isin(there.index)
    for name, file in table.loc[old, ["star", "file"]].itertuples(index=False):
        refused.append(
            (int(file), str(name), f"duplicate: the survey has the star from {there[name]}")
        )
    table = table[~old]
    order = (
        table["snr"]
        .astype(float)
        .sort_values(ascending=False, kind="stable", na_position="last")
        .index
    )
    best = table.loc[order].drop_duplicates("star")
    worse = table[~table.index.isin(best.index)]
    for name, file, other in zip(
        worse["star"], worse["file"], worse["star"].map(best.set_index("star")["file"]), strict=True
    ):
        refused.append(
            (
                int(file),
                str(name),
                f"duplicate: {paths[other]} has the star with S/N as high or higher",
            )
        )
    return table[table.index.isin(best.index)]


def _there(session: Session) -> pd.Series:
    """Return the files of the stars that the survey had before, by star."""
    if not session.first:
        return pd.Series(dtype=object)
    group = store.open_group(session.plan.survey, "r")
    star, path = (np.asarray(store.open_array(group, n)[: session.first]) for n in (STAR, SOURCE))
    return pd.Series(path.astype(object), star.astype(object) if star.dtype.kind == "T" else star)


def write_layout(session: Session, layout: Layout) -> None:
    """Make room in the survey, and write all but the spectra.

    Raises
    ------
    InputError
        If identifiers are text in some files and numbers in others.
    """
    group = store.open_group(session.plan.survey, "r+")
    total, grid = session.first + layout.star.size, ledger.grid_of(session.plan)
    _spectra_arrays(group, session, total, grid)
    paths = np.array(ledger.session_files(session), object)
    columns = {STAR: layout.star, SOURCE: paths[layout.file], **layout.columns}
    old = [n for n, a in group.arrays() if getattr(a.metadata, "dimension_names", None) == (STAR,)]
    for name in dict.fromkeys([*columns, *old]):
        _write_column(group, name, columns.get(name), session.first, total)
    own = store.open_group(session.plan.survey, "r+", session.group)
    own.create_array("source", data=layout.source, chunks=(session.plan.chunk, 2), overwrite=True)
    pieces = len(session.pieces(layout.star.size))
    own.create_array("packed", shape=(pieces,), chunks=(1,), dtype=np.uint8, overwrite=True)


def _spectra_arrays(group: zarr.Group, session: Session, total: int, grid: np.ndarray) -> None:
    """Make the arrays of the spectra, or make them longer."""
    if session.first:
        for name in ("flux", "flux_ivar"):
            store.open_array(group, name).resize((total, grid.size))
        return
    held = store.open_array(store.open_group(session.plan.survey, "r", ledger.GROUP), "wavelength")
    made = group.create_array(
        "wavelength", data=grid, chunks=grid.shape, dimension_names=("wavelength",), overwrite=True
    )
    made.attrs.update(dict(held.attrs))
    for name, doc in (
        ("flux", _FLUX[session.plan.recipe.continuum]),
        ("flux_ivar", "inverse variance of the flux"),
    ):
        spectra = group.create_array(
            name,
            shape=(total, grid.size),
            chunks=(session.plan.chunk, grid.size),
            dtype=np.float32,
            compressors=store.make_codecs(np.dtype(np.float32)),
            dimension_names=(STAR, "wavelength"),
            overwrite=True,
        )
        spectra.attrs["long_name"] = doc


_FLUX = {
    "none": "flux as in the file",
    "file": "flux over the continuum of the file",
    "scale": "flux over the star's mean flux",
    "sines": "flux over a continuum of sines and cosines",
    "chebyshev": "flux over a continuum of Chebyshev polynomials",
}


def _write_column(
    group: zarr.Group, name: str, values: np.ndarray | None, first: int, total: int
) -> None:
    """Write a column behind what is there; what is missing, before or now, is NaN, -1 or ""."""
    new = name not in group or not first
    held = None if new else store.open_array(group, name)
    if held is not None:
        text = held.dtype.kind == "T"
        dtype: Any = held.dtype
    else:
        text = values is not None and values.dtype.kind == "O"
        dtype = None if values is None else values.dtype
    if text:
        dtype = np.dtypes.StringDType()
    missing: Any = "" if text else np.nan if np.dtype(dtype).kind == "f" else -1
    if values is None:
        values = np.full(total - first, missing, dtype)
    if (values.dtype.kind == "O") != text:
        raise InputError(
            f"{name!r} is text in some files and a number in others, among them those of this "
            "call; ingest them "
            "into surveys of their own"
        )
    if held is None:
        held = group.create_array(
            name,
            shape=(total,),
            chunks=(_COLUMN_CHUNK,),
            dtype=dtype,
            fill_value=missing,
            dimension_names=(STAR,),
            overwrite=True,
        )
        held = store.open_array(group, name)
        held[:first] = np.full(first, missing, dtype)
    else:
        held.resize((total,))
    held[first:total] = values.astype(dtype)


@dataclasses.dataclass(frozen=True)
class Packed:
    """What a task reports of a chunk.

    Parameters
    ----------
    piece, stars : int
    seconds : dict of str to float
    worker : str
    """

    piece: int
    stars: int
    seconds: dict[str, float]
    worker: str


def run_piece(session: Session, piece: Piece) -> Packed:
    """Write a chunk of the survey from what batches read.

    Raises
    ------
    CannotWrite
    """
    clock = Clock()
    own = store.open_group(session.plan.survey, "r", session.group)
    source = np.asarray(
        store.open_array(own, "source")[piece.start - session.first : piece.stop - session.first]
    )
    spectra = [_gather(session, own, source, name) for name in ("flux", "flux_ivar")]
    clock.mark("read")
    with store.explain_writing(session.plan.survey):
        group = store.open_group(session.plan.survey, "r+")
        for name, values in zip(("flux", "flux_ivar"), spectra, strict=True):
            store.open_array(group, name)[piece.start : piece.stop] = values
        store.open_array(store.open_group(session.plan.survey, "r+", session.group), "packed")[
            piece.index
        ] = 1
    clock.mark("write")
    return Packed(piece.index, piece.stop - piece.start, clock.seconds, name_worker())


def _gather(session: Session, own: zarr.Group, source: np.ndarray, name: str) -> np.ndarray:
    """Return rows of what batches read: (star, wavelength)."""
    rows = []
    for batch in np.unique(source[:, 0]):  # stars stand in the order of the batches
        part = ledger.part(session, int(batch))
        assert part is not None
        wanted = source[source[:, 0] == batch, 1]
        block = np.asarray(
            store.open_array(own, f"{part['spectra']}/{name}")[wanted.min() : wanted.max() + 1]
        )
        rows.append(block[wanted - wanted.min()])
    return np.concatenate(rows)


def pending(session: Session, n_new: int) -> list[Piece]:
    """Return the chunks that are not written."""
    packed = np.asarray(
        store.open_array(store.open_group(session.plan.survey, "r", session.group), "packed")[:]
    )
    return [p for p in session.pieces(n_new) if not packed[p.index]]


def count_reasons(refused: Iterable[tuple[Any, str, str]]) -> dict[str, int]:
    """Count what was refused by the first words of the reason, the most frequent first."""
    return dict(collections.Counter(r.partition(":")[0] for _, _, r in refused).most_common())


def check_files(session: Session, layout: Layout) -> None:
    """Check that every file gave stars or was refused.

    Raises
    ------
    RuntimeError
        It is a fault of luxscale if one did not.
    """
    lost = (
        set(range(session.n_files)) - set(layout.file.tolist()) - {f for f, _, _ in layout.refused}
    )
    if lost:
        raise RuntimeError(
            f"{len(lost)} files neither gave stars nor were refused, first {min(lost)}"
        )
