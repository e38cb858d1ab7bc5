"""What curved training asks of the data of an output, whatever their noise.

Each kind of noise is a class: `luxscale.training.spectra.Spectra` of spectra with correlated
noise, `luxscale.training.pixels.Pixels` of values with a scatter of their own, and
`luxscale.training.tables.Table` of values whose noise is known.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np

from luxscale.model.features import Features, find_moments
from luxscale.model.observation import Equations
from luxscale.training.data import NoiseExtras

#: Degrees of freedom of spectra.
DOF = 20.0

#: Stars in one piece of the sums, whose products stay near the processor.
_PIECE = 50

#: Least singular value of weights, in the largest, that sums are not right without.
_LEAST_SINGULAR = 1e-13


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """Parameters of one output.

    Parameters
    ----------
    weights : array, (value, term + 1)
        Of (1, phi).
    noise : optional
        Of the kind that belongs to the data; None where nothing of it is fitted.
    """

    weights: np.ndarray
    noise: Any = None


class Likelihood(NamedTuple):
    """How likely the data of an output are at given latents: (star,) each.

    chi2, n_values: that the weight of each star under heavy tails follows from, which outputs
    share, 0 where it has none; logarithm: ln p, without what never changes; weights: (star, value),
    where each value has a weight of its own.
    """

    chi2: Any
    n_values: Any
    logarithm: Any
    weights: Any = None


class Description(NamedTuple):
    """A fitted output in pixels, bands or labels: weights (feature, term + 1), scatter, noise."""

    weights: np.ndarray
    scatter: np.ndarray
    noise: NoiseExtras


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regressors:
    """The features of stars whose latents are N(z, C).

    Parameters
    ----------
    features : Features
        phi.
    z : array, (star, latent)
    covariance : array, (star, latent, latent)
    mean : array, (star, term + 1)
        E[(1, phi)].
    packed_covariance : array, (star, product of terms), optional
        Cov[phi], the lower triangle of each star, float32.
    """

    features: Features
    z: np.ndarray
    covariance: np.ndarray
    mean: np.ndarray
    packed_covariance: Any = None


def sum_squares(
    features: Features,
    z: np.ndarray,
    covariance: np.ndarray,
    weights: np.ndarray,
    *,
    covariances: bool = False,
) -> tuple[Regressors, np.ndarray]:
    """Return the regressors f = (1, phi) of stars, and sums of w E[f f^T].

    Parameters
    ----------
    features : Features
    z, covariance : array, (star, latent) and (star, latent, latent)
    weights : array, (star, sum)
        w.
    covariances : bool
        Whether those of the features are wanted.

    Returns
    -------
    regressors : Regressors
    sums : array, (sum, term + 1, term + 1)
    """
    first, _ = find_moments(features, z[:1], covariance[:1])
    n, k = len(z), first.shape[1] + 1
    mean = np.ones((n, k))
    packed = np.empty((n, k * (k - 1) // 2), np.float32) if covariances else None
    sums = np.zeros((weights.shape[1], k, k))

    def sum_part(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean[rows, 1:], spread = find_moments(features, z[rows], covariance[rows])
        # phi with a 1 before it, and below it the rows of its covariance
        both = np.zeros((len(rows), 1 + spread.shape[1], k))
        both[:, 0] = mean[rows]
        both[:, 1:, 1:] = spread
        products = both.swapaxes(1, 2) @ both
        if packed is not None:
            packed[rows] = _pack_covariance(products, both[:, 0])
        taken = np.flatnonzero(weights[rows].any(0))
        own = weights[np.ix_(rows, taken)]
        weighted = own.T @ products.reshape(len(rows), -1)
        return taken, weighted.reshape(-1, k, k)

    # parts are added in their order, however many threads there are
    with ThreadPoolExecutor() as threads:
        for taken, part in threads.map(sum_part, _split(weights)):
            sums[taken] += part
    regressors = Regressors(
        features=features, z=z, covariance=covariance, mean=mean, packed_covariance=packed
    )
    return regressors, sums


def factor_weights(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return L and R with L R = weights, of as few columns of L as they take.

    Those of components, g / (t^2 + s_d^2), take a quarter: sums of E[f f^T] with L, times R, are
    sooner there.

    Parameters
    ----------
    weights : array, (star, sum)

    Returns
    -------
    left : array, (star, column)
    right : array, (column, sum)
    """
    size = np.linalg.norm(weights, axis=0)
    scaled = weights / np.where(size > 0, size, 1)
    q, r = np.linalg.qr(scaled)
    u, s, right = np.linalg.svd(r)
    kept = np.count_nonzero(s > _LEAST_SINGULAR * s[0])
    left = u[:, :kept] * s[:kept]
    return q @ left, right[:kept] * size


def _pack_covariance(products: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return Cov[phi], packed, of E[f f^T] and E[f], f = (1, phi): see `Regressors`."""
    n, k = mean.shape
    # pairs of features, behind the 1
    i, j = np.tril_indices(k - 1)
    i, j = i + 1, j + 1
    squares = products.reshape(n, -1)[:, i * k + j]
    covariance = squares - mean[:, i] * mean[:, j]
    return covariance.astype(np.float32)


def _split(weights: np.ndarray) -> list[np.ndarray]:
    """Return the stars in pieces, those together that take part in the same sums."""
    order = np.lexsort(weights.T != 0) if weights.shape[1] else np.arange(len(weights))
    return np.array_split(order, len(order) // _PIECE + 1)


class Evidence(Protocol):
    """The data of one output for the training stars."""

    @property
    def has_gaps(self) -> np.ndarray:
        """Which stars have equations of another form than the others: (star,)."""

    @property
    def needs_covariances(self) -> bool:
        """Whether its fit takes those of the features, packed."""

    def take(self, rows: np.ndarray) -> Evidence:
        """Return the data of some of the stars."""

    def standardise(self) -> np.ndarray:
        """Return the data weighted by the noise of their stars: (star, value)."""

    def list_weights(self, robust_weight: np.ndarray) -> np.ndarray:
        """Return the weights of the stars in each sum of E[f f^T] it needs: (star, sum)."""

    def fit(
        self,
        regressors: Regressors,
        squares: np.ndarray,
        robust_weight: np.ndarray,
        old: Fitted | None,
    ) -> Fitted:
        """Return what makes the data most likely.

        Parameters
        ----------
        regressors : Regressors
        squares : array, (sum, term + 1, term + 1)
            The sums of E[f f^T] with the weights of `list_weights`.
        robust_weight : array, (star, 1) or (star, value)
            Under heavy tails.
        old : Fitted, optional
            Of the last iteration.
        """

    def make_equations(
        self, fitted: Fitted, rows: np.ndarray, robust_weight: np.ndarray, features: Features
    ) -> Equations:
        """Return what the data of some stars say of their latents, in float64."""

    def measure(self, fitted: Fitted, regressors: np.ndarray) -> Likelihood:
        """Return how likely the data are at (1, phi) of each star: (star, term + 1)."""

    def describe(self, fitted: Fitted) -> Description:
        """Return what was fitted, in the units of training."""
