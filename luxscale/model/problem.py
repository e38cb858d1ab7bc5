"""What inference needs to know of a model, as arrays for the kernel."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from luxscale.model import linalg
from luxscale.model.components import Components
from luxscale.model.features import Features, linear_features
from luxscale.model.head import Head
from luxscale.model.noise import Noise, Reduced
from luxscale.model.priors import Prior

if TYPE_CHECKING:
    from luxscale.model.distortion import Distortion
    from luxscale.model.landmarks import Landmarks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
    """What inference needs to know of an output that it is given, in scaled units.

    Parameters
    ----------
    weights : array, (feature, term)
    offset : array, (feature,)
    noise : Noise
    unit : array, (feature,)
        1 / scale, by which values are multiplied.
    ivar_unit : array, (feature,)
        scale^2, by which inverse variances are; 0 for features that take no part.
    features : Features
        phi of the map.
    reduced : Reduced, optional
        The weights as the noise takes them, where latents have to be searched for.
    dof : float
        Degrees of freedom of the noise, infinite if it is Gaussian.
    components : Components, optional
        Where the products are so many that the normal matrix is better approximated.
    packed : array, (K, feature), optional
        Products of the columns of the weights, for the normal equations of many stars.
    """

    weights: Any
    offset: Any
    noise: Noise
    unit: Any
    ivar_unit: Any
    features: Features = linear_features
    reduced: Reduced | None = None
    dof: Any = np.inf
    components: Components | None = None
    packed: Any = None

    def take(self, pixels: Any) -> Design:
        """Return the design of some of the features."""
        return dataclasses.replace(
            self,
            weights=self.weights[pixels],
            offset=self.offset[pixels],
            noise=self.noise.select(pixels),
            unit=self.unit[pixels],
            ivar_unit=self.ivar_unit[pixels],
            components=None,
            packed=None,
        )

    @functools.cached_property
    def multiplied(self) -> Design:
        """The same with the products of its columns: large, and made when they are asked for."""
        if self.packed is not None:
            return self
        packed = linalg.multiply_columns(np.asarray(self.weights))
        return put_on_device([dataclasses.replace(self, packed=packed)])[0]

    def approximate_equations(self, w: Any, weighted: Any) -> tuple[Any, Any, Any]:
        """Return X^T diag(w) X, packed and approximate, and X^T w r: (star, K), (star, P).

        And the sums (star, component) that the first is made of, None where it is exact.

        Parameters
        ----------
        w, weighted : array, (star, feature)
            Weights, and weights times residuals.
        """
        if self.components is None:
            return linalg.dot(w, self.packed.T), linalg.dot(weighted, self.weights), None
        return self.components.approximate_equations(w, weighted)

    def multiply_normal(self, w: Any, z: Any) -> Any:
        """Return X^T diag(w) X z, from components if there are any: (star, P)."""
        if self.components is None:
            return linalg.dot(w * linalg.dot(z, self.weights.T), self.weights)
        return self.components.multiply_normal(w, z)

    @property
    def n_used(self) -> int:
        """Number of independent values that a star without gaps has."""
        return self.noise.count_values(np.asarray(self.ivar_unit) > 0)

    def for_scaled_data(self, center: np.ndarray) -> Design:
        """Return the design for values that are centred and scaled already.

        Parameters
        ----------
        center : array, (feature,)
            What was subtracted, in the output's units.
        """
        unit = np.asarray(self.unit)
        used = np.asarray(self.ivar_unit) > 0
        offset = np.asarray(self.offset) - center * unit
        return dataclasses.replace(
            self,
            offset=np.where(used, offset, 0).astype(np.float32),
            unit=np.ones_like(unit),
            ivar_unit=used.astype(np.float32),
        )


@dataclasses.dataclass(frozen=True)
class Window:
    """Labels of one head that are inferred from some pixels alone.

    Parameters
    ----------
    head : int
        Position of the head.
    labels : array of int, (label,)
        Positions of the labels in it.
    pixels : tuple of array of int, (pixel,)
        Positions in each given output.
    """

    head: int
    labels: Any
    pixels: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """All that inference with one model from given outputs needs to know.

    Parameters
    ----------
    designs : tuple of Design
        One for each given output.
    heads : tuple of Head
    windows : tuple of Window
    prior : Prior
        Prepared for the kernel.
    limits : tuple of float
        Chi2 per pixel and squared length of the latents at which flags begin, infinite for never.
    landmarks : Landmarks, optional
        Where latents have to be searched for, of stars that differ by the level of noise alone.
    distortion : Distortion, optional
        Nuisances of a given output, of a linear model.
    bits : tuple of int
        Of each given output, see `luxscale.model.presence`, where errors depend on which of them a
        star has.
    others : tuple of Problem
        Those of further members, whose labels are averaged with its own.
    """

    designs: tuple[Design, ...]
    heads: tuple[Head, ...]
    windows: tuple[Window, ...]
    prior: Prior
    limits: tuple[float, float] = (np.inf, np.inf)
    landmarks: Landmarks | None = None
    distortion: Distortion | None = None
    bits: tuple[int, ...] = ()
    others: tuple[Problem, ...] = ()

    @property
    def is_linear(self) -> bool:
        """Whether the posterior is one Gaussian, which normal equations give without a search."""
        maps = [d.features for d in self.designs] + [h.map.features for h in self.heads]
        linear = all(features.is_linear for features in maps)
        independent = all(d.reduced is None for d in self.designs)
        return linear and independent and self.prior.is_gaussian

    @property
    def multiplied(self) -> Problem:
        """The same with the products of its designs; see `Design`."""
        return dataclasses.replace(self, designs=tuple(d.multiplied for d in self.designs))

    def for_scaled_data(self, centers: Sequence[np.ndarray]) -> Problem:
        """Return the same for data that are centred and scaled already; see `Design`."""
        designs = [d.for_scaled_data(c) for d, c in zip(self.designs, centers, strict=True)]
        others = [other.for_scaled_data(centers) for other in self.others]
        return dataclasses.replace(self, designs=put_on_device(designs), others=tuple(others))


jax.tree_util.register_dataclass(
    Design,
    [
        "weights",
        "offset",
        "noise",
        "unit",
        "ivar_unit",
        "features",
        "reduced",
        "dof",
        "components",
        "packed",
    ],
    [],
)
jax.tree_util.register_dataclass(Window, ["labels", "pixels"], ["head"])
jax.tree_util.register_dataclass(
    Problem,
    ["designs", "heads", "windows", "prior", "landmarks", "distortion", "others"],
    ["limits", "bits"],
)


def put_on_device(designs: Sequence[Design]) -> tuple[Design, ...]:
    """Copy designs to where the kernel runs.

    Left to each call, the copy of a large one costs half as much as the work. Those that are there
    stay as they are.
    """
    if all(isinstance(array, jax.Array) for array in jax.tree.leaves(designs)):
        return tuple(designs)
    copied: tuple[Design, ...] = jax.block_until_ready(jax.device_put(tuple(designs)))
    return copied
