"""Training labels that contradict their stars' spectra: wrong rows, columns, units or signs.

A label is set aside if regressions on the leading components of the spectra, a linear one and,
where stars suffice, one with products of two, agree that it is far off, unless stars with the most
similar spectra have labels as far off: then the regressions fail, and the label is taken for right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.model.features import PolynomialFeatures
from luxscale.training.data import TrainingOutput, assign_folds
from luxscale.training.methods import LABEL_CLIP

#: Fewest stars with a label in which its scatter can be told.
LEAST_STARS = 30

#: Most components of spectra, and how many of the first have products; stars for each term.
_COMPONENTS, _PRODUCTS, _STARS_PER_TERM = 40, 8, 10

#: Stars from which components are found, and stars with similar spectra.
_BASIS_STARS, _NEIGHBOURS = 1000, 8

#: A label whose neighbours' are nearer to it than this, over the distance to the regression's, is
#: like theirs.
_LIKE = 0.5

#: Degrees of freedom of the weights in regressions, and how often they are found anew.
_DOF, _ROUNDS = 4.0, 8

#: What 90% of a normal distribution lies within, in sigma.
_NORMAL_90 = 1.645

#: Share of the pixels that a star must have.
_LEAST_PIXELS = 0.5

#: Robust standard deviations of a label beyond which similar stars do not support it.
_BEYOND_ALL = 50.0

#: Robust standard deviations beyond which a component counts as if there.
_FARTHEST = 10.0

#: Stars whose spectra are worked on at once.
_BLOCK = 512

#: Largest share of a label that may be set aside: a label of which more is far off is of another
#: kind, a class or a count, than regressions predict.
_MOST = 0.1

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
        if scores.shape[1]:
            size = MAD_TO_SIGMA * np.median(np.abs(scores[self.usable]), axis=0)
            size[size == 0] = 1
            self._vectors = self._vectors / size
            # a star with an absurd pixel has not much more say than others
            scores = np.clip(scores / size, -_FARTHEST, _FARTHEST)
        self.scores = scores

    def _read_blocks(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield values of some stars, 0 where missing: (star, pixel)."""
        for block in np.array_split(rows, len(rows) // _BLOCK + 1):
            yield block, np.hstack([values[block] for values, _ in self._tables]).astype(float)

    def _find_vectors(self, stars: np.ndarray) -> np.ndarray:
        """Return the leading directions in the space of pixels: (pixel, component)."""
        usable = np.flatnonzero(self.usable)
        if usable.size < LEAST_STARS:
            return np.zeros((sum(values.shape[1] for values, _ in self._tables), 0))
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
        """Return the variance of the first scores @ slopes from errors of spectra: (star,)."""
        square = (self._vectors[:, : slopes.size] @ slopes) ** 2
        variance = np.zeros(len(self.scores))
        start = 0
        for _, ivar in self._tables:
            stop = start + ivar.shape[1]
            for rows in np.array_split(np.arange(len(ivar)), len(ivar) // _BLOCK + 1):
                error2 = 1 / np.where(ivar[rows] > 0, ivar[rows], np.inf)
                variance[rows] += error2 @ square[start:stop]
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
    for i in range(values.shape[1]):
        rows = np.flatnonzero(np.isfinite(values[:, i]) & spectra.usable)
        if rows.size < LEAST_STARS or not spectra.scores.shape[1] or not _varies(values[rows, i]):
            continue
        designs = _make_designs(spectra.scores[rows])
        with np.errstate(over="ignore", invalid="ignore"):
            distance = _measure_distance(values[rows, i], errors[rows, i], rows, designs, spectra)
        outlying = ~(distance <= clip)
        if outlying.mean() <= _MOST:
            found[rows, i] = outlying
    return found


def _varies(values: np.ndarray) -> bool:
    """Return whether fewer than half of the values are the same, so that they have a scatter."""
    return bool(np.median(np.abs(values - np.median(values))) > 0)


def _make_designs(scores: np.ndarray) -> list[np.ndarray]:
    """Return what labels are regressed on: the scores, and with products where stars suffice."""
    n = len(scores)
    scores = scores[:, : max(n // _STARS_PER_TERM - 1, 1)]
    linear = np.hstack([np.ones((n, 1)), scores])
    curved = min(_PRODUCTS, scores.shape[1])
    products = PolynomialFeatures(curved, curved)(scores[:, :curved])[:, curved:]
    if (linear.shape[1] + products.shape[1]) * _STARS_PER_TERM > n:
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

    The least of the regressions'; 0 where stars with similar spectra have similar labels.
    """
    from_alike = _measure_distance_from_alike(spectra.scores[rows], values)
    fits = [_regress_robustly(design, values) for design in designs]
    slopes = fits[0][0][1:]
    own = errors**2 + spectra.propagate_errors(slopes)[rows]
    distances = []
    for _, residual in fits:
        residual = np.abs(residual)
        # both are sigma of a normal distribution; where regressions fail, tails are longer
        of_half, of_most = np.quantile(residual, [0.5, 0.9])
        scatter = max(MAD_TO_SIGMA * of_half, of_most / _NORMAL_90)
        distance = residual / np.sqrt(scatter**2 + own)
        distances.append(np.where(from_alike < _LIKE * residual, 0, distance))
    least: np.ndarray = np.min(distances, axis=0)
    return least


def _regress_robustly(design: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and residuals of a regression in which far values count little."""
    residual = values - np.median(values)
    scatter = MAD_TO_SIGMA * np.median(np.abs(residual))
    weight = (np.abs(residual) <= 2 * LABEL_CLIP * scatter).astype(float)
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


def _measure_distance_from_alike(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return how far labels lie beyond all but two, at either end, of the most alike stars'.

    Those far from all labels are far from these too, though wrong ones may be among them.
    """
    import scipy.spatial

    near = scores[:, :_PRODUCTS]
    number = min(_NEIGHBOURS, len(values) - 1)
    _, neighbours = scipy.spatial.cKDTree(near).query(near, k=number + 1)
    theirs = np.sort(values[neighbours[:, 1:]], axis=1)
    below, above = theirs[:, 2] - values, values - theirs[:, -3]
    distance = np.maximum(np.maximum(below, above), 0)
    from_all = np.abs(values - np.median(values))
    scatter = MAD_TO_SIGMA * np.median(from_all)
    return np.where(from_all > _BEYOND_ALL * scatter, from_all, distance)
