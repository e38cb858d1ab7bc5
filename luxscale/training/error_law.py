"""How residuals of labels scatter, by the law that stars left out of training ask for.

Of a residual of a label (predicted - given) the robust variance is

    v = s^2 formal^2 + b^2 + k^2 label_err^2

with a factor s of at least 1 on the formal error, a misfit b, and a factor k of at most 1 on the
error of the given label; the residual is a Student t. s is 1, a constant, or a power of the formal
error between those of most stars; k is 1 or free. Each of these laws is fitted without the stars of
each fold in turn, and asked for the density of those. Taken is the simplest that is within one
standard error of the likeliest; errors of given labels are then as near to that as stars allow.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

#: Degrees of freedom that are tried.
_DOF = (3.0, 5.0, 10.0, 50.0)

#: Greatest factor.
_MOST = 4.0

#: Formal errors between which a factor varies, as quantiles of the stars'.
_RANGE = (0.05, 0.95)

#: Factor, b^2 over the median formal variance, and k^2, from which the likeliest are searched.
_START, _START_MISFIT, _START_LABELS = 1.2, 0.5, 0.8

#: By how much ln likelihood is less two standard errors off.
_DROP = 2.0

#: Bounds of k^2: errors of labels as they are given, and free.
_AS_GIVEN, _FREE = (1.0, 1.0), (0.01, 1.0)


class Squares(NamedTuple):
    """Squares of residuals and of both errors of one label, over the median formal variance."""

    residual: np.ndarray
    formal: np.ndarray
    label: np.ndarray

    def take(self, rows: np.ndarray) -> Squares:
        """Return some of the stars."""
        return Squares(*(column[rows] for column in self))


class Law(NamedTuple):
    """What residuals are drawn from.

    at : (knot,) formal errors, none for a factor of 1; factor : (knot,), that at each; misfit2,
    labels2 : b^2 and k^2; dof : degrees of freedom.
    """

    at: tuple[float, ...]
    factor: tuple[float, ...]
    misfit2: float
    labels2: float
    dof: float

    def find_variance(self, stars: Squares) -> np.ndarray:
        """Return the robust variance of each residual."""
        log_factor = np.log(self.factor) @ _share_knots(stars, self.at)
        inflated = np.exp(2 * log_factor) * stars.formal
        variance: np.ndarray = inflated + self.misfit2 + self.labels2 * stars.label
        return variance


class _Form(NamedTuple):
    """A law yet to be fitted: its knots, and bounds of k^2."""

    at: tuple[float, ...]
    labels2: tuple[float, float]


def find_law(stars: Squares, fold: np.ndarray) -> Law:
    """Return the law that the stars of one label ask for, fitted to all of them.

    Parameters
    ----------
    stars : Squares
    fold : array of int, (star,)
    """
    forms = _list_forms(stars)
    dof = min(_DOF, key=lambda dof: _fit(stars, forms[-1], dof)[1])
    density = np.stack([_find_left_out(stars, fold, form, dof) for form in forms])
    lack = density[int(np.argmax(density.mean(1)))] - density
    enough = lack.mean(1) <= lack.std(1) / np.sqrt(fold.size)
    form = forms[int(np.argmax(enough))]
    if form.labels2 == _AS_GIVEN:
        return _fit(stars, form, dof)[0]
    return _raise_labels(stars, form, dof)


def _list_forms(stars: Squares) -> list[_Form]:
    """Return the forms of laws, the simplest first."""
    low, high = np.quantile(np.sqrt(stars.formal), _RANGE).tolist()
    knots: list[tuple[float, ...]] = [(), (1.0,)]
    if high > low:
        knots.append((low, high))
    return [_Form(at, labels2) for at in knots for labels2 in (_AS_GIVEN, _FREE)]


def _raise_labels(stars: Squares, form: _Form, dof: float) -> Law:
    """Return the law whose k is the nearest to 1 within two standard errors."""
    law, least = _fit(stars, form, dof)

    def find_lack(labels2: float) -> float:
        _, lost = _fit(stars, form._replace(labels2=(labels2, labels2)), dof)
        return (lost - least) * stars.residual.size - _DROP

    if find_lack(1.0) <= 0:
        return _fit(stars, form._replace(labels2=_AS_GIVEN), dof)[0]
    found = optimize.brentq(find_lack, law.labels2, 1.0, xtol=1e-3)
    return _fit(stars, form._replace(labels2=(found, found)), dof)[0]


def _find_left_out(stars: Squares, fold: np.ndarray, form: _Form, dof: float) -> np.ndarray:
    """Return the log density of each residual by the law of the other folds."""
    density = np.zeros(fold.size)
    for number in np.unique(fold):
        left_out = fold == number
        law, _ = _fit(stars.take(~left_out), form, dof)
        seen = stars.take(left_out)
        density[left_out] = _find_log_density(seen.residual, law.find_variance(seen), dof)
    return density


def _fit(stars: Squares, form: _Form, dof: float) -> tuple[Law, float]:
    """Return the likeliest law of a form, and -ln likelihood per star."""
    n = len(form.at)
    share = _share_knots(stars, form.at)

    def measure(at: np.ndarray) -> tuple[float, np.ndarray]:
        inflated = np.exp(2 * at[:n] @ share) * stars.formal
        variance = inflated + at[n] + at[n + 1] * stars.label
        slope = _find_slope(stars.residual, variance, dof)
        of_factors = share @ (2 * slope * inflated) / slope.size
        of_rest = (np.mean(slope), np.mean(slope * stars.label))
        density = _find_log_density(stars.residual, variance, dof)
        return -float(np.mean(density)), -np.array([*of_factors, *of_rest])

    start = np.clip(_START_LABELS, *form.labels2)
    found = optimize.minimize(
        measure,
        np.array([np.log(_START)] * n + [_START_MISFIT, start]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, np.log(_MOST))] * n + [(0.0, None), form.labels2],
    )
    *log_factor, misfit2, labels2 = found.x.tolist()
    factor = tuple(np.exp(log_factor).tolist())
    return Law(form.at, factor, misfit2, labels2, dof), float(found.fun)


def _share_knots(stars: Squares, at: tuple[float, ...]) -> np.ndarray:
    """Return the part of each knot in ln of the factor of each star: (knot, star)."""
    if len(at) < 2:
        return np.ones((len(at), stars.formal.size))
    low, high = np.log(at)
    part = np.clip((np.log(stars.formal) / 2 - low) / (high - low), 0, 1)
    return np.stack([1 - part, part])


@functools.cache
def _find_scale(dof: float) -> float:
    """Return the robust variance of a Student t."""
    quartile = stats.t.ppf(0.75, dof) / stats.norm.ppf(0.75)
    return float(quartile**2)


def _find_log_density(residual2: np.ndarray, variance: np.ndarray, dof: float) -> np.ndarray:
    """Return the log density of each residual: (star,)."""
    square = variance / _find_scale(dof)
    tail = np.log1p(residual2 / (dof * square))
    constant = special.gammaln((dof + 1) / 2) - special.gammaln(dof / 2) - np.log(dof * np.pi) / 2
    density: np.ndarray = constant - np.log(square) / 2 - (dof + 1) / 2 * tail
    return density


def _find_slope(residual2: np.ndarray, variance: np.ndarray, dof: float) -> np.ndarray:
    """Return the derivative of the log density by the robust variance: (star,)."""
    size = residual2 * _find_scale(dof)
    pull = (dof + 1) * size / (dof * variance + size)
    slope: np.ndarray = (pull - 1) / (2 * variance)
    return slope
