"""The median of what is measured, of many stars at once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def find_median(values: Any, known: Any) -> Any:
    """Return the median of the positive values that are known, of every row: NaN without any.

    Positive floats are ordered as the integers of the same bits, of which those of the middle are
    found bit by bit: rows are counted and never sorted, which takes a tenth of the time.

    Parameters
    ----------
    values : array, (star, feature)
    known : array of bool, (star, feature)
    """
    bits = jnp.where(known, values, jnp.inf).view(_find_integer(values.dtype))
    number = jnp.sum(known, 1)
    # of an even number there are two in the middle
    low_rank = jnp.maximum(number - 1, 0) // 2
    high_rank = number // 2
    low = _find_rank(bits, low_rank)
    greatest = jnp.iinfo(bits.dtype).max
    above = jnp.min(jnp.where(bits > low[:, None], bits, greatest), 1)
    # the same value may come more than once
    is_both = jnp.sum(bits <= low[:, None], 1) > high_rank
    high = jnp.where(is_both, low, above)
    median = (low.view(values.dtype) + high.view(values.dtype)) / 2
    return jnp.where(number > 0, median, jnp.nan)


def _find_integer(dtype: Any) -> Any:
    """Return the integers of as many bits."""
    return jnp.int64 if dtype == jnp.float64 else jnp.int32


def _find_rank(bits: Any, rank: Any) -> Any:
    """Return the integer that so many of its row are less than: (star,)."""
    width = jnp.iinfo(bits.dtype).bits

    def add_bit(number: int, found: Any) -> Any:
        bit = jnp.left_shift(jnp.ones_like(found), jnp.asarray(width - 2 - number, found.dtype))
        more = found | bit
        is_less = jnp.sum(bits < more[:, None], 1) <= rank
        return jnp.where(is_less, more, found)

    return jax.lax.fori_loop(0, width - 1, add_bit, jnp.zeros(len(bits), bits.dtype))
