"""What a model's file holds of an output: variables, and an entry of its attribute ``outputs``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.calibration import (
    Calibration,
    Curve,
    PartErrors,
    make_constants,
    read_curves,
    write_curves,
)
from luxscale.model.correlated import CorrelatedNoise
from luxscale.model.decoders import MAPS, read_decoder
from luxscale.model.nuisances import Nuisances
from luxscale.model.output import ARRAYS, Output
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.variables import INFLATION, LATENT, MODEL

#: Arrays of correlated noise in a model's file, by their names in `CorrelatedNoise`.
_CORRELATION = {
    "shapes": ("{dim}", "{output}_component"),
    "unit": ("{dim}",),
    "variance": ("{output}_component",),
}

#: The part of the contract that every output of a model fills.
PER_OUTPUT = tuple(v for v in MODEL if v.name.startswith("{output}_"))


def make_output_variables(output: Output) -> dict[str, xr.Variable]:
    """Name and fill the variables of an output."""
    return {
        **dict(_make_variables(output)),
        **_make_map_arrays(output),
        **_make_correlation(output),
        **_make_inflation(output),
        **_make_templates(output),
    }


def _collect_arrays(output: Output) -> dict[str, Any]:
    """Return the arrays of an output by their names in `PER_OUTPUT`."""
    arrays = {"weights": output.map.weights, "offset": output.map.offset, "range": output.bounds}
    return arrays | {name: getattr(output, name) for name in ARRAYS}


def _make_variables(output: Output) -> Iterator[tuple[str, xr.Variable]]:
    """Name and fill the contract's variables of one output."""
    names = {"output": output.name, "dim": output.spec.dim}
    dims_of = {LATENT: LATENT, "{dim}": output.spec.dim}
    if not output.map.features.is_linear:
        dims_of[LATENT] = f"{output.name}_term"
    units = f"{output.spec.dim}_units"
    if output.is_spectrum:
        units = f"as {output.name}"
    arrays = _collect_arrays(output)
    for variable in PER_OUTPUT:
        dims = tuple(dims_of.get(dim, dim) for dim in variable.dims)
        attrs = {"long_name": variable.doc.format(**names)}
        if variable.dtype != "bool":
            attrs["units"] = units
        array = np.asarray(arrays[variable.name.removeprefix("{output}_")])
        yield variable.name.format(**names), xr.Variable(dims, array, attrs)


def _make_map_arrays(output: Output) -> dict[str, xr.Variable]:
    """Name and fill the variables of a map with arrays beside weights and offset."""
    variables = {}
    for name, (dims, array) in output.map.arrays.items():
        named = [dim if dim == LATENT else f"{output.name}_{dim}" for dim in dims]
        variables[f"{output.name}_{name}"] = xr.Variable(named, np.asarray(array))
    return variables


def _make_correlation(output: Output) -> dict[str, xr.Variable]:
    """Name and fill the variables of an output's correlated noise, if it has any."""
    if output.correlation is None:
        return {}
    names = {"output": output.name, "dim": output.spec.dim}
    variables = {}
    for part, dims in _CORRELATION.items():
        named = tuple(dim.format(**names) for dim in dims)
        array = np.asarray(getattr(output.correlation, part), float)
        variables[f"{output.name}_noise_{part}"] = xr.Variable(named, array)
    return variables


def _make_inflation(output: Output) -> dict[str, xr.Variable]:
    """Name and fill the factors on formal errors, if there are any but 1 and all are constants."""
    if not output.inflation or varies(output):
        return {}
    name = INFLATION.name.format(output=output.name)
    dims = (output.spec.dim,)
    attrs = {"long_name": INFLATION.doc.format(output=output.name), "units": "1"}
    factors = np.array([curve.value[0] for curve in output.inflation])
    return {name: xr.Variable(dims, factors, attrs)}


def varies(output: Output) -> bool:
    """Whether a factor on formal errors is not the same for all stars."""
    return not all(curve.is_constant for curve in output.inflation)


def _make_templates(output: Output) -> dict[str, xr.Variable]:
    """Name and fill the variable of an output's templates, if it has any."""
    if output.nuisances is None or not output.nuisances.templates:
        return {}
    dims = (f"{output.name}_template", output.spec.dim)
    attrs = {"long_name": f"templates beside {output.name}", "units": f"as {output.name}"}
    patterns = np.asarray(output.nuisances.patterns, float)
    return {f"{output.name}_patterns": xr.Variable(dims, patterns, attrs)}


def describe_output(output: Output) -> dict[str, Any]:
    """Return what the attribute ``outputs`` holds of an output."""
    entry = {
        **dataclasses.asdict(output.spec),
        **output.map.entry,
        "windows": output.windows,
    }
    if output.correlation is not None:
        entry["noise_kind"] = "correlated"
    if np.isfinite(output.dof):
        entry["dof"] = output.dof
    if output.preparation:
        entry["preparation"] = output.preparation
    if output.nuisances is not None:
        entry["nuisances"] = output.nuisances.entry
    if varies(output):
        entry["inflation"] = write_curves(output.inflation)
    if output.calibration is not None:
        entry["calibration"] = output.calibration.entry
    if output.part_errors:
        entry["part_errors"] = [errors.entry for errors in output.part_errors]
    return entry


def read_output(dataset: xr.Dataset, entry: dict[str, Any], where: str) -> Output:
    """Return the output that an entry of the attribute ``outputs`` describes."""
    _check_known(entry, where)
    grid = dataset[entry["dim"]]
    # models of version 0.1.0 name no role: what is not on a grid was labels to them
    default = Role.LABELS
    if grid.dtype.kind == "f":
        default = Role.SPECTRUM
    role = Role(entry.get("role", default))
    spec = OutputSpec(entry["name"], entry["dim"], entry["noise"], role)
    arrays = {}
    for variable in PER_OUTPUT:
        stored = dataset[variable.name.format(output=spec.name)]
        arrays[variable.name.removeprefix("{output}_")] = stored.values
    attrs: tuple[tuple[str, str], ...] = ()
    if role is Role.SPECTRUM:
        units = [grid.attrs["units"]]
        attrs = tuple((k, v) for k, v in grid.attrs.items() if k != "units")
    else:
        units = dataset[f"{spec.dim}_units"].values.tolist()

    def read_array(name: str) -> np.ndarray:
        return np.asarray(dataset[f"{spec.name}_{name}"].values)

    windows = []
    for label, spans in entry["windows"]:  # JSON has lists for tuples
        windows.append((label, tuple((a, b) for a, b in spans)))
    return Output(
        spec=spec,
        coord=tuple(grid.values.tolist()),
        units=tuple(map(str, units)),
        attrs=attrs,
        map=read_decoder(entry, arrays["weights"], arrays["offset"], read_array),
        scatter=arrays["scatter"],
        scale=arrays["scale"],
        floor=arrays["floor"],
        used=arrays["used"],
        bounds=arrays["range"],
        windows=tuple(windows),
        correlation=_read_correlation(dataset, entry),
        dof=float(entry.get("dof", np.inf)),
        preparation=entry.get("preparation", ""),
        inflation=_read_inflation(dataset, entry),
        nuisances=_read_nuisances(dataset, entry),
        calibration=Calibration.of_entry(entry.get("calibration")),
        part_errors=tuple(map(PartErrors.of_entry, entry.get("part_errors", ()))),
    )


def _check_known(entry: dict[str, Any], where: str) -> None:
    """Refuse a map or a noise of a later version."""
    known = {"map": MAPS, "noise_kind": ("independent", "correlated")}
    for what, kinds in known.items():
        kind = entry.get(what, kinds[0])
        if kind not in kinds:
            raise InputError(
                f"{where}: output {entry['name']!r} has a {what.removesuffix('_kind')} of kind "
                f"{kind!r}, which this luxscale does not know: upgrade it"
            )


def _read_inflation(dataset: xr.Dataset, entry: dict[str, Any]) -> tuple[Curve, ...]:
    if "inflation" in entry:
        return read_curves(entry["inflation"])
    name = INFLATION.name.format(output=entry["name"])
    if name not in dataset:
        return ()
    return make_constants(dataset[name].values.tolist())


def _read_nuisances(dataset: xr.Dataset, entry: dict[str, Any]) -> Nuisances | None:
    held = entry.get("nuisances")
    if held is None:
        return None
    if not held.get("templates"):
        return Nuisances.of_entry(held)
    return Nuisances.of_entry(held, dataset[f"{entry['name']}_patterns"].values)


def _read_correlation(dataset: xr.Dataset, entry: dict[str, Any]) -> CorrelatedNoise | None:
    if entry.get("noise_kind") != "correlated":
        return None
    arrays = {part: dataset[f"{entry['name']}_noise_{part}"].values for part in _CORRELATION}
    return CorrelatedNoise(**arrays)
