"""The terms of a posterior one by one, where stars differ by the level of their noise alone.

The equations are those of `luxscale.model.posterior`. What is different is which terms are tried,
all that `luxscale.model.landmarks` holds possible instead of those whose means are near, and that a
term takes as many steps as it needs: terms of all stars stand in one list, and each step is taken
by those that still move and still matter.

Arrays of compiled functions have the term last: 12 latents of one star fill no vector register.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
from luxscale.model.features import PolynomialFeatures
from luxscale.model.groups import map_groups
from luxscale.model.jit import compile_program
from luxscale.model.landmarks import Landmarks
from luxscale.model.lowered import keep_lowered, register_result
from luxscale.model.posterior import find_robust_weight, log_likelihood
from luxscale.model.priors import Gaussians
from luxscale.model.products import list_products

#: Terms of the series for Newton's step, and by what factor the gain it promises may differ from
#: that of Gauss-Newton's, which is taken otherwise.
_SERIES, _LONGEST = 3, 5


class Common(NamedTuple):
    """What all stars share: nu, the prior, and tables of the spectrum."""

    dof: Any
    prior: Gaussians
    landmarks: Landmarks


class Terms(NamedTuple):
    """Terms of stars: components (term, value), level (term,), gaussian (term,), latent."""

    components: Any
    level: Any
    gaussian: Any
    latent: Any


@register_result
class Found(NamedTuple):
    """What a step finds at the latents of terms: see `take_step`."""

    step: Any
    distance: Any
    energy: Any
    log_weight: Any
    chi2: Any
    slope: Any
    hessian: Any


class Around(NamedTuple):
    """What the spectrum alone says about some latents, linearised there: see `take_step`."""

    latent: Any
    chi2: Any
    slope: Any
    hessian: Any


@compile_program()
@keep_lowered
def screen(common: Common, place: Any, level: Any, components: Any) -> tuple[Any, Any]:
    """Return ln evidence of each Gaussian, linearised at its mean, and q of `landmarks`.

    Parameters
    ----------
    common : Common
    place : int
        Of the stars' level in the grid.
    level : float
        t^2 there.
    components : array, (star, value)

    Returns
    -------
    log_evidence : array, (star, gaussian)
    q : array, (star, gaussian, latent)
    """
    table = common.landmarks
    k, p = common.prior.mean.shape
    q = linalg.dot(components, table.project[place].T) - table.shift[place]
    q = q.reshape(-1, k, p)
    weight = 1 / (level + table.variance)
    weighted = table.spectra * weight
    constant = jnp.sum(weighted * table.spectra, 1)
    chi2 = jnp.sum(components**2 * weight, 1, keepdims=True) + constant
    chi2 = chi2 - 2 * linalg.dot(components, weighted.T) - jnp.sum(q * q, 2)
    likelihood = log_likelihood(common.dof, components.shape[1], jnp.maximum(chi2, 0))
    return table.log_norm[place] + likelihood, q


@compile_program()
@keep_lowered
def take_steps(common: Common, terms: Terms, number: Any) -> Found:
    """Return what `take_step` finds of the first so many terms."""
    return map_groups(functools.partial(take_step, common), terms, number)


def take_step(common: Common, terms: Terms) -> Found:
    """Return the next step of terms, and what they are worth where they are.

    Returns
    -------
    Found
        step (term, latent); distance, its squared length in sigma; energy, -ln p(data, z);
        log_weight, ln omega at the end of the step, and chi2; of the spectrum alone, downhill slope
        J^T M r and J^T M J, packed: slope (term, latent), hessian (term, pair of latents).
    """
    x, table = common.prior, common.landmarks
    z, mean = terms.latent.T, x.mean[terms.gaussian].T
    precision = jnp.moveaxis(x.precision[terms.gaussian], 0, 2)
    # a component a row
    weight = 1 / (terms.level + table.variance[:, None])
    products = list_products(table.features)
    powers = products.multiply(z)
    phi = powers[products.terms]
    residual = terms.components.T - linalg.dot(table.weights, phi)
    weighted = weight * residual
    chi2 = jnp.sum(residual * weighted, 0)
    n = residual.shape[0]
    factor = find_robust_weight(common.dof, n, chi2)
    by_term = linalg.dot(table.weights.T, weighted * factor)
    slope, bend = _differentiate(table.features, by_term, z)
    away = z - mean
    slope, held = _compute_once((slope, _apply(precision, away)))
    downhill = slope - held
    shape = linalg.dot(table.coefficients, weight * factor)
    basis = (shape[:, None] * powers).reshape(-1, z.shape[1])
    hessian = _compute_once(linalg.dot(table.gram, basis))
    covariance, log_det = _add_and_invert(hessian, precision)
    step = _compute_once(_apply(covariance, downhill))
    # Newton's step, as a series in what Gauss-Newton's matrix lacks
    better = step
    for _ in range(_SERIES):
        lacking = _compute_once(_apply(bend, better))
        better = _compute_once(step + _apply(covariance, lacking))
    plain, bent = jnp.sum(step * downhill, 0), jnp.sum(better * downhill, 0)
    is_near = (bent > plain / _LONGEST) & (bent < plain * _LONGEST)
    step, distance = jnp.where(is_near, better, step), jnp.where(is_near, bent, plain)
    energy = 0.5 * jnp.sum(away * held, 0) - log_likelihood(common.dof, n, chi2)
    log_weight = x.log_weight[terms.gaussian] - energy - 0.5 * log_det + 0.5 * distance
    return Found(
        step=step.T,
        distance=distance,
        energy=energy,
        log_weight=log_weight,
        chi2=chi2,
        slope=slope.T,
        hessian=hessian.T,
    )


@compile_program()
@keep_lowered
def expect_rows(common: Common, around: Around, gaussian: Any, number: Any) -> Any:
    """Return what `expect_terms` does of the first so many terms."""

    def expect(some: tuple[Around, Any]) -> tuple[Any, Any, Any]:
        return expect_terms(common, *some)

    return map_groups(expect, (around, gaussian), number)


def expect_terms(common: Common, around: Around, gaussian: Any) -> tuple[Any, Any, Any]:
    """Return what other terms of a star come to if the spectrum is as about one of them.

    Parameters
    ----------
    common : Common
    around : Around
        A term each.
    gaussian : array, (term,)

    Returns
    -------
    step : array, (term, latent)
        From the latents to the maximum.
    distance : array, (term,)
        Its squared length in sigma.
    log_weight : array, (term,)
    """
    x = common.prior
    z = around.latent.T
    precision = jnp.moveaxis(x.precision[gaussian], 0, 2)
    away = z - x.mean[gaussian].T
    held = _compute_once(_apply(precision, away))
    covariance, log_det = _add_and_invert(around.hessian.T, precision)
    downhill = around.slope.T - held
    step = _apply(covariance, downhill)
    n = common.landmarks.variance.shape[0]
    log_weight = x.log_weight[gaussian] + log_likelihood(common.dof, n, around.chi2)
    distance = jnp.sum(step * downhill, 0)
    penalty = jnp.sum(away * held, 0)
    return step.T, distance, log_weight - 0.5 * (log_det + penalty - distance)


def find_covariance(common: Common, hessian: Any, gaussian: Any) -> Any:
    """Return the covariance of terms: (term, latent, latent)."""
    precision = jnp.moveaxis(common.prior.precision[gaussian], 0, 2)
    return jnp.moveaxis(_add_and_invert(hessian.T, precision)[0], 2, 0)


def _add_and_invert(hessian: Any, precision: Any) -> tuple[Any, Any]:
    """Return the inverse of a packed matrix and another, and ln |H|, term last."""
    whole = hessian[linalg.packed_index(len(precision))[2]] + precision
    found: tuple[Any, Any] = _compute_once(invert(_compute_once(whole)))
    return found


#: Keeps XLA from computing an array anew for each element of the sums that take it, which more than
#: half of a step's time went into.
_compute_once = jax.lax.optimization_barrier


def _differentiate(features: PolynomialFeatures, by_term: Any, z: Any) -> tuple[Any, Any]:
    """Return the slope of v^T phi, (latent, term), and its slope, (latent, latent, term), given v.

    With v^T phi = w^T z + z^T Q z + C z z z, they are w + 2 Q z + 3 C z z and 2 Q + 6 C z.
    """
    p, c = features.latent_dim, features.cubic
    padded = jnp.concatenate([by_term, jnp.zeros_like(by_term[:1])])
    twice = (1 + np.eye(p, dtype=np.float32))[:, :, None]
    linear, bend = _compute_once((by_term[:p], padded[features.places] * twice))
    slope = linear + _apply(bend, z)
    if not c:
        return slope, bend
    triples = _compute_once(by_term[features.triples] * features.repeats[..., None])
    turned = _compute_once(_apply(triples, z[:c]))
    more = _apply(turned, z[:c]) / 2
    slope = slope + jnp.pad(more, ((0, p - c), (0, 0)))
    return slope, _compute_once(bend + jnp.pad(turned, ((0, p - c), (0, p - c), (0, 0))))


def _apply(matrix: Any, vectors: Any) -> Any:
    # a sum over an axis in the middle takes XLA five times as long
    return sum(matrix[..., i, :] * vectors[i] for i in range(len(vectors)))


def invert(hessian: Any) -> tuple[Any, Any]:
    """Return the inverse of positive definite matrices, and ln |H|, term last.

    Row by row: each turn exchanges one unknown with its right-hand side in all equations.
    """
    diagonal = jnp.diagonal(hessian).T
    scale = jax.lax.rsqrt(diagonal)
    scaled = hessian * scale[:, None] * scale
    rows = jnp.arange(len(scale))[:, None]

    def exchange(k: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        matrix, log_det = state
        row = matrix[k]
        pivot = row[k]
        divided = row / pivot
        is_k = rows == k
        new = jnp.where(is_k, -1 / pivot, divided)
        matrix = matrix - row[:, None] * divided
        matrix = jnp.where(is_k[:, None], new, matrix)
        matrix = jnp.where(is_k, new[:, None], matrix)
        return matrix, log_det + jnp.log(pivot)

    begin = (scaled, jnp.zeros_like(scale[0]))
    matrix, log_det = jax.lax.fori_loop(0, len(scale), exchange, begin)
    return -matrix * scale[:, None] * scale, log_det - 2 * jnp.sum(jnp.log(scale), 0)
