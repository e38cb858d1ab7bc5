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
from luxscale.model.decoders import KINDS
from luxscale.model.lux import _ARRAYS, LuxModel, Output, Provenance, coordinates
from luxscale.model.priors import read_prior
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.variables import LATENT, MODEL

FORMAT = "luxscale-model"


FORMAT_VERSION = 1


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


def to_dataset(model: LuxModel) -> xr.Dataset:
    """Return a model as a Dataset that explains itself: dims, units, provenance."""
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {"bound": np.array(["least", "greatest"], object)}
    for output in model.outputs:
        variables.update(_make_variables(output))
        coords.update(coordinates(output))
    variables["objective"] = xr.Variable(
        ("iteration",), np.asarray(model.objective), {"long_name": MODEL[-1].doc}
    )
    outputs = [
        {**dataclasses.asdict(o.spec), "map": o.map.kind, "windows": o.windows}
        for o in model.outputs
    ]
    return xr.Dataset(
        variables,
        coords,
        {
            "title": "Lux model of stellar spectra and labels (Horta et al. 2025)",
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
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
        provenance = {f.name: attrs[f.name] for f in dataclasses.fields(Provenance)}
        model = LuxModel(
            outputs=tuple(_read_output(dataset, entry, where) for entry in entries),
            objective=dataset["objective"].values,
            provenance=Provenance(**provenance),
            limits=(_or_inf(attrs["chi2_limit"]), _or_inf(attrs["distance_limit"])),
            prior=read_prior(attrs, where),
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
    if entry["map"] not in KINDS:
        raise InputError(
            f"{where}: output {entry['name']!r} has a map of kind {entry['map']!r}, which this "
            "luxscale does not know: upgrade it"
        )
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
    windows = []
    for label, spans in entry["windows"]:  # JSON has lists for tuples
        windows.append((label, tuple((a, b) for a, b in spans)))
    return Output(
        spec=spec,
        coord=tuple(grid.values.tolist()),
        units=tuple(map(str, units)),
        attrs=attrs,
        map=KINDS[entry["map"]](arrays["weights"], arrays["offset"]),
        scatter=arrays["scatter"],
        scale=arrays["scale"],
        floor=arrays["floor"],
        used=arrays["used"],
        bounds=arrays["range"],
        windows=tuple(windows),
    )


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
