"""The noise of spectra in curved training: which class their data have, and where it starts."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from luxscale.training import components
from luxscale.training.curved_start import find_start
from luxscale.training.curved_state import Shape, State, Tables
from luxscale.training.data import TrainingData, TrainingOutput
from luxscale.training.evidence import Evidence
from luxscale.training.linear_start import find_linear_start
from luxscale.training.pixels import Pixels
from luxscale.training.principal_start import find_principal_latents, measure_label_scatter
from luxscale.training.spectra import Spectra
from luxscale.training.tables import Table

#: Factor on the catalogue's errors of the training labels. With half of it labels of other XP
#: giants scatter by 2% less, have an RMSE larger by 0.6%, and pulls that are too small.
LABEL_ERROR = 1.2

#: Degrees of freedom of labels: some are off by more than their errors, and the model misses more
#: in some stars. Labels of other XP giants scatter by 3% less than with Gaussian errors.
LABEL_DOF = 4.0

#: Weight of a star without labels in what is fitted to spectra, where one with labels has 1: with 1
#: latents turn to what spectra alone need. Of 1,250 giants with labels and 5,000 without.
UNLABELLED_SHARE = 0.1


class NoiseKind(Protocol):
    """How the noise of spectra is taken.

    Parameters
    ----------
    can_refine : bool
        Whether `luxscale.training.refine` knows it.
    forgetting : int
        Iterations in which the stars of a fold are forgotten, before they are inferred.
    """

    can_refine: bool
    forgetting: int

    def load(self, data: TrainingData, shape: Shape) -> Tables:
        """Return the data of each output."""

    def find_start(self, data: TrainingData, tables: Tables, shape: Shape) -> State:
        """Return the latents to begin with."""


class Correlated:
    """Spectra as components, with one covariance and a noise level of each star."""

    can_refine = True
    #: With one, new stars scatter by 1.12 to 1.24 times the errors of models of 600 XP giants, by
    #: 1.04 times those of 5,000; with eight by 1.00 to 1.11 and by 1.00 times.
    forgetting = 8

    def load(self, data: TrainingData, shape: Shape) -> Tables:
        """Return the data of each output."""
        share = None
        if data.is_labelled is not None:
            share = np.where(data.is_labelled, 1, UNLABELLED_SHARE)
        return [_load_correlated(output, shape, share) for output in data.outputs]

    def find_start(self, data: TrainingData, tables: Tables, shape: Shape) -> State:
        """Begin with the labels as latents."""
        return find_start(data, tables, shape)


class Independent:
    """Spectra and bands pixel by pixel, with a fitted scatter of each."""

    can_refine = False
    forgetting = 1

    def load(self, data: TrainingData, shape: Shape) -> Tables:
        """Return the data of each output, labels with their scatter about linear regression."""
        z = find_principal_latents(data, shape.latent_dim)[: data.n_stars]
        tables: list[Evidence] = []
        for output, scatter in zip(data.outputs, measure_label_scatter(data, z), strict=True):
            if not output.is_label:
                tables.append(Pixels(arrays=output.arrays, rows=np.arange(data.n_stars)))
                continue
            values, ivar = (array.astype(float) for array in output.read_table())
            weights = ivar / (1 + ivar * scatter**2)
            tables.append(Table(values=values, ivar=weights, scatter=scatter))
        return tables

    def find_start(self, data: TrainingData, tables: Tables, shape: Shape) -> State:
        """Begin with the latents of a linear model."""
        return find_linear_start(data, shape)


def _load_correlated(output: TrainingOutput, shape: Shape, share: np.ndarray | None) -> Evidence:
    values, ivar = (array.astype(float) for array in output.read_table())
    if output.is_spectrum:
        return Spectra(components.find_components(values, ivar, shape.components), share)
    dof = np.inf
    if output.is_label:
        ivar, dof = ivar / LABEL_ERROR**2, LABEL_DOF
    return Table(values=values, ivar=ivar, scatter=np.zeros(output.size), dof=dof)


#: Each kind, by the name that users give it.
NOISES: dict[str, NoiseKind] = {"correlated": Correlated(), "independent": Independent()}
