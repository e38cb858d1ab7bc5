"""How residuals of labels scatter, by the law that stars left out of training ask for.

Of a residual of a label (predicted - given) the robust variance is

    v = s^2 formal^2 + b^2 + label_err^2

with a factor s on the formal error and a misfit b; the residual is a Student t. s is at least 1,
or somewhat less for an ensemble, whose mean misses by less than its members. It is 1, a constant,
or a power of the formal error from knot to knot. Each of these laws is fitted
without the stars of each fold in turn, and asked for the density of those. Taken is the simplest
that is within one standard error of the likeliest.

Likelihood takes given errors for right. Where those of bright stars are too large, no factor helps
these, and one that faint stars need may widen others. So powers of the factors are taken for which
the pull, the robust scatter of residuals over the root of v, is the nearest to 1 in each third of
S/N, as far as it differs from 1 by more than chance.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from luxscale.analysis.repeats import MAD_ERROR
from luxscale.analysis.stats import MAD_TO_SIGMA
from luxscale.model.calibration import Curve

#: Degrees of freedom that are tried.
_DOF = (3.0, 5.0, 10.0, 50.0)

#: Greatest factor.
_MOST = 4.0

#: Parts of the stars, by S/N, in which residuals are as large as the law says; fewest stars in one.
_PARTS, _FEWEST = 3, 200

#: Knots of a factor that varies, as quantiles of formal errors; and those of few stars.
_KNOTS, _KNOTS_OF_FEW = (0.1, 0.5, 0.9), (0.1, 0.9)

#: Factor, and b^2 over the median formal variance, from which the likeliest are searched.
_START, _START_MISFIT = 1.2, 0.5

#: Standard errors by which a pull may differ from 1.
_CHANCE = 1.5

#: Powers of a factor that are tried, the nearest to 1 first; and how often each factor is turned.
_POWERS = tuple(tenth / 10 for tenth in sorted(range(16), key=lambda tenth: abs(tenth - 10)))
_SWEEPS = 4


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

    def make_curve(self, unit: float = 1.0) -> Curve:
        """Return the factor, with which an error never falls as the formal error rises.

        unit : Of formal errors, in those of the law.
        """
        if set(self.factor) <= {1.0}:
            return Curve((1.0,), (1.0,))
        if len(self.at) == 1:
            return Curve((1.0,), self.factor)
        at = np.array(self.at)
        error = np.maximum.accumulate(at * self.factor)
        return Curve(tuple((at * unit).tolist()), tuple((error / at).tolist()))

    def find_variance(self, stars: Squares) -> np.ndarray:
        """Return the robust variance of each residual."""
        factor = self.make_curve().scale_by(np.sqrt(stars.formal))
        variance: np.ndarray = factor**2 * stars.formal + self.misfit2 + stars.label
        return variance

    def find_pull(self, stars: Squares) -> float:
        """Return the robust scatter of residuals over the root of their variance."""
        pull = np.sqrt(stars.residual / self.find_variance(stars))
        return MAD_TO_SIGMA * float(np.median(pull))

    def raise_factors(self, powers: Sequence[float], least: float) -> Law:
        """Return the law with a power of each factor, between the least and the greatest."""
        raised = np.clip(np.power(self.factor, powers), least, _MOST)
        return self._replace(factor=tuple(raised.tolist()))


def find_law(stars: Squares, fold: np.ndarray, signal: np.ndarray, least: float = 1.0) -> Law:
    """Return the law that the stars of one label ask for.

    Parameters
    ----------
    stars : Squares
    fold : array of int, (star,)
    signal : array, (star,)
        S/N of their spectra.
    least : float
        Least factor.
    """
    enough = fold.size >= _PARTS * _FEWEST
    knots: list[tuple[float, ...]] = [(), (1.0,)]
    quantiles = np.quantile(np.sqrt(stars.formal), _KNOTS if enough else _KNOTS_OF_FEW)
    varying = tuple(np.unique(quantiles).tolist())
    if len(varying) > 1:
        knots.append(varying)
    law = _select(stars, fold, knots, least)
    parts = np.array_split(np.argsort(signal, kind="stable"), _PARTS if enough else 1)
    return _turn_factors(law, [stars.take(rows) for rows in parts], least)


def _select(stars: Squares, fold: np.ndarray, knots: list[tuple[float, ...]], least: float) -> Law:
    """Return the law of the simplest knots that are not clearly worse than others."""
    dof = min(_DOF, key=lambda dof: _fit(stars, knots[-1], dof, least)[1])
    density = np.stack([_find_left_out(stars, fold, at, dof, least) for at in knots])
    lack = density[int(np.argmax(density.mean(1)))] - density
    enough = lack.mean(1) <= lack.std(1) / np.sqrt(fold.size)
    return _fit(stars, knots[int(np.argmax(enough))], dof, least)[0]


def _turn_factors(law: Law, parts: list[Squares], least: float) -> Law:
    """Return the law with powers of its factors for which pulls of parts are the nearest to 1."""
    chance = [_CHANCE * MAD_ERROR / np.sqrt(part.residual.size) for part in parts]

    def measure(powers: list[float]) -> float:
        turned = law.raise_factors(powers, least)
        excess = [abs(turned.find_pull(p) - 1) - c for p, c in zip(parts, chance, strict=True)]
        return sum(max(value, 0.0) ** 2 for value in excess)

    powers = [1.0] * len(law.at)
    for _ in range(_SWEEPS):
        before = powers
        for knot in range(len(powers)):
            tried = [[*powers[:knot], power, *powers[knot + 1 :]] for power in _POWERS]
            powers = min(tried, key=measure)
        if powers == before:
            break
    return law.raise_factors(powers, least)


def _find_left_out(
    stars: Squares, fold: np.ndarray, at: tuple[float, ...], dof: float, least: float
) -> np.ndarray:
    """Return the log density of each residual by the law of the other folds."""
    density = np.zeros(fold.size)
    for number in np.unique(fold):
        left_out = fold == number
        law, _ = _fit(stars.take(~left_out), at, dof, least)
        seen = stars.take(left_out)
        density[left_out] = _find_log_density(seen.residual, law.find_variance(seen), dof)
    return density


def _fit(stars: Squares, at: tuple[float, ...], dof: float, least: float) -> tuple[Law, float]:
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
        bounds=[(np.log(least), np.log(_MOST))] * n + [(0.0, None)],
    )
    *log_factor, misfit2 = found.x.tolist()
    factor = tuple(np.exp(log_factor).tolist())
    return Law(at, factor, misfit2, dof), float(found.fun)


def _share_knots(stars: Squares, at: tuple[float, ...]) -> np.ndarray:
    """Return the part of each knot in ln of the factor of each star: (knot, star)."""
    logarithm = np.log(stars.formal) / 2
    rows = [np.interp(logarithm, np.log(at), one) for one in np.eye(len(at))]
    return np.array(rows).reshape(len(at), logarithm.size)


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
