"""Maps from latents to outputs: what a star with latents z looks like.

Every map is linear in its weights: output = offset + W phi(z), with phi(z) the *features* of the
latents (`luxscale.model.features`). So another map is a class with what `Decoder` lists, that
`read_decoder` knows; inference, the names of dims in a model's file and the draws of
`luxscale.analysis.precision` ask whether it is linear.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import jax
import numpy as np

from luxscale.model.features import Features, PolynomialFeatures, find_moments, linear_features
from luxscale.model.network import NetworkFeatures
from luxscale.schema.variables import LATENT


class Decoder(Protocol):
    """What the package asks of a map, a pytree with its arrays as leaves."""

    @property
    def kind(self) -> str:
        """Name of the map in a model's file."""

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

    @property
    def identity(self) -> tuple:
        """What a fingerprint holds of the map beside its kind and arrays."""

    @property
    def entry(self) -> dict[str, Any]:
        """What an output's entry in a model's file holds of the map, for `read_decoder`."""

    @property
    def arrays(self) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Arrays beside weights and offset, by name in a model's file, with their dims."""

    def __call__(self, z: Any) -> Any:
        """Return the output of latents z: (star, latent) -> (star, feature)."""

    def jacobian(self, z: Any) -> Any:
        """Return d output / d z at the latents z of one star: (latent,) -> (feature, latent)."""

    def propagate_variance(self, z: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Return diag(J C J^T) of every star, C the covariance of its latents: (star, feature)."""


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
    identity: ClassVar[tuple] = ()

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""
        return int(self.weights.shape[1])

    @property
    def entry(self) -> dict[str, Any]:
        """Its kind, which says all."""
        return {"map": self.kind}

    @property
    def arrays(self) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Arrays beside weights and offset: none."""
        return {}

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


class _CurvedMap:
    """offset + W phi(z), whatever the features."""

    weights: Any
    offset: Any
    features: Any

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""
        return int(self.features.latent_dim)

    def __call__(self, z: Any) -> Any:
        """Return the output of latents z: (star, latent) -> (star, feature)."""
        return self.offset + self.features(z) @ self.weights.T

    def jacobian(self, z: Any) -> Any:
        """Return d output / d z at the latents z of one star: (latent,) -> (feature, latent)."""
        return np.asarray(self.weights, float) @ self.features.jacobian(z)

    def propagate_variance(self, z: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Return the variance of the output of latents N(z, C) of every star: (star, feature)."""
        variances = []
        for one, c in zip(z.astype(float), covariance, strict=True):
            _, rows = find_moments(self.features, one[None], c[None])
            variances.append(((rows[0] @ np.asarray(self.weights, float).T) ** 2).sum(0))
        return np.array(variances)


@dataclasses.dataclass(frozen=True)
class PolynomialMap(_CurvedMap):
    """offset + W phi(z), with products of latents in phi: see `PolynomialFeatures`.

    With all products of two, and labels for latents, it is The Cannon's model of a spectrum (Ness
    et al. 2015).

    Parameters
    ----------
    weights : array, (feature, term)
        Columns for the latents, then for their products, by row of the lower triangle, then for
        those of three.
    offset : array, (feature,)
        Output of a star with z = 0.
    features : PolynomialFeatures
    """

    weights: Any
    offset: Any
    features: PolynomialFeatures

    @classmethod
    def quadratic(cls, weights: Any, offset: Any) -> PolynomialMap:
        """Return the map with all products of two latents, their number told by the weights."""
        terms = int(weights.shape[1])
        latent_dim = (math.isqrt(9 + 8 * terms) - 3) // 2
        return cls(weights, offset, PolynomialFeatures(latent_dim, latent_dim))

    @property
    def kind(self) -> str:
        """Name of the map in a model's file: with all products of two, and no more, quadratic."""
        return "quadratic" if self._is_quadratic else "polynomial"

    @property
    def identity(self) -> tuple:
        """Of what latents there are products, where the weights do not tell."""
        return () if self._is_quadratic else (self.features,)

    @property
    def entry(self) -> dict[str, Any]:
        """Its kind, and of what latents there are products."""
        return {"map": self.kind, "features": dataclasses.asdict(self.features)}

    @property
    def arrays(self) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Arrays beside weights and offset: none."""
        return {}

    @property
    def _is_quadratic(self) -> bool:
        return self.features == PolynomialFeatures(self.latent_dim, self.latent_dim)


@dataclasses.dataclass(frozen=True)
class NetworkMap(_CurvedMap):
    """offset + W phi(z), with the last hidden layer of a network in phi: see `NetworkFeatures`.

    Parameters
    ----------
    weights : array, (feature, term)
        Columns for the latents and their products, then for the units.
    offset : array, (feature,)
        Of the last layer.
    features : NetworkFeatures
    """

    weights: Any
    offset: Any
    features: NetworkFeatures
    kind: ClassVar[str] = "network"

    @property
    def identity(self) -> tuple:
        """Of what latents there are products."""
        return (self.features.products,)

    @property
    def entry(self) -> dict[str, Any]:
        """Its kind, of what latents there are products, and the number of hidden layers."""
        products = dataclasses.asdict(self.features.products)
        return {"map": self.kind, "features": products, "layers": len(self.features.layers)}

    @property
    def arrays(self) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Weights and offset of each hidden layer."""
        found: dict[str, tuple[tuple[str, ...], Any]] = {}
        before = LATENT
        for i, (matrix, offset) in enumerate(self.features.layers):
            name, unit = f"layer_{i}", f"unit_{i}"
            found[f"{name}_weights"] = ((unit, before), matrix)
            found[f"{name}_offset"] = ((unit,), offset)
            before = unit
        return found


#: Every kind of map, by the name that a model's file holds.
MAPS = ("linear", "quadratic", "polynomial", "network")


def read_decoder(
    entry: Mapping[str, Any], weights: Any, offset: Any, read_array: Callable[[str], Any]
) -> Decoder:
    """Return the map that an output's entry in a model's file describes.

    Parameters
    ----------
    entry : mapping
        `Decoder.entry`, among other things.
    weights, offset : array
    read_array : callable
        Turns a name of `Decoder.arrays` into the array.

    Raises
    ------
    KeyError
        If there is no such kind of map, or it lacks an array.
    """

    def read_network() -> NetworkFeatures:
        layers = []
        for i in range(entry["layers"]):
            layers.append((read_array(f"layer_{i}_weights"), read_array(f"layer_{i}_offset")))
        return NetworkFeatures(PolynomialFeatures(**entry["features"]), tuple(layers))

    makers: dict[str, Callable[[], Decoder]] = {
        "linear": lambda: LinearMap(weights, offset),
        "quadratic": lambda: PolynomialMap.quadratic(weights, offset),
        "polynomial": lambda: PolynomialMap(
            weights, offset, PolynomialFeatures(**entry["features"])
        ),
        "network": lambda: NetworkMap(weights, offset, read_network()),
    }
    return makers[entry["map"]]()


jax.tree_util.register_dataclass(LinearMap, ["weights", "offset"], [])
jax.tree_util.register_dataclass(PolynomialMap, ["weights", "offset"], ["features"])
jax.tree_util.register_dataclass(NetworkMap, ["weights", "offset", "features"], [])
