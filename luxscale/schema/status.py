"""Values of the variable `status` of a catalogue."""

from __future__ import annotations

import numpy as np
import xarray as xr

from luxscale.schema.variables import STAR

#: Values of ``status``.
NOT_DONE, DONE, UNREADABLE = 0, 1, 2


def find_done(catalog: xr.Dataset) -> np.ndarray:
    """Return where a catalogue's stars are done: (star,) bool; all, if it has no ``status``."""
    if "status" not in catalog:
        return np.ones(catalog.sizes[STAR], bool)
    done: np.ndarray = catalog["status"].values == DONE
    return done
