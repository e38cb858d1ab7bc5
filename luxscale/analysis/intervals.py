"""Intervals of stated coverage by conformal prediction, from held-out stars with trusted labels."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from luxscale.analysis.bins import make_bins
from luxscale.analysis.evaluate import match_labels
from luxscale.analysis.label_arrays import LABEL, label_units, require_variables
from luxscale.errors import InputError
from luxscale.model.arguments import DatasetOrPath, take_catalog
from luxscale.schema.standard import join_features
from luxscale.schema.status import find_done
from luxscale.schema.variables import STAR

#: Format of a store of intervals.
FORMAT = "luxscale-intervals"

#: Bounds of an interval, and what they are.
_BOUNDS = {"label_lower": "lower bound of the label", "label_upper": "upper bound of the label"}


class _Fitted(NamedTuple):
    """Intervals of one label: of crepes, the inner edges of bins of the error, and numbers."""

    regressor: Any
    edges: np.ndarray
    n_stars: int
    n_least: int


#: Of a label that no held-out star has.
_NOTHING = _Fitted(None, np.zeros(0), 0, 0)


def predict_intervals(
    catalog: DatasetOrPath,
    held_out: DatasetOrPath,
    survey: DatasetOrPath,
    *,
    coverage: float = 0.9,
    bins: int = 1,
) -> xr.Dataset:
    """Return intervals that hold the trusted labels of so large a share of stars.

    Parameters
    ----------
    catalog : Dataset, str or Path
        Labels with errors; lazy if it is backed by Dask.
    held_out : Dataset, str or Path
        Labels that the same model, with the same errors, gives stars that it was not trained on, of
        the kind that the catalogue is of.
    survey : Dataset, str or Path
        Their trusted labels, ``label_value``.
    coverage : float
        Share of stars, above 0 and below 1.
    bins : int
        Bins of the error, each with intervals of its own; the error is to a label what S/N is to a
        spectrum.

    Returns
    -------
    Dataset
        ``label_lower`` and ``label_upper`` (star, label), lazy if the catalogue is; NaN where a
        label or its error is not known, of stars that are not done, and of a label that no held-out
        star has. ``n_held_out`` (label,), and ``coverage_err`` (label,), the standard deviation of
        the coverage over draws of as many held-out stars, of the poorest bin.

    Raises
    ------
    InputError
        If another model made the held-out labels; a bin has too few held-out stars for intervals
        of finite length, with how many are needed; no star has a trusted label, crepes is not
        installed, or a number is out of range.

    Notes
    -----
    The interval is the label and its error times a quantile of abs(inferred - trusted) / error of
    the held-out stars, which crepes finds. Its coverage is as stated, whatever the errors, if
    stars are exchangeable with the held-out ones; it is of the *trusted* label of a star, whose own
    error it holds too. Where that is larger than the catalogue's, intervals are far wider than
    those of the true label. Visits of one star count as stars: leave one of each.

    Examples
    --------
    >>> import luxscale as lux
    >>> held_out = lux.select(catalog, stars="untrained", model=model)
    >>> intervals = lux.predict_intervals(catalog, held_out, survey, coverage=0.8)
    >>> sorted(intervals.data_vars)
    ['coverage_err', 'label_lower', 'label_upper', 'n_held_out']
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage={coverage}: give a share above 0 and below 1, such as 0.9")
    if bins < 1:
        raise InputError(f"bins={bins}: give the number of bins, 1 or more")
    catalog = take_catalog(catalog, "lux.predict_intervals(catalog, held_out, survey)")
    require_variables(catalog, ("label_value", "label_err"), "catalogue")
    held_out = take_catalog(held_out, "lux.predict_intervals(catalog, held_out, survey)")
    _require_same_model(catalog, held_out)
    pairs = match_labels(held_out, survey, truth_name="label_value")
    there = pairs[LABEL].values.tolist()
    fitted = [
        _fit(pairs.sel({LABEL: name}), coverage, bins) if name in there else _NOTHING
        for name in label_units(catalog)
    ]
    if not any(each.n_stars for each in fitted):
        raise InputError("no held-out star has a trusted label; give a survey that has them")

    def predict_block(value: np.ndarray, err: np.ndarray, done: np.ndarray) -> Any:
        return _predict(fitted, coverage, value, err, done)

    done = xr.DataArray(np.ones(catalog.sizes[STAR], bool), dims=STAR)
    if "status" in catalog:
        done = xr.DataArray(find_done(catalog), dims=STAR)
    arrays = (catalog[name].reset_coords(drop=True) for name in ("label_value", "label_err"))
    value, err = map(join_features, arrays)
    if value.chunks:
        done = done.chunk({STAR: value.chunks[0]})
    bounds = xr.apply_ufunc(
        predict_block,
        value,
        err,
        done,
        input_core_dims=[[LABEL], [LABEL], []],
        output_core_dims=[[LABEL], [LABEL]],
        dask="parallelized",
        output_dtypes=[float, float],
        join="override",
    )
    return _describe(bounds, catalog, fitted, coverage, bins)


def _require_same_model(catalog: xr.Dataset, held_out: xr.Dataset) -> None:
    """Refuse labels of which one model, with its errors as they are, did not make both."""
    ours, theirs = (each.attrs.get("model_fingerprint") for each in (catalog, held_out))
    if ours is not None and theirs is not None and ours != theirs:
        raise InputError(
            f"the catalogue is of model {ours[:12]}, the held-out stars of {theirs[:12]}: another, "
            "or the same before or after its errors were calibrated; label both with one"
        )


def _describe(
    bounds: Any, catalog: xr.Dataset, fitted: list[_Fitted], coverage: float, bins: int
) -> xr.Dataset:
    """Name the bounds, and say how many stars they are from."""
    found = {}
    for (name, doc), bound in zip(_BOUNDS.items(), bounds, strict=True):
        found[name] = bound.assign_attrs(long_name=doc)
    numbers = np.array([each.n_stars for each in fitted])
    least = np.array([each.n_least for each in fitted])
    # that of a beta distribution
    variance = coverage * (1 - coverage) / (least + 2)
    coverage_err = np.where(numbers > 0, np.sqrt(variance), np.nan)
    found["n_held_out"] = xr.DataArray(numbers, dims=LABEL)
    found["coverage_err"] = xr.DataArray(coverage_err, dims=LABEL)
    attrs = {"title": "intervals of labels", "format": FORMAT, "coverage": coverage, "bins": bins}
    coords = {name: catalog[name] for name in (STAR, LABEL, "label_units") if name in catalog}
    return xr.Dataset(found, attrs=attrs).assign_coords(coords)


def _fit(pairs: xr.Dataset, coverage: float, bins: int) -> _Fitted:
    """Fit the intervals of one label to held-out stars."""
    regressor = _import_crepes().ConformalRegressor()
    inferred, err, truth = (pairs[n].values for n in ("inferred", "inferred_err", "truth"))
    known = np.isfinite(inferred + truth) & np.isfinite(err) & (err > 0)
    if not known.any():
        return _NOTHING
    residual, sigma = (truth - inferred)[known], err[known]
    edges = make_bins(sigma, bins, "error")[1:-1]
    category = np.searchsorted(edges, sigma, side="right")
    counts: np.ndarray = np.bincount(category, minlength=edges.size + 1)
    least = int(counts.min())
    # the quantile that is wanted is that of the least of so many
    if int((1 - coverage) * (least + 1)) < 1:
        needed = math.ceil(round(1 / (1 - coverage), 6))
        raise InputError(
            f"label {pairs[LABEL].item()!r}: {least} held-out stars with a trusted label in a bin "
            f"of the error, too few for intervals of coverage {coverage:g}; give {needed} or more, "
            "fewer bins, or a smaller coverage"
        )
    regressor.fit(residuals=residual, sigmas=sigma, bins=category)
    return _Fitted(regressor, edges, int(known.sum()), least)


def _predict(
    fitted: list[_Fitted], coverage: float, value: np.ndarray, err: np.ndarray, done: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds of some stars: (star, label)."""
    bounds = np.full((2, *value.shape), np.nan)
    for m, each in enumerate(fitted):
        of_label, its_error = value[:, m], err[:, m]
        has_error = np.isfinite(its_error) & (its_error > 0)
        known = done & np.isfinite(of_label) & has_error
        if known.any() and each.n_stars:
            sigma = its_error[known]
            category = np.searchsorted(each.edges, sigma, side="right")
            found = each.regressor.predict_int(
                of_label[known], sigmas=sigma, bins=category, confidence=coverage
            )
            bounds[:, known, m] = found.T
    return bounds[0], bounds[1]


def _import_crepes() -> Any:
    try:
        import crepes
    except ImportError as error:
        raise InputError("intervals need crepes: pip install 'luxscale[conformal]'") from error
    return crepes
