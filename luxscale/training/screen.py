"""Training labels that contradict their stars' spectra: wrong rows, columns, units or signs.

A label is set aside if regressions on the leading components of the spectra, a linear one and one
with products of two, agree that it is far off, unless the stars of most alike spectra have labels
like it: then the regressions fail, as for the few most metal-poor stars, and the label is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.model.features import PolynomialFeatures
from luxscale.training.data import TrainingOutput, assign_folds

#: Robust standard deviations beyond which a label is set aside.
CLIP = 8.0

#: Fewest stars with a label in which its scatter can be told.
LEAST_STARS = 30

#: Most components of spectra, and how many of the first have products; stars for each term.
_COMPONENTS, _PRODUCTS, _STARS_PER_TERM = 40, 8, 10

#: Stars from which components are found, and stars of alike spectra.
_BASIS_STARS, _NEIGHBOURS = 1000, 8

#: A label whose neighbours' are nearer to it than this, over the distance to the regression's, is
#: like theirs.
_LIKE = 0.5

#: Degrees of freedom of the weights in regressions, and how often they are found anew.
_DOF, _ROUNDS = 4.0, 8

#: Share of the pixels that a star must have.
_LEAST_PIXELS = 0.5

#: Pull of slopes to 0, per star.
_RIDGE = 1e-3


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
        for rows, x in self._read_blocks(np.arange(n)):
            scores[rows] = x @ self._vectors
        size = np.sqrt((scores[self.usable] ** 2).mean(0))
        self._vectors = self._vectors / size
        self.scores = scores / size

    def _read_blocks(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield values of some stars, 0 where missing, no star with much more say than others."""
        for block in np.array_split(rows, len(rows) // 512 + 1):
            yield block, np.hstack([values[block] for values, _ in self._tables]).astype(float)

    def _find_vectors(self, stars: np.ndarray) -> np.ndarray:
        """Return the leading directions in the space of pixels: (pixel, component)."""
        usable = np.flatnonzero(self.usable)
        groups = max(1, usable.size // _BASIS_STARS)
        # by their names, for the order of the stars is of no matter
        rows = usable[assign_folds(stars[usable], groups) == 0]
        x = np.vstack([block for _, block in self._read_blocks(rows)])
        length = np.sqrt((x**2).sum(1))
        bound = np.median(length)
        x *= (bound / np.maximum(length, bound))[:, None]
        sizes, sides = np.linalg.eigh(x @ x.T)
        number = min(_COMPONENTS, usable.size // _STARS_PER_TERM)
        number = min(number, int((sizes > 1e-6 * sizes[-1]).sum()))
        leading = slice(sizes.size - number, sizes.size)
        vectors: np.ndarray = x.T @ (sides[:, leading] / np.sqrt(sizes[leading]))
        return vectors[:, ::-1]

    def propagate_errors(self, slopes: np.ndarray) -> np.ndarray:
        """Return the variance of scores @ slopes from the errors of the spectra: (star,)."""
        square = (self._vectors @ slopes) ** 2
        variance = np.zeros(len(self.scores))
        start = 0
        for _, ivar in self._tables:
            stop = start + ivar.shape[1]
            error2 = 1 / np.where(ivar > 0, ivar, np.inf)
            variance += error2 @ square[start:stop]
            start = stop
        return variance


def find_outlying_labels(
    values: np.ndarray, errors: np.ndarray, spectra: Spectra, clip: float
) -> np.ndarray:
    """Return which labels contradict the spectra of their stars: (star, label) bool.

    Parameters
    ----------
    values, errors : array, (star, label)
        NaN where missing.
    spectra : Spectra
    clip : float
        Robust standard deviations of the residuals, the label's own error and that of the spectrum
        included, beyond which a label is outlying.
    """
    found = np.zeros(values.shape, bool)
    designs = _make_designs(spectra.scores)
    for i in range(values.shape[1]):
        rows = np.flatnonzero(np.isfinite(values[:, i]) & spectra.usable)
        if rows.size < LEAST_STARS or not spectra.scores.shape[1]:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            distance = _measure_distance(values[rows, i], errors[rows, i], rows, designs, spectra)
        found[rows, i] = ~(distance <= clip)
    return found


def _make_designs(scores: np.ndarray) -> list[np.ndarray]:
    """Return what labels are regressed on: the scores, and with products where stars suffice."""
    linear = np.hstack([np.ones((len(scores), 1)), scores])
    curved = min(_PRODUCTS, scores.shape[1])
    features = PolynomialFeatures(curved, curved)(scores)
    products = features[:, scores.shape[1] :]
    if (linear.shape[1] + products.shape[1]) * _STARS_PER_TERM > len(scores):
        return [linear]
    return [linear, np.hstack([linear, products])]


def _measure_distance(
    values: np.ndarray,
    errors: np.ndarray,
    rows: np.ndarray,
    designs: Sequence[np.ndarray],
    spectra: Spectra,
) -> np.ndarray:
    """Return the distance of each label from what its spectrum tells, in standard deviations.

    The least of the regressions'; 0 where labels of alike spectra are like it.
    """
    from_alike = np.abs(values - _find_median_of_neighbours(spectra.scores[rows], values))
    slopes, _ = _regress_robustly(designs[0][rows], values)
    own = errors**2 + spectra.propagate_errors(slopes[1:])[rows]
    distances = []
    for design in designs:
        _, residual = _regress_robustly(design[rows], values)
        residual = np.abs(residual)
        scatter = MAD_TO_SIGMA * np.median(residual)
        distance = residual / np.sqrt(scatter**2 + own)
        distances.append(np.where(from_alike < _LIKE * residual, 0, distance))
    least: np.ndarray = np.min(distances, axis=0)
    return least


def _regress_robustly(design: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and residuals of a regression in which far values count little."""
    residual = values - np.median(values)
    scatter = MAD_TO_SIGMA * np.median(np.abs(residual))
    weight = (np.abs(residual) <= 2 * CLIP * scatter).astype(float)
    usual = np.where(weight > 0, values, np.median(values))
    ridge = _RIDGE * len(values) * np.eye(design.shape[1])
    ridge[0, 0] = 0
    for _ in range(_ROUNDS):
        weighted = weight[:, None] * design
        normal = design.T @ weighted + ridge
        slopes = np.linalg.solve(normal, weighted.T @ usual)
        residual = values - design @ slopes
        scatter = MAD_TO_SIGMA * np.median(np.abs(residual))
        if scatter == 0:
            break
        weight = 1 / (1 + (residual / scatter) ** 2 / _DOF)
        # far values have no weight to speak of, and would overflow
        usual = np.where(weight > 1e-9, values, usual)
    return slopes, residual


def _find_median_of_neighbours(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the median label of the stars of most alike spectra: (star,)."""
    import scipy.spatial

    near = scores[:, :_PRODUCTS]
    number = min(_NEIGHBOURS, len(values) - 1)
    _, neighbours = scipy.spatial.cKDTree(near).query(near, k=number + 1)
    median: np.ndarray = np.median(values[neighbours[:, 1:]], axis=1)
    return median
