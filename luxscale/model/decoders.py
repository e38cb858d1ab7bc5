"""Maps from latents to outputs: what a star with latents z looks like.

Every map is linear in its weights: output = offset + W phi(z), with phi(z) the *features* of the
latents. Inference needs no more than that: it forms the normal equations in the features, once, and
solves for z in them. So another decoder is another class with ``features`` in `KINDS`; the
interface of inference, the run and the file stay as they are.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np


def linear_features(z: Any) -> Any:
    """Return phi(z) = z: (..., latent) -> (..., latent)."""
    return z


def quadratic_features(z: Any) -> Any:
    """Return phi(z) = (z, z_i z_j for j <= i): (..., latent) -> (..., term)."""
    i, j = np.tril_indices(z.shape[-1])
    stack = jnp if isinstance(z, jax.Array) else np
    return stack.concatenate([z, z[..., i] * z[..., j]], -1)


@dataclasses.dataclass(frozen=True)
class LinearMap:
    """offset + W z, equations 1 and 2 of the paper with the offset written out.

    Parameters
    ----------
    weights : array, (feature, latent)
        The paper's A (labels) or B (flux), in the output's units.
    offset : array, (feature,)
        Output of a star with z = 0.
    """

    weights: Any
    offset: Any
    kind: ClassVar[str] = "linear"
    features = staticmethod(linear_features)

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""
        return int(self.weights.shape[1])

    def __call__(self, z: Any) -> Any:
        """Return the output of latents z: (star, latent) -> (star, feature)."""
        return self.offset + self.features(z) @ self.weights.T

    def jacobian(self, z: Any) -> Any:
        """Return d output / d z at the latents z of one star: (latent,) -> (feature, latent)."""
        return self.weights


@dataclasses.dataclass(frozen=True)
class QuadraticMap(LinearMap):
    """offset + W (z, z_i z_j for j <= i): The Cannon's model of a spectrum (Ness et al. 2015), with z its labels.

    Parameters
    ----------
    weights : array, (feature, term)
        P columns for the latents, then P (P + 1) / 2 for their products, by row of the lower
        triangle.
    offset : array, (feature,)
        Output of a star with z = 0.
    """

    kind: ClassVar[str] = "quadratic"
    features = staticmethod(quadratic_features)

    @property
    def latent_dim(self) -> int:
        """Number of latents P, from P + P (P + 1) / 2 terms."""
        return (math.isqrt(9 + 8 * int(self.weights.shape[1])) - 3) // 2

    def jacobian(self, z: Any) -> Any:
        """Return d output / d z at the latents z of one star: (latent,) -> (feature, latent)."""
        eye = np.eye(len(z))
        i, j = np.tril_indices(len(z))
        return self.weights @ np.concatenate([eye, eye[i] * z[j, None] + eye[j] * z[i, None]])


#: Every map, by the name that a model's file holds.
KINDS: dict[str, type[LinearMap]] = {m.kind: m for m in (LinearMap, QuadraticMap)}

for _map in KINDS.values():
    jax.tree_util.register_dataclass(_map, ["weights", "offset"], [])
