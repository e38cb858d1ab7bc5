"""Identifiers of stars that files hold as floats, as MATLAB and pandas write whole numbers."""

from __future__ import annotations

import numpy as np

#: From here on floats of 64 bits skip whole numbers.
MOST_WHOLE = 2**53


def convert_floats(values: np.ndarray, missing: np.ndarray) -> np.ndarray | None:
    """Return floats that are whole numbers as int64, -1 where missing; None if they are not all.

    Parameters
    ----------
    values : array, (star,)
        NaN counts as missing, too.
    missing : array of bool, (star,)
    """
    is_missing = missing | np.isnan(values)
    numbers = np.where(is_missing, -1, values)
    most = min(MOST_WHOLE, 2.0 ** (np.finfo(values.dtype).nmant + 1))
    if not ((numbers == np.floor(numbers)) & (np.abs(numbers) < most)).all():
        return None
    return numbers.astype(np.int64)
