"""Labels of the rows that count: sentinels, flags, errors, the scale of abundances, and floors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from luxscale.errors import InputError
from luxscale.labels.abundances import (
    convert_to_x_fe,
    convert_to_x_h,
    get_iron_label,
    rename_on_scale,
)
from luxscale.labels.base import Catalog, Label, LabelSettings
from luxscale.labels.rows import find_flagged, make_flag_mask, read_words
from luxscale.labels.units import ErrorUnits, convert_error, convert_unit
from luxscale.schema.names import suggest_names
from luxscale.schema.placeholders import find_placeholders, is_sentinel

#: Why a value is missing, by code.
_REASONS = ("", "not given", "sentinel", "flagged", "no [Fe/H]", "no error")
_GIVEN, _NOT_GIVEN, _SENTINEL, _FLAGGED, _NO_IRON, _NO_ERROR = range(6)

Data = Mapping[str, np.ma.MaskedArray]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a label comes from.

    Parameters
    ----------
    name : str
        The label.
    published : str
        Label of the catalogue that it is, or is converted from.
    iron : str, optional
        The [Fe/H] to convert it by, if it is to be.
    """

    name: str
    published: str
    iron: str | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Labels of the catalogue that it is made from."""
        return (self.published,) if self.iron is None else (self.published, self.iron)


@dataclasses.dataclass(frozen=True)
class _Values:
    """A label of all rows: value and error, NaN where missing, and the code why: (row,) each."""

    value: np.ndarray
    err: np.ndarray
    why: np.ndarray


class _Inputs(NamedTuple):
    """What labels are read from: columns, catalogue, settings, the file, and its units."""

    data: Data
    catalog: Catalog
    settings: LabelSettings
    where: str
    file_units: Mapping[str, str]


def find_sources(catalog: Catalog, settings: LabelSettings, where: str) -> tuple[Source, ...]:
    """Return where each label comes from.

    Raises
    ------
    InputError
        If a label is not in the catalogue, has no error and no floor, or a floor is of no label.
    """
    on_scale = {name: rename_on_scale(name, settings.scale) for name in catalog.labels}
    known = {asked: published for published, asked in on_scale.items()}
    for published, asked in on_scale.items():
        if asked == published:  # as published rather than converted
            known[asked] = published
    names = settings.labels
    if not names:
        usual = [rename_on_scale(name, settings.scale) for name in catalog.usual]
        names = tuple(dict.fromkeys(usual))
    found = tuple(_find_source(name, known, catalog, settings, where) for name in names)
    for label in settings.floors:
        if label not in names:
            raise InputError(
                f"{where}: error floor of {label!r}, which is not taken; "
                f"{suggest_names(label, names)}"
            )
    return found


def _find_source(
    name: str, known: Mapping[str, str], catalog: Catalog, settings: LabelSettings, where: str
) -> Source:
    if name not in known:
        hint = _suggest_scale(name, catalog) or suggest_names(name, known)
        raise InputError(f"{where}: no label {name!r} in {catalog.name}; {hint}")
    source = Source(name, known[name])
    if source.published != name:
        source = dataclasses.replace(source, iron=get_iron_label(name))
    for needed in source.needs:
        if needed not in catalog.labels:
            raise InputError(
                f"{where}: {name} of {source.published} needs {needed}, which is not among "
                "the columns"
            )
    for needed in source.needs:
        if catalog.labels[needed].err is None and name not in settings.floors:
            raise InputError(
                f"{where}: no column has errors of {needed!r}; give {name!r} an error floor, "
                f"e.g. floors={{{name!r}: 0.1}} or --labels-setting floor.{name}=0.1, leave it "
                f"out, or name the column of a table that has them: errors={{{needed!r}: "
                f"'COLUMN'}} or --labels-setting error.{needed}=COLUMN"
            )
    return source


def _suggest_scale(name: str, catalog: Catalog) -> str:
    for scale in ("x_fe", "x_h"):
        if name in {rename_on_scale(label, scale) for label in catalog.labels}:
            return f"scale={scale!r} makes it"
    return ""


def list_columns(
    catalog: Catalog, settings: LabelSettings, sources: tuple[Source, ...]
) -> list[str]:
    """Return the columns that the labels are in."""
    uses_flags = make_value_mask(catalog, settings) != 0
    columns = []
    for source in sources:
        for name in source.needs:
            label = catalog.labels[name]
            columns += [c for c in label.needs if uses_flags or c != label.flag]
    return list(dict.fromkeys(columns))


def make_value_mask(catalog: Catalog, settings: LabelSettings) -> int:
    """Return the bits of labels' own flags that make a value missing."""
    bits = settings.value_flags
    if bits is None:
        bits = catalog.value_bad
    return make_flag_mask(bits, catalog.value_bits, f"{catalog.name}: flags of values")


def read_words_of_labels(
    data: Data, catalog: Catalog, sources: tuple[Source, ...], where: str
) -> dict[str, np.ma.MaskedArray]:
    """Return the columns, those of labels and errors as numbers where they are text.

    Of all rows, so that one that has units in place of numbers is not left out in silence.
    """
    labels = [catalog.labels[name] for source in sources for name in source.needs]
    numbers = dict(data)
    for name in {c for label in labels for c in (label.column, label.err) if c is not None}:
        if data[name].dtype.kind in "SUO" and data[name].ndim == 1:
            words = read_words(data[name], f"{where}: column {name!r}")
            numbers[name] = np.ma.masked_invalid(words)
    return numbers


def read_values(
    data: Data,
    catalog: Catalog,
    settings: LabelSettings,
    sources: tuple[Source, ...],
    where: str,
    file_units: Mapping[str, str] | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return values and errors of all labels, (row, label), and why values are missing.

    Columns are converted from ``file_units``, by their names, to the labels' own.
    """
    inputs = _Inputs(data, catalog, settings, where, file_units or {})
    n_rows = len(next(iter(data.values())))
    value, err = np.full((2, n_rows, len(sources)), np.nan)
    counts: dict[str, int] = {}
    for i, source in enumerate(sources):
        found = _read_on_scale(inputs, source)
        floor = settings.floors.get(source.name)
        sigma = _add_floor(found.err, floor)
        has_no_error = (found.why == _GIVEN) & ~np.isfinite(sigma)
        why = np.where(has_no_error, _NO_ERROR, found.why)
        is_given = why == _GIVEN
        value[:, i] = np.where(is_given, found.value, np.nan)
        err[:, i] = np.where(is_given, sigma, np.nan)
        n_by_reason = np.bincount(why, minlength=len(_REASONS))
        for reason, n in zip(_REASONS, n_by_reason, strict=True):
            if reason and n:
                counts[f"{source.name}: {reason}"] = int(n)
        label = catalog.labels[source.published]
        if _get_error_units(label, inputs.file_units).is_in_dex:
            made = f"{source.name}: error in dex, made one in {label.units}"
            counts[made] = int(is_given.sum())
    return value, err, counts


def _read_on_scale(inputs: _Inputs, source: Source) -> _Values:
    has_floor = source.name in inputs.settings.floors
    published = _read_published(inputs, source.published, has_floor)
    if source.iron is None:
        return published
    iron = _read_published(inputs, source.iron, has_floor)
    to_x_fe = source.name.endswith("_fe")
    convert = convert_to_x_fe if to_x_fe else convert_to_x_h
    value, err = convert(published.value, published.err, iron.value, iron.err)
    lacks_iron = (published.why == _GIVEN) & (iron.why != _GIVEN)
    why = np.where(lacks_iron, _NO_IRON, published.why)
    return _Values(value, err, why)


def _add_floor(sigma: np.ndarray, floor: float | None) -> np.ndarray:
    if floor is None:
        return sigma
    known = np.where(np.isfinite(sigma), sigma, 0)
    return np.hypot(known, floor)


def _read_published(inputs: _Inputs, name: str, has_floor: bool) -> _Values:
    """Return a label as published; its error is NaN where it is not finite and positive.

    Whether a number stands for a missing value is judged by the values that are kept, which have an
    error or a floor of it.
    """
    data, catalog, settings, where, file_units = inputs
    label = catalog.labels[name]
    value = _read_numbers(data, label, where)
    why = np.where(np.isfinite(value), _GIVEN, _NOT_GIVEN)
    sentinel = is_sentinel(value, settings.sentinels)
    why[sentinel] = _SENTINEL
    mask = make_value_mask(catalog, settings)
    if label.flag is not None and mask:
        flags = _take_element(data[label.flag], label.index)
        is_flagged = find_flagged(flags, mask, f"{where}: {label.flag}")
        why[(why == _GIVEN) & is_flagged] = _FLAGGED
    err = _read_errors(data, label, settings, where)
    if settings.sentinels:  # those that a survey would be refused for
        kept = (why == _GIVEN) & (np.isfinite(err) | has_floor)
        why[find_placeholders(value[:, None], kept[:, None], each=True)[:, 0]] = _SENTINEL
    value = np.where(why == _GIVEN, value, np.nan)
    unit = file_units.get(label.column, "")
    column = f"{where}: column {label.column!r}"
    converted = convert_unit(value, unit, label.units, column)
    if label.err is not None and label.index is None:
        units = _get_error_units(label, file_units)
        err = convert_error(value, err, units, (column, f"{where}: column {label.err!r}"))
    return _Values(converted, err, why)


def _get_error_units(label: Label, file_units: Mapping[str, str]) -> ErrorUnits:
    errors = "" if label.err is None else file_units.get(label.err, "")
    return ErrorUnits(file_units.get(label.column, ""), errors, label.units)


def _read_numbers(data: Data, label: Label, where: str) -> np.ndarray:
    column = _take_element(data[label.column], label.index)
    if column.ndim > 1 and column.shape[1:] == (1,) * (column.ndim - 1):
        column = column.reshape(len(column))
    if column.dtype.kind not in "iuf" or column.ndim > 1:
        shape = f" of {column.shape[1:]}" if column.ndim > 1 else ""
        raise InputError(
            f"{where}: column {label.column!r} has type {column.dtype}{shape}; a label is one "
            "number per row"
        )
    return np.ma.filled(column.astype(np.float64), np.nan)


def _read_errors(data: Data, label: Label, settings: LabelSettings, where: str) -> np.ndarray:
    if label.err is None:
        return np.full(len(data[label.column]), np.nan)
    if label.index is None:
        sigma = _read_numbers(data, Label(column=label.err, units=label.units), where)
    else:
        sigma = _read_covariance_errors(data, label, where)
    usable = np.isfinite(sigma) & (sigma > 0) & ~is_sentinel(sigma, settings.sentinels)
    return np.where(usable, sigma, np.nan)


def _read_covariance_errors(data: Data, label: Label, where: str) -> np.ndarray:
    """Return the square root of a label's element of the diagonal: (row,)."""
    assert label.err is not None
    assert label.index is not None
    size = _flatten_rows(data[label.column]).shape[1]
    covariance = _flatten_rows(data[label.err])
    n_elements = covariance.shape[1]
    if n_elements != size**2:
        raise InputError(
            f"{where}: {label.err} has {n_elements} elements per row, no covariance of {size} "
            f"in {label.column}"
        )
    diagonal = covariance[:, label.index * (size + 1)]
    variance = np.ma.filled(diagonal.astype(np.float64), np.nan)
    return np.sqrt(np.where(variance > 0, variance, np.nan))


def _take_element(column: np.ma.MaskedArray, index: int | None) -> np.ma.MaskedArray:
    if index is None or column.ndim == 1:
        return column
    elements = _flatten_rows(column)
    if index >= elements.shape[1]:
        return elements
    return elements[:, index]


def _flatten_rows(column: np.ma.MaskedArray) -> np.ma.MaskedArray:
    """Return all that a row holds in one axis: (row, element)."""
    return column.reshape(len(column), -1)
