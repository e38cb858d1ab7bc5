"""Temperatures of stars that are said to be in K, and cannot be."""

from __future__ import annotations

import re

import numpy as np

from luxscale.progress import Progress
from luxscale.schema.standard import is_same_unit
from luxscale.training.data import TrainingData, TrainingOutput

#: No star is colder, in K; thousands of K and log10 of K are less.
_COLDEST = 200.0

#: Names of temperatures, which are in K where no unit is stated.
_NAME = re.compile(r"t_?eff", re.IGNORECASE)


def report_temperatures(data: TrainingData, shown: Progress) -> None:
    """Say which labels in K, by unit or name, are in thousands of K or log10 of K by their values.

    Parameters
    ----------
    data : TrainingData
    shown : Progress
    """
    for output in data.labels:
        for label in _find_too_cold(output):
            shown.advise(
                f"{label} is said to be in K, and is colder than any star: it looks like log10 or "
                "thousands of K, and catalogues would give it as K. Convert it, or state its unit: "
                "label_units of the survey, or --labels-setting unit.LABEL=UNIT of luxscale ingest"
            )


def _find_too_cold(output: TrainingOutput) -> list[str]:
    """Return labels in K of which nearly all values are above 0 and below those of stars."""
    center, deviation = output.spread.center, 2 * output.spread.scale
    is_cold = (center - deviation > 0) & (center + deviation < _COLDEST)
    names = map(str, np.asarray(output.grid.values).tolist())
    return [
        name
        for name, unit, cold in zip(names, output.units, is_cold.tolist(), strict=True)
        if cold and _is_in_kelvin(name, unit)
    ]


def _is_in_kelvin(name: str, unit: str) -> bool:
    if not unit.strip():
        return bool(_NAME.fullmatch(name))
    return is_same_unit(unit, "K")
