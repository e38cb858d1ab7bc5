"""Attributes that hold several values: JSON text, as netCDF has no other place for them."""

from __future__ import annotations

import json
from typing import Any

import xarray as xr


def pack_attribute(values: dict[str, Any] | list[str]) -> str:
    """Return values by name, or texts, as the text of an attribute."""
    return json.dumps(values)


def unpack_attribute(attribute: Any) -> Any:
    """Return the values that an attribute holds; those of catalogues of 0.1.0 are no text."""
    return json.loads(attribute) if isinstance(attribute, str) else attribute


def pack_attributes(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose attributes are text, numbers, or lists of numbers."""
    packed = {name: pack_attribute(v) for name, v in dataset.attrs.items() if _is_structured(v)}
    return dataset.assign_attrs(packed) if packed else dataset


def _is_structured(value: Any) -> bool:
    """Whether a value holds others by name, or texts."""
    is_list = isinstance(value, list) and any(isinstance(each, str) for each in value)
    return is_list or isinstance(value, dict)
