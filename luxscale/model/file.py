"""The file of a model: a Dataset that explains itself, in Zarr."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.lux import LuxModel, Provenance
from luxscale.model.output import coordinates
from luxscale.model.output_file import describe_output, make_output_variables, read_output, varies
from luxscale.model.priors import read_prior
from luxscale.schema.variables import MODEL

FORMAT = "luxscale-model"

#: Latest version; 2 has correlated or heavy-tailed noise, or factors on formal errors, which
#: readers of 1 would pass over; 3 has nuisances; 4 has calibrated errors; 5 has factors on formal
#: errors that are functions of these; 6 has several members; 7 may need every term of a posterior;
#: 8 has errors of labels of some outputs.
FORMAT_VERSION = 8


def _choose_version(model: LuxModel) -> int:
    if any(output.part_errors for output in model.outputs):
        return FORMAT_VERSION
    if any(member.every_term for member in model.members):
        return 7
    if model.others:
        return 6
    if any(varies(output) for output in model.outputs):
        return 5
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
    own = _write_parameters(model)
    further = [_rename_member(_write_parameters(m), i) for i, m in enumerate(model.others)]
    members = json.dumps([part.attrs for part in further])
    theirs = {name: array.variable for part in further for name, array in part.data_vars.items()}
    return own.assign(theirs).assign_attrs(
        title="Lux model of stellar spectra and labels (Horta et al. 2025)",
        format=FORMAT,
        format_version=_choose_version(model),
        fingerprint=model.fingerprint,
        **({"members": members} if further else {}),
        **dataclasses.asdict(model.provenance),
    )


def _write_parameters(model: LuxModel) -> xr.Dataset:
    """Return the variables of one member, with the attributes that describe them."""
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {"bound": np.array(["least", "greatest"], object)}
    for output in model.outputs:
        variables.update(make_output_variables(output))
        coords.update(coordinates(output))
    variables["objective"] = xr.Variable(
        ("iteration",), np.asarray(model.objective), {"long_name": MODEL[-1].doc}
    )
    variables.update(model.prior.to_variables())
    outputs = [describe_output(o) for o in model.outputs]
    attrs = {
        "outputs": json.dumps(outputs),
        **model.prior.to_attributes(),
        "chi2_limit": _or_none(model.limits[0]),
        "distance_limit": _or_none(model.limits[1]),
        "method": model.provenance.method,
        "settings": model.provenance.settings,
        **({"every_term": True} if model.every_term else {}),
    }
    return xr.Dataset(variables, coords, attrs)


def _rename_member(part: xr.Dataset, number: int) -> xr.Dataset:
    """Return the variables of a further member under names and dims of its own."""
    own = {*part.data_vars, *part.dims} - {*part.coords}
    return part.rename({name: f"{_name_member(number)}{name}" for name in own})


def _select_member(dataset: xr.Dataset, number: int) -> xr.Dataset:
    """Return the variables of a further member, under their own names."""
    prefix = _name_member(number)
    part = dataset[[name for name in dataset.data_vars if str(name).startswith(prefix)]]
    own = {*part.data_vars, *part.dims} - {*part.coords}
    return part.rename({name: str(name).removeprefix(prefix) for name in own})


def _name_member(number: int) -> str:
    """Return what the names of a further member's variables begin with."""
    return f"member{number + 2}_"


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
        # models of 0.1.0 hold neither what stars left out told nor which stars they were trained on
        known = {"held_out": "[]", "training_stars": "", **attrs}
        provenance = {f.name: known[f.name] for f in dataclasses.fields(Provenance)}
        made = Provenance(**provenance)
        others = []
        for number, held in enumerate(json.loads(attrs.get("members", "[]"))):
            others.append(_read_parameters(_select_member(dataset, number), held, made, where))
        own = _read_parameters(dataset, attrs, made, where)
        model = dataclasses.replace(own, others=tuple(others))
    except KeyError as error:
        raise InputError(
            f"{where}: the model lacks {error}; it is incomplete: copy or train it again"
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: an attribute of the model is no JSON ({error}); it is damaged: copy or "
            "train it again"
        ) from None
    if model.fingerprint != attrs["fingerprint"]:
        raise InputError(
            f"{where}: the arrays do not match the model's fingerprint; it was changed or damaged: "
            "copy or train it again"
        )
    return model


def _read_parameters(
    dataset: xr.Dataset, attrs: Mapping[str, Any], provenance: Provenance, where: str
) -> LuxModel:
    """Return one member, of the variables that `_write_parameters` made."""
    return LuxModel(
        outputs=tuple(read_output(dataset, e, where) for e in json.loads(attrs["outputs"])),
        objective=dataset["objective"].values,
        provenance=dataclasses.replace(
            provenance, method=attrs["method"], settings=attrs["settings"]
        ),
        limits=(_or_inf(attrs["chi2_limit"]), _or_inf(attrs["distance_limit"])),
        prior=read_prior(attrs, dict(dataset.variables), where),
        # others were trained before there was a choice, or do not need it
        every_term=bool(attrs.get("every_term", False)),
    )


def _or_none(limit: float) -> float | None:
    """Return a limit as JSON can hold it: no limit is null."""
    if np.isfinite(limit):
        return limit
    return None


def _or_inf(limit: float | None) -> float:
    if limit is None:
        return float("inf")
    return float(limit)


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
