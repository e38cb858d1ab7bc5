"""Which nuisances a model is to have: as they are asked for, or those of the model before."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.lux import LuxModel
from luxscale.model.nuisances import Nuisances, read_nuisances
from luxscale.schema.outputs import Role, pick_outputs
from luxscale.schema.standard import standardize_survey
from luxscale.training.data import TrainingData
from luxscale.training.methods import METHODS, pick_method


class Asked(NamedTuple):
    """Nuisances, and the name of the output that has them."""

    output: str
    nuisances: Nuisances

    def put_into(self, data: TrainingData) -> TrainingData:
        """Return training data whose output has the nuisances."""
        changed = []
        for output in data.outputs:
            if output.spec.name == self.output:
                output = dataclasses.replace(output, nuisances=self.nuisances)
            changed.append(output)
        return dataclasses.replace(data, outputs=tuple(changed))


def ask_for_nuisances(
    given: str | Path | Sequence[str | Path],
    survey: xr.Dataset,
    outputs: Sequence[str] | None,
    where: str,
) -> Asked:
    """Return the nuisances that users ask for.

    Parameters
    ----------
    given
        See `read_nuisances`.
    survey : Dataset
    outputs : sequence of str, optional
    where : str
        Name of the survey in messages.

    Raises
    ------
    InputError
        If they are not written so, or there is not one spectrum that has them.
    """
    survey = standardize_survey(survey)
    specs = pick_outputs(survey, outputs, where)
    spectra = [spec for spec in specs if spec.role is Role.SPECTRUM]
    if len(spectra) != 1:
        names = ", ".join(spec.name for spec in spectra) or "none"
        raise InputError(
            f"{where}: nuisances are of one spectrum, and the outputs have {names}; name one "
            "spectrum with the labels in outputs"
        )
    (spectrum,) = spectra
    grid = np.asarray(survey[spectrum.dim].values, float)
    return Asked(spectrum.name, read_nuisances(given, grid))


def inherit_nuisances(model: LuxModel) -> Asked | None:
    """Return the nuisances that a model has."""
    for output in model.outputs:
        if output.nuisances is not None:
            return Asked(output.name, output.nuisances)
    return None


def check_method(method: str) -> None:
    """Refuse nuisances with a method whose models are not linear.

    Raises
    ------
    InputError
    """
    if not pick_method(method).is_linear:
        linear = " or ".join(name for name, known in METHODS.items() if known.is_linear)
        raise InputError(
            f"nuisances are inferred with linear models only, and method {method!r} makes others; "
            f"train by recipe 'linear', or method {linear}"
        )
