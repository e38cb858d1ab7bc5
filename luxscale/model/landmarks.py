"""What of a search for latents is the same for all stars whose noise differs by its level alone.

With noise of independent components, variances t^2 + s_d^2, a star is its level t and the
components c of its spectrum. Prepared once, for a grid of levels, is the spectrum linearised at the
mean mu_k of each Gaussian of the prior, with M = 1 / (t^2 + s^2) and J the slope there:

    A_k = J^T M J + S_k^-1 = L L^T,  q_k = L^-1 J^T M (c - W phi(mu_k))
    ln evidence_k = ln pi_k - ln |S_k| / 2 - ln |L| - (r^T M r - q_k^T q_k) / 2
    z_k = mu_k + L^-T q_k, about the maximum under that Gaussian

For the steps that follow, J^T M J of all stars is one matrix product: M is a sum of few shapes,
J^T diag(shape) J one over products of two of the terms that J is made of
(`luxscale.model.products`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from luxscale.model.features import PolynomialFeatures
from luxscale.model.priors import Gaussians, Prior
from luxscale.model.problem import Design
from luxscale.model.products import Products, list_products

#: ln t^2 of the grid: errors from a twentieth of those of the training stars to thirty times.
_LEVELS = np.arange(-6.0, 8.0)

#: Shapes that M is a sum of, to 0.1% in the range of the grid.
_SHAPES = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Landmarks:
    """Tables for a search, in float32; see the module.

    Parameters
    ----------
    features : PolynomialFeatures
        phi.
    weights, variance : array, (value, term) and (value,)
        W and s^2.
    project : array, (level, gaussian * latent, value)
        L^-1 J^T M.
    shift : array, (level, gaussian * latent)
        The same times W phi(mu).
    spectra : array, (gaussian, value)
        W phi(mu).
    log_norm : array, (level, gaussian)
        ln pi - ln |S| / 2 - ln |L|.
    back : array, (level, gaussian, latent, latent)
        L^-T.
    coefficients : array, (shape, value)
        What M is multiplied by for its coefficients.
    gram : array, (pair of latents, shape * product)
        J^T diag(shape) J, packed, for each product of two lower terms.
    every_term : bool
        Whether every likely term of a star takes steps of its own: the full search alone.
    """

    features: PolynomialFeatures
    weights: Any
    variance: Any
    project: Any
    shift: Any
    spectra: Any
    log_norm: Any
    back: Any
    coefficients: Any
    gram: Any
    every_term: bool = False

    @staticmethod
    def find_levels(level: np.ndarray) -> np.ndarray:
        """Return where levels t^2 stand in the grid, -1 if outside it: (star,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            place = np.rint(np.log(level) - _LEVELS[0])
        inside = (place >= 0) & (place < len(_LEVELS))
        return np.where(inside, place, -1).astype(int)


jax.tree_util.register_dataclass(
    Landmarks,
    [f.name for f in dataclasses.fields(Landmarks) if f.name != "every_term"],
    ["every_term"],
)


def find_level(place: Any) -> Any:
    """Return t^2 at a place in the grid."""
    return np.exp(_LEVELS[0] + place)


def make_landmarks(
    designs: Sequence[Design], prior: Prior, *, every_term: bool = False
) -> Landmarks | None:
    """Return the tables of a search, or None if stars differ by more than the level of noise.

    Parameters
    ----------
    designs : sequence of Design
    prior : Prior
        Prepared for the kernel.
    every_term : bool
        As of `Landmarks`.
    """
    if len(designs) != 1:
        return None
    (design,) = designs
    reduced = design.reduced
    variance, features = design.noise.level_variance, design.features
    if reduced is None or variance is None or not isinstance(features, PolynomialFeatures):
        return None
    gaussians = Gaussians(*(np.asarray(a, float) for a in prior.gaussians()))
    weights = np.asarray(reduced.weights, float)
    variance = np.asarray(variance, float)
    mean = gaussians.mean
    by_lower = features.list_slopes() @ weights.T
    phi = np.asarray(features(mean))
    lower = np.hstack([np.ones((len(mean), 1)), phi[:, : features.n_lower - 1]])
    slopes = np.einsum("km,mpd->kpd", lower, by_lower)
    spectra = phi @ weights.T
    coefficients, gram = _make_gram(by_lower, variance, list_products(features))
    arrays = {
        **_make_projections(gaussians, slopes, spectra, variance),
        "weights": weights,
        "variance": variance,
        "spectra": spectra,
        "coefficients": coefficients,
        "gram": gram,
    }
    single = {name: array.astype(np.float32) for name, array in arrays.items()}
    tables = Landmarks(features=features, every_term=every_term, **single)
    on_device: Landmarks = jax.block_until_ready(jax.device_put(tables))
    return on_device


def _make_projections(
    gaussians: Gaussians, slopes: np.ndarray, spectra: np.ndarray, variance: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the tables of `Landmarks` that are for a level of noise each, by name."""
    k, p, _ = slopes.shape
    project, shift, log_norm, back = [], [], [], []
    for place in range(len(_LEVELS)):
        weighted = slopes / (find_level(place) + variance)
        normal = weighted @ slopes.swapaxes(1, 2) + gaussians.precision
        half = np.linalg.cholesky(normal)
        inverse = np.linalg.inv(half)
        projected = inverse @ weighted
        diagonal = np.diagonal(half, axis1=1, axis2=2)
        project.append(projected.reshape(k * p, -1))
        shift.append((projected @ spectra[..., None]).ravel())
        log_norm.append(gaussians.log_weight - np.log(diagonal).sum(1))
        back.append(inverse.swapaxes(1, 2))
    return {
        "project": np.array(project),
        "shift": np.array(shift),
        "log_norm": np.array(log_norm),
        "back": np.array(back),
    }


def _make_gram(
    by_lower: np.ndarray, variance: np.ndarray, products: Products
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and gram of `Landmarks`, for the slopes of each lower term."""
    level = np.exp(np.linspace(_LEVELS[0], _LEVELS[-1], 100))
    shapes = 1 / (level[:, None] + variance)
    shapes /= shapes.mean(1, keepdims=True)
    _, _, basis = np.linalg.svd(shapes, full_matrices=False)
    basis = basis[:_SHAPES]
    a, b = np.tril_indices(by_lower.shape[1])
    parts = []
    for shape in basis:
        squares = np.einsum("mpd,nqd->mnpq", by_lower * shape, by_lower, optimize=True)
        summed = np.zeros((products.pairs.shape[1], a.size))
        # one product is of several pairs, and each in both orders
        np.add.at(summed, products.table, squares[:, :, a, b])
        parts.append(summed.T)
    return basis, np.concatenate(parts, 1)
