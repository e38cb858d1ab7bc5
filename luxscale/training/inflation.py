"""Factors on formal errors, where stars left out of training scatter more the larger these are.

One misfit for all stars is right where the model misses by as much in all of them. Where it misses
by more in fainter stars, the variance of a predicted label is a^2 formal^2 + b^2 instead, with a
factor a of at least 1: a star without data has the error of the prior, which is right as it is.
Residuals, that is these variances and those of the given labels, are a Student t. Its degrees of
freedom, a and b are the likeliest; but a stays 1 unless stars of each fold, judged by what is found
from the others, are likelier with it by more than one standard error.
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

#: Factor, and misfit^2 over the median formal variance, from which the likeliest are searched.
_START, _START_MISFIT = 1.2, 0.5


class _Stars(NamedTuple):
    """Squares of residuals, and of both errors, of one label, over the median formal variance."""

    residual2: np.ndarray
    formal2: np.ndarray
    label2: np.ndarray

    def take(self, rows: np.ndarray) -> _Stars:
        """Return some of the stars."""
        return _Stars(*(column[rows] for column in self))


class _Law(NamedTuple):
    """What residuals are drawn from: factor^2, misfit^2, degrees of freedom."""

    factor2: float
    misfit2: float
    dof: float


def measure_inflation(
    folds: Sequence[Residuals], misfit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor on formal errors, and the misfit beside it, of each label.

    Parameters
    ----------
    folds : sequence of Residuals
        Of the labels of one output, for the stars of each fold.
    misfit : array, (label,)
        That of a factor of 1, kept where the factor is 1.

    Returns
    -------
    inflation, misfit : array, (label,)
    """
    inflation = np.ones(misfit.size)
    beside = misfit.copy()
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
        inflation[m] = np.sqrt(law.factor2)
        beside[m] = np.sqrt(law.misfit2 * unit)
    return inflation, beside


def _find_law(stars: _Stars, fold: np.ndarray) -> _Law | None:
    """Return the likeliest law, None if a factor of 1 does as well."""
    law, free = min((_fit(stars, dof, _MOST) for dof in _DOF), key=lambda found: found[1])
    _, fixed = _fit(stars, law.dof, 1.0)
    # what one parameter more gains by chance, in the stars that it is fitted to
    if (fixed - free) * fold.size < 1:
        return None
    gain = np.zeros(fold.size)
    for number in np.unique(fold):
        left_out = fold == number
        seen, others = stars.take(left_out), stars.take(~left_out)
        with_factor, _ = _fit(others, law.dof, _MOST)
        without, _ = _fit(others, law.dof, 1.0)
        gain[left_out] = _find_log_density(seen, with_factor) - _find_log_density(seen, without)
    standard_error = gain.std() / np.sqrt(gain.size)
    return law if gain.mean() > standard_error else None


def _fit(stars: _Stars, dof: float, most: float) -> tuple[_Law, float]:
    """Return the likeliest law with a factor of at most ``most``, and -ln likelihood per star."""

    def measure(at: np.ndarray) -> tuple[float, np.ndarray]:
        law = _Law(at[0], at[1], dof)
        slope = _find_slope(stars, law)
        rates = np.array([np.mean(slope * stars.formal2), np.mean(slope)])
        return -float(np.mean(_find_log_density(stars, law))), -rates

    found = optimize.minimize(
        measure,
        np.array([min(_START, most) ** 2, _START_MISFIT]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(1.0, most**2), (0.0, None)],
    )
    factor2, misfit2 = map(float, found.x)
    return _Law(factor2, misfit2, dof), float(found.fun)


@functools.cache
def _find_scale(dof: float) -> float:
    """Return the robust variance of a Student t."""
    quartile = stats.t.ppf(0.75, dof) / stats.norm.ppf(0.75)
    return float(quartile**2)


def _find_variance(stars: _Stars, law: _Law) -> np.ndarray:
    """Return the robust variance of each residual."""
    return law.factor2 * stars.formal2 + law.misfit2 + stars.label2


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
