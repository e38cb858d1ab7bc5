"""The prior on latents: what is known of a star before its data.

All that the package asks of a prior is what `Prior` lists: its share of the normal equations, the
Gaussians that it is a sum of, how much of the labels' variance it leaves, and what of it a model's
file and fingerprint hold.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.errors import InputError
from luxscale.model import linalg

#: What a model's file says of its prior, by which it is distinguished from other kinds.
_GAUSSIAN = "normal, mean 0, this precision"
_MIXTURE = "sum of normals: prior_weight, prior_mean, prior_covariance"


class Prior(Protocol):
    """What the package asks of a prior on latents, a pytree."""

    @property
    def is_proper(self) -> bool:
        """Whether it holds the latents at all, so that labels have a variance without data."""

    @property
    def is_gaussian(self) -> bool:
        """Whether normal equations hold all of it."""

    @property
    def identity(self) -> Any:
        """What of the prior a model's fingerprint rests on."""

    def prepare(self, latent_dim: int) -> Prior:
        """Return the prior as the kernel takes it."""

    def make_precision(self, latent_dim: int) -> np.ndarray:
        """Return its share of the normal equations in float64: (latent, latent)."""

    def find_precision(self, z: np.ndarray) -> np.ndarray:
        """Return the precision that holds one star, in float64: (latent,) -> (latent, latent)."""

    def to_attributes(self) -> dict[str, Any]:
        """Return the prior as attributes of a model's file."""

    def to_variables(self) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Return its arrays as variables of a model's file: dims and values by name."""

    def remaining(self, variance: np.ndarray) -> np.ndarray:
        """Return the share of a label's variance that is left: (star, label)."""

    def distance(self, z: np.ndarray) -> np.ndarray:
        """Return -2 ln p(z) - P ln 2 pi, how unusual latents are: (star, latent) -> (star,)."""

    def gaussians(self) -> Gaussians:
        """Return the Gaussians that the prior is a sum of."""


class Gaussians(NamedTuple):
    """A sum of Gaussians, sum_k pi_k N(mean_k, precision_k^-1).

    log_weight (k,) holds ln pi_k + ln |precision_k| / 2; mean (k, P); precision (k, P, P).
    """

    log_weight: Any
    mean: Any
    precision: Any


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

    def find_precision(self, z: np.ndarray) -> np.ndarray:
        """Return the precision, which is the same for all stars: (latent, latent)."""
        return self.make_precision(z.size)

    def hessian(self) -> Any:
        """Return the second derivative of -ln p(z), for normal equations: (latent, latent)."""
        return jnp.diag(self.precision)

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

    def distance(self, z: np.ndarray) -> np.ndarray:
        """Return the squared length of latents, at the precision of training: (star,)."""
        return np.asarray((z * z).sum(1))

    def gaussians(self) -> Gaussians:
        """Return the prior, prepared for the kernel, as one Gaussian."""
        precision = np.asarray(self.precision, np.float32)
        log_weight = 0.5 * np.sum(np.log(precision), keepdims=True)
        zero = np.zeros_like(precision)
        return Gaussians(log_weight, zero[None], np.diag(precision)[None])

    @property
    def is_gaussian(self) -> bool:
        """Whether normal equations hold all of it."""
        return True

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

    def to_variables(self) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Return its arrays as variables of a model's file: it has none."""
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixturePrior:
    """Sum of Gaussians, sum_k pi_k N(mu_k, S_k), fitted to the latents of the training stars.

    Parameters
    ----------
    weight : array, (gaussian,)
        pi.
    mean : array, (gaussian, latent)
        mu.
    covariance : array, (gaussian, latent, latent)
        S.
    """

    weight: Any
    mean: Any
    covariance: Any

    is_proper: ClassVar[bool] = True
    is_gaussian: ClassVar[bool] = False

    @property
    def identity(self) -> str:
        """What of the prior a model's fingerprint rests on."""
        digest = hashlib.sha256()
        for array in (self.weight, self.mean, self.covariance):
            digest.update(np.ascontiguousarray(array, float).tobytes())
        return digest.hexdigest()

    def prepare(self, latent_dim: int) -> MixturePrior:
        """Return the prior as the kernel takes it, which is as it is."""
        return self

    def make_precision(self, latent_dim: int) -> np.ndarray:
        """Return the inverse of its overall covariance, in float64: (latent, latent)."""
        return np.linalg.inv(self._find_covariance())

    def find_precision(self, z: np.ndarray) -> np.ndarray:
        """Return the mean precision of the Gaussians by their shares at z: (latent, latent)."""
        log_weight, mean, precision = (np.asarray(a, float) for a in self.expand())
        away = z - mean
        log_share = log_weight - 0.5 * np.einsum("kp,kpq,kq->k", away, precision, away)
        share = np.exp(log_share - log_share.max())
        return np.tensordot(share / share.sum(), precision, axes=1)

    def remaining(self, variance: np.ndarray) -> np.ndarray:
        """Return the share of a label's variance in training that is left: (star, label)."""
        return variance

    def distance(self, z: np.ndarray) -> np.ndarray:
        """Return -2 ln p(z) - P ln 2 pi of latents: (star,)."""
        log_weight, mean, precision = (np.asarray(a, float) for a in self.expand())
        i, j, _ = linalg.packed_index(z.shape[1])
        # (z - mu)^T S^-1 (z - mu), of all Gaussians as one product
        packed = precision[:, i, j] * np.where(i == j, 1, 2)
        pull = (precision @ mean[..., None])[..., 0]
        wide = z.astype(float)
        products = wide[:, i] * wide[:, j]
        constant = (pull * mean).sum(1)
        length = products @ packed.T - 2 * wide @ pull.T + constant
        terms = log_weight - 0.5 * length
        # ln of the sum of exp(terms), without overflow
        most = terms.max(1)
        rest = np.exp(terms - most[:, None]).sum(1)
        log_density = most + np.log(rest)
        return np.asarray(-2 * log_density)

    def gaussians(self) -> Gaussians:
        """Return its Gaussians, in float32."""
        return Gaussians(*(np.asarray(a, np.float32) for a in self.expand()))

    def to_attributes(self) -> dict[str, Any]:
        """Return the prior as attributes of a model's file."""
        return {"latent_prior": _MIXTURE}

    def to_variables(self) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Return its arrays as variables of a model's file: dims and values by name."""
        variables = {}
        for name, dims in _MIXTURE_ARRAYS.items():
            variables[f"prior_{name}"] = (dims, np.asarray(getattr(self, name), float))
        return variables

    def _find_covariance(self) -> np.ndarray:
        mean = self.weight @ self.mean
        away = self.mean - mean
        within = np.tensordot(self.weight, self.covariance, axes=1)
        return np.asarray(within + (self.weight * away.T) @ away)

    def expand(self) -> Gaussians:
        """Return its Gaussians, in float64."""
        precision = np.linalg.inv(np.asarray(self.covariance, float))
        _, log_det = np.linalg.slogdet(precision)
        return Gaussians(np.log(self.weight) + 0.5 * log_det, self.mean, precision)


#: Arrays of a mixture, by their names in `MixturePrior` and dims in a model's file.
_MIXTURE_ARRAYS = {
    "weight": ("gaussian",),
    "mean": ("gaussian", "latent"),
    "covariance": ("gaussian", "latent", "latent_other"),
}

jax.tree_util.register_dataclass(GaussianPrior, ["precision"], [])
jax.tree_util.register_dataclass(MixturePrior, list(_MIXTURE_ARRAYS), [])


def read_prior(
    attributes: Mapping[str, Any], arrays: Mapping[Hashable, Any], where: str = "model"
) -> Prior:
    """Return the prior that the attributes and variables of a model's file describe.

    Raises
    ------
    KeyError
        If they lack it.
    InputError
        If it is of a kind that this version does not know.
    """
    kind = attributes["latent_prior"]
    if kind == _MIXTURE:
        found = {name: np.asarray(arrays[f"prior_{name}"]) for name in _MIXTURE_ARRAYS}
        return MixturePrior(**found)
    if kind != _GAUSSIAN:
        raise InputError(
            f"{where}: the prior on latents is {kind!r}, which this luxscale does not know: "
            "upgrade it"
        )
    return GaussianPrior(float(attributes["latent_prior_precision"]))
