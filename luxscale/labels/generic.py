"""Any table that astropy reads, with a mapping of labels to columns."""

from __future__ import annotations

from luxscale.errors import InputError
from luxscale.labels.base import Catalog, Label, LabelSettings, close_names
from luxscale.labels.columns import Columns

NAME = "table"
DOC = "any table astropy reads, with a mapping of labels to columns"

_UNITS = {"teff": "K", "logg": "dex(cm s-2)"}


def describe(settings: LabelSettings, table: Columns) -> Catalog:
    """Return the catalogue that the settings make of a table.

    Raises
    ------
    InputError
        If the mapping or the identifier are not given, or name what is not there.
    """
    names, where = table.names, table.path
    if not settings.columns or settings.key is None:
        missing = (
            "columns={'teff': 'TEFF_COLUMN', ...} or --labels-setting column.teff=TEFF_COLUMN"
            if not settings.columns
            else "key='ID_COLUMN' or --labels-setting key=ID_COLUMN"
        )
        raise InputError(f"{where}: a table needs {missing}; its columns: {', '.join(names[:40])}")
    for given in ("errors", "units"):
        for label in getattr(settings, given):
            if label not in settings.columns:
                raise InputError(
                    f"{where}: {given} name {label!r}; {close_names(label, settings.columns)}"
                )
    labels = {
        label: Label(
            table.need(column), _unit(label, settings), _error(label, column, settings, table)
        )
        for label, column in settings.columns.items()
    }
    return Catalog(NAME, DOC, settings.key, None, labels, tuple(labels), tried="real")


def _unit(label: str, settings: LabelSettings) -> str:
    return settings.units.get(label, _UNITS.get(label, "dex"))


def _error(label: str, column: str, settings: LabelSettings, table: Columns) -> str | None:
    if label in settings.errors:
        return table.need(settings.errors[label])
    usual = (table.find(n) for n in (f"e_{column}", f"{column}_err", f"{column}_error"))
    return next((n for n in usual if n is not None), None)
