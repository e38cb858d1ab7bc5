"""What curved training works on: its sizes, data, parameters and latents."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from luxscale.model.features import Features, PolynomialFeatures
from luxscale.model.priors import MixturePrior
from luxscale.training import components
from luxscale.training.component_noise import NoiseParts
from luxscale.training.components import Components
from luxscale.training.data import TrainingOutput

#: Factor on the catalogue's errors of the training labels.
LABEL_ERROR = 1.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """The size of a curved model.

    Parameters
    ----------
    latent_dim, quadratic, cubic : int
        P, and of how many of the first latents phi has products of two, and of three.
    components : int
        D, that stand for a spectrum.
    gaussians : int
        Of the prior.
    """

    latent_dim: int
    quadratic: int
    cubic: int
    components: int
    gaussians: int

    @property
    def products(self) -> PolynomialFeatures:
        """The features phi that are products of latents."""
        return PolynomialFeatures(self.latent_dim, self.quadratic, self.cubic)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """An output of independent noise in training: labels or bands.

    Parameters
    ----------
    values, ivar : array, (star, feature)
    is_label : bool
    """

    values: np.ndarray
    ivar: np.ndarray
    is_label: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """Parameters of one output.

    Parameters
    ----------
    weights : array, (value, term + 1)
        Of (1, phi).
    noise : NoiseParts, optional
        Of a spectrum's components.
    """

    weights: np.ndarray
    noise: NoiseParts | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """Where expectation-maximisation is.

    Parameters
    ----------
    features : Features
        phi.
    z : array, (star, latent)
    covariance : array, (star, latent, latent)
    robust_weight : array, (star,)
        Weight g of each star's spectra under heavy tails.
    fitted : tuple of Fitted
        One for each output; none before the first M-step.
    prior : MixturePrior, optional
        N(0, I) if not there.
    """

    features: Features
    z: np.ndarray
    covariance: np.ndarray
    robust_weight: np.ndarray
    fitted: tuple[Fitted, ...] = ()
    prior: MixturePrior | None = None


Tables = Sequence[Components | Table]


def load_table(output: TrainingOutput, number: int) -> Components | Table:
    """Return an output as curved training takes it: spectra as so many components."""
    values, ivar = (array.astype(float) for array in output.read_table())
    if output.is_spectrum:
        return components.find_components(values, ivar, number)
    if output.is_label:
        ivar = ivar / LABEL_ERROR**2
    return Table(values=values, ivar=ivar, is_label=output.is_label)


def take_stars(table: Components | Table, rows: np.ndarray) -> Components | Table:
    """Return the data of some of the stars."""
    if isinstance(table, Components):
        return table.take(rows)
    return dataclasses.replace(table, values=table.values[rows], ivar=table.ivar[rows])
