"""What curved training works on: its sizes, data, parameters and latents."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from luxscale.model.features import Features, PolynomialFeatures
from luxscale.model.priors import MixturePrior
from luxscale.training.evidence import Evidence, Fitted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """The size of a curved model.

    Parameters
    ----------
    latent_dim, quadratic, cubic : int
        P, and of how many of the first latents phi has products of two, and of three.
    units : int
        Of each hidden layer of a network beside the products; 0 for none.
    components : int
        D, that stand for a spectrum.
    gaussians : int
        Of the prior.
    """

    latent_dim: int
    quadratic: int
    cubic: int
    units: int
    components: int
    gaussians: int

    @property
    def products(self) -> PolynomialFeatures:
        """The features phi that are products of latents."""
        return PolynomialFeatures(self.latent_dim, self.quadratic, self.cubic)


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """Where expectation-maximisation is.

    Parameters
    ----------
    features : Features
        phi.
    z : array, (star, latent)
    covariance : array, (star, latent, latent)
    robust_weights : tuple of array, (star, 1) or (star, value)
        Weights g of each star's values under heavy tails, for each output.
    fitted : tuple of Fitted
        One for each output; none before the first M-step.
    prior : MixturePrior, optional
        N(0, I) if not there.
    memory : pytree, optional
        What the descent of features that learn goes on from.
    is_labelled : array, (star,), optional
        The stars that the prior is fitted to; all if not given. Those without labels may lie where
        another spectrum looks alike, and a prior that follows them keeps them there.
    """

    features: Features
    z: np.ndarray
    covariance: np.ndarray
    robust_weights: tuple[np.ndarray, ...]
    fitted: tuple[Fitted, ...] = ()
    prior: MixturePrior | None = None
    memory: Any = None
    is_labelled: np.ndarray | None = None

    @property
    def labelled(self) -> np.ndarray:
        """Positions of the stars that the prior is fitted to."""
        if self.is_labelled is None:
            return np.arange(len(self.z))
        return np.flatnonzero(self.is_labelled)

    def take(self, rows: np.ndarray) -> State:
        """Return the state of some of the stars."""
        known = self.is_labelled
        return dataclasses.replace(
            self,
            z=self.z[rows],
            covariance=self.covariance[rows],
            robust_weights=tuple(g[rows] for g in self.robust_weights),
            is_labelled=None if known is None else known[rows],
        )


Tables = Sequence[Evidence]
