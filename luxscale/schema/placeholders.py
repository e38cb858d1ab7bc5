"""Numbers that stand for "missing" in files, and would be taken for measurements."""

from __future__ import annotations

from typing import Any

import numpy as np

from luxscale.schema.blocks import iterate_blocks

#: Numbers that catalogues write where there is no label.
SENTINELS = (-99999.0, -9999.99, -9999.0, -999.99, -999.0, -99.99, -99.0, 999.0, 9999.0, 99999.0)

#: What netCDF has where no floating-point number was written.
NETCDF_FILL = 9.969209968386869e36

#: Numbers that spectra have where there is no flux.
FLUX_SENTINELS = (-9999.99, -9999.0, -999.99, -999.0, 9999.0, 1e30, -1e30, NETCDF_FILL)

#: Further numbers that files of some kind have there: least integers, fill values of netCDF and of
#: ROOT, magnitudes of stars that were not seen.
_FILL_VALUES = (
    -32768.0,
    -2147483648.0,
    -1e20,
    1e20,
    -1e30,
    1e30,
    NETCDF_FILL,
    99.99,
    999.99,
    9999.99,
)

#: All of them.
EVERY_SENTINEL = (*SENTINELS, *_FILL_VALUES)

#: Stars whose values are read at once.
_BLOCK = 65_536

#: No number above is smaller, float32's rounding included.
_LEAST = 98.9


def is_sentinel(values: np.ndarray, sentinels: tuple[float, ...]) -> np.ndarray:
    """Return where values are exactly a number that stands for "missing".

    Numbers count as float32 rounds them, too.
    """
    rounded = np.asarray(sentinels, np.float32).astype(np.float64)
    return np.isin(values, [*sentinels, *rounded])


def find_placeholders(values: np.ndarray, known: np.ndarray, *, each: bool) -> np.ndarray:
    """Return where a number that stands for "missing" is given as a measurement.

    It is believed where it lies among the other values.

    Parameters
    ----------
    values : array, (star, feature)
    known : array of bool, (star, feature)
        Which values are given as measured.
    each : bool
        Whether the others are those of the same feature, as of labels; else they are those of all
        features, as of pixels.

    Returns
    -------
    array of bool, (star, feature)
    """
    # normalised spectra hold nothing as large, which one pass shows
    with np.errstate(invalid="ignore"):
        large = known & (np.abs(values) >= _LEAST)
    suspect = np.zeros(values.shape, bool)
    suspect[large] = is_sentinel(values[large].astype(float), EVERY_SENTINEL)
    if not suspect.any():
        return suspect
    others = known & ~suspect
    axis = 0 if each else None
    least = np.min(values, axis=axis, where=others, initial=np.inf)
    greatest = np.max(values, axis=axis, where=others, initial=-np.inf)
    found: np.ndarray = suspect & ~((values >= least) & (values <= greatest))
    return found


def lie_among(values: np.ndarray, others: Any, noise: Any) -> np.ndarray:
    """Return where values lie among those of all stars that stand for nothing else.

    Parameters
    ----------
    values : array, (star, feature)
    others, noise : array or DataArray, (any star, feature)
        Values of all stars, and what is above 0 where they are given as measured; read in blocks.

    Returns
    -------
    array of bool, (star, feature)
    """
    least, greatest = np.full(values.shape[1], np.inf), np.full(values.shape[1], -np.inf)
    for rows in iterate_blocks(others.shape[0], _BLOCK):
        block = np.asarray(others[rows], float)
        known = (np.asarray(noise[rows]) > 0) & np.isfinite(block)
        known &= ~is_sentinel(block, EVERY_SENTINEL)
        least = np.minimum(least, np.min(block, axis=0, where=known, initial=np.inf))
        greatest = np.maximum(greatest, np.max(block, axis=0, where=known, initial=-np.inf))
    among: np.ndarray = (values >= least) & (values <= greatest)
    return among
