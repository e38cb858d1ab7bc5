"""The prior on latents: what is known of a star before its data.

All that the package asks of a prior is what `Prior` lists: its share of the normal equations, what
it adds to the function that is minimised, how much of the labels' variance it leaves, and what of
it a model's file and fingerprint hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.errors import InputError

#: What a model's file says of its prior, by which it is distinguished from other kinds.
_GAUSSIAN = "normal, mean 0, this precision"


class Prior(Protocol):
    """What the package asks of a prior on latents, a pytree."""

    @property
    def is_proper(self) -> bool:
        """Whether it holds the latents at all, so that labels have a variance without data."""

    @property
    def identity(self) -> Any:
        """What of the prior a model's fingerprint rests on."""

    def prepare(self, latent_dim: int) -> Prior:
        """Return the prior as the kernel takes it."""

    def make_precision(self, latent_dim: int) -> np.ndarray:
        """Return its share of the normal equations in float64: (latent, latent)."""

    def hold_back(self, variance: Any) -> Any:
        """Return how many latents the prior fixes, from the sum of their variances: (star,)."""

    def scale_weights(self, w: Any) -> Any:
        """Return weights of data in units of the prior's precision."""

    def to_attributes(self) -> dict[str, Any]:
        """Return the prior as attributes of a model's file."""

    def hessian(self) -> Any:
        """Return the second derivative of -ln p(z), for normal equations: (latent, latent)."""

    def gradient(self, z: Any) -> Any:
        """Return the derivative of -ln p(z): (star, latent)."""

    def penalty_change(self, old: Any, new: Any) -> Any:
        """Return by how much -2 ln p grows from old to new latents: (star,)."""

    def remaining(self, variance: np.ndarray) -> np.ndarray:
        """Return the share of a label's variance that is left: (star, label)."""


@dataclasses.dataclass(frozen=True)
class GaussianPrior:
    """Normal prior, N(0, I / precision).

    Parameters
    ----------
    precision : float, or array, (latent,)
        1 / variance of each latent; a float in a model, an array in the kernel.
    """

    precision: Any = 1.0

    def prepare(self, latent_dim: int) -> GaussianPrior:
        """Return the prior as the kernel takes it, with a float32 array."""
        return GaussianPrior(np.full(latent_dim, self.precision, np.float32))

    @property
    def is_proper(self) -> bool:
        """Whether it holds the latents at all, so that labels have a variance without data."""
        return bool(np.all(np.asarray(self.precision) > 0))

    def make_precision(self, latent_dim: int) -> np.ndarray:
        """Return its share of the normal equations in float64: (latent, latent)."""
        return np.asarray(self.precision * np.eye(latent_dim))

    def hold_back(self, variance: Any) -> Any:
        """Return lambda tr C, the number of latents that the prior fixes: (star,).

        Parameters
        ----------
        variance : array, (star,)
            tr C, the sum of the latents' variances given the data.
        """
        return self.precision * variance

    def scale_weights(self, w: Any) -> Any:
        """Return weights of data in units of the prior's precision."""
        return w / self.precision

    def hessian(self) -> Any:
        """Return the second derivative of -ln p(z), for normal equations: (latent, latent)."""
        return jnp.diag(self.precision)

    def gradient(self, z: Any) -> Any:
        """Return the derivative of -ln p(z): (star, latent)."""
        return self.precision * z

    def penalty_change(self, old: Any, new: Any) -> Any:
        """Return by how much -2 ln p grows from old to new latents: (star,)."""
        # as a product, so that nothing cancels
        return jnp.sum(self.precision * (new - old) * (new + old), 1)

    def remaining(self, variance: np.ndarray) -> np.ndarray:
        """Return the share of a label's variance that is left.

        Of that under the prior, or of that in training if it is less.

        Parameters
        ----------
        variance : array, (star, label)
            In units of the variance in training, that of z ~ N(0, I).
        """
        # a prior wider than the training set is no measure of ignorance
        return variance * max(float(np.mean(self.precision)), 1.0)

    @property
    def identity(self) -> float:
        """What of the prior a model's fingerprint rests on."""
        return float(self.precision)

    def to_attributes(self) -> dict[str, Any]:
        """Return the prior as attributes of a model's file."""
        return {
            "latent_prior": _GAUSSIAN,
            "latent_prior_precision": self.precision,
        }


jax.tree_util.register_dataclass(GaussianPrior, ["precision"], [])


def read_prior(attributes: Mapping[str, Any], where: str = "model") -> Prior:
    """Return the prior that the attributes of a model's file describe.

    Raises
    ------
    KeyError
        If they lack it.
    InputError
        If it is of a kind that this version does not know.
    """
    kind = attributes["latent_prior"]
    if kind != _GAUSSIAN:
        raise InputError(
            f"{where}: the prior on latents is {kind!r}, which this luxscale does not know: "
            "upgrade it"
        )
    return GaussianPrior(float(attributes["latent_prior_precision"]))
