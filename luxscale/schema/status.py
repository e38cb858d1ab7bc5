"""Values of the variable `status` of a catalogue."""

from __future__ import annotations

import numpy as np
import xarray as xr

from luxscale.schema.variables import CATALOG, STAR

#: Values of ``status``.
NOT_DONE, DONE, UNREADABLE = 0, 1, 2

#: Attributes of ``status``.
ATTRS = {
    "long_name": next(v.doc for v in CATALOG if v.name == "status"),
    "flag_values": [NOT_DONE, DONE, UNREADABLE],
    "flag_meanings": "not_done done unreadable",
}


def find_done(catalog: xr.Dataset) -> np.ndarray:
    """Return where a catalogue's stars are done: (star,) bool; all, if it has no ``status``."""
    if "status" not in catalog:
        return np.ones(catalog.sizes[STAR], bool)
    done: np.ndarray = catalog["status"].values == DONE
    return done


def mark_done(catalog: xr.Dataset) -> xr.Dataset:
    """Return a catalogue with ``status``; where it has none all stars are done."""
    if "status" in catalog:
        return catalog
    status = np.full(catalog.sizes[STAR], DONE, np.uint8)
    return catalog.assign(status=(STAR, status, ATTRS))
