"""Robust regression of a label on components of the spectra, each star predicted from the others.

y = phi(x)^T b + e with phi = (1, x, products of two of the first x). Coefficients of a kind g have
the prior N(0, 1 / alpha_g), alpha_g from the evidence (MacKay 1992, Neural Computation 4, 415):
alpha_g = gamma_g / |b_g|^2, gamma_g of them being determined by the data. Noise e has the variance
s^2 of the label about the model, that of its own error, and that from errors of the spectrum.
Weights 1 / (1 + d^2 / 4), d the distance in standard deviations, make far labels count little. With
C the covariance of the coefficients, w_i weight over variance of e, v_i = phi_i^T C phi_i and
h_i = w_i v_i:

    residual without star i   r_i = (y_i - phi_i^T b) / (1 - h_i)
    its variance              s^2 + errors^2 + v_i / (1 - h_i)

The last term is large for rare stars, of which the others tell little.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from luxscale.model.features import PolynomialFeatures

#: Components that have products.
PRODUCTS = 8

#: Kind of the terms that are products; 0 is the constant, 1 are components.
_PRODUCT = 2

#: Quantiles of absolute residuals that tell s^2, in sigma of a normal distribution; where the
#: regression fails, tails are longer.
_QUANTILES = ((0.5, 0.6745), (0.9, 1.6449))

#: How often weights, variances and precisions are found anew, and until slopes are about right.
_ROUNDS, _FIRST_ROUNDS = 10, 4

#: Degrees of freedom of the weights, and least weight that tells a label from a missing one.
_DOF, _LEAST_WEIGHT = 4.0, 1e-9

#: Distance from the median, in robust standard deviations, within which labels take part at first.
_USUAL = 12.0

#: Most distance from the median, and error, that are told from larger ones.
_FAR = 1e6

#: Bounds of the precisions alpha, and least s^2, in units of the label's robust variance.
_PRECISIONS, _LEAST_VARIANCE = (1e-4, 1e6), 1e-6

#: Precision of the constant, which is free.
_FREE = 1e-6

#: Most influence h of a star on its own prediction.
_MOST_INFLUENCE = 0.99


class LeftOut(NamedTuple):
    """Labels beside what all other stars tell of them: (star,).

    residual : in robust standard deviations of the label; distance : in those of the residual;
    excess : in those that it had if the others told all of the label, s^2 + errors^2.
    """

    residual: np.ndarray
    distance: np.ndarray
    excess: np.ndarray


class _Coefficients(NamedTuple):
    """Means, covariance and what each star's prediction has of it.

    mean : (term,); cov : (term, term); variance : (star,), of phi^T b.
    """

    mean: np.ndarray
    cov: np.ndarray
    variance: np.ndarray


def predict_left_out(
    values: np.ndarray, error2: np.ndarray, scores: np.ndarray, *, products: bool = True
) -> LeftOut:
    """Return how far each label is from what the other stars' labels and its spectrum tell.

    Parameters
    ----------
    values : array, (star,)
        In robust standard deviations of the label, from its median.
    error2 : array, (star,)
        Variance of each from its own error and from errors of the spectrum, which follow from
        `find_slopes`.
    scores : array, (star, component)
        Components of the spectra, the leading ones first.
    products : bool
        Whether the components have them.
    """
    terms, kinds = make_terms(scores)
    if not products:
        terms, kinds = terms[:, kinds < _PRODUCT], kinds[kinds < _PRODUCT]
    _, told = _iterate(values, error2, terms, kinds, _ROUNDS)
    return told


def find_slopes(values: np.ndarray, error2: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return about how much a label changes with each component: (component,).

    Parameters
    ----------
    values, scores
        As for `predict_left_out`.
    error2 : array, (star,)
        Variance of each from its own error.
    """
    terms, kinds = make_terms(scores)
    linear = kinds < _PRODUCT
    mean, _ = _iterate(values, error2, terms[:, linear], kinds[linear], _FIRST_ROUNDS)
    return mean[1:]


def _iterate(
    values: np.ndarray, error2: np.ndarray, terms: np.ndarray, kinds: np.ndarray, rounds: int
) -> tuple[np.ndarray, LeftOut]:
    """Return coefficients, (term,), and what the others tell, after so many rounds."""
    values = np.clip(values, -_FAR, _FAR)
    error2 = np.minimum(error2, _FAR**2)
    precisions = np.ones(kinds.max() + 1)
    precisions[0] = _FREE
    noise = 1 + error2
    weight = (np.abs(values) <= _USUAL).astype(float)
    for _ in range(rounds):
        # a label without weight to speak of would leave no digit to the others
        usual = np.where(weight > _LEAST_WEIGHT, values, 0)
        found = _solve(terms, usual, weight / noise, precisions[kinds])
        precisions[1:] = _update_precisions(found, kinds, precisions)[1:]
        influence = np.minimum(weight / noise * found.variance, _MOST_INFLUENCE)
        residual = (values - terms @ found.mean) / (1 - influence)
        known = error2 + found.variance / (1 - influence)
        scatter2 = max(_fit_scatter2(residual, known), _LEAST_VARIANCE)
        noise = scatter2 + error2
        distance = np.abs(residual) / np.sqrt(scatter2 + known)
        weight = 1 / (1 + distance**2 / _DOF)
    return found.mean, LeftOut(residual, distance, np.abs(residual) / np.sqrt(noise))


def make_terms(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what labels are regressed on, and its kind: (star, term), (term,).

    The constant, components, and products of two of the first of them.
    """
    n, k = scores.shape
    curved = min(PRODUCTS, k)
    products = PolynomialFeatures(curved, curved)(scores[:, :curved])[:, curved:]
    terms = np.hstack([np.ones((n, 1)), scores, products])
    return terms, np.repeat([0, 1, _PRODUCT], [1, k, products.shape[1]])


def _solve(
    terms: np.ndarray, values: np.ndarray, weights: np.ndarray, precisions: np.ndarray
) -> _Coefficients:
    """Return the coefficients of a weighted regression: weights (star,), precisions (term,)."""
    weighted = weights[:, None] * terms
    cov = np.linalg.inv(terms.T @ weighted + np.diag(precisions))
    mean = cov @ (weighted.T @ values)
    variance = ((terms @ cov) * terms).sum(1)
    return _Coefficients(mean, cov, variance)


def _update_precisions(
    found: _Coefficients, kinds: np.ndarray, precisions: np.ndarray
) -> np.ndarray:
    """Return the precision of each kind of coefficients that the evidence asks for."""
    number = np.bincount(kinds)
    shrunk = precisions * np.bincount(kinds, np.diag(found.cov))
    square = np.bincount(kinds, found.mean**2)
    precision = (number - shrunk) / np.maximum(square, 1 / _FAR**2)
    return np.clip(precision, *_PRECISIONS)


def _fit_scatter2(residual: np.ndarray, known: np.ndarray) -> float:
    """Return s^2 with which quantiles of |r| / sqrt(s^2 + known) are a normal distribution's.

    |r| <= c sqrt(s^2 + known) where r^2 / c^2 - known <= s^2: it is a quantile itself.
    """
    found = [np.quantile(residual**2 / c**2 - known, share) for share, c in _QUANTILES]
    return float(max(found))
