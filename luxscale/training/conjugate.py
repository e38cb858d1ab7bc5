"""Conjugate gradients from a solution that is near, with nearly the inverse to go by.

For many equations H_n x_n = b_n of which H_n is too dear to make, but not to multiply with; each
with an H_0 that is nearly H_n, from `luxscale.training.approximation`. A row does not depend on
the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from luxscale.model import by_star

#: How far from the solution a row may end: |dx| = (dx^T H dx)^1/2, statistical errors of x being 1.
TOLERANCE = 0.01

#: Steps after which there is no solution.
_MOST_STEPS = 8


class Solved(NamedTuple):
    """Solutions of a block of rows, where they are good: (row, ...).

    x; fall, by how much x^T H x / 2 - b^T x is less than at the start; good.
    """

    x: Any
    fall: Any
    good: Any


class _Step(NamedTuple):
    """Where the steps are: (row, ...).

    number, of steps; x; pull, b - H x; change, what H_0 makes of that, and its size; direction;
    fall; left, the most that a step left of the size before; active, whether to go on.
    """

    number: Any
    x: Any
    pull: Any
    change: Any
    size: Any
    direction: Any
    fall: Any
    left: Any
    active: Any


def solve_near(
    apply: Callable[[Any], Any], approximate: Any, x: Any, pull: Any, most_left: float
) -> Solved:
    """Solve equations from what is near their solution.

    Parameters
    ----------
    apply : callable
        Returns H_n d_n of every row: (row, p) -> (row, p).
    approximate : array, (row, p, p)
        R, with R^T R = H_0^-1, as `luxscale.model.linalg.invert_root` returns it.
    x : array, (row, p)
        Where to start.
    pull : array, (row, p)
        b - H x there.
    most_left : float
        Share of |dx| that each step may leave: how far H_0 may be from H.
    """

    def find_change(pull: Any) -> tuple[Any, Any]:
        white = by_star.multiply(approximate, pull)
        change = by_star.multiply(approximate.swapaxes(1, 2), white)
        return change, jnp.linalg.norm(white, axis=1)

    def take_step(now: _Step) -> _Step:
        product = apply(now.direction)
        along = jnp.sum(now.direction * product, 1)
        length = _divide(now.size**2, along)
        pull = now.pull - length[:, None] * product
        change, size = find_change(pull)
        ratio = _divide(size, now.size)
        left = jnp.maximum(now.left, ratio)
        found = _Step(
            number=now.number + 1,
            x=now.x + length[:, None] * now.direction,
            pull=pull,
            change=change,
            size=size,
            direction=change + (ratio**2)[:, None] * now.direction,
            fall=now.fall + 0.5 * length * now.size**2,
            left=left,
            active=(left < most_left) & (left * size > TOLERANCE) & (now.number < _MOST_STEPS),
        )

        def keep(new: Any, old: Any) -> Any:
            return by_star.choose(now.active, new, old)

        step: _Step = jax.tree.map(keep, found, now)
        return step

    change, size = find_change(pull)
    zero = jnp.zeros_like(size)
    start = _Step(zero, x, pull, change, size, change, zero, zero, jnp.isfinite(size))
    end: _Step = jax.lax.while_loop(lambda now: now.active.any(), take_step, start)
    # H_0 for H is good enough for the last change; false of NaN
    good = (end.left < most_left) & (end.left * end.size <= TOLERANCE)
    return Solved(end.x + end.change, end.fall + 0.5 * end.size**2, good)


def _divide(x: Any, y: Any) -> Any:
    """Return x / y, 0 where y is."""
    return jnp.where(y == 0, 0, x / jnp.where(y == 0, 1, y))
