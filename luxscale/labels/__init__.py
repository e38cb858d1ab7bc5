"""Labels from catalogues, joined to stars by identifier.

Imports readers and what it stands on.

Flags, sentinels, errors and duplicates are seen to when a catalogue is read.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from luxscale.errors import InputError
from luxscale.labels import apogee, astra, galah, generic
from luxscale.labels.base import SCALES, Catalog, Label, LabelSettings, LabelTable
from luxscale.labels.columns import Columns
from luxscale.labels.join import join
from luxscale.labels.parse import parse_settings
from luxscale.labels.rows import choose_rows, clean_text, get_row_flags
from luxscale.labels.values import (
    Source,
    find_sources,
    list_columns,
    read_values,
    read_words_of_labels,
)
from luxscale.schema.placeholders import SENTINELS

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
    """Read the labels of a catalogue, one row per star.

    Rows without identifier, flagged, or below a S/N are left out; then, of rows with the same
    identifier, all but the one of highest S/N (of equal ones, the first). Values that are sentinels
    or flagged, and values without a positive error, are missing (NaN); an error floor is added in
    quadrature, and is the error where there is none. Where abundances are converted, that comes
    before the floor.

    Parameters
    ----------
    path : str or Path
        FITS, CSV, ECSV, VOTable (each also compressed, .gz, .bz2 or .xz), Parquet (``pip
        install 'luxscale[export]'``), or named arrays in npz or HDF5.
    catalog : str, optional
        Name of a catalogue that ``luxscale formats`` lists, or ``"table"``; recognised by its
        columns if not given.
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
    known = _find_catalog(catalog, columns, settings)
    where = str(path)
    sources = find_sources(known, settings, where)
    if settings.labels is None:
        sources = _keep_present(sources, columns, known, settings)
    needed = list_columns(known, settings, sources)
    _check_flags(columns, known, settings, needed)
    _check_errors(columns, known, sources)
    extra = {name: column for name, column in known.extra.items() if columns.find(column)}
    wanted = [*_list_row_columns(known, settings), *needed, *extra.values()]
    data = columns.read(dict.fromkeys(wanted))
    data = read_words_of_labels(data, known, sources, where)
    chosen = choose_rows(data, known, settings, where)
    data = {name: column[chosen.rows] for name, column in data.items()}
    file_units = {name: columns.get_unit(name) for name in needed}
    value, err, missing = read_values(data, known, settings, sources, where, file_units)
    if not np.isfinite(value).any():
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in missing.items())
        raise InputError(f"{where}: no label of any row is known: {reasons}")
    kept = {}
    if chosen.snr is not None:
        kept["snr"] = chosen.snr
    for name, column in extra.items():
        kept[name] = _fill_missing(data[column])
    units = tuple(known.labels[source.published].units for source in sources)
    return LabelTable(
        key=chosen.key,
        label=tuple(source.name for source in sources),
        units=units,
        value=value,
        err=err,
        columns=kept,
        counts=chosen.counts | missing,
        source={"file": where, "catalog": known.name, "settings": dataclasses.asdict(settings)},
    )


def _keep_present(
    sources: tuple[Source, ...], columns: Columns, catalog: Catalog, settings: LabelSettings
) -> tuple[Source, ...]:
    """Return those of the usual labels that a file has; all of them if it has none.

    Of one that it has, flags and errors are not left out in silence.
    """
    present = []
    for source in sources:
        values = [catalog.labels[name].column for name in source.needs]
        if all(columns.find(column) for column in values):
            present.append(source)
    return tuple(present) or sources


def _check_flags(
    columns: Columns, catalog: Catalog, settings: LabelSettings, needed: list[str]
) -> None:
    for column in get_row_flags(catalog, settings):
        if not columns.find(column):
            raise InputError(
                f"{columns.path}: no column {column!r} of flags of rows; give row_flags without it"
            )
    value_flags = {label.flag for label in catalog.labels.values()}
    for column in needed:
        if column in value_flags and not columns.find(column):
            raise InputError(
                f"{columns.path}: no column {column!r} of flags; value_flags=() reads values "
                "without flags"
            )


def _check_errors(columns: Columns, catalog: Catalog, sources: tuple[Source, ...]) -> None:
    for source in sources:
        for name in source.needs:
            column = catalog.labels[name].err
            if column is not None and not columns.find(column):
                taken = ", ".join(s.name for s in sources if s is not source)
                raise InputError(
                    f"{columns.path}: no column {column!r} of errors of {source.name!r}; name the "
                    f"labels to take without it (labels= or --label), of: {taken}"
                )


def _list_row_columns(catalog: Catalog, settings: LabelSettings) -> list[str]:
    names = [settings.key or catalog.key]
    snr = settings.snr or catalog.snr
    if snr:
        names.append(snr)
    return [*names, *get_row_flags(catalog, settings)]


def _fill_missing(column: np.ma.MaskedArray) -> np.ndarray:
    """Return a column as numbers or str objects; NaN, -1 or "" where it is masked."""
    kind = column.dtype.kind
    if kind == "S":
        return clean_text(np.ma.filled(column, b""))
    if kind in "UO":
        return clean_text(np.ma.filled(column, ""))
    missing = {"f": np.nan, "i": -1}.get(kind, 0)
    return np.ma.filled(column, missing)


def _find_catalog(name: str | None, columns: Columns, settings: LabelSettings) -> Catalog:
    if name is None and settings.columns:
        name = generic.NAME
    if name == generic.NAME:
        return generic.describe_table(settings, columns)
    for given in ("columns", "errors", "units"):
        if getattr(settings, given):
            raise InputError(f"{columns.path}: {given}= is for catalog='table'; {name} has its own")
    if name is None:
        return _recognize_catalog(columns)
    if name not in CATALOGS:
        known = ", ".join([*CATALOGS, generic.NAME])
        raise InputError(f"no catalogue {name!r}; there are: {known}")
    return CATALOGS[name]


def _recognize_catalog(columns: Columns) -> Catalog:
    """Return the catalogue whose columns a table has."""
    fits, lacks = [], []
    for catalog in CATALOGS.values():
        missing = [column for column in catalog.signature if not columns.find(column)]
        if missing:
            lacks.append(f"{catalog.name} lacks {', '.join(missing)}")
        else:
            fits.append(catalog.name)
    if len(fits) == 1:
        return CATALOGS[fits[0]]
    if fits:
        raise InputError(
            f"{columns.path}: it may be any of {', '.join(fits)}; say which by catalog= or "
            "--labels-format"
        )
    raise InputError(
        f"{columns.path}: unrecognised catalogue layout ({'; '.join(lacks)}); name it by catalog= "
        "or --labels-format, or say which columns to use: key='ID', columns={'teff': "
        "'TEFF_COLUMN', ...} or --labels-setting key=ID --labels-setting column.teff=TEFF_COLUMN"
    )
