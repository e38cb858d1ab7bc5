"""Any table that astropy reads, with a mapping of labels to columns."""

from __future__ import annotations

from collections.abc import Iterable

from luxscale.labels.base import Catalog, Label, LabelSettings, close_names
from luxscale.schema import InputError

NAME = "table"
DOC = "any table astropy reads, with a mapping of labels to columns"

_UNITS = {"teff": "K", "logg": "dex(cm s-2)"}


def describe(settings: LabelSettings, names: Iterable[str], where: str) -> Catalog:
    """Return the catalogue that the settings make of a table with columns ``names``.

    Raises
    ------
    InputError
        If the mapping or the identifier are not given, or name what is not there.
    """
    names = list(names)
    if not settings.columns or settings.key is None:
        missing = "columns={'teff': 'TEFF_COLUMN', ...}" if not settings.columns else "key='ID_COLUMN'"
        raise InputError(f"{where}: a table needs {missing}; its columns: {', '.join(names[:40])}")
    for given in ("errors", "units"):
        for label in getattr(settings, given):
            if label not in settings.columns:
                raise InputError(f"{where}: {given} name {label!r}; {close_names(label, settings.columns)}")
    labels = {
        label: Label(
            column, settings.units.get(label, _UNITS.get(label, "dex")), _error(label, column, settings, names)
        )
        for label, column in settings.columns.items()
    }
    return Catalog(NAME, DOC, settings.key, None, labels, tuple(labels), tried="real")


def _error(label: str, column: str, settings: LabelSettings, names: list[str]) -> str | None:
    if label in settings.errors:
        return settings.errors[label]
    known = {n.lower(): n for n in names}
    usual = (f"e_{column}", f"{column}_err", f"{column}_error")
    return next((known[n.lower()] for n in usual if n.lower() in known), None)
