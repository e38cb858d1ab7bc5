"""What a new catalogue holds: its arrays, coordinates and attributes, and how they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.labelling.plan import Plan
from luxscale.model.infer import decorate_catalog
from luxscale.model.lux import LuxModel
from luxscale.model.results import Result
from luxscale.runs.target import BEING_MADE
from luxscale.schema.attributes import pack_attribute
from luxscale.schema.status import ATTRS as STATUS_ATTRS
from luxscale.schema.variables import STAR, hold_array

FORMAT = store.CATALOG_FORMAT
FORMAT_VERSION = 1


def lay_out(
    plan: Plan, model: LuxModel, results: Sequence[Result]
) -> tuple[xr.Dataset, dict[Any, dict[str, Any]]]:
    """Return a catalogue of no stars, and how its arrays are stored."""
    status = Result(name="status", dims=(STAR,), shape=(), dtype=np.dtype(np.uint8))
    variables: dict[str, Any] = {}
    encoding: dict[Any, dict[str, Any]] = {}
    for result in (*results, status):
        name, chunks = result.name, (plan.chunk, *result.shape)
        variables[name] = hold_array(result.dims, np.empty((0, *result.shape), result.dtype))
        encoding[name] = {"chunks": chunks, "compressors": store.make_codecs(result.dtype)}
        if result.dtype.kind == "f":
            encoding[name]["_FillValue"] = np.nan
    catalog = decorate_catalog(xr.Dataset(variables), model)
    catalog["status"].attrs = dict(STATUS_ATTRS)
    catalog.attrs |= {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "identity": pack_attribute(dict(plan.identity)),
        "versions": pack_attribute([plan.version]),
        "complete": BEING_MADE,
    }
    return catalog, encoding
