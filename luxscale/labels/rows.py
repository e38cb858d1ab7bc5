"""Which rows of a catalogue count: identifiers, flags, S/N, and one row per star."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from luxscale.errors import InputError
from luxscale.labels.base import ANY, Catalog, LabelSettings
from luxscale.schema.identifiers import convert_floats
from luxscale.schema.names import suggest_names
from luxscale.schema.placeholders import is_sentinel

#: Words, in lower case, that tables of text have where there is no number.
_NONE = ("", "-", "--", "---", "na", "n/a", "nan", "<na>", "null", "none", "nat")


def get_row_flags(catalog: Catalog, settings: LabelSettings) -> Mapping[str, tuple[str, ...]]:
    """Return the flags that disqualify a row, by column: those asked for, or the usual ones."""
    if settings.row_flags is None:
        return catalog.row_bad
    return settings.row_flags


def make_flag_mask(bits: Iterable[str], known: Mapping[str, int], where: str) -> int:
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
                f"{suggest_names(bit, known)}"
            )
        mask |= 1 << number
    return mask


def find_flagged(flags: np.ma.MaskedArray, mask: int, where: str) -> np.ndarray:
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
    if known.dtype.kind == "f":
        known = known.astype(np.int64)
    # signed numbers keep their bits, the sign as the last of them, and -1 as a mask is all of them
    native = known.astype(known.dtype.newbyteorder("="))
    bits = native.view(f"u{native.dtype.itemsize}").astype(np.uint64)
    return (bits & np.uint64(mask % 2**64)) != 0


def read_identifiers(column: np.ma.MaskedArray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return identifiers as int64 or as clean text, and which are none: two arrays, (row,).

    Unsigned ones that int64 does not hold are text.

    Raises
    ------
    InputError
        If they are floats that are not whole, or too large for floats to hold each.
    """
    missing = np.ma.getmaskarray(column).copy()
    data = np.ma.getdata(column)
    is_one_a_row = data.ndim == 1
    if data.dtype.kind in "iu" and is_one_a_row:
        if data.dtype.kind == "u" and not (missing | (data < 2**63)).all():
            return data.astype(str).astype(object), missing
        key = data.astype(np.int64)
        return key, missing | (key < 0)
    if data.dtype.kind == "f" and is_one_a_row:
        whole = convert_floats(data, missing)
        if whole is not None:
            return whole, whole < 0
    if data.dtype.kind not in "SUO" or not is_one_a_row:
        shape = f" {data.shape[1:]}" if data.shape[1:] else ""
        lost = ""
        if data.dtype.kind == "f":
            lost = ": floats lose digits of long ones; write the table anew from whole ones"
        raise InputError(
            f"{where}: identifiers of type {data.dtype}{shape}; they must be text or integers{lost}"
        )
    text = clean_text(data)
    return text, missing | (text == "")


def clean_text(data: np.ndarray) -> np.ndarray:
    """Return text as str objects without blanks or NULs at the ends: (row,)."""
    if data.dtype.kind == "S":
        data = np.char.decode(data, "utf-8", "replace")
    words = [str(word).strip(" \t\r\n\0") for word in data.tolist()]
    return np.array(words, object)


def read_words(column: np.ma.MaskedArray, where: str) -> np.ndarray:
    """Return the numbers that a column of text holds, NaN where it says that there is none: (row,).

    Raises
    ------
    InputError
        Names the first word that is no number.
    """
    numbers = np.full(column.shape, np.nan)
    masked = np.ma.getmaskarray(column)
    for row, word in enumerate(clean_text(np.ma.getdata(column)).tolist()):
        if masked[row] or word.lower() in _NONE:
            continue
        try:
            numbers[row] = float(word.replace("_", " "))  # 52_1 is no number but in Python
        except ValueError:
            raise InputError(
                f"{where} holds {word!r}; a label is one number per row, blank where there is none"
            ) from None
    return numbers


@dataclasses.dataclass(frozen=True)
class ChosenRows:
    """The rows of a catalogue that count.

    Parameters
    ----------
    rows : array, (row,)
        Their numbers, ascending.
    key : array, (row,)
        Their identifiers.
    snr : array, (row,), optional
    counts : dict of str to int
        How many were left out, by reason.
    """

    rows: np.ndarray
    key: np.ndarray
    snr: np.ndarray | None
    counts: dict[str, int]


def choose_rows(
    data: Mapping[str, np.ma.MaskedArray], catalog: Catalog, settings: LabelSettings, where: str
) -> ChosenRows:
    """Return the rows that count, in their order, and why others do not.

    Of rows with the same identifier that no flag disqualifies, the one of highest S/N counts, of
    equal ones the first.

    Raises
    ------
    InputError
        If no row is left, or identifiers repeat without a S/N to choose by.
    """
    key_column = settings.key or catalog.key
    key, without_key = read_identifiers(data[key_column], where)
    counts = {
        "rows": key.size,
        "rows without identifier": int(without_key.sum()),
    }
    keep = ~without_key
    for column, bits in get_row_flags(catalog, settings).items():
        known = catalog.row_bits.get(column, {})
        mask = make_flag_mask(bits, known, f"{where}: flags of {column}")
        is_flagged = find_flagged(data[column], mask, f"{where}: {column}")
        keep = _drop_rows(keep, is_flagged, f"rows flagged by {column}", counts)
    snr = None
    snr_column = settings.snr or catalog.snr
    if snr_column is not None:
        snr = _read_snr(data[snr_column], settings, f"{where}: {snr_column}")
        if settings.min_snr > 0:
            too_low = ~(snr >= settings.min_snr)
            keep = _drop_rows(keep, too_low, f"rows of S/N below {settings.min_snr:g}", counts)
    kept = np.flatnonzero(keep)
    rows = _choose_best(key, snr, kept, where)
    counts["duplicates"] = kept.size - rows.size
    counts["rows kept"] = rows.size
    if not rows.size:
        reasons = [f"{n:,} {reason}" for reason, n in counts.items() if n]
        raise InputError(f"{where}: no row is left: {', '.join(reasons)}")
    if snr is not None:
        snr = snr[rows]
    return ChosenRows(rows, key[rows], snr, counts)


def _choose_best(
    key: np.ndarray, snr: np.ndarray | None, rows: np.ndarray, where: str
) -> np.ndarray:
    """Return the row of highest S/N of each identifier, ascending: (row,)."""
    order = rows
    if snr is not None:
        known_snr = np.nan_to_num(snr[rows], nan=-np.inf)
        order = rows[np.argsort(-known_snr, kind="stable")]
    ordered_key = key[order]
    again = pd.Series(ordered_key, dtype=key.dtype).duplicated().to_numpy()
    if snr is None and again.any():
        raise InputError(
            f"{where}: identifier {ordered_key[again].tolist()[0]!r} is in several rows; say which "
            "by snr='COLUMN' or --labels-setting snr=COLUMN, or leave one row of each star"
        )
    return np.sort(order[~again])


def _drop_rows(
    keep: np.ndarray, bad: np.ndarray, reason: str, counts: dict[str, int]
) -> np.ndarray:
    if bad.ndim > 1:
        bad = np.asarray(bad.reshape(len(bad), -1).any(axis=1))
    counts[reason] = int((keep & bad).sum())
    return keep & ~bad


def _read_snr(column: np.ma.MaskedArray, settings: LabelSettings, where: str) -> np.ndarray:
    if column.dtype.kind not in "iuf" or column.ndim > 1:
        raise InputError(
            f"{where}: S/N of type {column.dtype} {column.shape[1:] or ''}; it must be one "
            "number per row"
        )
    snr = np.ma.filled(column.astype(np.float64), np.nan)
    return np.where(is_sentinel(snr, settings.sentinels), np.nan, snr)
