"""Spectra of correlated noise, as their leading components."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from luxscale.model.features import Features
from luxscale.model.observation import Equations
from luxscale.training import component_noise, components
from luxscale.training.components import Components
from luxscale.training.data import NoiseExtras
from luxscale.training.evidence import DOF, Description, Fitted, Likelihood, Regressors


@dataclasses.dataclass(frozen=True)
class Spectra:
    """A spectrum of correlated noise: see `Evidence`.

    Parameters
    ----------
    components : Components
    share : array, (star,), optional
        Weight of each star in what is fitted; 1 if not given.
    """

    components: Components
    share: np.ndarray | None = None

    needs_covariances: ClassVar[bool] = False

    @property
    def has_gaps(self) -> np.ndarray:
        """Which stars lack pixels: (star,)."""
        found = np.zeros(len(self.components.values), bool)
        found[self.components.gaps.rows] = True
        return found

    def take(self, rows: np.ndarray) -> Spectra:
        """Return the data of some of the stars."""
        share = None if self.share is None else self.share[rows]
        return Spectra(self.components.take(rows), share)

    def standardise(self) -> np.ndarray:
        """Return the components weighted by the noise level of their stars: (star, component)."""
        share = components.MODEL_SHARE
        ratio = self.components.level / np.median(self.components.level)
        return self.components.values / np.sqrt(share + (1 - share) * ratio)[:, None]

    def list_weights(self, robust_weight: np.ndarray) -> np.ndarray:
        """Return the weights of the stars in the sum of each bin of noise level: (star, bin)."""
        n = len(robust_weight)
        weights = np.zeros((n, len(self.components.bin_level)))
        weights[np.arange(n), self.components.bins] = self._weigh(robust_weight)
        return weights

    def _weigh(self, robust_weight: np.ndarray) -> np.ndarray:
        weight = robust_weight[:, 0]
        return weight if self.share is None else self.share * weight

    def fit(
        self,
        regressors: Regressors,
        squares: np.ndarray,
        robust_weight: np.ndarray,
        old: Fitted | None,
    ) -> Fitted:
        """Regress the components, and fit both parts of their noise: see `Evidence.fit`."""
        data, first = self.components, regressors.mean
        values, filled, noise = data.values, None, None
        if old is not None:
            noise = old.noise
            values, filled = component_noise.complete(data, noise, first @ old.weights.T)
        n_bins, d = len(data.bin_level), values.shape[1]
        weight = self._weigh(robust_weight)
        right = np.zeros((n_bins, first.shape[1], d))
        square = np.zeros((n_bins, d, d))
        for i in range(n_bins):
            rows = data.bins == i
            g = weight[rows, None]
            right[i] = (g * first[rows]).T @ values[rows]
            square[i] = (g * values[rows]).T @ values[rows]
        if filled is not None:
            share = self._weigh(np.ones((len(values), 1)))[data.gaps.rows]
            np.add.at(square, data.bins[data.gaps.rows], share[:, None, None] * filled)
        count = np.bincount(data.bins, self.share, minlength=n_bins).astype(float)
        sums = component_noise.Sums(normal=squares, right=right, square=square, count=count)
        weights, noise = component_noise.maximise(sums, data.bin_level, noise)
        return Fitted(weights=weights, noise=noise)

    def make_equations(
        self, fitted: Fitted, rows: np.ndarray, robust_weight: np.ndarray, features: Features
    ) -> Equations:
        """Return what the data of some stars say of their latents, in float64."""
        offset, weights = fitted.weights[:, 0], fitted.weights[:, 1:]
        data, t = self.components, fitted.noise.whitener
        if (data.find_gaps(rows) < 0).all():
            variance = fitted.noise.find_variance(data.level[rows])
            precision = robust_weight / variance
            pull = precision * ((data.values[rows] - offset) @ t.T)
            return Equations(precision=precision, pull=pull, weights=t @ weights, features=features)
        precision, seen = component_noise.find_precision(data, fitted.noise, rows, offset)
        return Equations(
            precision=robust_weight[..., None] * precision,
            pull=robust_weight * seen,
            weights=weights,
            features=features,
        )

    def measure(self, fitted: Fitted, regressors: np.ndarray) -> Likelihood:
        """Return how likely the data are at (1, phi) of each star: (star, term + 1)."""
        predicted = regressors @ fitted.weights.T
        found = component_noise.measure_chi2(self.components, fitted.noise, predicted)
        chi2, number, log_norm = found
        heavy = 0.5 * (DOF + number) * np.log1p(chi2 / DOF)
        return Likelihood(chi2, number, log_norm - heavy)

    def describe(self, fitted: Fitted) -> Description:
        """Return weights and noise as those of pixels."""
        data = self.components
        weights = data.unit[:, None] * (data.vectors.T @ fitted.weights)
        correlation = fitted.noise.describe(data)
        noise = NoiseExtras(correlation=correlation, dof=DOF)
        return Description(weights, correlation.scatter, noise)
