"""What was read of the training stars, centred and in units of its spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.blocks import MOST_IVAR
from luxscale.schema.outputs import OutputSpec
from luxscale.schema.variables import STAR
from luxscale.training.data import Spread

#: Errors beyond this many times the spread of a feature say nothing, and near the end of float32
#: they do harm.
MOST_ERROR = 1e6

#: Stars read at once, and worked on at once: temporaries of so few stay in the cache, and are not
#: paged in anew.
ROWS, PART = 1024, 128


class OutputSource(NamedTuple):
    """An output of a survey, and the name of the survey in messages."""

    survey: xr.Dataset
    spec: OutputSpec
    where: str

    @property
    def n_stars(self) -> int:
        """Number of stars."""
        return int(self.survey.sizes[STAR])

    @property
    def features(self) -> np.ndarray:
        """Wavelengths, or names."""
        values: np.ndarray = self.survey[self.spec.dim].values
        return values


class Table(NamedTuple):
    """An output as it was read.

    values, ivar : (star, feature), divided by ``unit``; spread, farthest : (feature,), farthest
    being the distance from the centre, in units of the spread, at which a value is refused;
    outlying, widened : (star, label), which labels were set aside, and given larger errors.
    """

    values: np.ndarray
    ivar: np.ndarray
    unit: float
    spread: Spread
    farthest: np.ndarray
    outlying: np.ndarray | None = None
    widened: np.ndarray | None = None


def scale_table(source: OutputSource, table: Table, values: np.ndarray, ivar: np.ndarray) -> bool:
    """Put a table, centred and in units of its spread, into arrays, which may be its own.

    Returns whether any error is neither too large nor too small.

    Raises
    ------
    InputError
        If a value is too far from the others.
    """
    center = table.spread.center / table.unit
    scale = table.spread.scale
    # the table is in its unit already: factors from there to the spread
    with np.errstate(over="ignore"):
        factor = table.unit / scale
        ivar_factor = (scale / table.unit) ** 2
    usable = False
    for rows in list_slices(source.n_stars, PART):
        y = table.values[rows]
        with np.errstate(over="ignore"):
            scaled = table.ivar[rows] * ivar_factor
            known = scaled >= MOST_ERROR**-2
            values[rows] = np.where(known, (y - center) * factor, 0)
        # beyond, the least scatter is all that counts, and float32 near its end
        bounded = np.minimum(scaled, MOST_IVAR)
        ivar[rows] = np.where(known, bounded, 0)
        within = known & (scaled < MOST_IVAR)
        usable |= bool(within.any())
        _check_distance(source, values[rows], table.farthest, rows.start)
    return usable


def list_slices(stop: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices."""
    return (slice(i, min(i + size, stop)) for i in range(0, stop, size))


def _check_distance(
    source: OutputSource, values: np.ndarray, farthest: np.ndarray, start: int
) -> None:
    """Refuse values that leave no digit to the others or are no measurements."""
    distance = np.abs(values) / farthest
    # the farthest, for it may have drawn the mean away from all others
    n, k = np.unravel_index(int(np.argmax(distance)), distance.shape)
    if distance[n, k] < 1:
        return
    star = source.survey[STAR].values[start + int(n)]
    feature = source.features[k]
    missing = "0" if source.spec.is_ivar else "NaN"
    raise InputError(
        f"{source.where}: {source.spec.name!r} at star {str(star)!r}, {source.spec.dim} {feature}, "
        "is absurdly far from those of the other stars; where it is missing, "
        f"{source.spec.noise!r} must be {missing}"
    )


def allocate_aligned(shape: tuple[int, int]) -> np.ndarray:
    """Return zeros that the CPU backend of JAX uses as they are, without a copy.

    They must not change after that.
    """
    size = 4 * shape[0] * shape[1]
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(np.float32).reshape(shape)
