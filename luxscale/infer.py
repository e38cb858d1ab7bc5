"""Inference: from a star's spectrum (or any outputs) to its latents and labels.

`infer` works on labelled Datasets and is lazy on Dask; `infer_arrays` is the arithmetic, on arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from luxscale import flags, solvers
from luxscale.model import LuxModel, Output, coordinates
from luxscale.schema import CATALOG, LATENT, STAR, InputError, OutputSpec, pick_outputs

#: Stars in one call of the compiled kernel, whatever the chunks: one shape, compiled once, that fits the cache.
BLOCK = 256

_DOC = {v.name: v.doc for v in CATALOG}


class Design(NamedTuple):
    """What inference needs to know of an output that it is given, in scaled units.

    weights (feature, latent); packed (feature, K); offset, scatter, unit (feature,): values are multiplied by
    ``unit`` = 1 / scale; ivar_unit (feature,): scale^2, or 0 for features that take no part.
    """

    weights: Any
    packed: Any
    offset: Any
    scatter: Any
    unit: Any
    ivar_unit: Any


class Head(NamedTuple):
    """What inference needs to know of labels that it predicts, in their units.

    weights (label, latent); offset, floor (label,); bounds (label, 2).
    """

    weights: Any
    offset: Any
    floor: Any
    bounds: Any


class Limits(NamedTuple):
    """Where flags begin: chi2 per pixel, squared length of the latents; inf = never."""

    chi2: float = np.inf
    distance: float = np.inf


class Inferred(NamedTuple):
    """Results for a block of stars; tuples hold one array per head."""

    latent: Any
    chi2: Any
    n_pixels: Any
    flags: Any
    value: tuple[Any, ...]
    err: tuple[Any, ...]
    cov: tuple[Any, ...]


def design(output: Output) -> Design:
    """Return the design of an output, float32, ready for the kernel."""
    scale = np.asarray(output.scale, float)
    safe = np.where(scale > 0, scale, 1)
    used = np.asarray(output.used, bool)
    weights = np.asarray(output.map.weights / safe[:, None], np.float32)
    i, j, _ = solvers.packed_index(weights.shape[1])
    return Design(
        weights,
        weights[:, i] * weights[:, j],
        np.where(used, output.map.offset / safe, 0).astype(np.float32),
        np.asarray(output.scatter / safe, np.float32),
        (1 / safe).astype(np.float32),
        np.where(used, safe**2, 0).astype(np.float32),
    )


def head(output: Output) -> Head:
    """Return what predicts an output from latents."""
    return Head(*(np.asarray(a, float) for a in (output.map.weights, output.map.offset, output.floor, output.bounds)))


@solvers.program(static_argnames=("covariance",))
def _kernel(
    designs: tuple[Design, ...],
    values: tuple[Any, ...],
    ivars: tuple[Any, ...],
    heads: tuple[Any, ...],
    covariance: bool,
) -> tuple[Any, ...]:
    """Equation 10 with the prior N(0, I): the posterior of z for a block of stars, and what follows from it."""
    p = designs[0].weights.shape[1]
    weights, residuals, wrong = zip(*map(_weigh, designs, values, ivars), strict=True)
    h, rhs = solvers.sum_equations(weights, residuals, [d.weights for d in designs], [d.packed for d in designs])
    z, chol, scale = solvers.factor(solvers.unpack(h, p) + jnp.eye(p), rhs)
    chi2 = sum(
        jnp.sum(w * (r - solvers.dot(z, d.weights.T)) ** 2, 1)
        for w, r, d in zip(weights, residuals, designs, strict=True)
    )
    halves = [solvers.project(chol, scale, a) for a in heads]
    spread = tuple(solvers.dot(f.swapaxes(1, 2), f) if covariance else jnp.sum(f * f, 1) for f in halves)
    return z, chi2, sum(jnp.sum(w > 0, 1) for w in weights), sum(wrong), spread


def _weigh(d: Design, value: Any, ivar: Any) -> tuple[Any, Any, Any]:
    """Weights and residuals about the offset (star, feature), and how many values break the contract (star,)."""
    good = jnp.isfinite(ivar) & (ivar >= 0) & (jnp.isfinite(value) | (ivar == 0))
    w = jnp.where(good, solvers.weight(ivar * d.ivar_unit, d.scatter), 0)
    return w, jnp.where(w > 0, value * d.unit - d.offset, 0), jnp.sum(~good, 1)


def infer_arrays(
    designs: Sequence[Design],
    values: Sequence[np.ndarray],
    ivars: Sequence[np.ndarray],
    heads: Sequence[Head],
    *,
    covariance: bool = False,
    limits: Limits = Limits(),  # noqa: B008 - immutable
) -> Inferred:
    """Infer latents and labels of stars from arrays.

    Parameters
    ----------
    designs : sequence of Design
        One for each output that is given.
    values, ivars : sequence of array, (star, feature)
        Data of each given output, in its own units; ivar 0 where missing.
    heads : sequence of Head
        One for each output that is predicted.
    covariance : bool
        Whether to return covariances between the labels of a head.
    limits : Limits

    Returns
    -------
    Inferred
        NumPy arrays. Errors are sqrt(diag(A C A^T) + floor^2), with C the posterior covariance of z.
    """
    n = values[0].shape[0]
    scales = [_prior_spread(h) for h in heads]
    maps = tuple((h.weights / s[:, None]).astype(np.float32) for h, s in zip(heads, scales, strict=True))
    parts = []
    for start in range(0, max(n, 1), BLOCK):
        block = [tuple(_block(a, start) for a in arrays) for arrays in (values, ivars)]
        parts.append(jax.tree.map(np.asarray, _kernel(tuple(designs), *block, maps, covariance)))
    z, chi2, n_values, wrong, spread = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
    return _finish(z, chi2, n_values, wrong, spread, designs, heads, scales, covariance, limits)


def _block(array: np.ndarray, start: int) -> np.ndarray:
    part = array[start : start + BLOCK]
    if len(part) < BLOCK:  # stars without data fill the last block: a new shape would compile again
        part = np.pad(part, ((0, BLOCK - len(part)), (0, 0)))
    return np.asarray(part, np.float32)


def _prior_spread(head: Head) -> np.ndarray:
    """Standard deviation of each label under the prior, the unit in which its error is computed: (label,)."""
    spread = np.sqrt((head.weights**2).sum(1))
    return np.where(spread > 0, spread, 1)


def _finish(
    z: Any,
    chi2: Any,
    n_values: Any,
    wrong: Any,
    spread: Any,
    designs: Sequence[Design],
    heads: Sequence[Head],
    scales: Sequence[np.ndarray],
    covariance: bool,
    limits: Limits,
) -> Inferred:
    """Bring the kernel's results to label units, add floors, raise flags."""
    value = tuple(h.offset + z.astype(float) @ h.weights.T for h in heads)
    var = [np.diagonal(s, axis1=1, axis2=2) if covariance else s for s in spread]
    err = tuple(np.sqrt(v * s**2 + h.floor**2) for v, s, h in zip(var, scales, heads, strict=True))
    cov = (
        tuple(c * s[:, None] * s + np.diag(h.floor**2) for c, s, h in zip(spread, scales, heads, strict=True))
        if covariance
        else ()
    )
    features = sum(int((np.asarray(d.ivar_unit) > 0).sum()) for d in designs)
    outside = [((v < h.bounds[:, 0]) | (v > h.bounds[:, 1])).any(1) for v, h in zip(value, heads, strict=True)]
    remaining = [v.mean(1) for v in var] or [np.zeros(len(z))]
    raised = flags.combine(
        invalid_values=wrong > 0,
        no_data=n_values == 0,
        few_pixels=n_values < flags.LEAST_FRACTION * features,
        bad_fit=chi2 > limits.chi2 * np.maximum(n_values, 1),
        unlike_training=(z * z).sum(1) > limits.distance,
        label_outside_training=np.any(outside, axis=0) if outside else False,
        prior_dominated=np.max(remaining, axis=0) > 0.5,
    )
    return Inferred(z, chi2, n_values.astype(np.int32), raised, value, err, cov)


def given_outputs(model: LuxModel, given: str | Sequence[str]) -> tuple[Output, ...]:
    """Return the model's outputs that latents are to be inferred from.

    Raises
    ------
    InputError
        If the model lacks one, or none is named.
    """
    names = [given] if isinstance(given, str) else list(given)
    if not names:
        raise InputError("given names no output; give at least one, e.g. given='flux'")
    return tuple(model[name] for name in names)


def check_match(survey: xr.Dataset, outputs: Sequence[Output], where: str) -> tuple[OutputSpec, ...]:
    """Refuse a survey whose outputs are not those that a model was trained on.

    Raises
    ------
    InputError
        For a missing variable, another wavelength grid, other units or medium, other labels.
    """
    specs = pick_outputs(survey, [o.name for o in outputs], where)
    for spec, output in zip(specs, outputs, strict=True):
        _check_grid(survey[spec.dim], output, where)
    return specs


def _check_grid(grid: xr.DataArray, output: Output, where: str) -> None:
    name, coord = output.spec.dim, np.asarray(output.coord)
    if grid.size != coord.size:
        raise InputError(
            f"{where}: {name!r} has {grid.size} values, the model {coord.size} ({coord[0]} to {coord[-1]}); "
            f"bring {output.name!r} to the model's grid, or train on this one"
        )
    if output.is_label:
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
                f"{where}: {name!r} has {key} {grid.attrs[key]!r}, the model {ours[key]!r}; convert it, "
                "or train on this one"
            )
    far = np.abs(grid.values - coord) > 1e-3 * np.median(np.diff(coord))
    if far.any():
        i = int(np.argmax(far))
        raise InputError(
            f"{where}: {name!r} differs from the model's grid at {int(far.sum())} of {coord.size} pixels, first "
            f"{grid.values[i]} where the model has {coord[i]}; resample {output.name!r} to the model's grid"
        )


def infer(
    survey: xr.Dataset, model: LuxModel, given: str | Sequence[str] = "flux", *, covariance: bool = False
) -> xr.Dataset:
    """Infer latents and labels of every star of a survey.

    Parameters
    ----------
    survey : Dataset
        With the given outputs on (star, ...); lazy if it is backed by Dask.
    model : LuxModel
    given : str or sequence of str
        Outputs to infer from: ``"flux"`` for labels from spectra (equation 10), ``"label_value"`` for spectra from
        labels (equation 11), or several.
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
    """
    outputs = given_outputs(model, given)
    specs = check_match(survey, outputs, "survey")
    designs, heads, limits = [design(o) for o in outputs], [head(o) for o in model.labels], limits_of(model)
    arrays = [survey[v] for s in specs for v in s.variables]
    tables = [xr.DataArray(a) for a in jax.tree.leaves((designs, heads))]
    tables = [t.rename({d: f"_{i}_{d}" for d in t.dims}) for i, t in enumerate(tables)]
    layout = jax.tree.structure((designs, heads))

    def on_block(*blocks: np.ndarray) -> tuple[np.ndarray, ...]:
        data, flat = blocks[: 2 * len(specs)], blocks[2 * len(specs) :]
        d, h = jax.tree.unflatten(layout, flat)
        return flatten(infer_arrays(d, data[0::2], ivars_of(specs, data), h, covariance=covariance, limits=limits))

    names, dims = catalog_layout(model, covariance)
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
        output_dtypes=[dtype_of(n) for n in names],
        dask_gufunc_kwargs={"output_sizes": sizes},
        join="override",
    )
    catalog = xr.Dataset(dict(zip(names, results, strict=True)))
    return catalog.drop_vars([s.dim for s in specs if s.dim in catalog.coords and s.dim not in catalog.dims]).pipe(
        decorate, model
    )


def dtype_of(name: str) -> np.dtype:
    """Return the dtype of a catalogue's variable: the contract's, or that of labels."""
    return np.dtype(next((v.dtype for v in CATALOG if v.name == name), "float64"))


def ivars_of(specs: Sequence[OutputSpec], data: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return inverse variances from alternating values and errors."""
    return [s.ivar(v, e) for s, v, e in zip(specs, data[0::2], data[1::2], strict=True)]


def flatten(inferred: Inferred) -> tuple[np.ndarray, ...]:
    """Return the arrays of `Inferred` in the order of `catalog_layout`."""
    return (*inferred[:4], *inferred.value, *inferred.err, *inferred.cov)


def catalog_layout(model: LuxModel, covariance: bool) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return names and dims of the variables that inference fills."""
    labels = [o.spec for o in model.labels]
    names = ["latent", "chi2", "n_pixels", "flags", *(s.name for s in labels), *(s.noise for s in labels)]
    dims: list[tuple[str, ...]] = [(STAR, LATENT), (STAR,), (STAR,), (STAR,), *[(STAR, s.dim) for s in labels] * 2]
    if covariance:
        names += [s.name.removesuffix("_value") + "_cov" for s in labels]
        dims += [(STAR, s.dim, f"{s.dim}_other") for s in labels]
    return names, dims


def decorate(catalog: xr.Dataset, model: LuxModel) -> xr.Dataset:
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


def limits_of(model: LuxModel) -> Limits:
    """Return where flags begin for a model."""
    return Limits(*model.limits)
