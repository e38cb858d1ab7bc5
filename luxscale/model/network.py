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
        hidden, _ = self._run(z)
        return library.concatenate([self.products(z), hidden], -1)

    def slopes(self, z: Any, weights: Any) -> Any:
        """Return d(W phi)/dz: z (star, latent), W (feature, term) -> (star, latent, feature)."""
        split = self.products.n_terms
        _, slopes = self._run(z)
        of_products = self.products.slopes(z, weights[:, :split])
        return of_products + _pick_dot(z)(slopes, weights[:, split:].T)

    def jacobian(self, z: Any) -> np.ndarray:
        """Return d phi / d z at the latents z of one star: (latent,) -> (term, latent)."""
        _, slopes = self._run(np.asarray(z, float))
        return np.concatenate([self.products.jacobian(z), slopes.T])

    @property
    def description(self) -> str:
        """What they are, in words."""
        units = "-".join(str(matrix.shape[0]) for matrix, _ in self.layers)
        return f"{self.products.description}, and a network of {units} units"

    def _run(self, z: Any) -> tuple[Any, Any]:
        """Return the last hidden layer, (..., unit), and its slopes, (..., latent, unit)."""
        library = jnp if isinstance(z, jax.Array) else np
        dot = _pick_dot(z)
        hidden, slopes = z, None
        for matrix, offset in self.layers:
            hidden = library.tanh(dot(hidden, matrix.T) + offset)
            inner = matrix.T if slopes is None else dot(slopes, matrix.T)
            slopes = inner * (1 - hidden**2)[..., None, :]
        return hidden, slopes


def _pick_dot(z: Any) -> Any:
    return linalg.dot if isinstance(z, jax.Array) else np.matmul


jax.tree_util.register_dataclass(NetworkFeatures, ["layers"], ["products"])
