"""Leading components of the training spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.training.data import TrainingOutput
from luxscale.training.folds import assign_folds

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


class Source(Protocol):
    """The training spectra, wherever they are."""

    @property
    def n_pixels(self) -> int:
        """Number of pixels and bands."""

    def count_known(self) -> np.ndarray:
        """Return how many of them each star has: (star,)."""

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values of some stars, 0 where missing, and which are known: (star, pixel)."""

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Return the scores of all stars on directions (pixel, component): (star, component)."""

    def sum_errors(self, square: np.ndarray) -> np.ndarray:
        """Return sum_d sigma_nd^2 square_dk: (pixel, k) -> (star, k)."""


class Tables:
    """Training spectra in memory: a `Source`.

    Parameters
    ----------
    outputs : sequence of TrainingOutput
        What is measured, rather than labels.
    """

    def __init__(self, outputs: Sequence[TrainingOutput]) -> None:
        self._tables = [output.read_table() for output in outputs]
        self._n_stars = outputs[0].n_stars
        self.n_pixels = sum(output.size for output in outputs)

    def count_known(self) -> np.ndarray:
        """Return how many values each star has: (star,)."""
        known = np.zeros(self._n_stars)
        for _, ivar in self._tables:
            known += (ivar > 0).sum(1)
        return known

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values of some stars, 0 where missing, and which are known: (star, pixel)."""
        values = np.hstack([values[rows] for values, _ in self._tables])
        return values, np.hstack([ivar[rows] > 0 for _, ivar in self._tables])

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Return scores, gaps being filled by what the components make of them."""
        vectors = vectors.astype(np.float32)
        scores = np.zeros((self._n_stars, vectors.shape[1]))
        for rows in _split(self._n_stars):
            x, known = self.read(rows)
            of_block = x @ vectors
            for _ in range(_FILLS):
                missed = np.where(known, x - of_block @ vectors.T, 0)
                of_block += missed @ vectors
            scores[rows] = of_block
        return scores

    def sum_errors(self, square: np.ndarray) -> np.ndarray:
        """Return sum_d sigma_nd^2 square_dk: (pixel, k) -> (star, k)."""
        total = np.zeros((self._n_stars, square.shape[1]))
        start = 0
        for _, ivar in self._tables:
            stop = start + ivar.shape[1]
            for rows in _split(self._n_stars):
                error2 = 1 / np.where(ivar[rows] > 0, ivar[rows], np.inf)
                total[rows] += error2 @ square[start:stop]
            start = stop
        return total


class Spectra:
    """Leading components of the training spectra, and predictions from them.

    Parameters
    ----------
    source : Source
    stars : array, (star,)
        Identifiers.
    """

    def __init__(self, source: Source, stars: np.ndarray) -> None:
        self._source = source
        self.usable = source.count_known() >= _LEAST_PIXELS * source.n_pixels
        self._vectors = self._find_vectors(stars)
        scores = source.project(self._vectors)
        if scores.shape[1]:
            size = MAD_TO_SIGMA * np.median(np.abs(scores[self.usable]), axis=0)
            size[size == 0] = 1
            self._vectors = self._vectors / size
            # a star with an absurd pixel has not much more say than others
            scores = np.clip(scores / size, -_FARTHEST, _FARTHEST)
        self.scores = scores

    def _find_vectors(self, stars: np.ndarray) -> np.ndarray:
        """Return the leading directions in the space of pixels: (pixel, component)."""
        usable = np.flatnonzero(self.usable)
        if usable.size < LEAST_STARS:
            return np.zeros((self._source.n_pixels, 0))
        groups = max(1, usable.size // _BASIS_STARS)
        # by their names, for the order of the stars is of no matter
        rows = usable[assign_folds(stars[usable], groups) == 0]
        x, known = self._source.read(rows)
        x = x.astype(float)
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
        return self._source.sum_errors(((self._vectors @ slopes) ** 2).astype(np.float32))


def _split(n_stars: int) -> list[np.ndarray]:
    return np.array_split(np.arange(n_stars), n_stars // _BLOCK + 1)


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
