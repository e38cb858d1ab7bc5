"""What the data of one output say of the latents of a block of stars.

For residuals r of covariance N about offset + W phi(z), chi-square plus a constant is
mu^T M mu - 2 mu^T b with mu = B phi(z): M, b and B are what an `Observation` holds. They are as
small as the data allow: pixels of independent noise are summed into as many numbers as phi has, and
correlated pixels are taken as their independent components.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from luxscale.model import linalg
from luxscale.model.decoders import Features


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """Data of one output, for a block of stars.

    Parameters
    ----------
    precision : array, (star, value) or (star, value, value)
        M, or its diagonal where that is all.
    pull : array, (star, value)
        b.
    weights : array, (value, term)
        B.
    features : Features
        phi.
    base : array, (star, other)
        Chi-square is |base - root B' phi|^2, root (star, other, value) or (star, other) where it is
        diagonal, with ``chi2_weights`` for B'.
    root : array
    chi2_weights : array, (value of root, term)
    n_values : array, (star,)
        Number of independent values, of which chi-square is the sum.
    """

    precision: Any
    pull: Any
    weights: Any
    features: Features
    base: Any
    root: Any
    chi2_weights: Any
    n_values: Any

    def chi2(self, z: Any) -> Any:
        """Return r^T N^-1 r at latents: (star, latent) -> (star,)."""
        predicted = linalg.dot(self.features(z), self.chi2_weights.T)
        residual = self.base - _apply(self.root, predicted)
        return jnp.sum(residual * residual, 1)

    def scale(self, factor: Any) -> Observation:
        """Return the data with variances divided by a factor: (star,)."""
        shape = (-1,) + (1,) * (self.precision.ndim - 1)
        return dataclasses.replace(
            self,
            precision=self.precision * factor.reshape(shape),
            pull=self.pull * factor[:, None],
        )

    def linearise(self, z: Any) -> tuple[Any, Any]:
        """Return J^T M J, (star, P, P), and J^T (b - M mu), (star, P), with J the slope of mu."""
        predicted = linalg.dot(self.features(z), self.weights.T)
        slopes = self.features.slopes(z, self.weights)
        rest = self.pull - _apply(self.precision, predicted)
        if self.precision.ndim == 2:
            weighted = slopes * self.precision[:, None]
        else:
            weighted = linalg.dot(slopes, self.precision)
        hessian = linalg.dot(weighted, slopes.swapaxes(1, 2))
        return hessian, linalg.dot(slopes, rest[..., None])[..., 0]

    def measure_change(self, old: Any, new: Any) -> Any:
        """Return by how much chi-square grows from old to new latents: (star,).

        A difference of squares is a product, so that nothing cancels.
        """
        before = linalg.dot(self.features(old), self.weights.T)
        after = linalg.dot(self.features(new), self.weights.T)
        slope = _apply(self.precision, before + after) - 2 * self.pull
        return jnp.sum((after - before) * slope, 1)

    def score(self, landmarks: Any) -> Any:
        """Return chi-square, less a constant, at each of some latents: (k, P) -> (star, k)."""
        predicted = linalg.dot(self.features(landmarks), self.weights.T)
        linear = -2 * linalg.dot(self.pull, predicted.T)
        if self.precision.ndim == 2:
            return linear + linalg.dot(self.precision, (predicted**2).T)
        applied = linalg.dot(predicted, self.precision)
        return linear + jnp.sum(applied * predicted, -1)


jax.tree_util.register_dataclass(
    Observation,
    [
        "precision",
        "pull",
        "weights",
        "features",
        "base",
        "root",
        "chi2_weights",
        "n_values",
    ],
    [],
)


def _apply(matrix: Any, vectors: Any) -> Any:
    """Multiply the vectors of every star by its matrix, or by a diagonal."""
    if matrix.ndim == 2:
        return matrix * vectors
    return linalg.dot(matrix, vectors[..., None])[..., 0]
