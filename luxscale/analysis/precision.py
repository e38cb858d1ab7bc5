"""How precise labels are at a given S/N: by drawing noise, beside the formulas (figure 10).

Draws measure the error *noise* of `luxscale.analysis.formal_errors`: how much the inferred label
scatters when the same star is observed again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.analysis.formal_errors import KINDS, label_columns, make_formula, split_rows
from luxscale.analysis.interpret import feature_ivar
from luxscale.errors import InputError
from luxscale.model.infer import check_match, infer
from luxscale.model.lux import LuxModel, Output
from luxscale.model.predict import predict
from luxscale.schema.outputs import OutputSpec
from luxscale.schema.standard import standardize_survey
from luxscale.schema.stars import index_stars
from luxscale.schema.variables import STAR


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
    names, formula = index_stars(survey), make_formula(model, source, target, None)
    parts = []
    for part in split_rows(survey[given]):
        block = _mark_missing(survey[list(spec.variables)].isel({STAR: part}).compute(), spec)
        value, ivar = block[spec.name].values, _ivar(block, spec)
        noisy = _draw_noise(block, given, ivar, names[part], n_draws, seed)
        drawn = np.stack([_get_values(infer(b, model, given), model, of) for b in noisy])
        posterior, noise = formula(feature_ivar(source, ivar))
        draws = drawn.std(0, ddof=1) / _mean_scatter(n_draws)
        parts.append((draws, noise, posterior, _measure_snr(value, feature_ivar(source, ivar))))
    *kinds, snr = (np.concatenate(p) for p in zip(*parts, strict=True))
    result = label_columns(dict(zip(KINDS, kinds, strict=True)), STAR, target)
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
