"""Packed values and missing ones, as netCDF writes them in attributes of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_MISSING = ("_FillValue", "missing_value")
_SCALE = ("scale_factor", "add_offset")

#: Bounds of what is measured, and which stored numbers are beyond them.
_VALID: tuple[tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]], ...] = (
    ("valid_min", lambda numbers, bound: numbers < bound[0]),
    ("valid_max", lambda numbers, bound: numbers > bound[-1]),
    ("valid_range", lambda numbers, bound: (numbers < bound[0]) | (numbers > bound[-1])),
)


def unpack(values: np.ndarray, attributes: Mapping[str, Any]) -> np.ma.MaskedArray:
    """Return what stored numbers mean: masked where missing, in their own unit.

    Parameters
    ----------
    values : array
    attributes : mapping
        Of the array: ``_FillValue``, ``missing_value``, ``valid_min``, ``valid_max``,
        ``valid_range``, ``scale_factor``, ``add_offset`` and ``_Unsigned`` count, as the
        conventions of netCDF have it.
    """
    stored = np.asarray(values)
    if stored.dtype.kind not in "iuf":
        return np.ma.array(stored)
    dtype = stored.dtype.newbyteorder("=")
    if _is_unsigned(attributes) and dtype.kind == "i":
        dtype = np.dtype(f"u{dtype.itemsize}")
    numbers = stored.astype(dtype)
    missing = np.zeros(stored.shape, bool)
    for name in _MISSING:
        if name in attributes:
            for fill in np.ravel(attributes[name]):
                missing |= _find_equal(numbers, fill)
    for name, is_beyond in _VALID:
        if name in attributes:
            missing |= is_beyond(numbers, np.ravel(attributes[name]).astype(float))
    if any(name in attributes for name in _SCALE):
        scale, offset = (_read_number(attributes, name) for name in _SCALE)
        numbers = numbers * (1.0 if scale is None else scale) + (offset or 0.0)
    return np.ma.array(numbers, mask=missing)


def note_fill(attributes: Mapping[str, Any], fill: Any) -> dict[str, Any]:
    """Return attributes of an array with the number that it has where nothing was written.

    As netCDF and HDF5 have it; 0 and 1, which HDF5 and programs take by default, are numbers.
    """
    noted = dict(attributes)
    is_number = isinstance(fill, np.number) and not isinstance(fill, np.complexfloating)
    if is_number and fill not in (0, 1):
        noted.setdefault(_MISSING[0], fill)
    return noted


def _find_equal(numbers: np.ndarray, fill: Any) -> np.ndarray:
    """Return where numbers are a fill value; nowhere if their type does not hold it."""
    given = np.asarray(fill)
    if given.dtype.kind not in "iuf":
        return np.zeros(numbers.shape, bool)
    if numbers.dtype.kind == "f":
        return np.asarray(numbers == given.astype(numbers.dtype))
    if given.dtype.kind == "f" and (not np.isfinite(given) or given != np.floor(given)):
        return np.zeros(numbers.shape, bool)
    whole, limits = int(given), np.iinfo(numbers.dtype)
    if numbers.dtype.kind == "u" and given.dtype.kind == "i" and whole < 0:
        whole += 2 ** (8 * given.dtype.itemsize)  # the bits of an unsigned one
    if not limits.min <= whole <= limits.max:
        return np.zeros(numbers.shape, bool)
    return np.asarray(numbers == numbers.dtype.type(whole))


def _is_unsigned(attributes: Mapping[str, Any]) -> bool:
    word = attributes.get("_Unsigned", "false")
    if isinstance(word, bytes):
        word = word.decode()
    return str(word).lower() == "true"


def _read_number(attributes: Mapping[str, Any], name: str) -> float | None:
    if name not in attributes:
        return None
    return float(np.ravel(attributes[name])[0])
