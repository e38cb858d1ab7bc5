"""How precise labels are at a given S/N: by drawing noise, and by formula (figure 10).

Two formal errors of a label are easily confused. With C the posterior covariance of the latents
(see `luxscale.analysis.interpret`), w = 1 / (sigma^2 + s^2) the weights and sigma the errors of the
pixels:

- *posterior*: A C A^T, how far the label may be from the truth: noise, the model's scatter s and
  the prior;
- *noise*: A C B^T diag(w^2 sigma^2) B C A^T, how much the inferred label scatters when the same
  star is observed again. Draws of noise measure this one. It is never larger: it knows of no
  scatter s, and the prior calms it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.interpret import feature_ivar, groups, jacobian, unit_of
from luxscale.errors import InputError
from luxscale.model import linalg
from luxscale.model.infer import check_match, infer
from luxscale.model.lux import LuxModel, Output, coordinates
from luxscale.model.predict import predict
from luxscale.schema.outputs import OutputSpec
from luxscale.schema.standard import standardize_survey
from luxscale.schema.stars import index_stars
from luxscale.schema.variables import STAR
from luxscale.store import CHUNK

#: What is compared, by name.
KINDS = {
    "draws": "standard deviation of labels inferred from draws of noise, without bias",
    "noise": "the same by formula: sqrt diag A C B^T diag(w^2 sigma^2) B C A^T",
    "posterior": "formal error with the model's scatter and the prior: sqrt diag A C A^T",
}


def ivar_at_snr(
    model: LuxModel, snr: Any, output: str = "flux", *, pattern: Any = None
) -> xr.DataArray:
    """Return the inverse variances of the average star's spectrum at given signal-to-noise ratios.

    Parameters
    ----------
    model : LuxModel
    snr : float or sequence of float
        Signal-to-noise ratio: the median over pixels of flux / error.
    output : str
    pattern : array, (feature,), optional
        How inverse variances run along the spectrum, on any scale, e.g. the ``flux_ivar`` of a
        typical star; by default flux / error is the same in all pixels.

    Returns
    -------
    DataArray, (snr, feature) or (feature,)
        In 1 / (units of the output)^2; 0 for pixels that take no part in the model.

    Raises
    ------
    InputError
        If S/N is not positive, the pattern is no inverse variance, or the average flux is 0 in a
        pixel.

    Examples
    --------
    >>> from luxscale.analysis.precision import ivar_at_snr
    >>> ivar_at_snr(model, [30, 100]).dims
    ('snr', 'wavelength')
    """
    wanted = model[output]
    values = np.asarray(snr, float)
    if values.ndim > 1 or not (np.isfinite(values) & (values > 0)).all():
        raise InputError(f"snr is {snr!r}; give positive numbers")
    used = np.asarray(wanted.used, bool)
    flux = np.abs(np.where(used, wanted.map.offset, 1).astype(float))
    if pattern is None and (flux == 0).any():
        raise InputError(
            f"the average {output!r} is 0 in a pixel, where S/N says nothing; give a pattern"
        )
    shape = feature_ivar(wanted, 1 / flux**2 if pattern is None else pattern)
    if shape.ndim != 1 or not (shape > 0).any():
        raise InputError(
            f"pattern has shape {shape.shape} or no positive value; give one star's, "
            f"({shape.shape[-1]},)"
        )
    unit = np.median((flux * np.sqrt(shape))[shape > 0])
    dims = ("snr", wanted.spec.dim) if values.ndim else (wanted.spec.dim,)
    coords: dict[str, Any] = {
        **coordinates(wanted),
        "snr": (("snr",) if values.ndim else (), values),
    }
    ivar = np.multiply.outer((values / unit) ** 2, shape)
    return xr.DataArray(
        ivar, coords, dims, f"{output}_ivar", {"units": f"1 / ({unit_of(wanted)})^2"}
    )


def expected_errors(
    model: LuxModel,
    ivar: xr.DataArray,
    *,
    given: str = "flux",
    of: str = "label_value",
    latent: Any = None,
    floor: bool = False,
) -> xr.Dataset:
    """Return the formal errors of labels inferred from spectra of given noise, without any spectra.

    Parameters
    ----------
    model : LuxModel
    ivar : DataArray, (feature,) or (anything, feature)
        Inverse variances of ``given``: of `ivar_at_snr`, or a survey's ``flux_ivar``; 0 = missing.
    given, of : str
        Outputs: observed, and inferred.
    latent : array, (latent,), optional
        Star at which to linearise, if a map is not linear; by default the average star, z = 0.
    floor : bool
        Whether to add the misfit that training measured, in quadrature, to ``posterior``, as
        catalogues do.

    Returns
    -------
    Dataset
        ``posterior`` and ``noise`` (anything, label), in memory, in the label's units; see the
        module.

    Raises
    ------
    InputError
        If ``ivar`` is no inverse variance of ``given``, or has further dims.

    Examples
    --------
    >>> from luxscale.analysis.precision import expected_errors, ivar_at_snr
    >>> errors = expected_errors(model, ivar_at_snr(model, [30, 100]))
    >>> bool((errors.noise <= errors.posterior).all())
    True
    """
    source, target = model[given], model[of]
    lead = [d for d in ivar.dims if d != source.spec.dim]
    if len(lead) > 1:
        raise InputError(
            f"ivar has dims {ivar.dims}; give one beside {source.spec.dim!r}, e.g. ('snr', ...)"
        )
    rows = ivar if lead else ivar.expand_dims("_row")
    of_rows = _formula(model, source, target, latent)
    parts = [of_rows(feature_ivar(source, rows[{rows.dims[0]: part}])) for part in _blocks(rows)]
    posterior, noise = (np.concatenate(p) for p in zip(*parts, strict=True))
    if floor:
        posterior = np.hypot(posterior, np.asarray(target.floor, float))
    errors = _dataset({"posterior": posterior, "noise": noise}, rows.dims[0], target)
    errors = errors.assign_coords({k: v for k, v in rows.coords.items() if v.dims == rows.dims[:1]})
    return errors if lead else errors.isel(_row=0)


def _formula(
    model: LuxModel, source: Output, target: Output, latent: Any
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return what turns inverse variances (n, feature) into both formal errors (n, label)."""
    a, b = jacobian(target, latent), jacobian(source, latent)
    i, j, table = linalg.packed_index(b.shape[1])
    packed, prior = b[:, i] * b[:, j], model.prior.precision * np.eye(b.shape[1])

    def errors(ivar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        posterior, noise = (np.zeros((len(ivar), len(a))) for _ in range(2))
        for rows, seen in groups(target, source):
            w = source.noise.weigh(ivar * seen)
            information = (w @ packed)[:, table]
            ac = a[rows] @ np.linalg.inv(prior + information)
            posterior[:, rows] = (ac * a[rows]).sum(-1)
            # w^2 sigma^2, 0 where a value is missing
            squared = np.divide(w * w, ivar, out=np.zeros_like(w), where=ivar > 0)
            drawn = (squared @ packed)[:, table]
            noise[:, rows] = (ac @ drawn * ac).sum(-1)
        return np.sqrt(np.maximum(posterior, 0)), np.sqrt(np.maximum(noise, 0))

    return errors


def draw_precision(
    survey: xr.Dataset,
    model: LuxModel,
    n_draws: int = 10,
    seed: int = 0,
    *,
    given: str = "flux",
    of: str = "label_value",
) -> xr.Dataset:
    """Return how much the labels of each star scatter under draws of noise, and by formula.

    Parameters
    ----------
    survey : Dataset
        With ``given`` and its errors; read once, chunk by chunk (1,024 stars if it is in memory).
    model : LuxModel
        With linear maps.
    n_draws : int
        Draws for each star, 2 or more.
    seed : int
        Seed, 0 or more. The noise of a star depends on the seed and its identifier only.
    given, of : str
        Outputs: observed, and inferred.

    Returns
    -------
    Dataset
        ``draws``, ``noise`` and ``posterior`` (star, label), in the label's units, see ``KINDS``;
        ``snr`` (star,), the median over pixels of value / error, NaN for a star without data.

    Raises
    ------
    InputError
        If the survey is not on the model's grid, a map is not linear, or a number is out of range.

    Notes
    -----
    As in section 4.6 of the paper, noise is added to the *observed* values: normal, with their
    errors. These are noisy already, but inference is linear in them, so that the scatter is the
    same as about the true spectrum. The sample standard deviation of so few draws is low on average
    (3% for ten); here it is divided by that.

    Examples
    --------
    >>> from luxscale.analysis.precision import draw_precision
    >>> draw_precision(survey.isel(star=slice(0, 100)), model, n_draws=10).draws.dims
    ('star', 'label')
    """
    source, target = model[given], model[of]
    survey = standardize_survey(survey)
    (spec,) = check_match(survey, [source], "survey")
    _check_draws(n_draws, seed, source, target)
    if not survey.sizes[STAR]:
        raise InputError("survey: it holds no stars")
    names, formula = index_stars(survey), _formula(model, source, target, None)
    parts = []
    for part in _blocks(survey[given]):
        block = _mark_missing(survey[list(spec.variables)].isel({STAR: part}).compute(), spec)
        value, ivar = block[spec.name].values, _ivar(block, spec)
        noisy = _draw_noise(block, given, ivar, names[part], n_draws, seed)
        drawn = np.stack([_get_values(infer(b, model, given), model, of) for b in noisy])
        posterior, noise = formula(feature_ivar(source, ivar))
        draws = drawn.std(0, ddof=1) / _mean_scatter(n_draws)
        parts.append((draws, noise, posterior, _measure_snr(value, feature_ivar(source, ivar))))
    *kinds, snr = (np.concatenate(p) for p in zip(*parts, strict=True))
    result = _dataset(dict(zip(KINDS, kinds, strict=True)), STAR, target)
    result["snr"] = (
        STAR,
        snr,
        {"long_name": f"median over pixels of {given} / error", "units": "1"},
    )
    return result.assign_coords({STAR: names.to_numpy()}).assign_attrs(n_draws=n_draws, seed=seed)


def _check_draws(n_draws: int, seed: int, *outputs: Output) -> None:
    if n_draws < 2:
        raise InputError(f"n_draws is {n_draws}; a scatter needs 2 or more")
    if seed < 0:
        raise InputError(f"seed is {seed}; give 0 or more")
    for output in outputs:
        if not output.map.features.is_linear:
            raise InputError(
                f"{output.name!r} has a {output.map.kind} map, for which errors differ from "
                "star to star; use "
                "expected_errors with the latents of one"
            )


def _blocks(array: xr.DataArray) -> Iterator[slice]:
    """Rows to work on together: the array's chunks."""
    sizes = array.chunks[0] if array.chunks else [CHUNK] * -(-array.shape[0] // CHUNK)
    start = 0
    for size in sizes:
        yield slice(start, min(start + size, array.shape[0]))
        start += size


def _ivar(block: xr.Dataset, spec: OutputSpec) -> np.ndarray:
    return np.asarray(spec.ivar(block[spec.name].values, block[spec.noise].values), float)


def _mark_missing(block: xr.Dataset, spec: OutputSpec) -> xr.Dataset:
    """Mark as missing what breaks the contract: the formulas may give it no weight either."""
    ivar = _ivar(block, spec)
    good = np.isfinite(ivar) & (ivar >= 0) & np.isfinite(block[spec.name].values)
    missing = 0 if spec.is_ivar else np.nan
    return block.assign({spec.noise: block[spec.noise].where(good, missing)})


def _draw_noise(
    block: xr.Dataset, name: str, ivar: np.ndarray, names: Sequence[Any], n_draws: int, seed: int
) -> Iterator[xr.Dataset]:
    """Yield the block with fresh noise on it, one draw at a time."""
    value, sigma = block[name], np.divide(1, np.sqrt(ivar), out=np.zeros_like(ivar), where=ivar > 0)
    streams = [np.random.default_rng([seed, *str(star).encode()]) for star in names]
    for _ in range(n_draws):
        noise = np.stack([s.standard_normal(value.shape[1], dtype="f4") for s in streams])
        yield block.assign(
            {name: value.copy(data=(value.values + sigma * noise).astype(value.dtype))}
        )


def _get_values(catalog: xr.Dataset, model: LuxModel, of: str) -> np.ndarray:
    return np.asarray((catalog[of] if of in catalog else predict(catalog, model, of)).values, float)


def _mean_scatter(n: int) -> float:
    """Mean of the sample standard deviation of n draws of a unit normal (c4)."""
    return math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))


def _measure_snr(value: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """Median over pixels with data of value / error: (star,)."""
    snr, any_data = np.full(len(value), np.nan), (ivar > 0).any(1)
    ratio = np.where(ivar > 0, value * np.sqrt(ivar), np.nan)[any_data]
    snr[any_data] = np.nanmedian(ratio, axis=1)
    return snr


def precision_by_snr(
    stars: xr.Dataset, edges: Sequence[float], quantiles: Sequence[float] = (0.16, 0.5, 0.84)
) -> xr.Dataset:
    """Return quantiles of the precision of labels in bins of S/N, drawn and by formula: figure 10.

    Parameters
    ----------
    stars : Dataset
        From `draw_precision`; to bin by another S/N, ``stars.assign(snr=survey["snr"])``.
    edges : sequence of float
        Edges of the bins, ascending; a bin holds its lower edge, the last one its upper too.
    quantiles : sequence of float
        Between 0 and 1. The paper has 0.05, 0.5, 0.95.

    Returns
    -------
    Dataset
        ``precision`` (kind, snr_bin, label, quantile), in the label's units, NaN in a bin without
        stars; ``n_stars`` (snr_bin,). Bins are named by their middle; their edges are ``snr_low``
        and ``snr_high``.

    Raises
    ------
    InputError
        If edges or quantiles are out of order or range.

    Notes
    -----
    The median by draws agrees with ``noise`` (for ten draws, it is low by 1%). Its outer quantiles
    lie farther out: the scatter of ten draws is itself known to 24% only, which adds to what
    differs between stars.

    Examples
    --------
    >>> from luxscale.analysis.precision import draw_precision, precision_by_snr
    >>> stars = draw_precision(survey.isel(star=slice(0, 100)), model, n_draws=2)
    >>> precision_by_snr(stars, [30, 50, 80]).precision.dims
    ('kind', 'snr_bin', 'label', 'quantile')
    """
    bounds, q = np.asarray(edges, float), np.asarray(quantiles, float)
    if bounds.ndim != 1 or bounds.size < 2 or not (np.diff(bounds) > 0).all():
        raise InputError(f"edges are {edges}; give two or more, ascending, e.g. [30, 60, 100, 200]")
    if q.ndim != 1 or not ((q >= 0) & (q <= 1)).all():
        raise InputError(f"quantiles are {quantiles}; give fractions between 0 and 1")
    table, snr = np.stack([stars[k].values for k in KINDS]), stars["snr"].values
    at = np.where(
        snr == bounds[-1], bounds.size - 2, np.searchsorted(bounds, snr, side="right") - 1
    )
    dim = stars[next(iter(KINDS))].dims[1]
    parts = [_quantiles(table[:, at == i], q) for i in range(bounds.size - 1)]
    units = {"long_name": "standard error of the label", "units": stars["noise"].attrs["units"]}
    return xr.Dataset(
        {
            "precision": (("kind", "snr_bin", dim, "quantile"), np.stack(parts, 1), units),
            "n_stars": ("snr_bin", np.array([(at == i).sum() for i in range(bounds.size - 1)])),
        },
        {
            "kind": (
                "kind",
                np.array(list(KINDS), object),
                {"comment": "; ".join(f"{k}: {v}" for k, v in KINDS.items())},
            ),
            "snr_bin": (bounds[1:] + bounds[:-1]) / 2,
            "snr_low": ("snr_bin", bounds[:-1]),
            "snr_high": ("snr_bin", bounds[1:]),
            "quantile": q,
            **{k: v for k, v in stars.coords.items() if v.dims == (dim,)},
        },
        stars.attrs,
    )


def _quantiles(values: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Quantiles over stars: (kind, star, label) -> (kind, label, quantile)."""
    if not values.shape[1]:
        return np.full((values.shape[0], values.shape[2], q.size), np.nan)
    return np.moveaxis(np.quantile(values, q, axis=1), 0, -1)


def _dataset(columns: dict[str, np.ndarray], lead: Any, target: Output) -> xr.Dataset:
    """Label errors (lead, feature of target)."""
    dims, units = (lead, target.spec.dim), unit_of(target)
    return xr.Dataset(
        {k: (dims, v, {"long_name": KINDS[k], "units": units}) for k, v in columns.items()},
        coordinates(target),
    )
