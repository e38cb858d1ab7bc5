"""Puts what batches read in order: which stars stay, where, and the task that writes a chunk."""

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
from luxscale.ingest.describe import describe_spectra
from luxscale.ingest.layout import SOURCE, Layout, arrange_stars
from luxscale.ingest.plan import Piece, Session
from luxscale.runs.executors import Clock, name_worker
from luxscale.schema.variables import STAR

#: Stars per chunk of columns, which are small and read whole.
_COLUMN_CHUNK = 2**16

#: Arrays of the spectra.
_SPECTRA = ("flux", "flux_ivar")


def lay_out(session: Session) -> Layout:
    """Decide which of the stars that were read in a session stay; see `arrange_stars`."""
    parts = [ledger.read_part(session, batch.index) or {} for batch in session.batches]
    return arrange_stars(parts, ledger.read_files(session), _read_paths_before(session))


def _read_paths_before(session: Session) -> pd.Series:
    """Return the files of the stars that the survey had before, by star."""
    if not session.first:
        return pd.Series(dtype=object)
    group = store.open_group(session.plan.survey, "r")
    star = np.asarray(store.open_array(group, STAR)[: session.first])
    path = np.asarray(store.open_array(group, SOURCE)[: session.first])
    if star.dtype.kind == "T":
        star = star.astype(object)
    return pd.Series(path.astype(object), star)


def write_layout(session: Session, layout: Layout) -> None:
    """Make room in the survey, and write all but the spectra.

    Raises
    ------
    InputError
        If identifiers are text in some files and numbers in others.
    """
    group = store.open_group(session.plan.survey, "r+")
    total = session.first + layout.star.size
    grid = ledger.get_grid(session.plan)
    if session.first:
        for name in _SPECTRA:
            store.open_array(group, name).resize((total, grid.size))
    else:
        _create_spectra(group, session, total, grid)
    paths = np.array(ledger.read_files(session), object)
    columns = {STAR: layout.star, SOURCE: paths[layout.file], **layout.columns}
    for name, array in store.list_arrays(group):
        if getattr(array.metadata, "dimension_names", None) == (STAR,):
            columns.setdefault(name, None)  # of earlier sessions alone
    for name, values in columns.items():
        _write_column(group, name, values, session.first, total)
    own = store.open_group(session.plan.survey, "r+", session.group)
    own.create_array("source", data=layout.source, chunks=(session.plan.chunk, 2), overwrite=True)
    n_pieces = len(session.pieces(layout.star.size))
    own.create_array("packed", shape=(n_pieces,), chunks=(1,), dtype=np.uint8, overwrite=True)


def _create_spectra(group: zarr.Group, session: Session, total: int, grid: np.ndarray) -> None:
    """Make the arrays of the spectra, and of their wavelengths."""
    ingested = store.open_group(session.plan.survey, "r", ledger.GROUP)
    wavelength = group.create_array(
        "wavelength", data=grid, chunks=grid.shape, dimension_names=("wavelength",), overwrite=True
    )
    wavelength.attrs.update(dict(store.open_array(ingested, "wavelength").attrs))
    for name, attributes in describe_spectra(session.plan).items():
        spectra = group.create_array(
            name,
            shape=(total, grid.size),
            chunks=(session.plan.chunk, grid.size),
            dtype=np.float32,
            compressors=store.make_codecs(np.dtype(np.float32)),
            dimension_names=(STAR, "wavelength"),
            overwrite=True,
        )
        spectra.attrs.update(attributes)


def _write_column(
    group: zarr.Group, name: str, values: np.ndarray | None, first: int, total: int
) -> None:
    """Write a column behind what is there; what is missing, before or now, is NaN, -1 or ""."""
    array = None
    if first and name in group:
        array = store.open_array(group, name)
    # a column has the type that it had before
    dtype: Any = np.float64
    if array is not None:
        dtype = array.dtype
    elif values is not None:
        dtype = values.dtype
    is_text = dtype.kind in "TO"
    if is_text:
        dtype = np.dtypes.StringDType()
    missing = _get_missing(dtype)
    if values is None:
        values = np.full(total - first, missing, dtype)
    elif (values.dtype.kind == "O") != is_text:
        raise InputError(
            f"{name!r} is text in some files, earlier ones included, and a number in others; "
            "ingest the two kinds into different surveys"
        )
    if array is None:
        group.create_array(
            name,
            shape=(total,),
            chunks=(_COLUMN_CHUNK,),
            dtype=dtype,
            fill_value=missing,
            dimension_names=(STAR,),
            overwrite=True,
        )
        array = store.open_array(group, name)
        array[:first] = np.full(first, missing, dtype)
    else:
        array.resize((total,))
    array[first:total] = values.astype(dtype)


def _get_missing(dtype: Any) -> Any:
    """Return what stands for a missing value of a column."""
    if dtype.kind == "T":
        return ""
    return np.nan if dtype.kind == "f" else -1


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
    new = slice(piece.start - session.first, piece.stop - session.first)
    source = np.asarray(store.open_array(own, "source")[new])
    spectra = {name: _gather_rows(session, own, source, name) for name in _SPECTRA}
    clock.mark("read")
    with store.explain_writing(session.plan.survey):
        group = store.open_group(session.plan.survey, "r+")
        for name, values in spectra.items():
            store.open_array(group, name)[piece.start : piece.stop] = values
        own = store.open_group(session.plan.survey, "r+", session.group)
        store.open_array(own, "packed")[piece.index] = 1
    clock.mark("write")
    return Packed(piece.index, piece.stop - piece.start, clock.seconds, name_worker())


def _gather_rows(session: Session, own: zarr.Group, source: np.ndarray, name: str) -> np.ndarray:
    """Return rows of what batches read: (star, wavelength)."""
    batch_of_star, row_of_star = source.T
    found = []
    for batch in np.unique(batch_of_star):  # stars stand in the order of the batches
        part = ledger.read_part(session, int(batch))
        assert part is not None
        rows = row_of_star[batch_of_star == batch]
        first = rows.min()
        array = store.open_array(own, f"{part['spectra']}/{name}")
        block = np.asarray(array[first : rows.max() + 1])
        found.append(block[rows - first])
    return np.concatenate(found)


def list_pending(session: Session, n_new: int) -> list[Piece]:
    """Return the chunks that are not written."""
    own = store.open_group(session.plan.survey, "r", session.group)
    packed = np.asarray(store.open_array(own, "packed")[:])
    return [piece for piece in session.pieces(n_new) if not packed[piece.index]]


def count_reasons(refused: Iterable[tuple[Any, str, str]]) -> dict[str, int]:
    """Count what was refused by the first words of the reason, the most frequent first."""
    first_words = [reason.partition(":")[0] for _, _, reason in refused]
    return dict(collections.Counter(first_words).most_common())


def check_files(session: Session, layout: Layout) -> None:
    """Check that every file gave stars or was refused.

    Raises
    ------
    RuntimeError
        It is a fault of luxscale if one did not.
    """
    gave_stars = set(layout.file.tolist())
    refused = {file for file, _, _ in layout.refused}
    lost = set(range(session.n_files)) - gave_stars - refused
    if lost:
        raise RuntimeError(
            f"{len(lost)} files neither gave stars nor were refused, first {min(lost)}"
        )
