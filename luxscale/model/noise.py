"""The noise of an output: how far its values lie from the model, in errors and in fitted scatter.

All that inference asks of noise is what `Noise` lists. Training asks more: it fits a scatter per
feature, and makes `DiagonalNoise` of it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.features import Features
from luxscale.model.observation import Equations, Observation

#: Features of independent noise are summed where there are more than so many for each term of phi.
_FEW = 2


class Noise(Protocol):
    """What inference asks of the noise of an output; N is its covariance for one star."""

    #: Whether a missing value needs no program of its own, as `find_complete` then says.
    bears_gaps: ClassVar[bool]

    @property
    def level_variance(self) -> Any | None:
        """s^2 where N of stars without gaps is t^2 + s^2 but for their level t^2, None elsewhere.

        Of the components that the spectrum is reduced to: (value,).
        """

    @property
    def scatter(self) -> Any:
        """Standard deviation that the model adds to errors: (feature,)."""

    def total_error(self, ivar: Any) -> Any:
        """Return the standard deviation of values that are not missing: (star, feature)."""

    def select(self, features: Any) -> Noise:
        """Return the noise of some of the features."""

    def count_values(self, used: np.ndarray) -> int:
        """Return how many independent values a star without gaps has; used is (feature,)."""

    def reduce(self, weights: np.ndarray, terms: int) -> Reduced:
        """Return the weights (feature, term) of a map as `observe` takes them."""

    def find_complete(self, ivar: Any) -> Any:
        """Return which stars need no more than the program for complete data: (star,)."""

    def observe(
        self, ivar: Any, r: Any, reduced: Reduced, features: Features, complete: bool
    ) -> Observation:
        """Return what data say of latents, from ivar (0 = missing) and r: (star, feature)."""

    def apply_inverse(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return N^-1 x of one star: ivar (feature,), x (feature, k) -> (feature, k)."""

    def whiten(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return N^-1/2 x of one star, with the symmetric root: (feature, k)."""

    def find_information(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return x^T N^-1 x: ivar (star, feature), x (feature, k) -> (star, k, k)."""

    def find_repeat(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the covariance of x^T N^-1 r where r has the errors alone: (star, k, k)."""

    def draw_errors(self, ivar: np.ndarray, stream: np.random.Generator) -> np.ndarray:
        """Return a draw of one star's errors, without what the model adds to them: (feature,)."""

    def measure_chi2(self, ivar: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return r^T N^-1 r, r (star, feature), and of how many values it is the sum: (star,)."""


class Reduced(NamedTuple):
    """Weights of a map (feature, term) for `Noise.observe`.

    weights : (value, term), of the values that are observed; basis : (feature, term), orthonormal,
    with pixels = basis @ weights, and packed its products; both empty where pixels are not summed.
    """

    weights: Any
    basis: Any
    packed: Any
    pixels: Any


@dataclasses.dataclass(frozen=True)
class DiagonalNoise:
    """Noise that is independent from value to value: variance sigma^2 + s^2.

    Parameters
    ----------
    scatter : array, (feature,)
        Fitted scatter s, in the unit of the values.
    """

    scatter: Any = 0.0
    level_variance: ClassVar[None] = None
    bears_gaps: ClassVar[bool] = True

    def weigh(self, ivar: Any) -> Any:
        """Return 1 / (sigma^2 + s^2), the weight of a value in equation 4: (star, feature).

        Parameters
        ----------
        ivar : array, (star, feature)
            Inverse variance 1 / sigma^2 of the data; the weight is 0 where it is.
        """
        return _weigh(ivar, self.scatter**2)

    def total_error(self, ivar: Any) -> Any:
        """Return sqrt(sigma^2 + s^2), of values that are not missing: (star, feature)."""
        return np.sqrt(1 / ivar + self.scatter**2)

    def normal_equations(self, w: Any, r: Any, x: Any, packed: Any) -> tuple[Any, Any]:
        """Return X^T diag(w) X, packed, and X^T diag(w) r: (star, K) and (star, term)."""
        return linalg.normal_equations(w, r, x, packed)

    def chi2(self, w: Any, r: Any) -> Any:
        """Return sum_d w_d r_d^2: (star,)."""
        return (w * r**2).sum(1)

    def log_likelihood(self, w: Any, r: Any) -> Any:
        """Return ln p(r) of every star, of the values that have a weight: (star,)."""
        measured = w > 0
        safe = jnp.where(measured, w, 1)
        log_norm = jnp.where(measured, jnp.log(safe / (2 * np.pi)), 0)
        return 0.5 * jnp.sum(log_norm - w * r**2, 1)

    def select(self, features: Any) -> DiagonalNoise:
        """Return the noise of some of the features."""
        return DiagonalNoise(self.scatter[features])

    def count_values(self, used: np.ndarray) -> int:
        """Return how many features take part."""
        return int(used.sum())

    def reduce(self, weights: np.ndarray, terms: int) -> Reduced:
        """Return the weights of a map, orthonormal ones apart where there are many pixels."""
        d = len(weights)
        pixels = weights.astype(np.float32)
        if d <= _FEW * terms:
            empty = np.zeros((d, 0), np.float32)
            return Reduced(pixels, empty, empty.T, empty)
        # sums over pixels are well conditioned in an orthonormal basis, and bear float32
        basis, triangle = np.linalg.qr(weights.astype(float))
        i, j, _ = linalg.packed_index(basis.shape[1])
        columns = basis.astype(np.float32).T
        return Reduced(
            weights=triangle.astype(np.float32),
            basis=columns.T,
            packed=columns[i] * columns[j],
            pixels=pixels,
        )

    def find_complete(self, ivar: np.ndarray) -> np.ndarray:
        """Return that all stars are: a missing value has weight 0."""
        return np.ones(len(ivar), bool)

    def observe(
        self, ivar: Any, r: Any, reduced: Reduced, features: Features, complete: bool
    ) -> Observation:
        """Return what data say of latents: pixel by pixel, or summed where they are many."""
        w = self.weigh(ivar)
        root = jnp.sqrt(w)
        precision, pull, pixels = w, w * r, reduced.weights
        if reduced.basis.shape[1]:
            packed, pull = linalg.normal_equations(w, r, reduced.basis, reduced.packed)
            precision = linalg.unpack(packed, reduced.basis.shape[1])
            pixels = reduced.pixels
        return Observation(
            equations=Equations(
                precision=precision,
                pull=pull,
                weights=reduced.weights,
                features=features,
            ),
            base=root * r,
            root=root,
            weights=pixels,
            n_values=jnp.sum(w > 0, 1),
        )

    def apply_inverse(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return N^-1 x of one star: ivar (feature,), x (feature, k) -> (feature, k)."""
        return np.asarray(self.weigh(ivar)[:, None] * x)

    def whiten(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return N^-1/2 x of one star: (feature, k)."""
        return np.asarray(np.sqrt(self.weigh(ivar))[:, None] * x)

    def find_information(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return x^T N^-1 x: ivar (star, feature), x (feature, k) -> (star, k, k)."""
        return _sum_products(self.weigh(ivar), x)

    def find_repeat(self, ivar: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the covariance of x^T N^-1 r where r has the errors alone: (star, k, k)."""
        w = self.weigh(ivar)
        # w^2 sigma^2, 0 where a value is missing
        squared = np.zeros_like(w)
        np.divide(w * w, ivar, out=squared, where=ivar > 0)
        return _sum_products(squared, x)

    def draw_errors(self, ivar: np.ndarray, stream: np.random.Generator) -> np.ndarray:
        """Return a draw of one star's errors, 0 where a value is missing: (feature,)."""
        sigma = np.zeros_like(ivar)
        np.divide(1, np.sqrt(ivar), out=sigma, where=ivar > 0)
        return np.asarray(sigma * stream.standard_normal(ivar.size, dtype="f4"))

    def measure_chi2(self, ivar: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return r^T N^-1 r, r (star, feature), and of how many values it is the sum: (star,)."""
        w = self.weigh(ivar)
        return np.asarray(self.chi2(w, r)), (w > 0).sum(1)

    def fit(self, q: Any, ivar: Any, steps: int, least: float = 0.0) -> DiagonalNoise:
        """Maximise the likelihood over the scatter of each feature, by Fisher scoring.

        The root of sum_n (w^2 q - w) = 0 with w = 1 / (sigma^2 + s^2); s = 0 where the errors alone
        explain the residuals.

        Parameters
        ----------
        q : array, (star, feature)
            Expected squared residuals, E[(y - model)^2].
        ivar : array, (star, feature)
        steps : int
        least : float
            Least scatter.
        """

        def step(_: int, s2: Any) -> Any:
            slope, information = sum_slopes(q, ivar, s2)
            # a feature without data stays where it is
            change = slope / jnp.where(information > 0, information, 1)
            return jnp.maximum(s2 + change, least**2)

        return DiagonalNoise(jnp.sqrt(jax.lax.fori_loop(0, steps, step, self.scatter**2)))


jax.tree_util.register_dataclass(DiagonalNoise, ["scatter"], [])


def sum_slopes(q: Any, ivar: Any, s2: Any) -> tuple[Any, Any]:
    """Return what a step of `DiagonalNoise.fit` needs of the stars, at scatter^2: (feature,).

    Parameters
    ----------
    q, ivar : array, (star, feature)
    s2 : array, (feature,)

    Returns
    -------
    slope, information : array, (feature,)
        sum_n (w^2 q - w) and sum_n w^2.
    """
    w = _weigh(ivar, s2)
    information = jnp.sum(w * w, axis=0)
    slope = jnp.sum(w * (w * q - 1) * (ivar > 0), axis=0)
    return slope, information


def _weigh(ivar: Any, scatter2: Any) -> Any:
    # in this form, a missing value has weight 0 without a branch
    return ivar / (1 + ivar * scatter2)


def _sum_products(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return x^T diag(w) x of every star: (star, k, k)."""
    # they are symmetric: half of the products are enough, for many stars at once
    i, j, table = linalg.packed_index(x.shape[1])
    packed = w @ (x[:, i] * x[:, j])
    return np.asarray(packed[:, table])
