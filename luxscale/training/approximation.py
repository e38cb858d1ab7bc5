"""Normal matrices of many rows that are nearly right, from few sums.

The matrix of a row is a sum over the other axis of its weights times packed products,
H_n = sum_d w_nd p_d with K = P (P + 1) / 2 numbers: those of stars sum over pixels the products of
the model's weights, those of pixels sum over stars the second moments of latents. Those of some
rows are made in full. Their leading principal directions V, in units in which the typical one is
about 1, take most of any other: H_n V V^T, for which the few sums w_n (p V) are enough.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from luxscale.model import linalg
from luxscale.model.components import Components
from luxscale.model.jit import compile_program

#: Rows that are made in full, for each component.
_SAMPLES = 4

#: Least information on a latent, as a fraction of the greatest, that sets its unit.
_LEAST = 1e-12

#: How far off, as a mean of so many stars, the variance that covariances add to features may be by
#: few directions: three times what it is where errors vary as those of surveys do; and of how many
#: features.
_MOST_OFF, _TOLD_BY, _TOLD_ON = 0.01, 64, 1024


def pick_rows(n: int, count: int) -> np.ndarray:
    """Return positions of rows to make in full, for so many components: spread over all."""
    return _spread_rows(n, _SAMPLES * count)


def _spread_rows(n: int, most: int) -> np.ndarray:
    """Return at most so many positions, spread over all."""
    number = min(n, most)
    places = (np.arange(number) + 0.5) * (n / number)
    return places.astype(int)


class Directions(NamedTuple):
    """Leading directions of normal matrices, by which products are summed and matrices made.

    taken (K, component), made (component, K): H V V^T is (H taken) made.
    """

    taken: Any
    made: Any


def find_directions(sample: Any, latent_dim: int, count: int) -> Directions:
    """Return the leading principal directions of normal matrices.

    Parameters
    ----------
    sample : array, (row, K)
        Those of some rows; those of 0 say nothing, and where all are, there is no direction.
    latent_dim : int
        P.
    count : int
        Number of directions.
    """
    i, j, table = linalg.packed_index(latent_dim)
    matrices = np.asarray(sample, float)
    level = np.trace(matrices[:, table], axis1=1, axis2=2)
    known = level > 0
    if not known.any():
        nothing = np.zeros((len(i), count), np.float32)
        return Directions(nothing, nothing.T)
    # each of trace 1, and all of unit diagonal in the mean
    matrices = matrices[known] / level[known, None]
    diagonal = matrices[:, np.diagonal(table)].mean(0)
    least = _LEAST * diagonal.max()
    unit = 1 / np.sqrt(np.maximum(diagonal, least))
    # so that the length of a packed matrix is its Frobenius norm
    times = np.where(i == j, 1, np.sqrt(2))
    scale = unit[i] * unit[j] * times
    scaled = matrices * scale
    sizes, sides = np.linalg.eigh(scaled @ scaled.T)
    # the largest first
    kept = np.flatnonzero(sizes > _LEAST * sizes[-1])
    leading = kept[::-1][:count]
    mixing = sides[:, leading] / np.sqrt(sizes[leading])
    directions = np.zeros((len(i), count))
    directions[:, : leading.size] = scaled.T @ mixing
    taken = scale[:, None] * directions
    made = directions / scale[:, None]
    return Directions(taken.astype(np.float32), made.T.astype(np.float32))


@compile_program()
def approximate(products: Any, directions: Directions) -> Components:
    """Return the sums, and what to make of them, of products (feature, K) of each feature."""
    return Components(linalg.dot(products, directions.taken), directions.made)


def approximate_covariances(cov: Any, latent_dim: int, stars: Any, count: int) -> Components:
    """Return the leading directions of latents' covariances, and what stars have of each.

    The parameters are those of `find_covariance_directions`.
    """
    return approximate(cov, find_covariance_directions(cov, latent_dim, stars, count))


def find_covariance_directions(cov: Any, latent_dim: int, stars: Any, count: int) -> Directions:
    """Return the leading directions of latents' covariances.

    Parameters
    ----------
    cov : array, (star, K)
        Packed.
    latent_dim : int
        P.
    stars : array, (star,)
        1 for stars that count, 0 for others.
    count : int
        Number of directions.
    """
    present = np.flatnonzero(stars)
    rows = present[pick_rows(present.size, count)]
    return find_directions(np.asarray(cov)[rows], latent_dim, count)


def find_variance(covariance: Components, weights: Any) -> Any:
    """Return w_d^T C_n w_d, nearly: (star, feature)."""
    return linalg.dot(covariance.sums, linalg.quadratic_form(covariance.matrices, weights))


def are_described(covariance: Components, cov: Any, weights: Any, stars: Any) -> bool:
    """Return whether few directions give what covariances add to the variance of features.

    Told by some of the stars, most of which the directions are not from where stars are many.

    Parameters
    ----------
    covariance : Components
        Of `approximate_covariances`.
    cov, stars : array, (star, K) and (star,)
        As there.
    weights : array, (feature, latent)
    """
    present = np.flatnonzero(stars)
    rows = present[_spread_rows(present.size, _TOLD_BY)]
    weights = weights[_spread_rows(len(weights), _TOLD_ON)]
    exact = np.asarray(linalg.quadratic_form(np.asarray(cov)[rows], weights))
    few = covariance._replace(sums=covariance.sums[rows])
    off = abs(np.asarray(find_variance(few, weights)) - exact)
    least = np.finfo(np.float32).tiny
    return bool(np.mean(off.sum(1) / np.maximum(exact.sum(1), least)) <= _MOST_OFF)
