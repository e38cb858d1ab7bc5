"""Products, determinants and choices star by star: each star has a matrix and a vector of its own.

Arrays are (star, ...), or (term, star, ...) where it is said.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from luxscale.model import linalg


def multiply(matrices: Any, vectors: Any) -> Any:
    """Return M_n v_n: (star, p, q) and (star, q) -> (star, p)."""
    return linalg.dot(matrices, vectors[..., None])[..., 0]


def multiply_left(vectors: Any, matrices: Any) -> Any:
    """Return v_n^T M_n: (star, p) and (star, p, q) -> (star, q)."""
    return linalg.dot(vectors[:, None], matrices)[:, 0]


def solve_lower(factors: Any, vectors: Any, *, transposed: bool = False) -> Any:
    """Return L_n^-1 v_n, or L_n^-T v_n: (star, p, p) and (star, p) -> (star, p)."""
    columns = vectors[..., None]
    return solve_triangular(factors, columns, lower=True, trans=int(transposed))[..., 0]


def sum_log_diagonal(triangles: Any) -> Any:
    """Return ln |T_n| of triangles, half of ln |T_n T_n^T|: (star, p, p) -> (star,)."""
    diagonal = jnp.diagonal(triangles, axis1=1, axis2=2)
    return jnp.sum(jnp.log(diagonal), 1)


def choose(which: Any, new: Any, old: Any) -> Any:
    """Return the new values of some stars, the old ones of the others.

    Parameters
    ----------
    which : array of bool, (star,) or (term, star)
    new, old : array
        Whose first dims are those.
    """
    inner = (1,) * (old.ndim - which.ndim)
    return jnp.where(which.reshape(which.shape + inner), new, old)


def pick_terms(array: Any, terms: Any) -> Any:
    """Return some of the terms of each star: (term, star, ...), (number, star)."""
    inner = (1,) * (array.ndim - terms.ndim)
    return jnp.take_along_axis(array, terms.reshape(terms.shape + inner), 0)
