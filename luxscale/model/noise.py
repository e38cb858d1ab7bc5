"""The noise of an output: how far its values lie from the model, in errors and in fitted scatter.

All that inference asks of noise is what `Noise` lists. Training asks more: it fits a scatter per
feature, and makes `DiagonalNoise` of it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg


class Noise(Protocol):
    """What inference asks of the noise of an output; N is its covariance for one star.

    ``w`` is what `weigh` returns, ``r`` are residuals (star, feature).
    """

    def weigh(self, ivar: Any) -> Any:
        """Return N^-1, as the other methods take it."""

    def normal_equations(self, w: Any, r: Any, x: Any, packed: Any) -> tuple[Any, Any]:
        """Return X^T N^-1 X, packed, and X^T N^-1 r: (star, K) and (star, term)."""

    def chi2(self, w: Any, r: Any) -> Any:
        """Return r^T N^-1 r: (star,)."""

    def log_likelihood(self, w: Any, r: Any) -> Any:
        """Return ln p(r) of every star: (star,)."""

    def select(self, features: Any) -> Noise:
        """Return the noise of some of the features."""


@dataclasses.dataclass(frozen=True)
class DiagonalNoise:
    """Noise that is independent from value to value: variance sigma^2 + s^2.

    Parameters
    ----------
    scatter : array, (feature,)
        Fitted scatter s, in the unit of the values.
    """

    scatter: Any

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
            w = _weigh(ivar, s2)
            information = jnp.sum(w * w, axis=0)
            slope = jnp.sum(w * (w * q - 1) * (ivar > 0), axis=0)
            # a feature without data stays where it is
            change = slope / jnp.where(information > 0, information, 1)
            return jnp.maximum(s2 + change, least**2)

        return DiagonalNoise(jnp.sqrt(jax.lax.fori_loop(0, steps, step, self.scatter**2)))


jax.tree_util.register_dataclass(DiagonalNoise, ["scatter"], [])


def _weigh(ivar: Any, scatter2: Any) -> Any:
    # in this form, a missing value has weight 0 without a branch
    return ivar / (1 + ivar * scatter2)
