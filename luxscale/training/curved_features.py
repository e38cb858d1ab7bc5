"""What the features of curved training do from iteration to iteration: nothing, or learn."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol

import numpy as np

from luxscale.model.decoders import NetworkMap, PolynomialMap
from luxscale.training import networks
from luxscale.training.curved_state import Shape, State, Tables
from luxscale.training.curved_steps import maximise, split_rows
from luxscale.training.data import MakeDecoder


class Learner(Protocol):
    """How features are fitted."""

    @property
    def fold_iterations(self) -> int:
        """Iterations in which the stars of a fold are forgotten."""

    def begin(self, state: State) -> State:
        """Return the state with features that learn, once the latents turn no more."""

    def improve(self, state: State, tables: Tables) -> State:
        """Return the state with better features, before each regression from then on."""

    def forget(self, state: State, tables: Tables) -> State:
        """Return the state, of some of the stars, with features that know of no others."""

    def finish(self, state: State) -> MakeDecoder:
        """Return what makes a map of weights and offset."""


class Products:
    """Products of latents, which are what they are."""

    #: With three, misfits differ by 3 to 9%.
    fold_iterations = 1

    def begin(self, state: State) -> State:
        """Return the state as it is."""
        return state

    def improve(self, state: State, tables: Tables) -> State:
        """Return the state as it is."""
        return state

    def forget(self, state: State, tables: Tables) -> State:
        """Return the state as it is."""
        return state

    def finish(self, state: State) -> MakeDecoder:
        """Return what makes a map of weights and offset."""
        features: Any = state.features
        return lambda weights, offset: PolynomialMap(weights, offset, features)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network beside the products: see `luxscale.training.networks`.

    Parameters
    ----------
    units : int
        Of each hidden layer.
    """

    units: int

    #: Of new layers. Pulls of 2,500 other XP giants are 0.92 to 1.08; with 4 they are 0.94 to 1.12,
    #: and where folds keep the layers of all stars 0.96 to 1.13.
    fold_iterations: ClassVar[int] = 8

    def begin(self, state: State) -> State:
        """Return the state with a network of which outputs know nothing yet."""
        products: Any = state.features
        fitted = []
        for one in state.fitted:
            weights = np.pad(one.weights, ((0, 0), (0, self.units)))
            fitted.append(dataclasses.replace(one, weights=weights))
        features = networks.make_network(products, self.units)
        return dataclasses.replace(state, features=features, fitted=tuple(fitted))

    def improve(self, state: State, tables: Tables) -> State:
        """Return the state with layers some steps further down the expected loss."""
        blocks = list(split_rows(np.arange(len(state.z))))
        equations = []
        for rows in blocks:
            of_block = []
            for table, fitted, g in zip(tables, state.fitted, state.robust_weights, strict=True):
                of_block.append(table.make_equations(fitted, rows, g[rows], state.features))
            equations.append(of_block)
        stars = networks.Stars(z=state.z, covariance=state.covariance, blocks=blocks)
        features: Any = state.features
        features, memory = networks.descend(features, state.memory, stars, equations)
        return dataclasses.replace(state, features=features, memory=memory)

    def forget(self, state: State, tables: Tables) -> State:
        """Return the state with new layers, on whose units the outputs are regressed."""
        features: Any = state.features
        products = features.products
        fitted = []
        for one in state.fitted:
            fitted.append(dataclasses.replace(one, weights=one.weights[:, : 1 + products.n_terms]))
        known = dataclasses.replace(state, features=products, fitted=tuple(fitted), memory=None)
        return maximise(self.begin(known), tables)

    def finish(self, state: State) -> MakeDecoder:
        """Return what makes a map of weights and offset."""
        features: Any = state.features
        return lambda weights, offset: NetworkMap(weights, offset, features)


def pick_learner(shape: Shape) -> Learner:
    """Return how the features of a shape are fitted."""
    return Network(shape.units) if shape.units else Products()
