"""What inference needs to know of labels that it predicts: map and errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from luxscale.model.calibration import Errors
from luxscale.model.decoders import Decoder
from luxscale.model.features import find_moments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """What inference needs to know of labels that it predicts, in their units.

    Parameters
    ----------
    map : Decoder
    bounds : array, (label, 2)
        Least and greatest value in training.
    errors : Errors
        See `luxscale.model.output.Output`.
    parts : tuple of (bits, Errors)
        Errors in the place of these for stars that have some of the outputs; the bits of
        `luxscale.model.presence`.
    """

    map: Decoder
    bounds: Any
    errors: Errors
    parts: tuple[tuple[int, Errors], ...] = ()

    def find_by_outputs(
        self,
        find: Callable[[Head, np.ndarray], np.ndarray],
        values: np.ndarray,
        outputs: np.ndarray | None,
    ) -> np.ndarray:
        """Return what a function makes of values of stars with the errors that are theirs.

        Parameters
        ----------
        find : callable
            Takes a head and values (star, ...).
        values : array, (star, ...)
        outputs : array, (star,), optional
            Bits of the outputs that each star has; all if not given.
        """
        found = find(self, values)
        if outputs is None:
            return found
        for bits, errors in self.parts:
            rows = outputs == bits
            if rows.any():
                found[rows] = find(dataclasses.replace(self, errors=errors), values[rows])
        return found

    def predict(self, z: np.ndarray) -> np.ndarray:
        """Return the labels of latents z, in float64: (star, latent) -> (star, label)."""
        return np.asarray(self.map(z.astype(float)))

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of each label under z ~ N(0, I): (label,).

        The unit in which its error is computed; 1 for a label that does not vary.
        """
        features, weights = self.map.features, self.map.weights
        if features.is_linear:
            spread = np.sqrt((weights**2).sum(1))
        else:
            p = self.map.latent_dim
            _, rows = find_moments(features, np.zeros((1, p)), np.eye(p)[None])
            spread = np.sqrt(((rows[0] @ weights.T) ** 2).sum(0))
        return np.where(spread > 0, spread, 1)

    def inflate(self, variance: np.ndarray) -> np.ndarray:
        """Return what formal variances are multiplied by: (star, label).

        The square of the factor; less where that would exceed the variance without data, and where
        it is below 1, the nearer to 1 the nearer they are to that variance.

        Parameters
        ----------
        variance : array, (star, label)
            In units of ``spread`` squared, which is about the variance without data.
        """
        positive = np.maximum(variance, np.finfo(np.float32).tiny)
        factor2 = self.errors.find_scale(np.sqrt(positive) * self.spread) ** 2
        larger = np.clip(1 / positive, 1.0, np.maximum(factor2, 1.0))
        smaller = factor2 + (1 - factor2) * np.minimum(positive, 1.0)
        return np.where(factor2 < 1, smaller, larger)

    def find_floor(self, variance: np.ndarray) -> np.ndarray:
        """Return what is added to errors in quadrature: (star, label).

        Parameters
        ----------
        variance : array, (star, label)
            As of `inflate`.
        """
        positive = np.maximum(variance, np.finfo(np.float32).tiny)
        return self.errors.find_floor(np.sqrt(positive) * self.spread)

    def find_error(self, variance: np.ndarray) -> np.ndarray:
        """Return the errors that catalogues give: (star, label).

        Parameters
        ----------
        variance : array, (star, label)
            Formal, in units of ``spread`` squared.
        """
        inflated = variance * self.inflate(variance)
        floor = self.find_floor(variance)
        error: np.ndarray = np.sqrt(inflated * self.spread**2 + floor**2)
        return error

    def find_formal(self, error: np.ndarray) -> np.ndarray:
        """Return the formal errors behind those that catalogues give: (star, label).

        Of a star of which data say next to nothing, whose factor is less, they are too small.
        """
        if not self.errors.is_constant or self.errors.shrinks:
            return self._search_formal(error)
        inflated = np.sqrt(np.maximum(error**2 - self.errors.find_floor(error) ** 2, 0))
        formal: np.ndarray = inflated / self.errors.find_scale(error)
        return formal

    def _search_formal(self, error: np.ndarray) -> np.ndarray:
        """Return the formal errors of which calibrated ones are made, between those of a grid."""
        spread = self.spread
        # members of an ensemble can differ by more than the spread
        grid = np.geomspace(1e-5, 1e3, 6401)[:, None] * spread
        calibrated = self.find_error((grid / spread) ** 2)
        columns = [
            np.interp(e, c, g) for e, c, g in zip(error.T, calibrated.T, grid.T, strict=True)
        ]
        return np.stack(columns, axis=1)


jax.tree_util.register_dataclass(Head, ["map", "bounds"], ["errors", "parts"])
