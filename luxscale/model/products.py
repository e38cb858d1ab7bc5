"""Products of two of the terms that the slope of a polynomial is made of.

With phi of degree d, d phi / dz is a sum over its lower terms: 1, z, and where there are products
of three latents those of two. J^T M J is a sum over products of two lower terms, of which many are
the same: z_1 z_2 times z_3 is z_2 z_3 times z_1.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from luxscale.model.features import PolynomialFeatures


class Products(NamedTuple):
    """The different products of two lower terms of features.

    Parameters
    ----------
    members : array, (2, lower)
        Members of (1, z) that each lower term is the product of.
    pairs : array, (2, product)
        Two lower terms that give each product.
    table : array, (lower, lower)
        Where the product of two stands.
    terms : array, (term,)
        Where the features stand.
    """

    members: np.ndarray
    pairs: np.ndarray
    table: np.ndarray
    terms: np.ndarray

    def multiply(self, z: Any) -> Any:
        """Return the products, star last: (latent, star) -> (product, star)."""
        x = jnp.concatenate([jnp.ones_like(z[:1]), z])
        first, second = self.members[:, len(x) :]
        lower = jnp.concatenate([x, x[first] * x[second]])
        i, j = self.pairs
        return lower[i] * lower[j]


@functools.cache
def list_products(features: PolynomialFeatures) -> Products:
    """Return the products, those of (1, z) as `luxscale.model.linalg.packed_index` has them."""
    ones = np.zeros((3, 1), np.int32)
    terms = np.hstack([ones, features.members])
    lower = terms[:, : features.n_lower]
    found: dict[tuple[int, ...], int] = {}
    pairs: list[tuple[int, int]] = []
    table = np.zeros((features.n_lower, features.n_lower), np.int32)
    for i in range(features.n_lower):
        for j in range(i + 1):
            product = _sort_members(lower[:, i], lower[:, j])
            if product not in found:
                found[product] = len(pairs)
                pairs.append((i, j))
            table[i, j] = table[j, i] = found[product]
    places = [found[_sort_members(term, ones[:, 0])] for term in terms[:, 1:].T]
    return Products(
        members=lower[1:],
        pairs=np.array(pairs, np.int32).T,
        table=table,
        terms=np.array(places, np.int32),
    )


def _sort_members(one: np.ndarray, other: np.ndarray) -> tuple[int, ...]:
    """Return the latents that the product of two terms is of."""
    return tuple(sorted(i for i in (*one.tolist(), *other.tolist()) if i))
