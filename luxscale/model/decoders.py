"""Maps from latents to outputs: what a star with latents z looks like.

Every map is linear in its weights: output = offset + W phi(z), with phi(z) the *features* of the
latents. So another map is a class with what `Decoder` lists, that `read_decoder` knows; inference,
the names of dims in a model's file and the draws of `luxscale.analysis.precision` ask whether it is
linear.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg


class Features(Protocol):
    """phi of a map, a pytree: what it makes of the latents before its weights."""

    @property
    def is_linear(self) -> bool:
        """Whether phi(z) = z, so that the minimum of chi-square needs no search."""

    def __call__(self, z: Any) -> Any:
        """Return phi(z): (..., latent) -> (..., term)."""

    def slopes(self, z: Any, weights: Any) -> Any:
        """Return d(W phi)/dz: z (star, latent), W (feature, term) -> (star, latent, feature)."""


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

    def slopes(self, z: Any, weights: Any) -> Any:
        """Return d(W phi)/dz, W of every star: (star, latent, feature)."""
        return jnp.broadcast_to(weights.T, (*z.shape, weights.shape[0]))


@dataclasses.dataclass(frozen=True)
class PolynomialFeatures:
    """phi(z) = (z, products of two of the first latents, of three of the very first).

    Parameters
    ----------
    latent_dim : int
        Number of latents P.
    quadratic : int
        Products z_i z_j, j <= i, are those of the first so many latents.
    cubic : int
        Products z_i z_j z_k, k <= j <= i, likewise; at most ``quadratic``.
    """

    latent_dim: int
    quadratic: int
    cubic: int = 0
    is_linear: ClassVar[bool] = False

    @property
    def n_terms(self) -> int:
        """Number of features K."""
        return len(_list_terms(self)) - 1

    def __call__(self, z: Any) -> Any:
        """Return the features: (..., latent) -> (..., term)."""
        return _multiply_out(z, np.array(_list_terms(self)[1:], np.int32).T)

    def slopes(self, z: Any, weights: Any) -> Any:
        """Return d(W phi)/dz: z (star, latent), W (feature, term) -> (star, latent, feature)."""
        table, lower = _list_slopes(self)
        # d phi_k / d z_p is a sum of features of lower degree, so that one product serves all stars
        by_lower = jnp.einsum("mpk,dk->mpd", table.astype(weights.dtype), weights)
        products = _multiply_out(z, lower)
        slopes = linalg.dot(products, by_lower.reshape(len(table), -1))
        return slopes.reshape(*z.shape, weights.shape[0])


@functools.cache
def _list_terms(features: PolynomialFeatures) -> list[tuple[int, int, int]]:
    """Return every feature as the members of (1, z) that it is the product of, first the 1."""
    terms = [(0, 0, 0)]
    terms += [(0, 0, i) for i in range(1, features.latent_dim + 1)]
    for i in range(1, features.quadratic + 1):
        terms += [(0, i, j) for j in range(1, i + 1)]
    for i in range(1, features.cubic + 1):
        for j in range(1, i + 1):
            terms += [(i, j, k) for k in range(1, j + 1)]
    return terms


@functools.cache
def _list_slopes(features: PolynomialFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Return S with d phi_k / d z_p = sum_m S_mpk phi_m, and the members of those phi_m.

    S is (lower term, latent, term), the members (3, lower term).
    """
    terms = _list_terms(features)
    place = {tuple(sorted(term)): k for k, term in enumerate(terms)}
    slopes = np.zeros((len(terms), features.latent_dim, len(terms)))
    for k, (a, b, c) in enumerate(terms):
        for latent, *others in ((a, b, c), (b, a, c), (c, a, b)):
            if latent > 0:
                lower = place[tuple(sorted((0, *others)))]
                slopes[lower, latent - 1, k] += 1
    used = np.flatnonzero(slopes.any((1, 2)))
    return slopes[used][:, :, 1:], np.array(terms, np.int32)[used].T


def _multiply_out(z: Any, members: np.ndarray) -> Any:
    """Return products of three members of (1, z): (..., latent), (3, term) -> (..., term)."""
    library = jnp if isinstance(z, jax.Array) else np
    x = library.concatenate([library.ones_like(z[..., :1]), z], -1)
    a, b, c = members
    products = x[..., b] * x[..., c]
    if not a.any():
        return products
    return x[..., a] * products


linear_features = LinearFeatures()


def quadratic_features(z: Any) -> Any:
    """Return (z, z_i z_j for j <= i): (..., latent) -> (..., term)."""
    return PolynomialFeatures(z.shape[-1], z.shape[-1])(z)


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
class PolynomialMap:
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

    @property
    def kind(self) -> str:
        """Name of the map in a model's file: with all products of two, and no more, quadratic."""
        plain = PolynomialFeatures(self.latent_dim, self.latent_dim)
        return "quadratic" if self.features == plain else "polynomial"

    @classmethod
    def quadratic(cls, weights: Any, offset: Any) -> PolynomialMap:
        """Return the map with all products of two latents, their number told by the weights."""
        terms = int(weights.shape[1])
        latent_dim = (math.isqrt(9 + 8 * terms) - 3) // 2
        return cls(weights, offset, PolynomialFeatures(latent_dim, latent_dim))

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""
        return self.features.latent_dim

    def __call__(self, z: Any) -> Any:
        """Return the output of latents z: (star, latent) -> (star, feature)."""
        return self.offset + self.features(z) @ self.weights.T

    def jacobian(self, z: Any) -> Any:
        """Return d output / d z at the latents z of one star: (latent,) -> (feature, latent)."""
        table, lower = _list_slopes(self.features)
        by_latent = np.tensordot(_multiply_out(np.asarray(z, float), lower), table, axes=1)
        return np.asarray(self.weights, float) @ by_latent.T

    def propagate_variance(self, z: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Return the variance of the output of latents N(z, C) of every star: (star, feature)."""
        variances = []
        for one, c in zip(z.astype(float), covariance, strict=True):
            _, rows = find_moments(self.features, one[None], c[None])
            variances.append(((rows[0] @ np.asarray(self.weights, float).T) ** 2).sum(0))
        return np.array(variances)


def find_moments(features: Features, z: Any, covariance: Any) -> tuple[Any, Any]:
    """Return the mean of phi(z), and rows R of its covariance R^T R, for z ~ N(m, C).

    From phi at the mean and at m +- sqrt(3) L_i, with C = L L^T. Exact for products of two, but
    that the covariance leaves out the curvature across two columns of L.

    Parameters
    ----------
    features : Features
    z : array, (star, latent)
    covariance : array, (star, latent, latent)

    Returns
    -------
    mean : array, (star, term)
    rows : array, (star, 2 latent, term)
    """
    library = jnp if isinstance(z, jax.Array) else np
    step = np.sqrt(3).astype(z.dtype) * library.linalg.cholesky(covariance).swapaxes(-1, -2)
    middle = features(z)
    up, down = features(z[:, None] + step), features(z[:, None] - step)
    bend = up + down - 2 * middle[:, None]
    rows = [(up - down) / np.sqrt(12).astype(z.dtype), bend / np.sqrt(18).astype(z.dtype)]
    return middle + bend.sum(1) / 6, library.concatenate(rows, 1)


#: Every kind of map, by the name that a model's file holds.
MAPS = ("linear", "quadratic", "polynomial")


def read_decoder(entry: Mapping[str, Any], weights: Any, offset: Any) -> Decoder:
    """Return the map that an output's entry in a model's file describes.

    Raises
    ------
    KeyError
        If there is no such kind of map.
    """
    makers: dict[str, Callable[[], Decoder]] = {
        "linear": lambda: LinearMap(weights, offset),
        "quadratic": lambda: PolynomialMap.quadratic(weights, offset),
        "polynomial": lambda: PolynomialMap(
            weights, offset, PolynomialFeatures(**entry["features"])
        ),
    }
    return makers[entry["map"]]()


jax.tree_util.register_dataclass(LinearMap, ["weights", "offset"], [])
jax.tree_util.register_dataclass(PolynomialMap, ["weights", "offset"], ["features"])
jax.tree_util.register_dataclass(LinearFeatures, [], [])
jax.tree_util.register_dataclass(PolynomialFeatures, [], ["latent_dim", "quadratic", "cubic"])
