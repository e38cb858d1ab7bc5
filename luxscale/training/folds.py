"""Which stars are left out of training together."""

from __future__ import annotations

import zlib

import numpy as np


def assign_folds(stars: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold of each star: (star,).

    By its identifier, so that the order of the stars does not matter; folds are of equal size.
    """
    # names stand beside the CRCs, for those of many stars may be equal
    keys = []
    for star in stars.tolist():
        name = str(star)
        keys.append((zlib.crc32(name.encode()), name))
    n = len(keys)
    order = sorted(range(n), key=keys.__getitem__)
    rank = np.empty(n, int)
    rank[order] = np.arange(n)
    return rank % folds
