"""Inference on labelled Datasets: from spectra, or any outputs, to latents and labels, lazily."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.arguments import take_model, take_survey
from luxscale.model.inference import Inference, pick_given
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output, coordinates
from luxscale.schema import flags
from luxscale.schema.attributes import pack_attribute
from luxscale.schema.checks import check_structure
from luxscale.schema.outputs import OutputSpec, list_partners, pick_outputs
from luxscale.schema.preparation import PREPARATION, list_differences
from luxscale.schema.standard import (
    find_shifted,
    is_same_unit,
    measure_otherwise,
    standardize_survey,
)
from luxscale.schema.variables import CALIBRATION, CATALOG, NUISANCE_OF, STAR

#: How `infer` is called.
_CALL = "lux.infer(survey, model)"

_DOC = {v.name: v.doc for v in CATALOG}


def check_match(
    survey: xr.Dataset, outputs: Sequence[Output], where: str
) -> tuple[OutputSpec, ...]:
    """Refuse a survey whose outputs are not those that a model was trained on.

    Raises
    ------
    InputError
        For a missing variable, another wavelength grid, other units or medium, other labels,
        spectra that were prepared in another way.
    """
    if STAR not in survey.dims and STAR not in survey.coords:
        dims = ", ".join(map(str, survey.dims))
        raise InputError(
            f"{where}: no dim {STAR!r}; its dims are {dims}: name that of the stars so, by "
            f".rename(NAME={STAR!r}), or name one star, by .assign_coords({STAR}='NAME')"
        )
    used = {STAR}
    for output in outputs:
        used |= {output.name, *list_partners(output.name), output.spec.dim}
    present = survey[[v for v in survey.variables if v in used]]
    if present.data_vars and survey.sizes.get(STAR):  # an empty selection gives an empty catalogue
        check_structure(present, where)
    specs = pick_outputs(survey, [o.name for o in outputs], where)
    for spec, output in zip(specs, outputs, strict=True):
        _check_grid(survey[spec.dim], output, where)
        _check_preparation(survey[spec.name], output, where)
    return specs


def _check_grid(grid: xr.DataArray, output: Output, where: str) -> None:
    if not output.is_spectrum:
        _check_names(grid, output, where)
        return
    name, coord = output.spec.dim, np.asarray(output.coord)
    if grid.size != coord.size:
        raise InputError(
            f"{where}: {name!r} has {grid.size} values, the model {coord.size} "
            f"({coord[0]} to {coord[-1]}); bring {output.name!r} to the model's "
            "grid, or train on this one"
        )
    ours = {"units": output.units[0], **dict(output.attrs)}
    for key in ("units", "medium"):
        if key in ours and not is_same_unit(grid.attrs.get(key, ours[key]), ours[key]):
            raise InputError(
                f"{where}: {name!r} has {key} {grid.attrs[key]!r}, the model {ours[key]!r}; "
                "convert it, or train on this one"
            )
    far = find_shifted(grid.values, coord)
    if far.any():
        i = int(np.argmax(far))
        raise InputError(
            f"{where}: {name!r} differs from the model's grid at {int(far.sum())} of "
            f"{coord.size} pixels, first "
            f"{grid.values[i]} where the model has {coord[i]}; resample {output.name!r} to the "
            "model's grid"
        )


def _check_names(names: xr.DataArray, output: Output, where: str) -> None:
    """Refuse labels or bands that are not those of the model, in its order and units."""
    name, ours, theirs = output.spec.dim, list(output.coord), names.values.tolist()
    missing = [one for one in ours if one not in theirs]
    if missing:
        raise InputError(
            f"{where}: {name!r} has no {', '.join(map(str, missing))}, which the model has; what "
            f"is not known is NaN: .drop_vars('{name}_units', errors='ignore')"
            f".reindex({name}=list(model[{output.name!r}].coord))"
        )
    if theirs != ours:
        raise InputError(
            f"{where}: {name!r} is {theirs}, the model's {ours}; "
            f"select them in the model's order: .sel({name}=[...])"
        )
    _check_units(names, output, where)


def _check_units(names: xr.DataArray, output: Output, where: str) -> None:
    """Refuse labels in other units than the model's, where both say theirs."""
    units = names.coords.get(f"{output.spec.dim}_units")
    if units is None:
        return
    for name, unit, ours in zip(output.coord, units.values.tolist(), output.units, strict=True):
        if measure_otherwise(str(unit), ours):
            raise InputError(
                f"{where}: {name!r} of {output.name!r} is in {unit}, the model's in {ours}; "
                "convert it, or train on this one"
            )


def _check_preparation(spectra: xr.DataArray, output: Output, where: str) -> None:
    changed = list_differences(spectra.attrs.get(PREPARATION), output.preparation)
    if changed:
        raise InputError(
            f"{where}: {output.name!r} was prepared otherwise than the model's: "
            f"{'; '.join(changed)}. Read the files as the model's were, by "
            "lux.read(FILES, like=model) or with these options of `luxscale ingest`, or train on "
            "spectra like these. If they are alike all the same, remove the attribute "
            f"{PREPARATION!r} of {output.name!r}"
        )


def infer(
    survey: xr.Dataset | str | Path,
    model: LuxModel | str | Path,
    given: str | Sequence[str] = "flux",
    *,
    covariance: bool = False,
) -> xr.Dataset:
    """Infer latents and labels of every star of a survey.

    Parameters
    ----------
    survey : Dataset, str or Path
        With the given outputs on (star, ...); lazy if it is backed by Dask, as one that is given by
        its path. One star may come without the dim, as ``survey.isel(star=0)``.
    model : LuxModel, str or Path
    given : str or sequence of str
        Outputs to infer from: ``"flux"`` for labels from spectra (equation 10), ``"label_value"``
        for spectra from labels (equation 11), or several. Errors of labels that are themselves
        given are conservative: they hold the misfit of predicting them.
    covariance : bool
        Whether to return ``label_cov`` too.

    Returns
    -------
    Dataset
        A catalogue without ``status``; Dask-backed if the survey is.

    Raises
    ------
    InputError
        If the survey's outputs or grids are not the model's, or survey and model are swapped.

    Examples
    --------
    >>> import luxscale as lux
    >>> catalog = lux.infer(survey, model)
    >>> catalog.label_value.dims, catalog.latent.dims
    (('star', 'label'), ('star', 'latent'))
    >>> emulated = lux.predict(lux.infer(survey, model, given="label_value"), model, output="flux")
    """
    model = take_model(model, _CALL)
    inference = Inference.of(model, given, covariance=covariance)
    return _infer_with(inference, survey, model, given)


def infer_few(survey: xr.Dataset, model: LuxModel, given: str | Sequence[str]) -> xr.Dataset:
    """Infer as `infer` does, without what only pays for more than some thousands of stars."""
    return _infer_with(Inference.of(model, given, exactly=True), survey, model, given)


def _infer_with(
    inference: Inference,
    survey: xr.Dataset | str | Path,
    model: LuxModel,
    given: str | Sequence[str],
) -> xr.Dataset:
    survey = standardize_survey(take_survey(survey, _CALL, given))
    specs = check_match(survey, pick_given(model, given), "survey")
    return decorate_catalog(infer_dataset(survey, inference.reading(specs)), model)


def infer_dataset(survey: xr.Dataset, inference: Inference) -> xr.Dataset:
    """Return the results of an inference for every star of a survey, without attributes.

    Parameters
    ----------
    survey : Dataset
        With the variables of the inference, on the model's grids; lazy if it is backed by Dask.
    inference : Inference

    Returns
    -------
    Dataset
        Dask-backed if the survey is.
    """
    variables, results = inference.variables, inference.results
    # the arrays of the inference are arguments: a lazy graph holds them once, not in every task
    leaves, structure = jax.tree.flatten(inference)
    # Dask cannot pass on an array without elements
    filled = [i for i, leaf in enumerate(leaves) if np.size(leaf)]
    empty = [None if np.size(leaf) else np.asarray(leaf) for leaf in leaves]
    tables = [_name_dims(np.asarray(leaves[i]), i) for i in filled]
    arrays = [survey[name] for name in variables]

    def infer_block(*blocks: np.ndarray) -> tuple[np.ndarray, ...]:
        data, parts = blocks[: len(variables)], blocks[len(variables) :]
        whole: list[Any] = list(empty)
        for i, part in zip(filled, parts, strict=True):
            whole[i] = part
        prepared: Inference = jax.tree.unflatten(structure, whole)
        return tuple(prepared.infer(dict(zip(variables, data, strict=True))).values())

    columns = xr.apply_ufunc(
        infer_block,
        *arrays,
        *tables,
        input_core_dims=[a.dims[1:] for a in arrays] + [t.dims for t in tables],
        output_core_dims=[r.dims[1:] for r in results],
        dask="parallelized",
        output_dtypes=[r.dtype for r in results],
        dask_gufunc_kwargs={"output_sizes": inference.sizes},
        join="override",
    )
    catalog = xr.Dataset({r.name: c for r, c in zip(results, columns, strict=True)})
    grids = [s.dim for s in inference.given]
    return catalog.drop_vars([d for d in grids if d in catalog.coords and d not in catalog.dims])


def _name_dims(array: np.ndarray, number: int) -> xr.DataArray:
    """Give an array dims of its own, so that it aligns with nothing."""
    return xr.DataArray(array, dims=[f"_{number}_{axis}" for axis in range(array.ndim)])


def decorate_catalog(catalog: xr.Dataset, model: LuxModel) -> xr.Dataset:
    """Attach coordinates, units and attributes to a catalogue."""
    for output in model.labels:
        dim, names = output.spec.dim, np.array(output.coord, object)
        catalog = catalog.assign_coords(coordinates(output))
        if f"{dim}_other" in catalog.dims:
            catalog = catalog.assign_coords({f"{dim}_other": names})
    for name in catalog.variables:  # `latent`, named as its dim, is no data variable to xarray
        if name in _DOC and name != STAR:
            catalog[name].attrs = {"long_name": _DOC[str(name)]}
    catalog = _describe_nuisances(catalog, model)
    catalog["flags"].attrs = flags.ATTRS
    if "outputs" in catalog:
        bits = [1 << i for i in range(len(model.measured))]
        meanings = {"flag_masks": bits, "flag_meanings": " ".join(model.measured)}
        catalog["outputs"].attrs |= meanings
    calibrated = {o.name: o.calibration.version for o in model.labels if o.calibration is not None}
    if calibrated:
        catalog = catalog.assign_attrs({CALIBRATION: pack_attribute(calibrated)})
    return catalog.assign_attrs(
        title="stellar labels inferred with luxscale",
        model_fingerprint=model.fingerprint,
        luxscale_version=model.provenance.version,
    )


def _describe_nuisances(catalog: xr.Dataset, model: LuxModel) -> xr.Dataset:
    """Say what the coefficients of nuisances are, and their units."""
    for output in model.outputs:
        if output.nuisances is None:
            continue
        kinds = zip(output.nuisances.names, output.nuisances.units, strict=True)
        for name, unit in kinds:
            if name not in catalog:
                continue  # inferred from other outputs
            what = f"nuisance {name} of {output.name}"
            attrs = {"units": unit, NUISANCE_OF: output.name}
            catalog[name].attrs = {"long_name": what, **attrs}
            catalog[f"{name}_err"].attrs = {"long_name": f"one-sigma error of {what}", **attrs}
    return catalog
