"""Whether training data have the outputs of a model that training goes on from, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from luxscale.errors import InputError
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output
from luxscale.training.data import TrainingData, TrainingOutput


def find_places(output: TrainingOutput, of_model: Output) -> np.ndarray:
    """Return where the features of a model's output stand among those of the data: (feature,)."""
    place = {name: i for i, name in enumerate(output.grid.values.tolist())}
    return np.array([place[name] for name in of_model.coord], int)


def check_outputs(model: LuxModel, data: TrainingData, where: str) -> None:
    """Refuse data that lack an output or feature of a model, or have it in another unit."""
    there = {output.spec.name: output for output in data.outputs}
    for of_model in model.outputs:
        name = of_model.name
        if name not in there:
            raise InputError(
                f"{where}: initial has the output {name!r}, and the outputs here are "
                f"{', '.join(there)}; name it in outputs, add it to the survey, or train without "
                "initial"
            )
        output = there[name]
        if output.is_spectrum != of_model.is_spectrum or output.is_label != of_model.is_label:
            raise InputError(
                f"{where}: {name!r} is {output.spec.role.value} here, and "
                f"{of_model.spec.role.value} in initial; train without initial"
            )
        if output.is_spectrum:
            _check_grid(output, of_model, where)
        else:
            _check_names(output, of_model, where)


def _check_grid(output: TrainingOutput, of_model: Output, where: str) -> None:
    here, there = output.grid.values, np.asarray(of_model.coord)
    attrs = {str(k): str(v) for k, v in output.grid.attrs.items() if k != "units"}
    is_same = np.array_equal(here, there) and output.units == of_model.units
    if is_same and attrs == dict(of_model.attrs):
        return
    raise InputError(
        f"{where}: {output.spec.name!r} has another grid than initial: "
        f"{_describe_grid(here, output.units, attrs)} here, "
        f"{_describe_grid(there, of_model.units, dict(of_model.attrs))} there; resample the "
        "spectra to the grid of the model, or train without initial"
    )


def _describe_grid(grid: np.ndarray, units: Sequence[str], attrs: Mapping[str, str]) -> str:
    about = " ".join([units[0] if units else "", *attrs.values()]).strip()
    return f"{grid.size:,} pixels from {grid[0]:g} to {grid[-1]:g} {about}".strip()


def _check_names(output: TrainingOutput, of_model: Output, where: str) -> None:
    units = dict(zip(output.grid.values.tolist(), output.units, strict=True))
    missing = [name for name in of_model.coord if name not in units]
    if missing:
        raise InputError(
            f"{where}: {output.spec.name!r} lacks {', '.join(map(str, missing))}, which initial "
            "has; add a column (NaN where nothing is known), or train without initial"
        )
    for name, unit in zip(of_model.coord, of_model.units, strict=True):
        if units[name] != unit:
            raise InputError(
                f"{where}: {name} is in {units[name]!r} here and in {unit!r} in initial; convert "
                "it, or train without initial"
            )
