"""Leading components of the training spectra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.training.data import TrainingOutput, assign_folds

#: Fewest stars with a label in which its scatter can be told.
LEAST_STARS = 30

#: Most components of spectra, and stars for each of them.
_COMPONENTS, _STARS_PER_COMPONENT = 40, 10

#: Stars from which components are found, and how often gaps of their spectra are filled for it.
_BASIS_STARS, _FILLS = 500, 2

#: Share of the pixels that a star must have.
_LEAST_PIXELS = 0.5

#: Robust standard deviations beyond which a component counts as if there.
_FARTHEST = 10.0

#: Stars whose spectra are worked on at once.
_BLOCK = 512


class Spectra:
    """Leading components of the training spectra, and predictions from them.

    Parameters
    ----------
    outputs : sequence of TrainingOutput
        What is measured, rather than labels.
    stars : array, (star,)
        Identifiers.
    """

    def __init__(self, outputs: Sequence[TrainingOutput], stars: np.ndarray) -> None:
        tables = [output.read_table() for output in outputs]
        n = stars.size
        n_pixels = sum(output.size for output in outputs)
        known = np.zeros(n)
        for _, ivar in tables:
            known += (ivar > 0).sum(1)
        self.usable = known >= _LEAST_PIXELS * n_pixels
        self._tables = tables
        self._vectors = self._find_vectors(stars)
        scores = np.zeros((n, self._vectors.shape[1]))
        for rows, x, known in self._read_blocks(np.arange(n)):
            scores[rows] = self._project(x, known)
        if scores.shape[1]:
            size = MAD_TO_SIGMA * np.median(np.abs(scores[self.usable]), axis=0)
            size[size == 0] = 1
            self._vectors = self._vectors / size
            # a star with an absurd pixel has not much more say than others
            scores = np.clip(scores / size, -_FARTHEST, _FARTHEST)
        self.scores = scores

    def _read_blocks(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield rows of some stars, values, 0 where missing, and which are known: (star, pixel)."""
        for block in np.array_split(rows, len(rows) // _BLOCK + 1):
            values = np.hstack([values[block] for values, _ in self._tables])
            yield block, values, np.hstack([ivar[block] > 0 for _, ivar in self._tables])

    def _project(self, x: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return the scores of spectra, gaps being filled by what the components make of them."""
        vectors = self._vectors.astype(np.float32)
        scores = x @ vectors
        for _ in range(_FILLS):
            missed = np.where(known, x - scores @ vectors.T, 0)
            scores += missed @ vectors
        return scores

    def _find_vectors(self, stars: np.ndarray) -> np.ndarray:
        """Return the leading directions in the space of pixels: (pixel, component)."""
        usable = np.flatnonzero(self.usable)
        if usable.size < LEAST_STARS:
            return np.zeros((sum(values.shape[1] for values, _ in self._tables), 0))
        groups = max(1, usable.size // _BASIS_STARS)
        # by their names, for the order of the stars is of no matter
        rows = usable[assign_folds(stars[usable], groups) == 0]
        blocks = list(self._read_blocks(rows))
        x = np.vstack([block for _, block, _ in blocks]).astype(float)
        known = np.vstack([block for _, _, block in blocks])
        most = min(_COMPONENTS, usable.size // _STARS_PER_COMPONENT)
        vectors = _find_leading(x, most)
        for _ in range(_FILLS):
            x = np.where(known, x, x @ vectors @ vectors.T)
            vectors = _find_leading(x, most)
        return vectors

    def propagate_errors(self, slopes: np.ndarray) -> np.ndarray:
        """Return variances that errors of spectra make: (component, label) -> (star, label).

        Of scores @ slopes.
        """
        square = ((self._vectors @ slopes) ** 2).astype(np.float32)
        variance = np.zeros((len(self.scores), slopes.shape[1]))
        start = 0
        for _, ivar in self._tables:
            stop = start + ivar.shape[1]
            for rows in np.array_split(np.arange(len(ivar)), len(ivar) // _BLOCK + 1):
                error2 = 1 / np.where(ivar[rows] > 0, ivar[rows], np.inf)
                variance[rows] += error2 @ square[start:stop]
            start = stop
        return variance


def _find_leading(x: np.ndarray, most: int) -> np.ndarray:
    """Return leading directions, orthonormal, of spectra none of which is too large for others."""
    length = np.sqrt((x**2).sum(1))
    bound = np.median(length)
    x = x * (bound / np.maximum(length, bound))[:, None]
    sizes, sides = np.linalg.eigh(x @ x.T)
    number = min(most, int((sizes > 1e-6 * sizes[-1]).sum()))
    leading = slice(sizes.size - number, sizes.size)
    vectors: np.ndarray = x.T @ (sides[:, leading] / np.sqrt(sizes[leading]))
    return vectors[:, ::-1]
