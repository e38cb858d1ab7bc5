"""Matrix products whose factors may be rounded: to bfloat16, where the processor multiplies that.

Such a processor makes these products in half the time that those of float32 take, and adds up in
float32 all the same. A sum over many pixels loses little, as the roundings of single pixels, 0.1%
each, are independent of each other. It is for what is approximate anyway.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: Columns that a matrix product takes at a time: with fewer it takes no less, of bfloat16 up to
#: twice as long.
TOGETHER = 32

_CPUINFO = Path("/proc/cpuinfo")

#: What Linux calls the instruction, of processors on which such products were measured.
_INSTRUCTION = "avx512_bf16"


@functools.cache
def find_dtype() -> np.dtype:
    """Return the type that factors are rounded to, float32 where rounding would not pay."""
    try:
        lines = _CPUINFO.read_text(errors="replace").splitlines()
    except OSError:  # not on Linux
        lines = []
    flags = next((line for line in lines if line.startswith("flags")), "")
    has_instruction = _INSTRUCTION in flags.split()
    return np.dtype(jnp.bfloat16 if has_instruction else np.float32)


def round_columns(columns: np.ndarray) -> np.ndarray:
    """Return columns (k, m) as `multiply` and `multiply_across` take them."""
    k, m = columns.shape
    dtype = find_dtype()
    rows = k if dtype == np.float32 else -(-k // TOGETHER) * TOGETHER
    rounded = np.zeros((rows, m), dtype)
    rounded[:k] = columns
    return rounded


def round_to_few_bits(x: np.ndarray) -> np.ndarray:
    """Return float64 numbers that bfloat16 has, whatever this machine multiplies."""
    return np.asarray(x, jnp.bfloat16).astype(float)


def round_latents(z: Any, dtype: np.dtype) -> Any:
    """Return rows that products with columns of a type take as they are."""
    # a compiler may leave out a conversion to and fro
    kind = jnp.finfo(dtype)
    return jax.lax.reduce_precision(z, exponent_bits=kind.nexp, mantissa_bits=kind.nmant)


def multiply(rows: Any, columns: Any) -> Any:
    """Return rows (n, k) @ columns (k, m), in float32; rows are rounded as columns are."""
    more = columns.shape[0] - rows.shape[1]
    return _contract(jnp.pad(rows, ((0, 0), (0, more))), columns, 0)


def multiply_across(rows: Any, columns: Any) -> Any:
    """Return rows (n, m) @ columns^T, of columns (k, m): a sum over what `multiply` has made."""
    return _contract(rows, columns, 1)


def _contract(rows: Any, columns: Any, axis: int) -> Any:
    return jax.lax.dot_general(
        rows.astype(columns.dtype),
        columns,
        (((1,), (axis,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
