"""How precise labels are at a given S/N: by drawing noise, beside the formulas (figure 10).

Draws measure the error *noise* of `luxscale.analysis.formal_errors`: how much the inferred label
scatters when the same star is observed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.formal_errors import KINDS, label_columns, make_formula, split_rows
from luxscale.analysis.interpret import feature_ivar
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, ModelOrPath, take_model, take_survey
from luxscale.model.infer import check_match, infer
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output
from luxscale.model.predict import predict
from luxscale.schema.outputs import OutputSpec
from luxscale.schema.standard import standardize_survey
from luxscale.schema.stars import index_stars
from luxscale.schema.variables import LATENT, STAR

#: Turns stars and their inverse variances into spectra, and errors *posterior* and *noise*.
Formula = Callable[[xr.Dataset, np.ndarray], tuple[xr.Dataset, np.ndarray, np.ndarray]]


def draw_precision(
    survey: DatasetOrPath,
    model: ModelOrPath,
    n_draws: int = 10,
    seed: int = 0,
    *,
    given: str = "flux",
    of: str = "label_value",
) -> xr.Dataset:
    """Return how much the labels of each star scatter under draws of noise, and by formula.

    Parameters
    ----------
    survey : Dataset, str or Path
        With ``given`` and its errors; read once, chunk by chunk (1,024 stars if it is in memory).
    model : LuxModel, str or Path
        Of any kind.
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
        If the survey is not on the model's grid, or a number is out of range.

    Notes
    -----
    As in section 4.6 of the paper, noise is added to the *observed* values: normal, with their
    errors. These are noisy already, but inference is linear in them, so that the scatter is the
    same as about the true spectrum. The sample standard deviation of so few draws is low on average
    (3% for ten); here it is divided by that.

    Noise that pixels share is drawn with its covariance, as it is at the star's level: t unit B e,
    e ~ N(0, I). Where the model is not linear or its prior a mixture, noise is added to the
    spectrum that the model has at the star's own latents, and both formulas are linear there, under
    those Gaussians of the prior that hold the star; where it lies between two, draws scatter more
    than formulas say. Draws tell of the labels that `luxscale.infer` returns, of an ensemble their
    mean; formulas are of its first member.

    Examples
    --------
    >>> from luxscale.analysis.precision import draw_precision
    >>> draw_precision(survey.isel(star=slice(0, 100)), model, n_draws=10).draws.dims
    ('star', 'label')
    """
    call = "draw_precision(survey, model)"
    survey = take_survey(survey, call, given)
    model = take_model(model, call)
    source, target = model[given], model[of]
    survey = standardize_survey(survey)
    (spec,) = check_match(survey, [source], "survey")
    _check_draws(n_draws, seed)
    if not survey.sizes[STAR]:
        raise InputError("survey: it holds no stars")
    names = index_stars(survey)
    formula = _choose_formula(model, source, target)
    parts = []
    for rows in split_rows(survey[given]):
        block = survey[list(spec.variables)].isel({STAR: rows}).compute()
        block = _mark_missing(block, spec)
        ivar = _read_ivar(block, spec)
        used_ivar = feature_ivar(source, ivar)
        snr = _measure_snr(block[spec.name].values, used_ivar)
        base, posterior, noise = formula(block, used_ivar)
        inferred = []
        for noisy in _draw_noise(base, source, ivar, names[rows], n_draws, seed):
            catalog = infer(noisy, model, given)
            inferred.append(_get_values(catalog, model, of))
        scatter = np.stack(inferred).std(0, ddof=1)
        draws = scatter / _mean_scatter(n_draws)
        parts.append((draws, noise, posterior, snr))
    draws, noise, posterior, snr = (np.concatenate(blocks) for blocks in zip(*parts, strict=True))
    errors = {"draws": draws, "noise": noise, "posterior": posterior}
    result = label_columns(errors, STAR, target)
    snr_attrs = {"long_name": f"median over pixels of {given} / error", "units": "1"}
    result["snr"] = (STAR, snr, snr_attrs)
    result = result.assign_coords({STAR: names.to_numpy()})
    return result.assign_attrs(n_draws=n_draws, seed=seed)


def _check_draws(n_draws: int, seed: int) -> None:
    if n_draws < 2:
        raise InputError(f"n_draws is {n_draws}; a scatter needs 2 or more")
    if seed < 0:
        raise InputError(f"seed is {seed}; give 0 or more")


def _choose_formula(model: LuxModel, source: Output, target: Output) -> Formula:
    """Return what gives the spectra to add noise to, and both errors by formula."""
    maps_are_linear = source.map.features.is_linear and target.map.features.is_linear
    if maps_are_linear and model.prior.is_gaussian and math.isinf(source.dof):
        prior = model.prior.make_precision(model.latent_dim)
        find_errors = make_formula(source, target, None, prior)
        return lambda block, ivar: (block, *find_errors(ivar))

    def find_local(block: xr.Dataset, ivar: np.ndarray) -> tuple[xr.Dataset, Any, Any]:
        catalog = infer(block, model, source.name)
        value = block[source.name]
        modelled = predict(catalog, model, source.name).values
        # pixels that take no part have no model
        spectra = np.where(source.used, modelled, value.values).astype(value.dtype)
        errors = np.full((2, ivar.shape[0], len(target.coord)), np.nan)
        for i, latent in enumerate(catalog[LATENT].values.astype(float)):
            if np.isfinite(latent).all():
                prior = model.prior.find_precision(latent)
                find_errors = make_formula(source, target, latent, prior)
                errors[:, i] = np.concatenate(find_errors(ivar[i : i + 1]))
        posterior, noise = errors
        return block.assign({source.name: value.copy(data=spectra)}), posterior, noise

    return find_local


def _read_ivar(block: xr.Dataset, spec: OutputSpec) -> np.ndarray:
    value = block[spec.name].values
    noise = block[spec.noise].values
    return np.asarray(spec.ivar(value, noise), float)


def _mark_missing(block: xr.Dataset, spec: OutputSpec) -> xr.Dataset:
    """Mark as missing what breaks the contract: the formulas may give it no weight either."""
    ivar = _read_ivar(block, spec)
    has_value = np.isfinite(block[spec.name].values)
    good = np.isfinite(ivar) & (ivar >= 0) & has_value
    missing = np.nan
    if spec.is_ivar:
        missing = 0
    noise = block[spec.noise].where(good, missing)
    return block.assign({spec.noise: noise})


def _draw_noise(
    block: xr.Dataset,
    source: Output,
    ivar: np.ndarray,
    names: Sequence[Any],
    n_draws: int,
    seed: int,
) -> Iterator[xr.Dataset]:
    """Yield the block with fresh noise on it, one draw at a time."""
    value = block[source.name]
    # a stream for each star: its noise does not depend on its neighbours
    streams = [np.random.default_rng([seed, *str(star).encode()]) for star in names]
    for _ in range(n_draws):
        rows = [source.noise.draw_errors(*star) for star in zip(ivar, streams, strict=True)]
        noisy = (value.values + np.stack(rows)).astype(value.dtype)
        yield block.assign({source.name: value.copy(data=noisy)})


def _get_values(catalog: xr.Dataset, model: LuxModel, of: str) -> np.ndarray:
    if of not in catalog:
        return np.asarray(predict(catalog, model, of).values, float)
    return np.asarray(catalog[of].values, float)


def _mean_scatter(n: int) -> float:
    """Return the mean of the sample standard deviation of n draws of a unit normal (c4)."""
    degrees = n - 1
    # by logarithms: the gamma function of many draws overflows
    log_ratio = math.lgamma(n / 2) - math.lgamma(degrees / 2)
    return math.sqrt(2 / degrees) * math.exp(log_ratio)


def _measure_snr(value: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """Return the median over pixels with data of value / error: (star,)."""
    measured = ivar > 0
    has_data = measured.any(1)
    ratio = np.where(measured, value * np.sqrt(ivar), np.nan)
    snr = np.full(len(value), np.nan)
    # a median over nothing would warn
    snr[has_data] = np.nanmedian(ratio[has_data], axis=1)
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
    bounds = np.asarray(edges, float)
    fractions = np.asarray(quantiles, float)
    if bounds.ndim != 1 or bounds.size < 2 or not (np.diff(bounds) > 0).all():
        raise InputError(f"edges are {edges}; give two or more, ascending, e.g. [30, 60, 100, 200]")
    if fractions.ndim != 1 or not ((fractions >= 0) & (fractions <= 1)).all():
        raise InputError(f"quantiles are {quantiles}; give fractions between 0 and 1")
    members = _assign_bins(stars["snr"].values, bounds)
    n_stars = np.array([inside.sum() for inside in members])
    table = np.stack([stars[kind].values for kind in KINDS])
    parts = [_find_quantiles(table[:, inside], fractions) for inside in members]
    precision = np.stack(parts, 1)
    dim = stars["noise"].dims[1]
    attrs = {
        "long_name": "standard error of the label",
        "units": stars["noise"].attrs["units"],
    }
    kinds = np.array(list(KINDS), object)
    meanings = "; ".join(f"{kind}: {meaning}" for kind, meaning in KINDS.items())
    label_coords = {name: c for name, c in stars.coords.items() if c.dims == (dim,)}
    low, high = bounds[:-1], bounds[1:]
    dims = ("kind", "snr_bin", dim, "quantile")
    return xr.Dataset(
        {
            "precision": (dims, precision, attrs),
            "n_stars": ("snr_bin", n_stars),
        },
        {
            "kind": ("kind", kinds, {"comment": meanings}),
            "snr_bin": (low + high) / 2,
            "snr_low": ("snr_bin", low),
            "snr_high": ("snr_bin", high),
            "quantile": fractions,
            **label_coords,
        },
        stars.attrs,
    )


def _assign_bins(snr: np.ndarray, bounds: np.ndarray) -> list[np.ndarray]:
    """Return which stars are in each bin: a list of (star,) bool."""
    n_bins = bounds.size - 1
    bins = np.searchsorted(bounds, snr, side="right") - 1
    # the last bin holds its upper edge too
    at_end = snr == bounds[-1]
    bins[at_end] = n_bins - 1
    return [bins == i for i in range(n_bins)]


def _find_quantiles(values: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return quantiles over stars: (kind, star, label) -> (kind, label, quantile)."""
    n_kinds, n_stars, n_labels = values.shape
    if not n_stars:
        return np.full((n_kinds, n_labels, q.size), np.nan)
    found = np.quantile(values, q, axis=1)
    return np.moveaxis(found, 0, -1)
