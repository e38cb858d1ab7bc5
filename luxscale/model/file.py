"""The file of a model: a Dataset that explains itself, in Zarr."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.calibration import (
    Calibration,
    Curve,
    make_constants,
    read_curves,
    write_curves,
)
from luxscale.model.correlated import CorrelatedNoise
from luxscale.model.decoders import MAPS, read_decoder
from luxscale.model.lux import _ARRAYS, LuxModel, Output, Provenance, coordinates
from luxscale.model.nuisances import Nuisances
from luxscale.model.priors import read_prior
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.variables import INFLATION, LATENT, MODEL

FORMAT = "luxscale-model"


#: Latest version; 2 has correlated or heavy-tailed noise, or factors on formal errors, which
#: readers of 1 would pass over; 3 has nuisances; 4 has calibrated errors; 5 has factors on formal
#: errors that are functions of these.
FORMAT_VERSION = 5

#: Arrays of correlated noise in a model's file, by their names in `CorrelatedNoise`.
_CORRELATION = {
    "shapes": ("{dim}", "{output}_component"),
    "unit": ("{dim}",),
    "variance": ("{output}_component",),
}

#: The part of the contract that every output of a model fills.
PER_OUTPUT = tuple(v for v in MODEL if v.name.startswith("{output}_"))


def _collect_arrays(output: Output) -> dict[str, Any]:
    """Return the arrays of an output by their names in `PER_OUTPUT`."""
    arrays = {"weights": output.map.weights, "offset": output.map.offset, "range": output.bounds}
    return arrays | {name: getattr(output, name) for name in _ARRAYS}


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
    if not output.inflation or _varies(output):
        return {}
    name = INFLATION.name.format(output=output.name)
    dims = (output.spec.dim,)
    attrs = {"long_name": INFLATION.doc.format(output=output.name), "units": "1"}
    factors = np.array([curve.value[0] for curve in output.inflation])
    return {name: xr.Variable(dims, factors, attrs)}


def _varies(output: Output) -> bool:
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


def _describe(output: Output) -> dict[str, Any]:
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
    if _varies(output):
        entry["inflation"] = write_curves(output.inflation)
    if output.calibration is not None:
        entry["calibration"] = output.calibration.entry
    return entry


def _choose_version(model: LuxModel) -> int:
    if any(_varies(output) for output in model.outputs):
        return FORMAT_VERSION
    if any(output.calibration is not None for output in model.outputs):
        return 4
    if any(output.nuisances is not None for output in model.outputs):
        return 3
    for output in model.outputs:
        if output.correlation is not None or np.isfinite(output.dof) or output.inflation:
            return 2
    return 1


def to_dataset(model: LuxModel) -> xr.Dataset:
    """Return a model as a Dataset that explains itself: dims, units, provenance."""
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {"bound": np.array(["least", "greatest"], object)}
    for output in model.outputs:
        variables.update(_make_variables(output))
        variables.update(_make_map_arrays(output))
        variables.update(_make_correlation(output))
        variables.update(_make_inflation(output))
        variables.update(_make_templates(output))
        coords.update(coordinates(output))
    variables["objective"] = xr.Variable(
        ("iteration",), np.asarray(model.objective), {"long_name": MODEL[-1].doc}
    )
    variables.update(model.prior.to_variables())
    outputs = [_describe(o) for o in model.outputs]
    return xr.Dataset(
        variables,
        coords,
        {
            "title": "Lux model of stellar spectra and labels (Horta et al. 2025)",
            "format": FORMAT,
            "format_version": _choose_version(model),
            "outputs": json.dumps(outputs),
            **model.prior.to_attributes(),
            "chi2_limit": _or_none(model.limits[0]),
            "distance_limit": _or_none(model.limits[1]),
            "fingerprint": model.fingerprint,
            **dataclasses.asdict(model.provenance),
        },
    )


def from_dataset(dataset: xr.Dataset, where: str = "model") -> LuxModel:
    """Return the model that a Dataset holds.

    Raises
    ------
    InputError
        If it is no model, is written in a later format, or does not match its own fingerprint.
    """
    attrs = dataset.attrs
    if attrs.get("format") != FORMAT:
        raise InputError(
            f"{where}: not a luxscale model (attribute 'format' is {attrs.get('format')!r}); "
            "train one with `luxscale train`"
        )
    for key in ("format_version", "version", "fingerprint"):
        if key not in attrs:
            raise InputError(
                f"{where}: the model lacks {key!r}; it is incomplete: copy or train it again"
            )
    if attrs["format_version"] > FORMAT_VERSION:
        raise InputError(
            f"{where}: model format {attrs['format_version']}, written by luxscale "
            f"{attrs['version']}; "
            f"this luxscale reads up to {FORMAT_VERSION}: upgrade it"
        )
    try:
        dataset = dataset.load()
    except Exception as error:  # codecs raise what they like
        raise InputError(
            f"{where}: cannot be read ({error}); it is damaged: copy or train it again"
        ) from error
    try:
        entries = json.loads(attrs["outputs"])
        # models of 0.1.0 hold neither what stars left out told nor which stars they were trained on
        known = {"held_out": "[]", "training_stars": "", **attrs}
        provenance = {f.name: known[f.name] for f in dataclasses.fields(Provenance)}
        model = LuxModel(
            outputs=tuple(_read_output(dataset, entry, where) for entry in entries),
            objective=dataset["objective"].values,
            provenance=Provenance(**provenance),
            limits=(_or_inf(attrs["chi2_limit"]), _or_inf(attrs["distance_limit"])),
            prior=read_prior(attrs, dict(dataset.variables), where),
        )
    except KeyError as error:
        raise InputError(
            f"{where}: the model lacks {error}; it is incomplete: copy or train it again"
        ) from None
    if model.fingerprint != attrs["fingerprint"]:
        raise InputError(
            f"{where}: the arrays do not match the model's fingerprint; it was changed or damaged: "
            "copy or train it again"
        )
    return model


def _or_none(limit: float) -> float | None:
    """Return a limit as JSON can hold it: no limit is null."""
    if np.isfinite(limit):
        return limit
    return None


def _or_inf(limit: float | None) -> float:
    if limit is None:
        return float("inf")
    return float(limit)


def _read_output(dataset: xr.Dataset, entry: dict[str, Any], where: str) -> Output:
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


def load_model(path: str | Path) -> LuxModel:
    """Read a model written by `LuxModel.save`.

    Parameters
    ----------
    path : str or Path
        Zarr store.

    Returns
    -------
    LuxModel

    Raises
    ------
    InputError
        If there is no model at ``path``, or it is damaged or from a later version.

    Examples
    --------
    >>> import luxscale as lux
    >>> lux.load_model("model.zarr")
    <LuxModel 4 latents, marginal, 300 training stars>
      label_value (label: 4)
      flux (wavelength: 40)
    """
    from luxscale.store import open_dataset

    return from_dataset(open_dataset(path, dask=False, kind="model"), str(path))
