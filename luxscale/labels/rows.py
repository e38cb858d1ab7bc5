"""Which rows of a catalogue count: identifiers, flags, S/N, and one row a star."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from luxscale.errors import InputError
from luxscale.labels.base import ANY, Catalog, LabelSettings, close_names


def row_flags(catalog: Catalog, settings: LabelSettings) -> Mapping[str, tuple[str, ...]]:
    """Return the flags that disqualify a row, by column: those asked for, or the catalogue's usual."""
    return catalog.row_bad if settings.row_flags is None else settings.row_flags


def flag_mask(bits: Iterable[str], known: Mapping[str, int], where: str) -> int:
    """Return the mask of bits given by name or number; all bits for ``"any"``.

    Raises
    ------
    InputError
        If a name is none of those known.
    """
    mask = 0
    for bit in bits:
        if bit == ANY:
            return -1
        number = int(bit) if bit.isdecimal() else known.get(bit)
        if number is None or not 0 <= number < 64:
            raise InputError(
                f"{where}: no bit {bit!r}; give a number, {ANY!r} or a name; "
                f"{close_names(bit, known)}"
            )
        mask |= 1 << number
    return mask


def flagged(flags: np.ma.MaskedArray, mask: int, where: str) -> np.ndarray:
    """Return where any bit of a mask is set: bool, in the shape of the flags.

    Raises
    ------
    InputError
        If the flags are no numbers.
    """
    if flags.dtype.kind not in "biuf":
        raise InputError(f"{where}: flags of type {flags.dtype} are no bits; leave them out")
    known: np.ndarray = np.ma.filled(flags, 0)
    if known.dtype.kind == "f":
        known = np.asarray(np.nan_to_num(known, posinf=0, neginf=0))
    bits = known.astype(np.uint64 if known.dtype.kind == "u" else np.int64).view(np.uint64)
    return (bits & np.uint64(mask % 2**64)) != 0


def identifiers(column: np.ma.MaskedArray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return identifiers as int64 or as clean text, and which are none: two arrays, (row,).

    Raises
    ------
    InputError
        If they are floats, which do not hold 18 digits.
    """
    missing = np.ma.getmaskarray(column).copy()
    data = np.ma.getdata(column)
    if data.dtype.kind in "iu" and data.ndim == 1:
        key = data.astype(np.int64)
        return key, missing | (key < 0)
    if data.dtype.kind not in "SUO" or data.ndim != 1:
        raise InputError(
            f"{where}: identifiers of type {data.dtype} {data.shape[1:] or ''}; they must be "
            "text or integers"
        )
    text = clean_text(data)
    return text, missing | (text == "")


def clean_text(data: np.ndarray) -> np.ndarray:
    """Return text as str objects without blanks or NULs at the ends: (row,)."""
    if data.dtype.kind == "S":
        data = np.char.decode(data, "utf-8", "replace")
    return np.array([str(t).strip(" \t\r\n\0") for t in data.tolist()], object)


def choose(
    data: Mapping[str, np.ma.MaskedArray], catalog: Catalog, settings: LabelSettings, where: str
) -> Chosen:
    """Return the rows that count, in their order, their identifiers and S/N, and why others do not.

    Of rows with the same identifier that no flag disqualifies, the one of highest S/N counts, of
    equal ones the first.

    Raises
    ------
    InputError
        If no row is left, or identifiers repeat without a S/N to choose by.
    """
    key, without = identifiers(data[settings.key or catalog.key], where)
    counts, keep = {"rows": key.size, "rows without identifier": int(without.sum())}, ~without
    for column, bits in row_flags(catalog, settings).items():
        mask = flag_mask(bits, catalog.row_bits.get(column, {}), f"{where}: flags of {column}")
        keep = _drop(
            keep,
            flagged(data[column], mask, f"{where}: {column}"),
            f"rows flagged by {column}",
            counts,
        )
    snr_column = settings.snr or catalog.snr
    snr = None if snr_column is None else _snr(data[snr_column], settings, f"{where}: {snr_column}")
    if snr is not None and settings.min_snr > 0:
        keep = _drop(
            keep, ~(snr >= settings.min_snr), f"rows of S/N below {settings.min_snr:g}", counts
        )
    rows = np.flatnonzero(keep)
    order = (
        rows
        if snr is None
        else rows[np.argsort(-np.nan_to_num(snr[rows], nan=-np.inf), kind="stable")]
    )
    again = pd.Series(key[order], dtype=key.dtype).duplicated().to_numpy()
    if snr is None and again.any():
        raise InputError(
            f"{where}: identifier {key[order][again][0]!r} is in several rows; say which by "
            "snr='COLUMN' or "
            "--labels-setting snr=COLUMN"
        )
    rows = np.sort(order[~again])
    counts |= {"duplicates": int(again.sum()), "rows kept": rows.size}
    if not rows.size:
        raise InputError(
            f"{where}: no row is left: {', '.join(f'{n:,} {c}' for c, n in counts.items() if n)}"
        )
    return rows, key[rows], None if snr is None else snr[rows], counts


#: Rows, their identifiers, their S/N, and counts.
Chosen = tuple[np.ndarray, np.ndarray, np.ndarray | None, dict[str, int]]


def _drop(keep: np.ndarray, bad: np.ndarray, reason: str, counts: dict[str, int]) -> np.ndarray:
    if bad.ndim > 1:
        bad = np.asarray(bad.reshape(len(bad), -1).any(axis=1))
    counts[reason] = int((keep & bad).sum())
    return keep & ~bad


def _snr(column: np.ma.MaskedArray, settings: LabelSettings, where: str) -> np.ndarray:
    if column.dtype.kind not in "iuf" or column.ndim > 1:
        raise InputError(
            f"{where}: S/N of type {column.dtype} {column.shape[1:] or ''}; it must be one "
            "number a row"
        )
    snr = np.ma.filled(column.astype(np.float64), np.nan)
    return np.where(is_sentinel(snr, settings.sentinels), np.nan, snr)


def is_sentinel(values: np.ndarray, sentinels: tuple[float, ...]) -> np.ndarray:
    """Return where values are exactly a number that stands for "missing", also as float32 rounds it."""
    return np.isin(values, [*sentinels, *np.asarray(sentinels, np.float32).astype(np.float64)])
