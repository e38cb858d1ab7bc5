"""Factors on formal errors, and on errors of training labels, that stars left out ask for.

One misfit for all stars is right where the model misses by as much in all of them. Where it misses
by more in fainter stars, the variance of a predicted label is a^2 formal^2 + b^2 instead, with a
factor a of at least 1: a star without data has the error of the prior, which is right as it is.
Residuals, that is these variances and those of the given labels, are a Student t. Its degrees of
freedom, a and b are the likeliest; but a stays 1 unless stars of each fold, judged by what is found
from the others, are likelier with it by more than one standard error.

Errors of the given labels may be too large: of stars with small formal errors the residuals then
scatter by less than these errors alone. They hide what is missing in the formal ones, and a would
be too small for all other stars. Where c < 1 times the given errors, without a misfit b, are
likelier by more than three standard errors, a is what is likeliest beside them. Label errors that
are the same for all stars cannot be told from a misfit, hence one or the other; and where a < 1
beside them, it may as well be formal errors that are too large, so that nothing is changed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import optimize, special, stats

if TYPE_CHECKING:
    from luxscale.training.calibrate import Residuals

#: Degrees of freedom that are tried.
_DOF = (3.0, 5.0, 10.0, 50.0)

#: Greatest factor.
_MOST = 4.0

#: Fewest stars with a label from which a factor is found.
_FEWEST = 500

#: Factor, misfit^2 over the median formal variance, and factor^2 on errors of given labels, from
#: which the likeliest are searched.
_START, _START_MISFIT, _START_LABEL2 = 1.2, 0.5, 0.5

#: Standard errors by which a factor, and errors of given labels that are too large, have to be
#: likelier: the second says that what users gave is wrong.
_ERRORS, _ERRORS_OF_LABELS = 1.0, 3.0


class _Stars(NamedTuple):
    """Squares of residuals, and of both errors, of one label, over the median formal variance."""

    residual2: np.ndarray
    formal2: np.ndarray
    label2: np.ndarray

    def take(self, rows: np.ndarray) -> _Stars:
        """Return some of the stars."""
        return _Stars(*(column[rows] for column in self))


class _Law(NamedTuple):
    """What residuals are drawn from: factor^2, misfit^2, label factor^2, degrees of freedom."""

    factor2: float
    misfit2: float
    label_factor2: float
    dof: float


#: Least and greatest factor^2, misfit^2 and label factor^2 that a kind of law may have.
_Bounds = tuple[tuple[float, float | None], tuple[float, float | None], tuple[float, float | None]]
_PLAIN: _Bounds = ((1.0, 1.0), (0.0, None), (1.0, 1.0))
_INFLATED: _Bounds = ((1.0, _MOST**2), (0.0, None), (1.0, 1.0))
_OVERSTATED: _Bounds = ((_MOST**-2, _MOST**2), (0.0, 0.0), (0.1, 1.0))


class Widening(NamedTuple):
    """What errors of predicted labels are made of: (label,) each.

    inflation: factor on formal errors; misfit: beside them; label_factor: on the errors of the
    given labels, at most 1, with which the others were found.
    """

    inflation: np.ndarray
    misfit: np.ndarray
    label_factor: np.ndarray


def measure_inflation(folds: Sequence[Residuals], misfit: np.ndarray) -> Widening:
    """Return the factor on formal errors, and the misfit beside it, of each label.

    Parameters
    ----------
    folds : sequence of Residuals
        Of the labels of one output, for the stars of each fold.
    misfit : array, (label,)
        That of a factor of 1, kept where nothing else is likelier.
    """
    found = Widening(np.ones(misfit.size), misfit.copy(), np.ones(misfit.size))
    numbers = [np.full(len(part.residual), k) for k, part in enumerate(folds)]
    fold = np.concatenate(numbers)
    residual, formal, label_err = (
        np.concatenate([getattr(part, name) for part in folds])
        for name in ("residual", "formal", "label_err")
    )
    for m in range(misfit.size):
        known = np.isfinite(residual[:, m]) & (formal[:, m] > 0)
        if known.sum() < _FEWEST:
            continue
        squares = [column[known, m] ** 2 for column in (residual, formal, label_err)]
        unit = np.median(squares[1])
        stars = _Stars(*(square / unit for square in squares))
        law = _find_law(stars, fold[known])
        if law is None:
            continue
        found.inflation[m] = np.sqrt(law.factor2)
        found.misfit[m] = np.sqrt(law.misfit2 * unit)
        found.label_factor[m] = np.sqrt(law.label_factor2)
    return found


def _find_law(stars: _Stars, fold: np.ndarray) -> _Law | None:
    """Return the likeliest law, None if no factor at all does as well."""
    inflated = _find_likeliest(stars, _INFLATED)
    is_inflated = _is_likelier(
        stars, fold, inflated.dof, bounds=_INFLATED, than=_PLAIN, errors=_ERRORS
    )
    overstated = _find_likeliest(stars, _OVERSTATED)
    simpler = _INFLATED if is_inflated else _PLAIN
    if overstated.factor2 >= 1 and _is_likelier(
        stars, fold, overstated.dof, bounds=_OVERSTATED, than=simpler, errors=_ERRORS_OF_LABELS
    ):
        return overstated
    return inflated if is_inflated else None


def _find_likeliest(stars: _Stars, bounds: _Bounds) -> _Law:
    """Return the likeliest law of a kind, of all degrees of freedom."""
    law, _ = min((_fit(stars, dof, bounds) for dof in _DOF), key=lambda found: found[1])
    return law


def _is_likelier(
    stars: _Stars, fold: np.ndarray, dof: float, *, bounds: _Bounds, than: _Bounds, errors: float
) -> bool:
    """Return whether stars left out are likelier under one kind of law than under another.

    By so many standard errors.
    """
    _, richer = _fit(stars, dof, bounds)
    _, simpler = _fit(stars, dof, than)
    # what one parameter more gains by chance, in the stars that it is fitted to
    if (simpler - richer) * fold.size < 1:
        return False
    gain = np.zeros(fold.size)
    for number in np.unique(fold):
        left_out = fold == number
        seen, others = stars.take(left_out), stars.take(~left_out)
        one, _ = _fit(others, dof, bounds)
        other, _ = _fit(others, dof, than)
        gain[left_out] = _find_log_density(seen, one) - _find_log_density(seen, other)
    standard_error = gain.std() / np.sqrt(gain.size)
    return bool(gain.mean() > errors * standard_error)


def _fit(stars: _Stars, dof: float, bounds: _Bounds) -> tuple[_Law, float]:
    """Return the likeliest law within bounds, and -ln likelihood per star."""

    def measure(at: np.ndarray) -> tuple[float, np.ndarray]:
        law = _Law(at[0], at[1], at[2], dof)
        slope = _find_slope(stars, law)
        columns = (stars.formal2, np.ones_like(slope), stars.label2)
        rates = np.array([np.mean(slope * column) for column in columns])
        return -float(np.mean(_find_log_density(stars, law))), -rates

    found = optimize.minimize(
        measure,
        np.clip([_START**2, _START_MISFIT, _START_LABEL2], *_list_bounds(bounds)),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
    )
    factor2, misfit2, label_factor2 = map(float, found.x)
    return _Law(factor2, misfit2, label_factor2, dof), float(found.fun)


def _list_bounds(bounds: _Bounds) -> tuple[list[float], list[float]]:
    """Return the least values, and the greatest."""
    least = [float(low or 0) for low, _ in bounds]
    return least, [np.inf if high is None else high for _, high in bounds]


@functools.cache
def _find_scale(dof: float) -> float:
    """Return the robust variance of a Student t."""
    quartile = stats.t.ppf(0.75, dof) / stats.norm.ppf(0.75)
    return float(quartile**2)


def _find_variance(stars: _Stars, law: _Law) -> np.ndarray:
    """Return the robust variance of each residual."""
    return law.factor2 * stars.formal2 + law.misfit2 + law.label_factor2 * stars.label2


def _find_log_density(stars: _Stars, law: _Law) -> np.ndarray:
    """Return the log density of each residual: (star,)."""
    dof = law.dof
    variance = _find_variance(stars, law) / _find_scale(dof)
    tail = np.log1p(stars.residual2 / (dof * variance))
    constant = special.gammaln((dof + 1) / 2) - special.gammaln(dof / 2) - np.log(dof * np.pi) / 2
    density: np.ndarray = constant - np.log(variance) / 2 - (dof + 1) / 2 * tail
    return density


def _find_slope(stars: _Stars, law: _Law) -> np.ndarray:
    """Return the derivative of the log density by the robust variance: (star,)."""
    dof = law.dof
    variance = _find_variance(stars, law)
    size = stars.residual2 * _find_scale(dof)
    pull = (dof + 1) * size / (dof * variance + size)
    slope: np.ndarray = (pull - 1) / (2 * variance)
    return slope
