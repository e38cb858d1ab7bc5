"""Noise that the features of an output share: few independent components."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from luxscale.model import by_star, correlation, linalg
from luxscale.model.features import Features
from luxscale.model.median import find_median
from luxscale.model.noise import Reduced
from luxscale.model.observation import Equations, Observation

#: Variance of white noise beside correlated noise, in units of the typical error: so that features
#: outnumber components. Labels of XP giants with a third, a half or either end of their pixels
#: missing differ by less than 3% in scatter and RMSE between 1e-4 and 1e-1; with 1e-6 those that
#: lack an end are worse by 13% to 23%.
WHITE = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrelatedNoise:
    """Noise of few independent components: r = unit (B e + white), e_d ~ N(0, t^2 + s_d^2).

    t is the noise level of a star, the median over its pixels of error / unit. So there is noise
    whose covariance grows with t^2, and noise of the model's own, t^2 N1 + N0, both brought to
    diagonal form by one basis B.

    Parameters
    ----------
    shapes : array, (feature, component)
        B.
    unit : array, (feature,)
        Typical error of a feature, in the unit of the values; 0 for features that take no part.
    variance : array, (component,)
        s_d^2.
    """

    shapes: Any
    unit: Any
    variance: Any
    bears_gaps: ClassVar[bool] = False

    @property
    def level_variance(self) -> Any:
        """What is added to t^2: (component,)."""
        return self.variance

    @property
    def scatter(self) -> np.ndarray:
        """Standard deviation of the part that the model adds to errors: (feature,)."""
        return np.asarray(self.unit) * np.sqrt((np.asarray(self.shapes) ** 2) @ self.variance)

    @property
    def projection(self) -> np.ndarray:
        """U with e = U r, from all features: (component, feature)."""
        unit = np.asarray(self.unit, float)
        inverse = np.linalg.pinv(np.asarray(self.shapes, float))
        return inverse / np.where(unit > 0, unit, np.inf)

    def total_error(self, ivar: Any) -> Any:
        """Return the standard deviation of values that are not missing: (star, feature)."""
        return np.sqrt(1 / ivar + self.scatter**2)

    def select(self, features: Any) -> CorrelatedNoise:
        """Return the noise of some of the features."""
        return dataclasses.replace(self, shapes=self.shapes[features], unit=self.unit[features])

    def scale_by(self, factor: np.ndarray) -> CorrelatedNoise:
        """Return the noise of values times a factor: (feature,)."""
        return dataclasses.replace(self, unit=self.unit * factor)

    def count_values(self, used: np.ndarray) -> int:
        """Return the number of components."""
        return int(self.variance.size)

    def reduce(self, weights: np.ndarray, terms: int) -> Reduced:
        """Return the weights of the components."""
        empty = np.zeros((len(weights), 0), np.float32)
        projection = self.projection.astype(np.float32)
        projected = self.projection @ weights
        return Reduced(projected.astype(np.float32), projection.T, empty.T, empty)

    def find_complete(self, ivar: Any) -> Any:
        """Return which stars have every feature that takes part: (star,)."""
        return ((ivar > 0) | ~(self.unit > 0)).all(1)

    def measure_level(self, ivar: Any) -> Any:
        """Return t^2, the median of (error / unit)^2 over what is measured: (star,)."""
        known = (ivar > 0) & (self.unit > 0)
        ratio = 1 / jnp.where(known, ivar * self.unit**2, 1)
        return jnp.where(known.any(1), find_median(ratio, known), 1)

    def observe(
        self, ivar: Any, r: Any, reduced: Reduced, features: Features, complete: bool
    ) -> Observation:
        """Return what data say of latents, a component a value; of stars with gaps, what is left.

        With A = B^T B over the measured features, V = diag(t^2 + s^2) and white noise of variance
        q, X = V^1/2 A V^1/2 and Y = (I + X / q)^-1:
        M = V^-1/2 (I - Y) V^-1/2 and b = V^-1/2 Y V^1/2 B^T r / q.
        """
        variance = self.measure_level(ivar)[:, None] + self.variance
        if complete:
            root = 1 / jnp.sqrt(variance)
            found = linalg.dot(r, reduced.basis)
            return Observation(
                equations=Equations(
                    precision=1 / variance,
                    pull=found / variance,
                    weights=reduced.weights,
                    features=features,
                ),
                base=root * found,
                root=root,
                weights=reduced.weights,
                n_values=jnp.full(len(r), float(root.shape[1])),
            )
        known = (ivar > 0) & (self.unit > 0)
        # float64 where the program has it: what pixels leave of the components spans many decades
        wide = jnp.asarray(0.0, float).dtype
        shapes, sd = self.shapes.astype(wide), jnp.sqrt(variance.astype(wide))
        n = shapes.shape[1]
        i, j, _ = linalg.packed_index(n)
        columns = shapes.T
        packed = linalg.dot(known.astype(wide), (columns[i] * columns[j]).T)
        scaled = sd[:, :, None] * linalg.unpack(packed, n) * sd[:, None] / WHITE
        eye = jnp.broadcast_to(jnp.eye(n, dtype=wide), scaled.shape)
        factor = jnp.linalg.cholesky(scaled + eye)
        half = solve_triangular(factor, eye, lower=True)
        y = linalg.dot(half.swapaxes(1, 2), half)
        unit = jnp.where(self.unit > 0, self.unit, 1)
        measured = jnp.where(known, r / unit, 0).astype(wide)
        projected = linalg.dot(measured, shapes) * sd / WHITE
        kept = eye - y
        found = by_star.multiply(y, projected)
        narrow = functools.partial(jnp.asarray, dtype=r.dtype)
        return Observation(
            equations=Equations(
                precision=narrow(kept / (sd[:, :, None] * sd[:, None])),
                pull=narrow(found / sd),
                weights=reduced.weights,
                features=features,
            ),
            base=narrow(found),
            root=narrow(kept / sd[:, None]),
            weights=reduced.weights,
            n_values=narrow(jnp.trace(kept, axis1=1, axis2=2)),
        )

    def apply_inverse(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return N^-1 x of one star: ivar (feature,), x (feature, k) -> (feature, k).

        Of x as the components can make it, from all features; as in inference.
        """
        star = self._observe_star(ivar)
        return np.asarray(star.operator.T @ (self.projection @ x))

    def whiten(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return N^-1/2 x of one star, with the symmetric root: (feature, k)."""
        unit = np.asarray(self.unit, float)[:, None]
        possible = unit * (np.asarray(self.shapes, float) @ (self.projection @ x))
        root = correlation.find_root(self._observe_star(ivar))
        return np.asarray(root @ (root.T @ possible))

    def find_information(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return x^T N^-1 x: ivar (star, feature), x (feature, k) -> (star, k, k)."""
        projected = self.projection @ x
        return np.array([projected.T @ s.precision @ projected for s in self._observe_stars(ivar)])

    def find_repeat(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the covariance of x^T N^-1 r where r has the errors alone: (star, k, k)."""
        projected = self.projection @ x
        return np.array([projected.T @ s.repeat @ projected for s in self._observe_stars(ivar)])

    def draw_errors(self, ivar: np.ndarray, stream: np.random.Generator) -> np.ndarray:
        """Return a draw of one star's errors, t unit B e with e ~ N(0, 1): (feature,).

        Of stars with gaps, white noise besides, as `find_repeat` has it.
        """
        shapes, unit = np.asarray(self.shapes, float), np.asarray(self.unit, float)
        level = np.sqrt(correlation.measure_level(self, ivar))
        drawn = level * (shapes @ stream.standard_normal(shapes.shape[1]))
        if not self.find_complete(ivar[None])[0]:
            drawn += np.sqrt(WHITE) * stream.standard_normal(len(shapes))
        return np.asarray(unit * drawn)

    def measure_chi2(self, ivar: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return r^T N^-1 r, r (star, feature), and of how many values it is the sum: (star,)."""
        stars = list(self._observe_stars(ivar))
        chi2 = [((s.scaled @ one) ** 2).sum() for s, one in zip(stars, r, strict=True)]
        return np.array(chi2), np.array([s.n_values for s in stars])

    def _observe_star(self, ivar: np.ndarray) -> correlation.Star:
        return correlation.observe_star(self, ivar, WHITE)

    def _observe_stars(self, ivar: np.ndarray) -> Iterator[correlation.Star]:
        return map(self._observe_star, ivar)


jax.tree_util.register_dataclass(CorrelatedNoise, ["shapes", "unit", "variance"], [])
