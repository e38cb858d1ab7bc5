"""Outputs whose noise is known: labels, and bands beside spectra of correlated noise."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from luxscale.model.features import Features
from luxscale.model.observation import Equations
from luxscale.training.data import NoiseExtras
from luxscale.training.evidence import Description, Fitted, Likelihood, Regressors

#: Pull of weights to 0, in stars of unit weight.
_RIDGE = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """An output of independent noise that is not fitted: see `Evidence`.

    Parameters
    ----------
    values, ivar : array, (star, feature)
        The latter with scatter in it.
    scatter : array, (feature,)
    dof : float
        Degrees of freedom of each value.
    """

    values: np.ndarray
    ivar: np.ndarray
    scatter: np.ndarray
    dof: float = np.inf

    needs_covariances: ClassVar[bool] = False

    @property
    def has_gaps(self) -> np.ndarray:
        """Which stars have equations of another form: none."""
        return np.zeros(len(self.values), bool)

    def take(self, rows: np.ndarray) -> Table:
        """Return the data of some of the stars."""
        return dataclasses.replace(self, values=self.values[rows], ivar=self.ivar[rows])

    def forget(self) -> Table:
        """Return the same with all values missing."""
        return dataclasses.replace(self, ivar=np.zeros_like(self.ivar))

    def standardise(self) -> np.ndarray:
        """Return the values, 0 where missing: (star, feature)."""
        return np.where(self.ivar > 0, self.values, 0)

    def list_weights(self, robust_weight: np.ndarray) -> np.ndarray:
        """Return the weights of the stars in the sum of each feature: (star, feature)."""
        return self.ivar * robust_weight

    def fit(
        self,
        regressors: Regressors,
        squares: np.ndarray,
        robust_weight: np.ndarray,
        old: Fitted | None,
    ) -> Fitted:
        """Regress every feature: see `Evidence.fit`."""
        first = regressors.mean
        k = first.shape[1]
        right = (robust_weight * self.ivar * self.values).T @ first
        ridge = _RIDGE * np.diag(np.arange(k) > 0) + 1e-9 * np.eye(k)
        return Fitted(weights=np.linalg.solve(squares + ridge, right[..., None])[..., 0])

    def make_equations(
        self, fitted: Fitted, rows: np.ndarray, robust_weight: np.ndarray, features: Features
    ) -> Equations:
        """Return what the data of some stars say of their latents, in float64."""
        offset, weights = fitted.weights[:, 0], fitted.weights[:, 1:]
        precision = robust_weight * self.ivar[rows]
        pull = precision * (self.values[rows] - offset)
        return Equations(precision=precision, pull=pull, weights=weights, features=features)

    def measure(self, fitted: Fitted, regressors: np.ndarray) -> Likelihood:
        """Return how likely the data are at (1, phi) of each star: (star, term + 1)."""
        known = self.ivar > 0
        log_ivar = np.log(np.where(known, self.ivar, 1))
        distance = self.ivar * (self.values - regressors @ fitted.weights.T) ** 2
        parts = np.where(known, log_ivar - np.log(2 * np.pi), 0)
        weights = np.ones_like(distance)
        if np.isfinite(self.dof):
            weights = (self.dof + 1) / (self.dof + distance)
            distance = (self.dof + 1) * np.log1p(distance / self.dof)
        none = np.zeros(len(self.values))
        return Likelihood(none, none, 0.5 * (parts - distance).sum(1), weights)

    def describe(self, fitted: Fitted) -> Description:
        """Return weights and scatter as they are."""
        return Description(fitted.weights, self.scatter, NoiseExtras())
