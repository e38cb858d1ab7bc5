"""Labels of the rows that count: sentinels, flags, errors, the scale of abundances, and floors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from luxscale.errors import InputError
from luxscale.labels.abundances import element, iron, on_scale, x_fe_from_x_h, x_h_from_x_fe
from luxscale.labels.base import Catalog, Label, LabelSettings, close_names
from luxscale.labels.rows import flag_mask, flagged, is_sentinel

#: Why a value is missing, by code.
_REASONS = ("", "not given", "sentinel", "flagged", "no [Fe/H]", "no error")
_GIVEN, _NOT_GIVEN, _SENTINEL, _FLAGGED, _NO_IRON, _NO_ERROR = range(6)

Data = Mapping[str, np.ma.MaskedArray]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a label comes from: a label of the catalogue, and the [Fe/H] to convert it by, if it is to be."""

    name: str
    published: str
    iron: str | None = None


def sources(catalog: Catalog, settings: LabelSettings, where: str) -> tuple[Source, ...]:
    """Return where each label comes from.

    Raises
    ------
    InputError
        If a label is not in the catalogue, has no error and no floor, or a floor is of no label.
    """
    known = {on_scale(n, settings.scale): n for n in catalog.labels}
    known |= {
        n: n for n in catalog.labels if on_scale(n, settings.scale) == n
    }  # as published rather than converted
    names = settings.labels or tuple(
        dict.fromkeys(on_scale(n, settings.scale) for n in catalog.usual)
    )
    found = tuple(_source(name, known, catalog, settings, where) for name in names)
    for label in settings.floors:
        if label not in names:
            raise InputError(
                f"{where}: error floor of {label!r}, which is not taken; "
                f"{close_names(label, names)}"
            )
    return found


def _source(
    name: str, known: Mapping[str, str], catalog: Catalog, settings: LabelSettings, where: str
) -> Source:
    if name not in known:
        hint = _other_scale(name, catalog) or close_names(name, known)
        raise InputError(f"{where}: no label {name!r} in {catalog.name}; {hint}")
    source = Source(name, known[name], iron(name) if known[name] != name else None)
    if source.iron is not None and source.iron not in catalog.labels:
        raise InputError(
            f"{where}: {name} of {source.published} needs {source.iron}, which is not among "
            "the columns"
        )
    needs = [n for n in (source.published, source.iron) if n is not None]
    without = next((n for n in needs if catalog.labels[n].err is None), None)
    if without is not None and name not in settings.floors:
        raise InputError(
            f"{where}: no column has errors of {without!r}; give {name!r} an error floor, "
            f"e.g. floors={{{name!r}: 0.1}} or --labels-setting floor.{name}=0.1, or leave it out"
        )
    return source


def _other_scale(name: str, catalog: Catalog) -> str:
    for scale in ("x_fe", "x_h"):
        if name in {on_scale(n, scale) for n in catalog.labels}:
            return f"scale={scale!r} makes it"
    return ""


def columns_of(catalog: Catalog, settings: LabelSettings, found: tuple[Source, ...]) -> list[str]:
    """Return the columns that the labels are in."""
    names = dict.fromkeys(n for s in found for n in (s.published, s.iron) if n is not None)
    labels = [catalog.labels[n] for n in names]
    flags = value_mask(catalog, settings) != 0
    return list(dict.fromkeys(c for k in labels for c in k.needs if flags or c != k.flag))


def value_mask(catalog: Catalog, settings: LabelSettings) -> int:
    """Return the bits of labels' own flags that make a value missing."""
    bits = catalog.value_bad if settings.value_flags is None else settings.value_flags
    return flag_mask(bits, catalog.value_bits, f"{catalog.name}: flags of values")


def measure(
    data: Data, catalog: Catalog, settings: LabelSettings, found: tuple[Source, ...], where: str
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return values and errors of all labels, (row, label), and why values are missing."""
    n_rows = len(next(iter(data.values())))
    value, err = np.full((2, n_rows, len(found)), np.nan)
    counts: dict[str, int] = {}
    for i, source in enumerate(found):
        y, sigma, why = _convert(data, catalog, settings, source, where)
        sigma = _with_floor(sigma, settings.floors.get(source.name))
        why = np.where((why == _GIVEN) & ~np.isfinite(sigma), _NO_ERROR, why)
        value[:, i], err[:, i] = np.where(why == _GIVEN, (y, sigma), np.nan)
        tally = np.bincount(why, minlength=len(_REASONS))
        counts |= {
            f"{source.name}: {reason}": int(n)
            for reason, n in zip(_REASONS, tally, strict=True)
            if reason and n
        }
    return value, err, counts


def _convert(
    data: Data, catalog: Catalog, settings: LabelSettings, source: Source, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, sigma, why = _read(data, catalog, settings, source.published, where)
    if source.iron is None:
        return y, sigma, why
    fe, fe_sigma, fe_why = _read(data, catalog, settings, source.iron, where)
    known = element(source.name)
    change = x_fe_from_x_h if known and known[1] == "x_fe" else x_h_from_x_fe
    y, sigma = change(y, sigma, fe, fe_sigma)
    return y, sigma, np.where((why == _GIVEN) & (fe_why != _GIVEN), _NO_IRON, why)


def _with_floor(sigma: np.ndarray, floor: float | None) -> np.ndarray:
    return sigma if floor is None else np.hypot(np.where(np.isfinite(sigma), sigma, 0), floor)


def _read(
    data: Data, catalog: Catalog, settings: LabelSettings, name: str, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a label as published, its error, NaN where it is not finite and positive, and why it is missing: (row,)."""
    label = catalog.labels[name]
    y = _numbers(data, label, where)
    why = np.where(np.isfinite(y), _GIVEN, _NOT_GIVEN)
    why[is_sentinel(y, settings.sentinels)] = _SENTINEL
    mask = value_mask(catalog, settings)
    if label.flag is not None and mask:
        bad = flagged(_element(data[label.flag], label.index), mask, f"{where}: {label.flag}")
        why[(why == _GIVEN) & bad] = _FLAGGED
    return np.where(why == _GIVEN, y, np.nan), _errors(data, label, settings, where), why


def _numbers(data: Data, label: Label, where: str) -> np.ndarray:
    column = _element(data[label.column], label.index)
    if column.dtype.kind not in "iuf" or column.ndim > 1:
        shape = f" of {column.shape[1:]}" if column.ndim > 1 else ""
        raise InputError(
            f"{where}: column {label.column!r} has type {column.dtype}{shape}; a label is one "
            "number a row"
        )
    return np.ma.filled(column.astype(np.float64), np.nan)


def _errors(data: Data, label: Label, settings: LabelSettings, where: str) -> np.ndarray:
    if label.err is None:
        return np.full(len(data[label.column]), np.nan)
    if label.index is None:
        sigma = _numbers(data, Label(label.err, label.units), where)
    else:
        sigma = _from_covariance(data, label, where)
    usable = np.isfinite(sigma) & (sigma > 0) & ~is_sentinel(sigma, settings.sentinels)
    return np.where(usable, sigma, np.nan)


def _from_covariance(data: Data, label: Label, where: str) -> np.ndarray:
    size = data[label.column].reshape(len(data[label.column]), -1).shape[1]
    cov = data[label.err or ""]
    cov = cov.reshape(len(cov), -1)
    if cov.shape[1] != size**2:
        raise InputError(
            f"{where}: {label.err} has {cov.shape[1]} elements a row, no covariance of {size} "
            f"in {label.column}"
        )
    variance = np.ma.filled(cov[:, (label.index or 0) * (size + 1)].astype(np.float64), np.nan)
    return np.sqrt(np.where(variance > 0, variance, np.nan))


def _element(column: np.ma.MaskedArray, index: int | None) -> np.ma.MaskedArray:
    if index is None or column.ndim == 1:
        return column
    flat = column.reshape(len(column), -1)
    return flat[:, index] if index < flat.shape[1] else flat
