"""Weighted linear least squares with one shared design matrix, on which everything rests.

Inference of latents, regression of weights and the fit of scatter are all sums over one axis of
``weight * x_i * x_j``.  Because the design ``x`` is shared by all rows, the normal matrices of all
rows together are a single matrix product with the packed products ``x_i x_j``, j <= i.

Pure functions of arrays; nothing here knows about labels, files or clusters.  Shapes: N stars, D
features (pixels or labels), P latents, K = P (P + 1) / 2 packed products.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

#: Matrix product in full float32, on accelerators too (their default may round inputs to fewer
#: bits).
dot = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

#: What is added to a unit diagonal that float32 cannot factor: ten times its rounding of 50 terms.
_LIFT = 3e-5

#: Rows of matrices below which elimination takes less time than products.
_FEW_ROWS = 16


@functools.lru_cache(maxsize=32)
def packed_index(p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column of each packed product, and the (P, P) table of packed positions.

    Ordered by row of the lower triangle, so that the products with a last, constant column stand
    last.
    """
    # int32: with int64 some versions of jax confuse programs of float32 and of float64
    i, j = (index.astype(np.int32) for index in np.tril_indices(p))
    table = np.zeros((p, p), dtype=np.int32)
    table[i, j] = table[j, i] = np.arange(i.size)
    return i, j, table


def pack(x: jax.Array) -> jax.Array:
    """Return the products x_i x_j, j <= i, of each row: (D, P) -> (D, K)."""
    i, j, _ = packed_index(x.shape[-1])
    return x[..., i] * x[..., j]


def multiply_columns(x: np.ndarray) -> np.ndarray:
    """Return the products of two columns, feature last: (D, P) -> (K, D), outside JAX.

    Made one column at a time: of many pixels each copy would be tens of megabytes.
    """
    columns = np.ascontiguousarray(x.T)
    n_columns, n_features = columns.shape
    packed = np.empty((n_columns * (n_columns + 1) // 2, n_features), x.dtype)
    start = 0
    for i, column in enumerate(columns, start=1):
        np.multiply(column, columns[:i], out=packed[start : start + i])
        start += i
    return packed


def pack_symmetric(c: jax.Array) -> jax.Array:
    """Return the lower triangles of symmetric matrices: (N, P, P) -> (N, K)."""
    i, j, _ = packed_index(c.shape[-1])
    return c[..., i, j]


def quadratic_form(c: jax.Array, x: jax.Array) -> jax.Array:
    """Return x_d^T C_n x_d for packed symmetric C (N, K) and rows x (D, P): (N, D)."""
    i, j, _ = packed_index(x.shape[-1])
    # off-diagonal elements are packed once
    times = np.where(i == j, 1, 2).astype(np.float32)
    products = pack(x) * times
    return dot(c, products.T)


def unpack(h: jax.Array, p: int) -> jax.Array:
    """Return the symmetric matrices of packed lower triangles: (N, K) -> (N, P, P)."""
    return h[..., packed_index(p)[2]]


class Solution(NamedTuple):
    """Solution of a batch of normal equations H x = rhs.

    x (star, latent); half (star, latent, target), with half^T half = T^T H^-1 T; log_det (star,),
    ln |H|; root (star, latent, latent), L, and scale (star, latent), S, with H = S L L^T S.
    """

    x: Any
    half: Any
    log_det: Any
    root: Any
    scale: Any

    def solve_again(self, rhs: Any) -> Any:
        """Return the solution for another right-hand side: (star, latent)."""
        half = solve_triangular(self.root, (rhs / self.scale)[..., None], lower=True)
        x = solve_triangular(self.root, half, lower=True, trans=1)
        return x[..., 0] / self.scale


def solve(h: jax.Array, rhs: jax.Array, targets: jax.Array | None = None) -> Solution:
    """Solve H x = rhs for a batch of positive definite H, scaled to unit diagonal first.

    The calls of LAPACK depend on each other, so that no two of them can run at once: with jaxlib
    0.10 each stops one of XLA's threads until others have done its work, and on a machine of two
    cores two of them stop forever.

    Parameters
    ----------
    h : array, (star, latent, latent)
    rhs : array, (star, latent)
    targets : array, (latent, target) or (star, latent, target), optional
        Directions T of which the covariance T^T H^-1 T is wanted.
    """
    if targets is None:
        targets = jnp.zeros((rhs.shape[-1], 0))
    scale = jnp.sqrt(_diagonal(h))
    scaled = h / (scale[..., :, None] * scale[..., None, :])
    chol = _factor(scaled)
    # right-hand side and targets go through the first of the two triangular solves together
    wanted = jnp.broadcast_to(targets, (*rhs.shape, targets.shape[-1]))
    right = jnp.concatenate([rhs[..., None], wanted], -1)
    half = solve_triangular(chol, right / scale[..., None], lower=True)
    x = solve_triangular(chol, half[..., :1], lower=True, trans=1)
    log_det = 2 * jnp.sum(jnp.log(_diagonal(chol)) + jnp.log(scale), axis=-1)
    return Solution(
        x=x[..., 0] / scale, half=half[..., 1:], log_det=log_det, root=chol, scale=scale
    )


def follow(x: jax.Array, done: jax.Array) -> jax.Array:
    """Return x (star, ...), known only when ``done`` (star, ...), all finite, is.

    So a call of LAPACK waits for another that it does not need, for the reason told in `solve`.
    """
    last = 0 * done.reshape(len(done), -1)[:, -1]
    return x + last.reshape(-1, *[1] * (x.ndim - 1))


def invert_root(h: jax.Array) -> jax.Array:
    """Return R with R^T R = H^-1 for a batch of matrices: (N, P, P); NaN of one not positive.

    R is the inverse of the lower Cholesky factor. It is made by halves: of products, which take
    less time than to factor one matrix after another. Rows are NaN from where one is not positive.
    """
    p = h.shape[-1]
    if p <= _FEW_ROWS:
        return _eliminate(h)
    half = p // 2
    first = invert_root(h[:, :half, :half])
    across = dot(h[:, half:, :half], first.swapaxes(1, 2))
    last = invert_root(h[:, half:, half:] - dot(across, across.swapaxes(1, 2)))
    between = dot(last, dot(across, first))
    # what is filled up takes less time to put together than blocks do
    upper = jnp.pad(first, ((0, 0), (0, 0), (0, p - half)))
    lower = jnp.pad(last, ((0, 0), (0, 0), (half, 0)))
    lower -= jnp.pad(between, ((0, 0), (0, 0), (0, p - half)))
    return jnp.concatenate([upper, lower], 1)


def _eliminate(h: jax.Array) -> jax.Array:
    """Return what `invert_root` does of small matrices, by elimination of one row after another.

    In place: what becomes of the unit matrix takes the columns that have become 0.
    """
    rows = np.arange(h.shape[-1])[:, None]

    def take_out(left: Any, row: Any) -> tuple[Any, Any]:
        is_row = rows == row
        pivot = left[row, row]
        unit = jnp.where(pivot > 0, 1 / jnp.sqrt(pivot), np.nan)
        taken = jnp.where(is_row, 1, left[row]) * unit
        share = left[:, row] * unit
        return jnp.where(is_row, 0, left) - share[:, None] * taken, taken

    # the star is last: processors work on many of them at once
    _, root = jax.lax.scan(take_out, jnp.moveaxis(h, 0, -1), rows[:, 0])
    return jnp.moveaxis(jnp.where((rows >= rows.T)[..., None], root, 0), -1, 0)


def _diagonal(matrices: jax.Array) -> jax.Array:
    return jnp.diagonal(matrices, axis1=-2, axis2=-1)


def _factor(scaled: jax.Array) -> jax.Array:
    """Return Cholesky factors of matrices of unit diagonal, singular ones among them."""
    chol = jnp.linalg.cholesky(scaled)
    return jax.lax.cond(
        jnp.isfinite(chol).all(),
        lambda: chol,
        lambda: jnp.linalg.cholesky(_lift_singular(scaled, chol)),
    )


def _lift_singular(scaled: jax.Array, chol: jax.Array) -> jax.Array:
    """Lift the diagonal of matrices that are singular in float32: what is free stays small."""
    singular = ~jnp.isfinite(chol).all((-2, -1))
    lift = jnp.where(singular, _LIFT, 0)
    return scaled + lift[:, None, None] * jnp.eye(scaled.shape[-1])


def square(half: jax.Array) -> jax.Array:
    """Return half^T half, the covariance of the targets of `solve`: (star, target, target)."""
    return dot(half.swapaxes(-1, -2), half)


def normal_equations(
    w: jax.Array, r: jax.Array, x: jax.Array, packed: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Return X^T diag(w_n) X, packed, and X^T diag(w_n) r_n of every star: (N, K) and (N, P).

    packed (K, D) holds the products of X's columns, feature last: the product reads both along the
    sum, a tenth faster. Without them the matrix of each star is a product of its own.
    """
    matrices = _multiply_each(w, x) if packed is None else dot(w, packed.T)
    return matrices, dot(w * r, x)


def _multiply_each(w: jax.Array, x: jax.Array) -> jax.Array:
    """Return X^T diag(w_n) X, packed, star after star: (N, K)."""
    columns = x.T

    def multiply(star: jax.Array) -> jax.Array:
        return pack_symmetric(dot(star[None] * columns, x))

    def multiply_measured(star: jax.Array) -> jax.Array:
        # those that fill a block take no time
        nothing = jnp.zeros(packed_index(x.shape[1])[0].size, x.dtype)
        product: jax.Array = jax.lax.cond((star > 0).any(), multiply, lambda _: nothing, star)
        return product

    matrices: jax.Array = jax.lax.map(multiply_measured, w)
    return matrices


def sum_equations(
    weights: Sequence[jax.Array],
    residuals: Sequence[jax.Array],
    designs: Sequence[jax.Array],
    packed: Sequence[jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Return the normal equations of several outputs together: (N, K) and (N, P)."""
    parts = [
        normal_equations(*output)
        for output in zip(weights, residuals, designs, packed, strict=True)
    ]
    matrices, right = zip(*parts, strict=True)
    return functools.reduce(jnp.add, matrices), functools.reduce(jnp.add, right)
