"""What the data of one output say of the latents of a block of stars.

For residuals r of covariance N about offset + W phi(z), chi-square plus a constant is
mu^T M mu - 2 mu^T b with mu = B phi(z): M, b and B are what `Equations` hold. They are as
small as the data allow: pixels of independent noise are summed into as many numbers as phi has, and
correlated pixels are taken as their independent components.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from luxscale.model import by_star, linalg
from luxscale.model.features import Features


@dataclasses.dataclass(frozen=True, kw_only=True)
class Equations:
    """What data of one output make chi-square of latents, but for a constant: see the module.

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
    gram : array, (star, term, term), optional
        B^T M B, by the order of `luxscale.model.separable`, which needs it.
    """

    precision: Any
    pull: Any
    weights: Any
    features: Features
    gram: Any = None

    def predict(self, z: Any) -> Any:
        """Return mu: (..., latent) -> (..., value)."""
        return linalg.dot(self.features(z), self.weights.T)

    def scale(self, factor: Any) -> Equations:
        """Return what the data say with variances divided by a factor: (star,)."""
        shape = (-1,) + (1,) * (self.precision.ndim - 1)
        return dataclasses.replace(
            self,
            precision=self.precision * factor.reshape(shape),
            pull=self.pull * factor[:, None],
            gram=None if self.gram is None else self.gram * factor[:, None, None],
        )

    def take(self, stars: Any) -> Equations:
        """Return what the data of some of the stars say."""
        gram = None if self.gram is None else self.gram[stars]
        return dataclasses.replace(
            self, precision=self.precision[stars], pull=self.pull[stars], gram=gram
        )

    def find_rest(self, z: Any) -> Any:
        """Return b - M mu at latents: (star, value)."""
        return self.pull - _apply(self.precision, self.predict(z))

    def linearise(self, z: Any) -> tuple[Any, Any]:
        """Return J^T M J, (star, P, P), and J^T (b - M mu), (star, P), with J the slope of mu."""
        slopes = self.features.slopes(z, self.weights)
        rest = self.find_rest(z)
        if self.precision.ndim == 2:
            weighted = slopes * self.precision[:, None]
        else:
            weighted = linalg.dot(slopes, self.precision)
        hessian = linalg.dot(weighted, slopes.swapaxes(1, 2))
        return hessian, by_star.multiply(slopes, rest)

    def bend(self, z: Any) -> Any:
        """Return what J^T M J lacks of half the second derivative of chi-square: (star, P, P)."""
        by_term = -linalg.dot(self.find_rest(z), self.weights)

        def find_slope(one: Any, direction: Any) -> Any:
            return self.features.slopes(one[None], direction[None])[0, :, 0]

        return jax.vmap(jax.jacfwd(find_slope))(z, by_term)

    def measure_change(self, old: Any, new: Any) -> Any:
        """Return by how much chi-square grows from old to new latents: (star,).

        A difference of squares is a product, so that nothing cancels.
        """
        before, after = self.predict(old), self.predict(new)
        slope = _apply(self.precision, before + after) - 2 * self.pull
        return jnp.sum((after - before) * slope, 1)

    def score(self, landmarks: Any) -> Any:
        """Return chi-square, less a constant, at each of some latents: (k, P) -> (star, k)."""
        predicted = self.predict(landmarks)
        linear = -2 * linalg.dot(self.pull, predicted.T)
        if self.precision.ndim == 2:
            return linear + linalg.dot(self.precision, (predicted**2).T)
        applied = linalg.dot(predicted, self.precision)
        return linear + jnp.sum(applied * predicted, -1)


class Anchor(NamedTuple):
    """Latents (star, latent), and chi-square there, (star,)."""

    latent: Any
    chi2: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """Data of one output, for a block of stars.

    Parameters
    ----------
    equations : Equations
    base : array, (star, other)
        Chi-square is |base - root B' phi|^2.
    root : array, (star, other, value) or (star, other)
        The latter where it is diagonal.
    weights : array, (value of root, term)
        B'.
    n_values : array, (star,)
        Number of independent values, of which chi-square is the sum.
    anchor : Anchor, optional
        From which chi-square is counted.
    """

    equations: Equations
    base: Any
    root: Any
    weights: Any
    n_values: Any
    anchor: Anchor | None = None

    def anchor_at(self, z: Any) -> Observation:
        """Return the observation with chi-square counted from that at latents: (star, latent).

        Summed pixels give the difference, in a tenth of the time that they take one by one.
        """
        alone = dataclasses.replace(self, anchor=None)
        return dataclasses.replace(self, anchor=Anchor(z, alone.chi2(z)))

    def take(self, stars: Any) -> Observation:
        """Return the observation of some of the stars."""
        anchor = self.anchor and Anchor(*(array[stars] for array in self.anchor))
        return dataclasses.replace(
            self,
            equations=self.equations.take(stars),
            base=self.base[stars],
            root=self.root[stars],
            n_values=self.n_values[stars],
            anchor=anchor,
        )

    def chi2(self, z: Any) -> Any:
        """Return r^T N^-1 r at latents: (star, latent) -> (star,)."""
        if self.anchor is not None:
            return self.anchor.chi2 + self.equations.measure_change(self.anchor.latent, z)
        predicted = linalg.dot(self.equations.features(z), self.weights.T)
        residual = self.base - _apply(self.root, predicted)
        return jnp.sum(residual * residual, 1)


jax.tree_util.register_dataclass(
    Equations, ["precision", "pull", "weights", "features", "gram"], []
)
jax.tree_util.register_dataclass(
    Observation, ["equations", "base", "root", "weights", "n_values", "anchor"], []
)


def _apply(matrix: Any, vectors: Any) -> Any:
    """Multiply the vectors of every star by its matrix, or by a diagonal."""
    if matrix.ndim == 2:
        return matrix * vectors
    return by_star.multiply(matrix, vectors)
