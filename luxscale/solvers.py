"""Weighted linear least squares with one shared design matrix: the arithmetic that everything rests on.

Inference of latents, regression of weights and the fit of scatter are all sums over one axis of
``weight * x_i * x_j``.  Because the design ``x`` is shared by all rows, the normal matrices of all rows
together are a single matrix product with the packed products ``x_i x_j``, j <= i.

Pure functions of arrays; nothing here knows about labels, files or clusters.  Shapes: N stars, D features
(pixels or labels), P latents, K = P (P + 1) / 2 packed products.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from threadpoolctl import ThreadpoolController

#: Matrix product in full float32, on accelerators too (their default may round inputs to fewer bits).
dot = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

_ONE_AT_A_TIME = threading.RLock()


@functools.cache
def _libraries() -> ThreadpoolController:
    """BLAS libraries in this process, SciPy's among them: jaxlib's LAPACK calls go there."""
    import scipy.linalg.cython_lapack  # noqa: F401 - loads the library

    return ThreadpoolController()


def program(**jit_options: Any) -> Callable[[Callable], Callable]:
    """Compile a function, and run it alone and to completion.

    Two JAX programs executing at once (two threads, or one thread and asynchronous dispatch) can
    deadlock on machines of few cores under jax 0.10, so every entry into JAX goes through here. BLAS gets one thread
    meanwhile: its threads wait for each other on small triangular solves, up to a thousand times longer than these take
    where another process is busy. XLA's own threads, which do the large products, are not limited.
    """

    def decorate(function: Callable) -> Callable:
        compiled = jax.jit(function, **jit_options)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with _ONE_AT_A_TIME, _libraries().limit(limits=1, user_api="blas"):
                return jax.block_until_ready(compiled(*args, **kwargs))

        return run

    return decorate


@functools.lru_cache(maxsize=32)
def packed_index(p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column of each packed product, and the (P, P) table of packed positions.

    Ordered by row of the lower triangle, so that the products with a last, constant column stand last.
    """
    i, j = np.tril_indices(p)
    table = np.zeros((p, p), dtype=np.int32)
    table[i, j] = table[j, i] = np.arange(i.size)
    return i, j, table


def pack(x: jax.Array) -> jax.Array:
    """Return the products x_i x_j, j <= i, of each row: (D, P) -> (D, K)."""
    i, j, _ = packed_index(x.shape[-1])
    return x[..., i] * x[..., j]


def pack_symmetric(c: jax.Array) -> jax.Array:
    """Return the lower triangles of symmetric matrices: (N, P, P) -> (N, K)."""
    i, j, _ = packed_index(c.shape[-1])
    return c[..., i, j]


def quadratic_form(c: jax.Array, x: jax.Array) -> jax.Array:
    """Return x_d^T C_n x_d for packed symmetric C (N, K) and rows x (D, P): (N, D)."""
    i, j, _ = packed_index(x.shape[-1])
    twice = np.where(i == j, 1, 2).astype(np.float32)  # off-diagonal elements are packed once
    return dot(c, (pack(x) * twice).T)


def unpack(h: jax.Array, p: int) -> jax.Array:
    """Return the symmetric matrices of packed lower triangles: (N, K) -> (N, P, P)."""
    return h[..., packed_index(p)[2]]


def weight(ivar: jax.Array, scatter: jax.Array) -> jax.Array:
    """Return 1 / (sigma^2 + s^2), the weight of a value in equation 4; 0 where ivar is 0.

    Parameters
    ----------
    ivar : array, (N, D)
        Inverse variance of the data, 0 where the value is missing.
    scatter : array, (D,)
        Fitted scatter s of each feature.
    """
    return ivar / (1 + ivar * scatter**2)


def factor(h: jax.Array, rhs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Solve H x = rhs for a batch of positive definite H, scaled to unit diagonal first.

    Returns
    -------
    x : array, (N, P)
    chol : array, (N, P, P)
        Lower Cholesky factors of the scaled matrices.
    scale : array, (N, P)
        Square roots of the diagonals; H^-1 = (S L L^T S)^-1 with S = diag(scale).
    """
    scale = jnp.sqrt(jnp.diagonal(h, axis1=-2, axis2=-1))
    chol = jnp.linalg.cholesky(h / (scale[..., :, None] * scale[..., None, :]))
    x = cho_solve((chol, True), (rhs / scale)[..., None])[..., 0] / scale
    return x, chol, scale


def project(chol: jax.Array, scale: jax.Array, a: jax.Array) -> jax.Array:
    """Return F with F^T F = A H^-1 A^T: (N, P, M), for a shared A of shape (M, P)."""
    right = (a[None] / scale[:, None, :]).swapaxes(-1, -2)
    return solve_triangular(chol, right, lower=True)


def inverse(chol: jax.Array, scale: jax.Array) -> jax.Array:
    """Return H^-1 from the factors of `factor`: (N, P, P)."""
    eye = jnp.broadcast_to(jnp.eye(chol.shape[-1], dtype=chol.dtype), chol.shape)
    half = solve_triangular(chol, eye, lower=True) / scale[..., None, :]
    return dot(half.swapaxes(-1, -2), half)


def log_det(chol: jax.Array, scale: jax.Array) -> jax.Array:
    """Return ln |H| from the factors of `factor`: (N,)."""
    return 2 * jnp.sum(jnp.log(jnp.diagonal(chol, axis1=-2, axis2=-1)) + jnp.log(scale), axis=-1)


def normal_equations(w: jax.Array, r: jax.Array, x: jax.Array, packed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return X^T diag(w_n) X, packed, and X^T diag(w_n) r_n of every star: (N, K) and (N, P)."""
    return dot(w, packed), dot(w * r, x)


def sum_equations(
    weights: Sequence[jax.Array],
    residuals: Sequence[jax.Array],
    designs: Sequence[jax.Array],
    packed: Sequence[jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Return the normal equations of several outputs together: (N, K) and (N, P)."""
    parts = [normal_equations(*output) for output in zip(weights, residuals, designs, packed, strict=True)]
    return functools.reduce(jnp.add, [h for h, _ in parts]), functools.reduce(jnp.add, [rhs for _, rhs in parts])


def fit_scatter(q: jax.Array, ivar: jax.Array, scatter: jax.Array, steps: int) -> jax.Array:
    """Maximise the likelihood over the scatter of each feature by Fisher scoring.

    The root of sum_n (w^2 q - w) = 0 with w = 1 / (sigma^2 + s^2); s = 0 where the errors alone explain
    the residuals.

    Parameters
    ----------
    q : array, (N, D)
        Expected squared residuals, E[(y - model)^2].
    ivar : array, (N, D)
    scatter : array, (D,)
        Where to start.
    steps : int
    """

    def step(_: int, s2: jax.Array) -> jax.Array:
        w = ivar / (1 + ivar * s2)
        information = jnp.sum(w * w, axis=0)
        change = jnp.sum(w * (w * q - 1) * (ivar > 0), axis=0) / jnp.where(information > 0, information, 1)
        return jnp.maximum(s2 + change, 0)

    return jnp.sqrt(jax.lax.fori_loop(0, steps, step, scatter**2))
