"""Errors of labels calibrated on held-out stars: repeats tell the scale, trusted labels the floor.

Of each label the error is sqrt(scale^2 formal^2 + floor^2), where both may depend on the formal
error. The scatter between visits of a star is the random part of the error, and the formal error
holds that and more: repeats can raise it, by the scale, never lower it. What visits share only
trusted labels tell: with the scale given, the floor is what residuals need beyond all errors.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from luxscale.analysis.bins import assign_bins, make_bins
from luxscale.analysis.repeats import FEWEST, MAD_ERROR, find_weighted_median
from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.analysis.visits import find_deviations
from luxscale.model.calibration import Curve

#: Standard error, over itself, of an error that counts as known.
TOLERANCE = 0.1

#: Knots of a function of the formal error, at most.
_MOST_KNOTS = 5

#: Gain in chi2 for each further level that a function needs over a constant: two standard errors.
_GAIN = 4.0


class Sample(NamedTuple):
    """Visits of held-out stars, of one label: (visit,).

    value, formal : inferred label and its formal error; star : number of the star; truth,
    truth_err : trusted label of the star with its error, NaN where not known.
    """

    value: np.ndarray
    formal: np.ndarray
    star: np.ndarray
    truth: np.ndarray
    truth_err: np.ndarray


class Fit(NamedTuple):
    """What a sample tells of the errors of a label.

    scale, floor : None where too few tell it; record : what it was found from.
    """

    scale: Curve | None
    floor: Curve | None
    record: dict[str, Any]


def fit_errors(sample: Sample, inflation: float) -> Fit:
    """Find scale and floor of the errors of one label.

    Parameters
    ----------
    sample : Sample
    inflation : float
        Factor on formal errors that training found, where no repeats tell the scale.

    Returns
    -------
    Fit
    """
    scale, pairs = fit_scale(sample)
    known = np.isfinite(sample.value + sample.truth + sample.truth_err) & (sample.formal > 0)
    seen = Sample(*(column[known] for column in sample))
    used = scale
    if used is None:
        used = Curve((1.0,), (inflation,))
        if _find_floor2(_Residuals.of(seen, used)) == 0:
            # training found a factor alone where these need less
            used = Curve((1.0,), (1.0,))
    residuals = _Residuals.of(seen, used)
    floor, record = _fit_floor(residuals, seen.formal)
    record |= {"pairs": pairs, "needed_pairs": math.ceil((MAD_ERROR / TOLERANCE) ** 2)}
    return Fit(used if floor is not None else scale, floor, record)


def fit_scale(sample: Sample) -> tuple[Curve | None, float]:
    """Return the factor on formal errors that repeats tell, 1 or more, and the number of pairs.

    None where there are too few to know it to 10%, or they are of fewer than `FEWEST` stars.
    """
    found = find_deviations(sample.value[:, None], sample.formal[:, None], sample.star)
    share = found.share[:, 0]
    compared = share > 0
    share, formal = share[compared], sample.formal[compared]
    pull = np.abs(found.pull[compared, 0])
    pairs = round(float(share.sum()), 6)
    n_bins = _count_knots(pairs, (MAD_ERROR / TOLERANCE) ** 2)
    if not n_bins or np.unique(sample.star[compared]).size < FEWEST:
        return None, pairs
    at, ratio, err = [], [], []
    for inside in _list_bins(formal, n_bins):
        weight = share[inside]
        scatter = MAD_TO_SIGMA * find_weighted_median(pull[inside], weight)
        at.append(find_weighted_median(formal[inside], weight))
        ratio.append(scatter)
        # visits that are copies of each other are 0 apart, and tell nothing for that
        err.append(MAD_ERROR * max(scatter, 1) / np.sqrt(weight.sum()))
    smoothed = smooth(np.array(ratio), np.array(err))
    value = np.maximum(smoothed, 1)
    # the error of a poorer star is not the smaller one
    formal_err = np.array(at)
    total_err = np.maximum.accumulate(value * formal_err)
    return _make_curve(at, total_err / formal_err), pairs


def smooth(value: np.ndarray, err: np.ndarray, *, rising: bool = False) -> np.ndarray:
    """Return values that do not rise and fall: constant, unless they tell of a trend.

    Parameters
    ----------
    value, err : array, (knot,)
        In the order of the knots, with standard errors.
    rising : bool
        Whether a trend can only rise.
    """
    weight = 1 / err**2
    best = np.full(value.size, np.average(value, weights=weight))
    least = float(np.sum(weight * (value - best) ** 2))
    for increasing in (True,) if rising else (True, False):
        trend = optimize.isotonic_regression(value, weights=weight, increasing=increasing).x
        chi2 = float(np.sum(weight * (value - trend) ** 2))
        chi2 += _GAIN * (np.unique(trend).size - 1)
        if chi2 < least:
            best, least = trend, chi2
    return best


class _Residuals(NamedTuple):
    """Inferred less trusted, with the variances that are known, and the weight of each visit."""

    off: np.ndarray
    random2: np.ndarray
    truth2: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, sample: Sample, scale: Curve) -> _Residuals:
        visits = np.bincount(sample.star)[sample.star]
        random2 = (scale.scale_by(sample.formal) * sample.formal) ** 2
        off = sample.value - sample.truth
        return cls(off, random2, sample.truth_err**2, 1 / visits)

    def take(self, rows: np.ndarray) -> _Residuals:
        return _Residuals(*(column[rows] for column in self))


def _fit_floor(residuals: _Residuals, formal: np.ndarray) -> tuple[Curve | None, dict[str, Any]]:
    """Return the floor, None where too few stars tell it, and what it was found from."""
    stars = round(float(residuals.weight.sum()), 6)
    record: dict[str, Any] = {"stars": round(stars), "known_to": None, "needed_stars": None}
    if not residuals.off.size:
        return None, record
    floor2 = _find_floor2(residuals)
    over = _find_error_ratio(residuals, floor2)
    needed = (MAD_ERROR * over / TOLERANCE) ** 2
    record |= {
        "known_to": float(MAD_ERROR * over / np.sqrt(stars)),
        "needed_stars": math.ceil(needed),
    }
    n_bins = _count_knots(stars, needed)
    if not n_bins:
        return None, record
    at, found, err = [], [], []
    for inside in _list_bins(formal, n_bins):
        part = residuals.take(inside)
        at.append(find_weighted_median(formal[inside], part.weight))
        found.append(_find_floor2(part))
        total2 = find_weighted_median(part.random2 + part.truth2, part.weight) + found[-1]
        err.append(2 * MAD_ERROR * total2 / np.sqrt(part.weight.sum()))
    value = np.sqrt(smooth(np.array(found), np.array(err), rising=True))
    return _make_curve(at, value), record


def _find_floor2(residuals: _Residuals) -> float:
    """Return what, added to variances, gives pulls a robust scatter of 1; 0 if none is needed."""
    if not residuals.off.size:
        return 0.0
    known2 = residuals.random2 + residuals.truth2

    def measure_lack(extra: float) -> float:
        pull = residuals.off / np.sqrt(known2 + extra)
        middle = find_weighted_median(pull, residuals.weight)
        return MAD_TO_SIGMA * find_weighted_median(np.abs(pull - middle), residuals.weight) - 1

    if measure_lack(0.0) <= 0:
        return 0.0
    # with a hundred times the largest square, every pull is below 1 / 10
    most = 100 * np.max(residuals.off**2)
    return float(optimize.brentq(measure_lack, 0, most, xtol=1e-300, maxiter=10_000))


def _find_error_ratio(residuals: _Residuals, floor2: float) -> float:
    """Return how much the variance of residuals exceeds that of the error, at the median."""
    own = find_weighted_median(residuals.random2, residuals.weight) + floor2
    return 1 + find_weighted_median(residuals.truth2, residuals.weight) / own


def _count_knots(number: float, needed: float) -> int:
    """Return how many knots so many pairs or stars can tell; 0 if they tell none."""
    return min(_MOST_KNOTS, int(number / needed))


def _list_bins(formal: np.ndarray, n: int) -> list[np.ndarray]:
    """Return which visits are in each bin of the formal error."""
    edges = make_bins(formal, n, "formal error")
    at = assign_bins(formal, edges)
    return [at == i for i in range(edges.size - 1)]


def _make_curve(at: list[float], value: np.ndarray) -> Curve:
    """Return a function through knots, or a constant."""
    if np.ptp(value) == 0:
        return Curve((float(np.median(at)),), (float(value[0]),))
    return Curve(tuple(map(float, at)), tuple(map(float, value)))
