"""Inference on labelled Datasets: from a star's spectrum (or any outputs) to its latents and labels, lazily."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.model.kernel import Inferred, infer_arrays, prepare_task
from luxscale.model.lux import LuxModel, Output, coordinates
from luxscale.schema import flags
from luxscale.schema.checks import check_structure
from luxscale.schema.outputs import OutputSpec, pick_outputs
from luxscale.schema.variables import CATALOG, LATENT, STAR

_DOC = {v.name: v.doc for v in CATALOG}


def pick_given(model: LuxModel, given: str | Sequence[str]) -> tuple[Output, ...]:
    """Return the model's outputs that latents are to be inferred from.

    Raises
    ------
    InputError
        If the model lacks one, or none is named.
    """
    names = [given] if isinstance(given, str) else list(given)
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"given={names} names no output, or one twice; name each once, e.g. given='flux'"
        )
    return tuple(model[name] for name in names)


def check_match(
    survey: xr.Dataset, outputs: Sequence[Output], where: str
) -> tuple[OutputSpec, ...]:
    """Refuse a survey whose outputs are not those that a model was trained on.

    Raises
    ------
    InputError
        For a missing variable, another wavelength grid, other units or medium, other labels.
    """
    used = {v for o in outputs for v in (*o.spec.variables, o.spec.dim, STAR)}
    present = survey[[v for v in survey.variables if v in used]]
    if present.data_vars and survey.sizes.get(STAR):  # an empty selection gives an empty catalogue
        check_structure(present, where)
    specs = pick_outputs(survey, [o.name for o in outputs], where)
    for spec, output in zip(specs, outputs, strict=True):
        _check_grid(survey[spec.dim], output, where)
    return specs


def _check_grid(grid: xr.DataArray, output: Output, where: str) -> None:
    name, coord = output.spec.dim, np.asarray(output.coord)
    if grid.size != coord.size:
        raise InputError(
            f"{where}: {name!r} has {grid.size} values, the model {coord.size} ({coord[0]} to "
            f"{coord[-1]}); "
            f"bring {output.name!r} to the model's grid, or train on this one"
        )
    if not output.is_spectrum:
        if grid.values.tolist() != coord.tolist():
            raise InputError(
                f"{where}: {name!r} is {grid.values.tolist()}, the model's {coord.tolist()}; "
                f"select them in the model's order: .sel({name}=[...])"
            )
        return
    ours = {"units": output.units[0], **dict(output.attrs)}
    for key in ("units", "medium"):
        if key in ours and grid.attrs.get(key, ours[key]) != ours[key]:
            raise InputError(
                f"{where}: {name!r} has {key} {grid.attrs[key]!r}, the model {ours[key]!r}; "
                "convert it, "
                "or train on this one"
            )
    far = np.abs(grid.values - coord) > 1e-3 * np.median(np.diff(coord))
    if far.any():
        i = int(np.argmax(far))
        raise InputError(
            f"{where}: {name!r} differs from the model's grid at {int(far.sum())} of "
            f"{coord.size} pixels, first "
            f"{grid.values[i]} where the model has {coord[i]}; resample {output.name!r} to the "
            "model's grid"
        )


def infer(
    survey: xr.Dataset,
    model: LuxModel,
    given: str | Sequence[str] = "flux",
    *,
    covariance: bool = False,
) -> xr.Dataset:
    """Infer latents and labels of every star of a survey.

    Parameters
    ----------
    survey : Dataset
        With the given outputs on (star, ...); lazy if it is backed by Dask.
    model : LuxModel
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
        If the survey's outputs or grids are not the model's.

    Examples
    --------
    >>> import luxscale as lux
    >>> catalog = lux.infer(survey, model)
    >>> catalog.label_value.dims, catalog.latent.dims
    (('star', 'label'), ('star', 'latent'))
    >>> emulated = lux.predict(lux.infer(survey, model, given="label_value"), model, output="flux")
    """
    outputs = pick_given(model, given)
    specs = check_match(survey, outputs, "survey")
    check_covariance(model, covariance)
    work = prepare_task(model, outputs)
    arrays = [survey[v] for s in specs for v in s.variables]
    tables = [xr.DataArray(a) for a in jax.tree.leaves(work)]
    tables = [t.rename({d: f"_{i}_{d}" for d in t.dims}) for i, t in enumerate(tables)]
    layout = jax.tree.structure(work)

    def on_block(*blocks: np.ndarray) -> tuple[np.ndarray, ...]:
        data, flat = blocks[: 2 * len(specs)], blocks[2 * len(specs) :]
        work = jax.tree.unflatten(layout, flat)
        return flatten_inferred(
            infer_arrays(work, data[0::2], get_ivars(specs, data), covariance=covariance)
        )

    names, dims = lay_out_catalog(model, covariance)
    sizes = {LATENT: model.latent_dim, **{o.spec.dim: len(o.coord) for o in model.labels}}
    if covariance:
        sizes |= {f"{o.spec.dim}_other": len(o.coord) for o in model.labels}
    results = xr.apply_ufunc(
        on_block,
        *arrays,
        *tables,
        input_core_dims=[a.dims[1:] for a in arrays] + [t.dims for t in tables],
        output_core_dims=[d[1:] for d in dims],
        dask="parallelized",
        output_dtypes=[get_dtype(n) for n in names],
        dask_gufunc_kwargs={"output_sizes": sizes},
        join="override",
    )
    catalog = xr.Dataset(dict(zip(names, results, strict=True)))
    return catalog.drop_vars(
        [s.dim for s in specs if s.dim in catalog.coords and s.dim not in catalog.dims]
    ).pipe(decorate_catalog, model)


def check_covariance(model: LuxModel, covariance: bool) -> None:
    """Refuse covariances between labels that are inferred from different pixels.

    Raises
    ------
    InputError
    """
    windowed = [label for o in model.labels for label, _ in o.windows]
    if covariance and windowed:
        raise InputError(
            "covariances are not defined between labels inferred from different pixels, and "
            "the model infers "
            f"{', '.join(windowed)} from windows: ask without covariance, or train without windows"
        )


def get_dtype(name: str) -> np.dtype:
    """Return the dtype of a catalogue's variable: the contract's, or that of labels."""
    return np.dtype(next((v.dtype for v in CATALOG if v.name == name), "float64"))


def get_ivars(specs: Sequence[OutputSpec], data: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return inverse variances from alternating values and errors."""
    return [s.ivar(v, e) for s, v, e in zip(specs, data[0::2], data[1::2], strict=True)]


def flatten_inferred(inferred: Inferred) -> tuple[np.ndarray, ...]:
    """Return the arrays of `Inferred` in the order of `catalog_layout`."""
    return (*inferred[:4], *inferred.value, *inferred.err, *inferred.cov)


def lay_out_catalog(model: LuxModel, covariance: bool) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return names and dims of the variables that inference fills."""
    labels = [o.spec for o in model.labels]
    names = [
        "latent",
        "chi2",
        "n_pixels",
        "flags",
        *(s.name for s in labels),
        *(s.noise for s in labels),
    ]
    dims: list[tuple[str, ...]] = [
        (STAR, LATENT),
        (STAR,),
        (STAR,),
        (STAR,),
        *[(STAR, s.dim) for s in labels] * 2,
    ]
    if covariance:
        names += [s.name.removesuffix("_value") + "_cov" for s in labels]
        dims += [(STAR, s.dim, f"{s.dim}_other") for s in labels]
    return names, dims


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
    catalog["flags"].attrs = flags.ATTRS
    return catalog.assign_attrs(
        title="stellar labels inferred with luxscale",
        model_fingerprint=model.fingerprint,
        luxscale_version=model.provenance.version,
    )
