"""Maps from latents to outputs: what a star with latents z looks like.

Every map is linear in its weights: output = offset + W phi(z), with phi(z) the *features* of the
latents. Inference needs no more than that: it forms the normal equations in the features, once, and
solves for z in them. So another map is a class with what `Decoder` lists, in `KINDS`; the
search of `luxscale.model.newton`, the names of dims in a model's file and the draws of
`luxscale.analysis.precision` ask whether it is linear.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np


class Features(Protocol):
    """phi of a map, a pytree: what it makes of the latents before its weights."""

    @property
    def is_linear(self) -> bool:
        """Whether phi(z) = z, so that the minimum of chi-square needs no search."""

    def __call__(self, z: Any) -> Any:
        """Return phi(z): (..., latent) -> (..., term)."""


class Decoder(Protocol):
    """What the package asks of a map, a pytree with its arrays as leaves."""

    #: Name of the map in a model's file.
    kind: ClassVar[str]

    @property
    def features(self) -> Features:
        """The features phi."""

    @property
    def weights(self) -> Any:
        """W, in the output's units: (feature, term)."""

    @property
    def offset(self) -> Any:
        """Output of a star with z = 0: (feature,)."""

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""

    def __call__(self, z: Any) -> Any:
        """Return the output of latents z: (star, latent) -> (star, feature)."""

    def jacobian(self, z: Any) -> Any:
        """Return d output / d z at the latents z of one star: (latent,) -> (feature, latent)."""

    def propagate_variance(self, z: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Return diag(J C J^T) of every star, C the covariance of its latents: (star, feature)."""


@dataclasses.dataclass(frozen=True)
class LinearFeatures:
    """phi(z) = z."""

    is_linear: ClassVar[bool] = True

    def __call__(self, z: Any) -> Any:
        """Return z: (..., latent) -> (..., latent)."""
        return z


@dataclasses.dataclass(frozen=True)
class QuadraticFeatures:
    """phi(z) = (z, z_i z_j for j <= i)."""

    is_linear: ClassVar[bool] = False

    def __call__(self, z: Any) -> Any:
        """Return the latents and their products: (..., latent) -> (..., term)."""
        i, j = np.tril_indices(z.shape[-1])
        products = z[..., i] * z[..., j]
        if isinstance(z, jax.Array):
            return jnp.concatenate([z, products], -1)
        return np.concatenate([z, products], -1)


linear_features, quadratic_features = LinearFeatures(), QuadraticFeatures()


@dataclasses.dataclass(frozen=True)
class LinearMap:
    """offset + W z, equations 1 and 2 of the paper with the offset written out.

    Parameters
    ----------
    weights : array, (feature, latent)
        The paper's A (labels) or B (flux), in the output's units.
    offset : array, (feature,)
        Output of a star with z = 0.
    """

    weights: Any
    offset: Any
    kind: ClassVar[str] = "linear"
    features: ClassVar[Features] = linear_features

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""
        return int(self.weights.shape[1])

    def __call__(self, z: Any) -> Any:
        """Return the output of latents z: (star, latent) -> (star, feature)."""
        return self.offset + self.features(z) @ self.weights.T

    def jacobian(self, z: Any) -> Any:
        """Return d output / d z, the weights: (latent,) -> (feature, latent)."""
        return self.weights

    def propagate_variance(self, z: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Return diag(W C W^T) of every star: (star, feature)."""
        i, j = np.tril_indices(covariance.shape[1])
        times = np.where(i == j, 1, 2)  # elements off the diagonal count twice
        w = np.asarray(self.weights)
        products = w[:, i] * w[:, j] * times
        # rounding may leave less than nothing
        return np.maximum(covariance[:, i, j] @ products.T, 0)


@dataclasses.dataclass(frozen=True)
class QuadraticMap:
    """offset + W (z, z_i z_j for j <= i), The Cannon's model of a spectrum, with z its labels.

    See Ness et al. (2015).

    Parameters
    ----------
    weights : array, (feature, term)
        P columns for the latents, then P (P + 1) / 2 for their products, by row of the lower
        triangle.
    offset : array, (feature,)
        Output of a star with z = 0.
    """

    weights: Any
    offset: Any
    kind: ClassVar[str] = "quadratic"
    features: ClassVar[Features] = quadratic_features

    @property
    def latent_dim(self) -> int:
        """Number of latents P, from P + P (P + 1) / 2 terms."""
        terms = int(self.weights.shape[1])
        return (math.isqrt(9 + 8 * terms) - 3) // 2

    def __call__(self, z: Any) -> Any:
        """Return the output of latents z: (star, latent) -> (star, feature)."""
        return self.offset + self.features(z) @ self.weights.T

    def jacobian(self, z: Any) -> Any:
        """Return d output / d z at the latents z of one star: (latent,) -> (feature, latent)."""
        i, j = np.tril_indices(len(z))
        of_latents = np.eye(len(z))
        of_products = of_latents[i] * z[j, None] + of_latents[j] * z[i, None]
        return self.weights @ np.concatenate([of_latents, of_products])

    def propagate_variance(self, z: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Return diag(J C J^T) of every star: (star, feature)."""
        variances = []
        for one, c in zip(z.astype(float), covariance, strict=True):
            j = self.jacobian(one)
            variances.append(((j @ c) * j).sum(1))
        return np.array(variances)


#: A class of maps, made of weights and offset.
Kind = type[LinearMap] | type[QuadraticMap]

#: Every map, by the name that a model's file holds.
KINDS: dict[str, Kind] = {m.kind: m for m in (LinearMap, QuadraticMap)}

for _map in KINDS.values():
    jax.tree_util.register_dataclass(_map, ["weights", "offset"], [])
for _features in (LinearFeatures, QuadraticFeatures):
    jax.tree_util.register_dataclass(_features, [], [])
