"""Features of latents: what a map makes of them before its weights.

Those that have parameters of their own, networks, are in `luxscale.model.network`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg


class Features(Protocol):
    """phi of a map, a pytree: what it makes of the latents before its weights."""

    @property
    def is_linear(self) -> bool:
        """Whether phi(z) = z, so that the minimum of chi-square needs no search."""

    @property
    def description(self) -> str:
        """What they are, in words."""

    def __call__(self, z: Any) -> Any:
        """Return phi(z): (..., latent) -> (..., term)."""

    def slopes(self, z: Any, weights: Any) -> Any:
        """Return d(W phi)/dz: z (star, latent), W (feature, term) -> (star, latent, feature)."""


@dataclasses.dataclass(frozen=True)
class LinearFeatures:
    """phi(z) = z."""

    is_linear: ClassVar[bool] = True
    description: ClassVar[str] = "linear"

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

    @property
    def members(self) -> np.ndarray:
        """Members i >= j of (1, z), and one more or the 1, that each feature is: (3, term)."""
        return np.array(_list_terms(self)[1:], np.int32).reshape(-1, 3).T

    @property
    def n_lower(self) -> int:
        """Number of terms, from the 1 on, that slopes are made of: 1, z, products of two."""
        return 1 + self.latent_dim + self.cubic * (self.cubic + 1) // 2

    @property
    def places(self) -> np.ndarray:
        """Where products of two latents stand, ``n_terms`` if they do not: (latent, latent)."""
        p, q = self.latent_dim, self.quadratic
        places = np.full((p, p), self.n_terms, np.int32)
        _, _, table = linalg.packed_index(q)
        places[:q, :q] = p + table
        return places

    @property
    def triples(self) -> np.ndarray:
        """Where products of three of the very first latents stand: (cubic, cubic, cubic)."""
        places = {tuple(members): term for term, members in enumerate(self.members.T)}
        ordered = -np.sort(-_list_triples(self.cubic), axis=-1)
        terms = [places[tuple(members)] for members in ordered.reshape(-1, 3) + 1]
        return np.array(terms, np.int32).reshape(ordered.shape[:3])

    @property
    def repeats(self) -> np.ndarray:
        """What three derivatives of z_i z_j z_k leave, 1, 2 or 6: (cubic, cubic, cubic)."""
        i, j, k = np.moveaxis(_list_triples(self.cubic), -1, 0)
        equal_pairs = (i == j).astype(np.float32) + (j == k) + (k == i)
        # two that are equal are so in two orders, and three in six
        return np.where(equal_pairs == 3, 6, 1 + equal_pairs)

    def split_weights(self, weights: Any) -> tuple[Any, Any, Any]:
        """Return w, Q and C with W phi = w^T z + z^T Q z + C z z z.

        Returns
        -------
        linear : array, (feature, latent)
        products : array, (feature, latent, latent)
        triples : array, (feature, cubic, cubic, cubic)
            All symmetric; the last of the very first latents.
        """
        p = self.latent_dim
        times = (1 + np.eye(p)) / 2
        library = jnp if isinstance(weights, jax.Array) else np
        padded = library.pad(weights, ((0, 0), (0, 1)))
        products = padded[:, self.places] * times.astype(weights.dtype)
        triples = weights[:, self.triples] * (self.repeats / 6).astype(weights.dtype)
        return weights[:, :p], products, triples

    def find_mean(self, z: Any, covariance: Any) -> Any:
        """Return the mean of phi(z), z ~ N(m, C): (star, latent), (..., latent) -> (star, term).

        With x = (1, m), it is x_i x_j x_k + x_i C_jk + x_j C_ik + x_k C_ij, the 1 having no
        variance.
        """
        library = jnp if isinstance(z, jax.Array) else np
        x = library.concatenate([library.ones_like(z[..., :1]), z], -1)
        c = library.pad(covariance, ((0, 0), (1, 0), (1, 0)))
        i, j, k = self.members
        mean = self(z) + x[:, i] * c[:, j, k]
        if not self.cubic:
            return mean
        with_j = x[:, j] * c[:, i, k]
        with_k = x[:, k] * c[:, i, j]
        return mean + with_j + with_k

    def __call__(self, z: Any) -> Any:
        """Return the features: (..., latent) -> (..., term)."""
        return _multiply_out(z, self.members)

    def list_slopes(self) -> np.ndarray:
        """Return S with d phi_k / d z_p = sum_m S_mpk phi_m, m=0 the 1: (lower, latent, term)."""
        return _count_slopes(self)[: self.n_lower]

    def slopes(self, z: Any, weights: Any) -> Any:
        """Return d(W phi)/dz: z (star, latent), W (feature, term) -> (star, latent, feature)."""
        table, lower = _list_slopes(self)
        # d phi_k / d z_p is a sum of features of lower degree, so that one product serves all stars
        by_lower = jnp.einsum("mpk,dk->mpd", table.astype(weights.dtype), weights)
        products = _multiply_out(z, lower)
        slopes = linalg.dot(products, by_lower.reshape(len(table), -1))
        return slopes.reshape(*z.shape, weights.shape[0])

    def jacobian(self, z: Any) -> np.ndarray:
        """Return d phi / d z at the latents z of one star: (latent,) -> (term, latent)."""
        table, lower = _list_slopes(self)
        return np.tensordot(_multiply_out(np.asarray(z, float), lower), table, axes=1).T

    @property
    def description(self) -> str:
        """What they are, in words."""
        if not self.quadratic:
            return "linear"
        words = f"products of two of {_count_latents(self.quadratic, self.latent_dim)}"
        if self.cubic:
            words += f", of three of {_count_latents(self.cubic, self.latent_dim)}"
        return f"linear, and {words}"


def _count_latents(n: int, p: int) -> str:
    return f"all {p} latents" if n == p else f"the first {n} latents"


def _list_triples(n: int) -> np.ndarray:
    """Return all i, j, k below n: (n, n, n, 3)."""
    return np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1)


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
    """Return S of `PolynomialFeatures.list_slopes` where it is not 0, and the members of those m.

    S is (lower term, latent, term), the members (3, lower term).
    """
    slopes = _count_slopes(features)
    used = np.flatnonzero(slopes.any((1, 2)))
    return slopes[used], np.array(_list_terms(features), np.int32)[used].T


@functools.cache
def _count_slopes(features: PolynomialFeatures) -> np.ndarray:
    """Return S of `PolynomialFeatures.list_slopes` for every term m."""
    terms = _list_terms(features)
    place = {tuple(sorted(term)): k for k, term in enumerate(terms)}
    slopes = np.zeros((len(terms), features.latent_dim, len(terms)))
    for k, (a, b, c) in enumerate(terms):
        for latent, *others in ((a, b, c), (b, a, c), (c, a, b)):
            if latent > 0:
                lower = place[tuple(sorted((0, *others)))]
                slopes[lower, latent - 1, k] += 1
    return slopes[:, :, 1:]


def _multiply_out(z: Any, members: np.ndarray) -> Any:
    """Return products of three members of (1, z): (..., latent), (3, term) -> (..., term)."""
    library = jnp if isinstance(z, jax.Array) else np
    x = library.concatenate([library.ones_like(z[..., :1]), z], -1)
    a, b, c = members
    products = _pick(x, b) * _pick(x, c)
    if not a.any():
        return products
    return _pick(x, a) * products


def _pick(arrays: Any, positions: np.ndarray) -> Any:
    """Return numbers along the last axis by their positions."""
    if isinstance(arrays, jax.Array):
        return arrays[..., positions]
    # several times as fast, and by rows whatever order the numbers are in
    return arrays.take(positions, -1)


linear_features = LinearFeatures()


def quadratic_features(z: Any) -> Any:
    """Return (z, z_i z_j for j <= i): (..., latent) -> (..., term)."""
    return PolynomialFeatures(z.shape[-1], z.shape[-1])(z)


def is_quadratic(features: object) -> TypeGuard[PolynomialFeatures]:
    """Return whether features are products of two latents at most, and these themselves."""
    return isinstance(features, PolynomialFeatures) and not features.cubic


def find_mean(features: Callable[[Any], Any], z: Any, covariance: Any) -> Any:
    """Return the mean of phi(z) alone, for z ~ N(m, C): see `find_moments`."""
    if isinstance(features, PolynomialFeatures):
        return features.find_mean(z, covariance)
    mean, _ = find_moments(features, z, covariance)
    return mean


def find_moments(features: Callable[[Any], Any], z: Any, covariance: Any) -> tuple[Any, Any]:
    """Return the mean of phi(z), and rows R of its covariance R^T R, for z ~ N(m, C).

    From phi at the mean and at m +- sqrt(3) L_i, with C = L L^T. Exact for products of two, but
    that the covariance leaves out the curvature across two columns of L.

    Parameters
    ----------
    features : callable
        phi.
    z : array, (star, latent)
    covariance : array, (star, latent, latent)

    Returns
    -------
    mean : array, (star, term)
    rows : array, (star, 2 latent, term)
    """
    library = jnp if isinstance(z, jax.Array) else np
    half = library.linalg.cholesky(covariance).swapaxes(-1, -2)
    if is_quadratic(features):
        return features.find_mean(z, covariance), _find_quadratic_rows(features, z, half)
    root3, root12, root18 = np.sqrt([3, 12, 18]).astype(z.dtype)
    step = root3 * half
    middle = features(z)
    up = features(z[:, None] + step)
    down = features(z[:, None] - step)
    bend = up + down - 2 * middle[:, None]
    rows = [(up - down) / root12, bend / root18]
    return middle + bend.sum(1) / 6, library.concatenate(rows, 1)


def _find_quadratic_rows(features: PolynomialFeatures, z: Any, half: Any) -> Any:
    """Return the rows for products of two, of which the differences are known.

    phi(m + L) - phi(m - L) is 2 (L_i m_j + m_i L_j), and the second difference 2 L_i L_j.
    """
    library = jnp if isinstance(z, jax.Array) else np
    _, i, j = features.members[:, features.latent_dim :] - 1
    half_i, half_j = _pick(half, i), _pick(half, j)
    of_mean = z[:, None]
    mean_i, mean_j = _pick(of_mean, i), _pick(of_mean, j)
    slopes = half_i * mean_j + half_j * mean_i
    root2 = np.sqrt(2).astype(z.dtype)
    bend = root2 * half_i * half_j
    first = library.concatenate([half, slopes], -1)
    second = library.concatenate([library.zeros_like(half), bend], -1)
    return library.concatenate([first, second], 1)


jax.tree_util.register_dataclass(LinearFeatures, [], [])
jax.tree_util.register_dataclass(PolynomialFeatures, [], ["latent_dim", "quadratic", "cubic"])
