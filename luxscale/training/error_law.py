"""How residuals of labels scatter, by the law that stars left out of training ask for.

Of a residual of a label (predicted - given) the robust variance is

    v = s^2 formal^2 + b^2 + label_err^2

with a factor s of at least 1 on the formal error and a misfit b; the residual is a Student t. s is
1, a constant, or a power of the formal error between those of most stars. Each of these laws is
fitted without the stars of each fold in turn, and asked for the density of those. Taken is the
simplest that is within one standard error of the likeliest, but no more of it than leaves half of
the residuals where v has them: given errors that are too large leave no room for a factor.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from luxscale.analysis.stats import MAD_TO_SIGMA

#: Degrees of freedom that are tried.
_DOF = (3.0, 5.0, 10.0, 50.0)

#: Greatest factor.
_MOST = 4.0

#: Formal errors between which a factor varies, as quantiles of the stars'.
_RANGE = (0.05, 0.95)

#: Factor, and b^2 over the median formal variance, from which the likeliest are searched.
_START, _START_MISFIT = 1.2, 0.5

#: Least robust scatter of residuals over sqrt(v) that a factor may leave.
_LEAST_PULL = 0.95


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

    at : (knot,) formal errors, none for a factor of 1; factor : (knot,), that at each; misfit2 :
    b^2; dof : degrees of freedom.
    """

    at: tuple[float, ...]
    factor: tuple[float, ...]
    misfit2: float
    dof: float

    def find_variance(self, stars: Squares) -> np.ndarray:
        """Return the robust variance of each residual."""
        log_factor = np.log(self.factor) @ _share_knots(stars, self.at)
        variance: np.ndarray = np.exp(2 * log_factor) * stars.formal + self.misfit2 + stars.label
        return variance

    def find_pull(self, stars: Squares) -> float:
        """Return the robust scatter of residuals over the root of their variance."""
        pull = np.sqrt(stars.residual / self.find_variance(stars))
        return MAD_TO_SIGMA * float(np.median(pull))

    def take_part(self, part: float) -> Law:
        """Return the law with a part of what it adds to formal errors, from 0 to 1."""
        factor = tuple(value**part for value in self.factor)
        return self._replace(factor=factor, misfit2=part * self.misfit2)


def find_law(stars: Squares, fold: np.ndarray) -> Law:
    """Return the law that the stars of one label ask for, fitted to all of them.

    Parameters
    ----------
    stars : Squares
    fold : array of int, (star,)
    """
    low, high = np.quantile(np.sqrt(stars.formal), _RANGE).tolist()
    knots: list[tuple[float, ...]] = [(), (1.0,)]
    if high > low:
        knots.append((low, high))
    dof = min(_DOF, key=lambda dof: _fit(stars, knots[-1], dof)[1])
    density = np.stack([_find_left_out(stars, fold, at, dof) for at in knots])
    lack = density[int(np.argmax(density.mean(1)))] - density
    enough = lack.mean(1) <= lack.std(1) / np.sqrt(fold.size)
    law, _ = _fit(stars, knots[int(np.argmax(enough))], dof)
    return _leave_scatter(law, stars)


def _leave_scatter(law: Law, stars: Squares) -> Law:
    """Return the law, or so much of it that residuals are not much smaller than it says."""

    def find_excess(part: float) -> float:
        return law.take_part(part).find_pull(stars) - _LEAST_PULL

    if find_excess(1.0) >= 0:
        return law
    if find_excess(0.0) <= 0:
        return law.take_part(0.0)
    return law.take_part(float(optimize.brentq(find_excess, 0.0, 1.0, xtol=1e-4)))


def _find_left_out(
    stars: Squares, fold: np.ndarray, at: tuple[float, ...], dof: float
) -> np.ndarray:
    """Return the log density of each residual by the law of the other folds."""
    density = np.zeros(fold.size)
    for number in np.unique(fold):
        left_out = fold == number
        law, _ = _fit(stars.take(~left_out), at, dof)
        seen = stars.take(left_out)
        density[left_out] = _find_log_density(seen.residual, law.find_variance(seen), dof)
    return density


def _fit(stars: Squares, at: tuple[float, ...], dof: float) -> tuple[Law, float]:
    """Return the likeliest law with these knots, and -ln likelihood per star."""
    n = len(at)
    share = _share_knots(stars, at)

    def measure(x: np.ndarray) -> tuple[float, np.ndarray]:
        inflated = np.exp(2 * x[:n] @ share) * stars.formal
        variance = inflated + x[n] + stars.label
        slope = _find_slope(stars.residual, variance, dof)
        of_factors = share @ (2 * slope * inflated) / slope.size
        density = _find_log_density(stars.residual, variance, dof)
        return -float(np.mean(density)), -np.array([*of_factors, np.mean(slope)])

    found = optimize.minimize(
        measure,
        np.array([np.log(_START)] * n + [_START_MISFIT]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, np.log(_MOST))] * n + [(0.0, None)],
    )
    *log_factor, misfit2 = found.x.tolist()
    factor = tuple(np.exp(log_factor).tolist())
    return Law(at, factor, misfit2, dof), float(found.fun)


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
