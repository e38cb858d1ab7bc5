"""What labels are read by, and what is read: settings, catalogues, and the table of labels."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from luxscale.errors import InputError
from luxscale.labels.text import drop_leading_zeros
from luxscale.schema.placeholders import SENTINELS

#: How abundances may be given.
SCALES = ("as published", "x_fe", "x_h")

#: Instead of names of bits: any bit.
ANY = "any"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How labels are read. All that is left out is the catalogue's usual.

    Parameters
    ----------
    labels : tuple of str, optional
        Labels to take, by their names in the result (on the scale asked for).
    row_flags : mapping of str to tuple of str, optional
        Columns of flags, and the bits that disqualify a row: names, numbers, or ``"any"``. ``{}``:
        no row is.
    value_flags : tuple of str, optional
        Bits of a label's own flag that make its value missing: names, numbers, or ``"any"``.
        ``()``: none does.
    floors : mapping of str to float
        An error added in quadrature to that of a label; where a label has no error, the floor is
        the error. Published errors are often formal: 20 K, 0.05 and 0.02 dex, for teff, logg and
        abundances of giants, are a modest choice.
    scale : str
        ``"as published"``, ``"x_fe"`` or ``"x_h"``: abundances are converted, see
        `luxscale.labels.abundances`.
    min_snr : float
        Rows of less S/N are left out.
    key, snr : str, optional
        Columns of identifiers, and of the S/N by which duplicates are resolved.
    columns : mapping of str to str
        Of a table of no known catalogue: label and its column.
    errors : mapping of str to str
        Likewise, label and the column of its error, where that is not ``e_COLUMN``, ``COLUMN_err``
        or ``COLUMN_error``.
    units : mapping of str to str
        Likewise, label and its unit, where that is not K for teff, dex(cm s-2) for logg, and
        otherwise what the file says of the column, or dex. Columns in another unit are converted.
    sentinels : tuple of float
        Numbers that stand for "missing".
    """

    labels: tuple[str, ...] | None = None
    row_flags: Mapping[str, tuple[str, ...]] | None = None
    value_flags: tuple[str, ...] | None = None
    floors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    scale: str = SCALES[0]
    min_snr: float = 0.0
    key: str | None = None
    snr: str | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    errors: Mapping[str, str] = dataclasses.field(default_factory=dict)
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sentinels: tuple[float, ...] = SENTINELS

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(
                f"scale={self.scale!r}: abundances can be {', '.join(map(repr, SCALES))}"
            )
        for label, floor in self.floors.items():
            if not (np.isfinite(floor) and floor > 0):
                raise InputError(
                    f"error floor of {label!r} is {floor}; give a positive number, in the "
                    "label's unit"
                )
        if self.labels is not None:
            repeats = len(set(self.labels)) < len(self.labels)
            if not self.labels or repeats:
                raise InputError(f"labels={self.labels} name none, or one twice; name each once")
        if not np.isfinite(self.min_snr):
            raise InputError(f"min_snr={self.min_snr}: give a number; 0 keeps all rows")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """Where a catalogue keeps a label.

    Parameters
    ----------
    column, units : str
    err : str, optional
        Column of its one-sigma error; None: the catalogue has none.
    flag : str, optional
        Column of its own flag.
    index : int, optional
        Element of the column, where that holds an array for each star; ``err`` is then the
        covariance of the array, and ``flag`` an array alike, if it is one.
    """

    column: str
    units: str
    err: str | None = None
    flag: str | None = None
    index: int | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns to read."""
        return tuple(c for c in (self.column, self.err, self.flag) if c is not None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalog:
    """A catalogue of labels, described as data.

    Parameters
    ----------
    name, doc : str
    key, snr : str
        Columns of the identifiers, and of the S/N.
    labels : mapping of str to Label
        All labels it has.
    usual : tuple of str
        Those taken unless told otherwise.
    row_bits : mapping of str to mapping of str to int
        Columns of flags of a row, their bits by name.
    row_bad : mapping of str to tuple of str
        The bits that disqualify a row, by the field's usual choice.
    value_bits : mapping of str to int
        Bits of the labels' own flags.
    value_bad : tuple of str
        Those that make a value missing, by the field's usual choice.
    extra : mapping of str to str
        Columns to keep beside the labels: new name and column; left out where a file has none.
    signature : tuple of str
        Columns by which it is told from others.
    tried : str
        ``"real"`` or ``"description"``, as of `luxscale.readers.Format`.
    """

    name: str
    doc: str
    key: str
    snr: str | None
    labels: Mapping[str, Label]
    usual: tuple[str, ...]
    row_bits: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    row_bad: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    value_bits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    value_bad: tuple[str, ...] = ()
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)
    signature: tuple[str, ...] = ()
    tried: str = "description"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Labels of stars, one row per star.

    Parameters
    ----------
    key : array, (row,)
        Identifiers, text or int64; unique.
    label, units : tuple of str
    value, err : array, (row, label)
        float64; NaN = missing. An error is finite and positive wherever the value is finite, and
        NaN elsewhere.
    columns : dict of str to array, (row,)
        ``snr``, ``ra``, ``dec`` and the like, where the catalogue has them.
    counts : dict of str to int
        What was done, by reason: rows and values that were left out.
    source : dict of str to object
        Where they come from: ``file``, ``catalog``, ``settings``; ready for JSON.
    """

    key: np.ndarray
    label: tuple[str, ...]
    units: tuple[str, ...]
    value: np.ndarray
    err: np.ndarray
    columns: dict[str, np.ndarray]
    counts: dict[str, int]
    source: dict[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def index(self) -> pd.Index:
        """The identifiers, hashed once for all joins."""
        return pd.Index(self.key, dtype=self.key.dtype)

    @functools.cached_property
    def text_index(self) -> pd.Index:
        """The identifiers as whole numbers are written, likewise.

        Those that would be the same number stay as they are.
        """
        text = self.key.astype(str).astype(object)
        plain = drop_leading_zeros(text)
        is_repeated = pd.Series(plain, dtype=object).duplicated(keep=False).to_numpy()
        return pd.Index(np.where(is_repeated, text, plain), dtype=object)
