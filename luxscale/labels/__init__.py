"""Labels from catalogues: read with flags, sentinels, errors and duplicates seen to, and joined to stars by identifier."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from luxscale.errors import InputError
from luxscale.labels import apogee, astra, galah, generic
from luxscale.labels.base import SCALES, SENTINELS, Catalog, Label, LabelSettings, LabelTable
from luxscale.labels.columns import Columns
from luxscale.labels.join import join
from luxscale.labels.parse import parse_settings
from luxscale.labels.rows import choose, clean_text, row_flags
from luxscale.labels.values import columns_of, measure, sources

__all__ = [
    "CATALOGS",
    "SCALES",
    "SENTINELS",
    "Catalog",
    "Label",
    "LabelSettings",
    "LabelTable",
    "join",
    "parse_settings",
    "read_labels",
]

#: Every catalogue that is known, by name; ``"table"`` is any other.
CATALOGS: dict[str, Catalog] = {
    c.name: c for module in (apogee, astra, galah) for c in module.CATALOGS
}

_DEFAULT = LabelSettings()


def read_labels(
    path: str | Path, catalog: str | None = None, *, settings: LabelSettings = _DEFAULT
) -> LabelTable:
    """Read the labels of a catalogue, one row a star.

    Rows without identifier, flagged, or below a S/N are left out; then, of rows with the same
    identifier, all but the one of highest S/N (of equal ones, the first). Values that are sentinels
    or flagged, and values without a positive error, are missing (NaN); an error floor is added in
    quadrature, and is the error where there is none. Where abundances are converted, that comes
    before the floor.

    Parameters
    ----------
    path : str or Path
        FITS (also with gzip), CSV, ECSV, Parquet (``pip install 'luxscale[export]'``) or VOTable.
    catalog : str, optional
        Name of one of `CATALOGS`, or ``"table"``; told by its columns if not given.
    settings : LabelSettings
        Where they name no labels, those usual for the catalogue that the file has.

    Returns
    -------
    LabelTable

    Raises
    ------
    InputError
        Names the file, the column or label, and what to do.
    """
    columns = Columns(path)
    known = _catalog(catalog, columns, settings)
    where = str(path)
    found = sources(known, settings, where)
    if settings.labels is None:  # of the usual ones, those that this file has
        held = [s for s in found if all(map(columns.find, columns_of(known, settings, (s,))))]
        found = tuple(held) or found
    _check_flags(columns, known, settings, columns_of(known, settings, found))
    extra = {n: c for n, c in known.extra.items() if columns.find(c)}
    data = columns.read(
        dict.fromkeys(
            [*_row_columns(known, settings), *columns_of(known, settings, found), *extra.values()]
        )
    )
    rows, key, snr, counts = choose(data, known, settings, where)
    data = {n: c[rows] for n, c in data.items()}
    value, err, missing = measure(data, known, settings, found, where)
    if not np.isfinite(value).any():
        raise InputError(
            f"{where}: no label of any row is known: "
            f"{', '.join(f'{n:,} {r}' for r, n in missing.items())}"
        )
    kept = {} if snr is None else {"snr": snr}
    kept |= {n: _plain(data[c]) for n, c in extra.items()}
    units = tuple(known.labels[s.published].units for s in found)
    source = {"file": where, "catalog": known.name, "settings": dataclasses.asdict(settings)}
    return LabelTable(
        key, tuple(s.name for s in found), units, value, err, kept, counts | missing, source
    )


def _check_flags(
    columns: Columns, catalog: Catalog, settings: LabelSettings, needed: list[str]
) -> None:
    flags = {k.flag for k in catalog.labels.values()}
    for column in row_flags(catalog, settings):
        if not columns.find(column):
            raise InputError(
                f"{columns.path}: no column {column!r} of flags of rows; give row_flags without it"
            )
    for column in needed:
        if column in flags and not columns.find(column):
            raise InputError(
                f"{columns.path}: no column {column!r} of flags; value_flags=() reads values "
                "without flags"
            )


def _row_columns(catalog: Catalog, settings: LabelSettings) -> list[str]:
    snr = settings.snr or catalog.snr
    return [settings.key or catalog.key, *([snr] if snr else []), *row_flags(catalog, settings)]


def _plain(column: np.ma.MaskedArray) -> np.ndarray:
    """Return a column as numbers or str objects; NaN, -1 or "" where it is masked."""
    if column.dtype.kind in "SUO":
        return clean_text(np.ma.filled(column, b"" if column.dtype.kind == "S" else ""))
    fill = {"f": np.nan, "i": -1}.get(column.dtype.kind, 0)
    return np.ma.filled(column, fill)


def _catalog(name: str | None, columns: Columns, settings: LabelSettings) -> Catalog:
    if name is None and settings.columns:
        name = generic.NAME
    if name == generic.NAME:
        return generic.describe(settings, columns)
    for given in ("columns", "errors", "units"):
        if getattr(settings, given):
            raise InputError(f"{columns.path}: {given}= is for catalog='table'; {name} has its own")
    if name is None:
        return _told(columns)
    if name not in CATALOGS:
        raise InputError(
            f"no catalogue {name!r}; there are: {', '.join([*CATALOGS, generic.NAME])}"
        )
    return CATALOGS[name]


def _told(columns: Columns) -> Catalog:
    """Return the catalogue whose columns a table has."""
    lacks = {c.name: [s for s in c.signature if not columns.find(s)] for c in CATALOGS.values()}
    fits = [n for n, missing in lacks.items() if not missing]
    if len(fits) == 1:
        return CATALOGS[fits[0]]
    if fits:
        raise InputError(
            f"{columns.path}: it may be any of {', '.join(fits)}; say which by catalog= or "
            "--labels-format"
        )
    tried = "; ".join(f"{n} lacks {', '.join(missing)}" for n, missing in lacks.items())
    raise InputError(
        f"{columns.path}: no catalogue that is known ({tried}); say which by catalog= or "
        "--labels-format, "
        "or map its columns: key='ID', columns={'teff': 'TEFF_COLUMN', ...} or "
        "--labels-setting key=ID "
        "--labels-setting column.teff=TEFF_COLUMN"
    )
