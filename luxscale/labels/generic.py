"""Any table that astropy reads, with a mapping of labels to columns."""

from __future__ import annotations

import contextlib
import re

from luxscale.errors import InputError
from luxscale.labels.base import Catalog, Label, LabelSettings
from luxscale.labels.columns import Columns
from luxscale.labels.units import is_linear, parse_unit
from luxscale.schema.names import suggest_names

NAME = "table"
DOC = "any table astropy reads, with a mapping of labels to columns"

#: Names of columns of logarithms, and of their errors.
_LOGARITHM = re.compile(r"(e_)?(log|lg)(10)?_?[a-z]+", re.IGNORECASE)

_UNITS = {"teff": "K", "logg": "dex(cm s-2)"}


def describe_table(settings: LabelSettings, table: Columns) -> Catalog:
    """Return the catalogue that the settings make of a table.

    Raises
    ------
    InputError
        If the mapping or the identifier are not given, or name what is not there.
    """
    missing = None
    if not settings.columns:
        missing = "columns={'teff': 'TEFF_COLUMN', ...} or --labels-setting column.teff=TEFF_COLUMN"
    elif settings.key is None:
        missing = "key='ID_COLUMN' or --labels-setting key=ID_COLUMN"
    if missing:
        there = ", ".join(table.names[:40])
        raise InputError(f"{table.path}: a table needs {missing}; its columns: {there}")
    for given in ("errors", "units"):
        for label in getattr(settings, given):
            if label not in settings.columns:
                hint = suggest_names(label, settings.columns)
                raise InputError(f"{table.path}: {given} name {label!r}; {hint}")
    labels = {}
    for label, column in settings.columns.items():
        found = Label(
            column=table.require(column),
            units=_find_unit(label, column, settings, table),
            err=_find_error_column(label, column, settings, table),
        )
        if label not in settings.units:
            _check_names(label, found, table)
        labels[label] = found
    assert settings.key is not None
    return Catalog(
        name=NAME,
        doc=DOC,
        key=settings.key,
        snr=None,
        labels=labels,
        usual=tuple(labels),
        tried="real",
    )


def _find_unit(label: str, column: str, settings: LabelSettings, table: Columns) -> str:
    """Return a label's unit: that asked for, its usual one, or what the file says."""
    usual = settings.units.get(label) or _UNITS.get(label)
    if usual:
        return usual
    stated = parse_unit(table.get_unit(column))
    if stated is None:
        return "dex"
    with contextlib.suppress(ValueError):  # "km s-1", as units of known catalogues are written
        return str(stated.to_string("fits"))
    return str(stated)


def _check_names(label: str, found: Label, table: Columns) -> None:
    """Refuse a column that is a logarithm by its name alone, of a label that is none."""
    if not is_linear(found.units):
        return
    for column in (found.column, found.err):
        if column is None or parse_unit(table.get_unit(column)) is not None:
            continue
        if _LOGARITHM.fullmatch(column):
            raise InputError(
                f"{table.path}: column {column!r} is a logarithm by its name, and {label!r} is in "
                f"{found.units}; state the column's unit in the file, such as dex({found.units}), "
                f"or take the column as a label log_{label} in dex: columns={{'log_{label}': "
                f"{column!r}}} or --labels-setting column.log_{label}={column}. If it is none, say "
                f"so by units={{{label!r}: {found.units!r}}} or --labels-setting "
                f"unit.{label}={found.units}"
            )


def _find_error_column(
    label: str, column: str, settings: LabelSettings, table: Columns
) -> str | None:
    if label in settings.errors:
        return table.require(settings.errors[label])
    for name in (f"e_{column}", f"{column}_err", f"{column}_error"):
        found = table.find(name)
        if found is not None:
            return found
    return None
