"""Lists of terms of any length, by compiled programs of one shape.

A program takes some hundreds of terms, of which the first so many are meant, and works through them
in groups: what it computes of a group stays in a processor's cache, and what is not meant costs
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model.jit import run_alone

#: Most terms in one call of a program, and those that are worked on at once.
_MOST, _GROUP = 1024, 128

_Found = TypeVar("_Found")


class Block(NamedTuple):
    """Rows that a program takes, of which the first so many are meant."""

    rows: np.ndarray
    number: int

    @property
    def meant(self) -> np.ndarray:
        """The rows that are meant."""
        return self.rows[: self.number]


def cut_blocks(rows: np.ndarray, size: int = _MOST) -> Iterator[Block]:
    """Yield a list in blocks of one size, the last filled up."""
    for start in range(0, rows.size, size):
        some = rows[start : start + size]
        yield Block(some if some.size == size else np.resize(some, size), some.size)


def run_rows(program: Callable[[Any, int], Any], rows: Any) -> Any:
    """Run a program over rows, called with some of them and how many are meant."""
    parts = []
    with run_alone():
        for block in cut_blocks(np.arange(len(jax.tree.leaves(rows)[0]))):
            some = jax.tree.map(lambda array, block=block: array[block.rows], rows)
            found = program(some, block.number)
            parts.append(jax.tree.map(lambda array, n=block.number: np.asarray(array)[:n], found))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def map_groups(function: Callable[[Any], _Found], rows: Any, number: Any) -> _Found:
    """Apply a function, within a program, to the first so many rows; 0 or what comes of others."""
    n = len(jax.tree.leaves(rows)[0])
    size = math.gcd(n, _GROUP)

    def cut(start: Any) -> Any:
        return jax.tree.map(lambda array: jax.lax.dynamic_slice_in_dim(array, start, size), rows)

    def go_on(group: Any, found: _Found) -> _Found:
        start = group * size

        def put(whole: Any, part: Any) -> Any:
            return jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)

        done: _Found = jax.tree.map(put, found, function(cut(start)))
        return done

    shapes = jax.eval_shape(function, cut(0))
    nothing = jax.tree.map(lambda one: jnp.zeros((n, *one.shape[1:]), one.dtype), shapes)
    groups = (number + size - 1) // size
    found: _Found = jax.lax.fori_loop(0, groups, go_on, nothing)
    return found
