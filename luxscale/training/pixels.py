"""Outputs whose values have independent noise: their errors, and a scatter that is fitted.

Regression and scatter of each value are those of `luxscale.training.regression`, with the features
phi for latents. What the values of a star say of phi is summed once for each search.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from luxscale.model import linalg
from luxscale.model.components import Components, is_worthwhile
from luxscale.model.features import Features, linear_features
from luxscale.model.jit import compile_program
from luxscale.model.noise import DiagonalNoise, Reduced
from luxscale.model.observation import Equations
from luxscale.model.separable import is_mostly_linear
from luxscale.training.approximation import (
    Directions,
    approximate,
    are_described,
    find_covariance_directions,
)
from luxscale.training.data import Arrays, NoiseExtras
from luxscale.training.evidence import Description, Fitted, Likelihood, Regressors
from luxscale.training.latents import Latents
from luxscale.training.regression import regress_weights
from luxscale.training.regression_near import WeightSolver

#: Scatter to start from, in units of the spread.
_START = 0.03

#: Steps of Fisher scoring for the scatter: the first time, and later.
_FIRST_STEPS, _STEPS = 8, 2

#: Directions of Cov[phi] for each term: they change with the few latents that curve, and with each
#: star's noise. What they give of the variance of a pixel is right to a thousandth of all of it
#: where errors vary as those of surveys do.
_DIRECTIONS = 3

#: Stars that are worked on at once.
_BLOCK = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelNoise:
    """What belongs to fitted weights.

    Parameters
    ----------
    scatter : array, (feature,)
    reduced : Reduced
        The weights as `DiagonalNoise.observe` takes them.
    directions : Directions, optional
        Of the covariances that they were fitted with.
    """

    scatter: np.ndarray
    reduced: Reduced
    directions: Directions | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
    """A spectrum, or bands, of independent noise: see `Evidence`.

    Parameters
    ----------
    arrays : Arrays
        Of all stars, padding included, which are never copied.
    rows : array of int, (star,)
        Which of them take part.
    solver : WeightSolver
        That goes on from fitted weights.
    """

    arrays: Arrays
    rows: np.ndarray
    solver: WeightSolver = dataclasses.field(default_factory=WeightSolver)

    needs_covariances: ClassVar[bool] = True

    @property
    def has_gaps(self) -> np.ndarray:
        """Which stars have equations of another form: none, a missing value has weight 0."""
        return np.zeros(len(self.rows), bool)

    def take(self, rows: np.ndarray) -> Pixels:
        """Return the data of some of the stars."""
        return dataclasses.replace(self, rows=self.rows[rows])

    def standardise(self) -> np.ndarray:
        """Return the values, 0 where missing: (star, feature)."""
        values, ivar = self._read(self.rows)
        return np.where(ivar > 0, values, 0)

    def list_weights(self, robust_weight: np.ndarray) -> np.ndarray:
        """Return the weights of the stars in sums of float64: none are needed."""
        return np.zeros((len(self.rows), 0))

    def fit(
        self,
        regressors: Regressors,
        squares: np.ndarray,
        robust_weight: np.ndarray,
        old: Fitted | None,
    ) -> Fitted:
        """Fit scatter, then weights: see `Evidence.fit`."""
        latents = Latents(
            mean=self._spread(regressors.mean[:, 1:]),
            cov=self._spread(regressors.packed_covariance),
            objective=np.zeros(len(self.arrays.values), np.float32),
        )
        stars = self._spread(np.ones(len(self.rows)))
        d, terms = self.arrays.values.shape[1], latents.mean.shape[1]
        zero = np.zeros((d, terms), np.float32)
        if old is None:
            start = self.arrays._replace(weights=zero, scatter=np.full(d, _START, np.float32))
            arrays = regress_weights(start, latents, zero, stars)
        else:
            arrays = self.arrays._replace(
                weights=old.weights[:, 1:].astype(np.float32),
                offset=old.weights[:, 0].astype(np.float32),
                scatter=old.noise.scatter,
            )
        covariance, directions = _take_directions(
            regressors.features,
            latents,
            stars,
            arrays.weights,
            old.noise.directions if old else None,
        )
        steps = _STEPS if old else _FIRST_STEPS
        # few directions of the covariances are needed to go on from fitted weights
        regress = self.solver.solve if old and covariance else regress_weights
        new = regress(arrays, latents, zero, stars, scatter_steps=steps, covariance=covariance)
        weights = np.column_stack([new.offset, new.weights]).astype(float)
        reduced = DiagonalNoise(new.scatter).reduce(weights[:, 1:], terms)
        noise = PixelNoise(scatter=new.scatter, reduced=reduced, directions=directions)
        return Fitted(weights=weights, noise=noise)

    def make_equations(
        self, fitted: Fitted, rows: np.ndarray, robust_weight: np.ndarray, features: Features
    ) -> Equations:
        """Return what the data of some stars say of their latents, in float64."""
        values, ivar = self._read(self.rows[rows])
        noise: PixelNoise = fitted.noise
        offset = fitted.weights[:, 0].astype(np.float32)
        precision, pull = _sum_values(values, ivar, offset, noise.scatter, noise.reduced)
        return Equations(
            precision=np.asarray(precision, float),
            pull=np.asarray(pull, float),
            weights=np.asarray(noise.reduced.weights, float),
            features=features,
        )

    def measure(self, fitted: Fitted, regressors: np.ndarray) -> Likelihood:
        """Return how likely the data are at (1, phi) of each star: (star, term + 1)."""
        parts = []
        weights = fitted.weights.astype(np.float32)
        for block in _split(len(self.rows)):
            values, ivar = self._read(self.rows[block])
            f = regressors[block].astype(np.float32)
            found = _measure(values, ivar, f, weights, fitted.noise.scatter)
            parts.append(np.asarray(found, float))
        logarithm = np.concatenate(parts)[: len(self.rows)]
        # heavy tails of thousands of values would leave each star its own scale, and thereby the
        # scatter without any
        none = np.zeros(len(self.rows))
        return Likelihood(none, none, logarithm)

    def describe(self, fitted: Fitted) -> Description:
        """Return weights and scatter as they are."""
        return Description(fitted.weights, fitted.noise.scatter, NoiseExtras())

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(self.arrays.values)[rows], np.asarray(self.arrays.ivar)[rows]

    def _spread(self, of_stars: np.ndarray) -> np.ndarray:
        """Return numbers of the stars that take part as those of all, 0 of the others."""
        whole = np.zeros((len(self.arrays.values), *of_stars.shape[1:]), np.float32)
        whole[self.rows] = of_stars
        return whole


def _take_directions(
    features: Features,
    latents: Latents,
    stars: np.ndarray,
    weights: np.ndarray,
    known: Directions | None,
) -> tuple[Components | None, Directions | None]:
    """Return few directions of the covariances, where that is faster and they are enough.

    Those that are known are taken again as long as they are enough.
    """
    d, terms = weights.shape
    if not (is_mostly_linear(features) and is_worthwhile(d, terms, 0)):
        return None, None
    if known is not None:
        found = approximate(latents.cov, known)
        if are_described(found, latents.cov, weights, stars):
            return found, known
    directions = find_covariance_directions(latents.cov, terms, stars, _DIRECTIONS * terms)
    found = approximate(latents.cov, directions)
    if are_described(found, latents.cov, weights, stars):
        return found, directions
    return None, None


def _split(n: int) -> list[np.ndarray]:
    """Return positions in blocks of one size; the last is filled up with its own."""
    blocks = []
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, n))
        blocks.append(np.resize(rows, _BLOCK))
    return blocks


@compile_program()
def _sum_values(
    values: Any, ivar: Any, offset: Any, scatter: Any, reduced: Reduced
) -> tuple[Any, Any]:
    """Return M and b of `Equations`."""
    # phi is of no importance to them
    observed = DiagonalNoise(scatter).observe(ivar, values - offset, reduced, linear_features, True)
    return observed.equations.precision, observed.equations.pull


@compile_program()
def _measure(values: Any, ivar: Any, f: Any, weights: Any, scatter: Any) -> Any:
    noise = DiagonalNoise(scatter)
    return noise.log_likelihood(noise.weigh(ivar), values - linalg.dot(f, weights.T))
