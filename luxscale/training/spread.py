"""Centre and scale of each feature over the training stars, and how far values may lie."""

from __future__ import annotations

import numpy as np

from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.training.data import Spread

#: Distance from the median, in units of their spread, at which labels are no measurements but
#: missing: that of the central 95% ...
_FARTHEST_LABEL = 1e3

#: ... or, where more than 2% are such numbers, that of the central half.
_FARTHEST_OF_MANY = 1e4


class PixelMoments:
    """Count, mean, variance and bounds of each pixel, a block of stars at a time."""

    def __init__(self, d: int) -> None:
        self.count = np.zeros(d, int)
        self._pivot = np.zeros(d)
        self._sum = np.zeros(d)
        self._square = np.zeros(d)
        self._least = np.full(d, np.inf)
        self._greatest = np.full(d, -np.inf)

    def add(self, values: np.ndarray, known: np.ndarray) -> None:
        """Count in a block of stars: (star, pixel), and which of its values are measured."""
        count = known.sum(0)
        # about a value near the mean, squares lose no digits
        new = (self.count == 0) & (count > 0)
        if new.any():
            sums = np.sum(
                values[:, new],
                axis=0,
                where=known[:, new],
                dtype=float,
            )
            self._pivot[new] = sums / count[new]
        pivot = self._pivot.astype(values.dtype)
        about = np.where(known, values - pivot, 0)
        self.count += count
        self._sum += about.sum(0, dtype=float)
        # of a value that is absurd, and refused for it
        with np.errstate(over="ignore"):
            square = np.square(about, dtype=values.dtype)
            self._square += square.sum(0, dtype=float)
        least = np.min(values, axis=0, where=known, initial=np.inf)
        greatest = np.max(values, axis=0, where=known, initial=-np.inf)
        self._least = np.minimum(self._least, least)
        self._greatest = np.maximum(self._greatest, greatest)

    def merge(self, other: PixelMoments) -> None:
        """Count in the stars of another."""
        new = (self.count == 0) & (other.count > 0)
        self._pivot[new] = other._pivot[new]
        shift = other._pivot - self._pivot
        # squares about another value
        self._square += other._square + shift * (2 * other._sum + other.count * shift)
        self._sum += other._sum + other.count * shift
        self.count += other.count
        self._least = np.minimum(self._least, other._least)
        self._greatest = np.maximum(self._greatest, other._greatest)

    def to_array(self) -> np.ndarray:
        """Return all there is to it: (6, pixel), float64."""
        parts = (self.count, self._pivot, self._sum, self._square, self._least, self._greatest)
        return np.stack([np.asarray(part, float) for part in parts])

    @classmethod
    def from_array(cls, array: np.ndarray) -> PixelMoments:
        """Return the moments that `to_array` returned."""
        moments = cls(array.shape[1])
        moments.count = array[0].astype(int)
        moments._pivot, moments._sum, moments._square = (row.copy() for row in array[1:4])
        moments._least, moments._greatest = (row.copy() for row in array[4:])
        return moments

    def compute_spread(self) -> Spread:
        """Return the mean of each pixel, and one scale for all.

        A pixel that hardly varies needs no magnifying.
        """
        some = self.count > 0
        count = np.maximum(self.count, 1)
        about_pivot = self._sum / count
        # whichever stars the pivot is of
        scale = np.sqrt(np.maximum(self._square / count - about_pivot**2, 0))
        typical = 1.0
        if some.any():
            typical = float(np.median(scale[some]))
        return Spread(
            center=self._pivot + about_pivot,
            scale=np.full(count.size, typical),
            least=np.where(some, self._least, 0.0),
            greatest=np.where(some, self._greatest, 0.0),
        )


def compute_spread(values: np.ndarray, known: np.ndarray) -> Spread:
    """Return centroid and scale of equation 9: median, and a quarter of the central 95%."""
    some = known.any(0)
    measured = np.where(known, values, np.nan)
    percentiles = np.zeros((5, values.shape[1]))
    percentiles[:, some] = np.nanpercentile(
        measured[:, some],
        [50, 97.5, 2.5, 0, 100],
        axis=0,
    )
    center, high, low, least, greatest = percentiles
    return Spread(
        center=center,
        scale=(high - low) / 4,
        least=least,
        greatest=greatest,
    )


def find_farthest(values: np.ndarray, known: np.ndarray, spread: Spread) -> np.ndarray:
    """Return the distance from the median beyond which a label is refused: (label,).

    In units of the spread. A label may have a long tail (parallax, extinction), but none reaches to
    -9999.
    """
    measured = np.where(known, values, np.nan)
    low, high = np.nanpercentile(measured, [25, 75], axis=0)
    # half the central half is the median absolute deviation
    distance = _FARTHEST_OF_MANY * MAD_TO_SIGMA * (high - low) / 2
    of_many = distance / spread.scale
    nearer = np.minimum(of_many, _FARTHEST_LABEL)
    # of a label that half of the stars share, the central half has no width
    return np.where(of_many > 0, nearer, _FARTHEST_LABEL)
