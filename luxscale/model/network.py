"""A small network as features of latents: its last layer is the weights of a map."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.features import PolynomialFeatures


@dataclasses.dataclass(frozen=True)
class NetworkFeatures:
    """phi(z) = (products of latents, h_L) with h_l = tanh(A_l h_(l-1) + b_l) and h_0 = z.

    Plain arrays, so that a model needs nothing but jax to be evaluated.

    Parameters
    ----------
    products : PolynomialFeatures
        The latents themselves, and their products.
    layers : tuple of (array, array)
        A, (unit, input), and b, (unit,), of each hidden layer.
    """

    products: PolynomialFeatures
    layers: tuple[tuple[Any, Any], ...]
    is_linear: ClassVar[bool] = False

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""
        return self.products.latent_dim

    @property
    def n_terms(self) -> int:
        """Number of features K."""
        last, _ = self.layers[-1]
        return self.products.n_terms + int(last.shape[0])

    def __call__(self, z: Any) -> Any:
        """Return the features: (..., latent) -> (..., term)."""
        library = jnp if isinstance(z, jax.Array) else np
        hidden = run_layers(self.layers, z)
        return library.concatenate([self.products(z), hidden], -1)

    def slopes(self, z: Any, weights: Any) -> Any:
        """Return d(W phi)/dz: z (star, latent), W (feature, term) -> (star, latent, feature)."""
        split = self.products.n_terms
        slopes = _find_slopes(self.layers, z)
        of_products = self.products.slopes(z, weights[:, :split])
        return of_products + _pick_dot(z)(slopes, weights[:, split:].T)

    def jacobian(self, z: Any) -> np.ndarray:
        """Return d phi / d z at the latents z of one star: (latent,) -> (term, latent)."""
        slopes = _find_slopes(self.layers, np.asarray(z, float))
        return np.concatenate([self.products.jacobian(z), slopes.T])

    @property
    def description(self) -> str:
        """What they are, in words."""
        units = "-".join(str(matrix.shape[0]) for matrix, _ in self.layers)
        return f"{self.products.description}, and a network of {units} units"


def run_layers(layers: Any, z: Any) -> Any:
    """Return the last hidden layer: (..., latent) -> (..., unit)."""
    return _propagate(layers, z)[-1]


def _propagate(layers: Any, z: Any) -> list[Any]:
    """Return all hidden layers."""
    library = jnp if isinstance(z, jax.Array) else np
    dot, found = _pick_dot(z), []
    hidden = z
    for matrix, offset in layers:
        hidden = library.tanh(dot(hidden, matrix.T) + offset)
        found.append(hidden)
    return found


def _find_slopes(layers: Any, z: Any) -> Any:
    """Return d h_L / d z: (..., latent) -> (..., latent, unit)."""
    dot = _pick_dot(z)
    slopes = None
    for (matrix, _), hidden in zip(layers, _propagate(layers, z), strict=True):
        inner = matrix.T if slopes is None else dot(slopes, matrix.T)
        slopes = inner * (1 - hidden**2)[..., None, :]
    return slopes


def _pick_dot(z: Any) -> Any:
    return linalg.dot if isinstance(z, jax.Array) else np.matmul


jax.tree_util.register_dataclass(NetworkFeatures, ["layers"], ["products"])
