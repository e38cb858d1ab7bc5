"""Conjugate gradients on the exact normal equations, with nearly their inverse to go by.

For a block of stars; see `luxscale.model.gaussian`. What latents leave of the equations is measured
from the residuals of the spectrum, once; what a step takes from it follows from the step alone, by
products that may be rounded (`luxscale.model.coarse`). Their roundings, 1e-3 of a step's length, do
not matter for the short steps after the residuals. The first, which is as long as all of the
solution, is taken before; where that leaves a long one, the residuals are measured once more.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import by_star, coarse, linalg
from luxscale.model.priors import GaussianPrior

#: How far from the solution a label may be, in units of its error. All latents together may be ten
#: times as far: |dz| = (dz^T H dz)^1/2, which no label exceeds.
TOLERANCE = 1e-3

#: Steps after which a star goes the exact way, and the share of the error that a step may leave:
#: with more, errors of labels change by its square.
MOST_STEPS = 6
_MOST_LEFT = 0.1

#: Stars of a block that take their last steps on their own.
FEW = 16

#: How far H_0 may be from H for errors of labels to be right to 1%: for each label, the root mean
#: square over steps of an element of its row of H_0^-1/2 (H - H_0) H_0^-1/2, of which each step
#: shows one, times the sine of `Components.find_angles`; and the same over all labels, of which
#: chance has less. The label's error differs by half of the row's element on the diagonal, which is
#: about so much: of what changes it, sums of components leave what is at that angle to them. At
#: greater angles than the last they leave no more.
MOST_OFF, _MOST_OFF_TOGETHER, _MOST_ANGLE = 0.003, 0.0017, 0.37

#: Times the root mean square over all labels, what a label may be off by after one more step: the
#: first, which is not conjugate to one before, and later ones.
_CLEARLY_FIRST, _CLEARLY = 16, 5

#: The longest step whose roundings do not matter: a label is off by up to 5e-4 of it.
_LONGEST = 2.0

#: What is added to weights, which may be 0, before one divides by them.
_NEXT_TO_NOTHING = 1e-36


class System(NamedTuple):
    """Equations of a block of stars, and an approximate solution of them.

    weights and values of each output: (star, feature); inverse is R, with
    R^T R = H_0^-1: (star, latent, latent); slopes (latent, label), of labels whose errors are error
    (star, label), and angle (star, label), that of `luxscale.model.components`.
    """

    designs: tuple[Any, ...]
    weights: tuple[Any, ...]
    values: tuple[Any, ...]
    prior: GaussianPrior
    inverse: Any
    slopes: Any
    error: Any
    angle: Any

    @property
    def dtype(self) -> np.dtype:
        """What products are rounded to; where they were made says it, not this machine."""
        made = [d.components for d in self.designs if d.components is not None]
        return np.dtype(made[0].columns.dtype)

    @property
    def is_rounded(self) -> bool:
        """Whether products are of rounded factors."""
        return self.dtype != np.float32

    def take(self, few: _Few) -> System:
        """Return the equations of some of the stars."""
        names = "weights", "values", "inverse", "error", "angle"
        return self._replace(**{name: few.take(getattr(self, name)) for name in names})

    def solve(self, rest: Any) -> tuple[Any, Any]:
        """Return dz = H_0^-1 rest, and its length (dz^T H_0 dz)^1/2."""
        white = by_star.multiply(self.inverse, rest)
        change = by_star.multiply(self.inverse.swapaxes(1, 2), white)
        return change, jnp.sqrt(jnp.sum(white * white, 1))

    def measure(self, z: Any) -> tuple[Any, Any]:
        """Return what latents leave of the equations, from residuals, and their chi2.

        (star, latent) and (star,).
        """
        outputs = zip(self.designs, self.weights, self.values, strict=True)
        pull, chi2 = zip(*[_measure_output(*output, z) for output in outputs], strict=True)
        return sum(pull) - self.prior.precision * z, sum(chi2)

    def find_pull(self, z: Any, rest: Any) -> Any:
        """Return what z leaves of the equations of the data alone: -1/2 of the slope of chi2."""
        return rest + self.prior.precision * z

    def multiply(self, z: Any) -> Any:
        """Return H z, of z that was rounded, and as `luxscale.model.coarse` rounds products.

        (star, latent).
        """
        outputs = zip(self.designs, self.weights, strict=True)
        return sum(d.multiply_normal(w, z) for d, w in outputs) + self.prior.precision * z


def _measure_output(design: Any, w: Any, value: Any, z: Any) -> tuple[Any, Any]:
    # residuals are made of values, once more: it takes less than to write and read them
    residual = value * design.unit - (design.offset + linalg.dot(z, design.weights.T))
    weighted = jnp.where(w > 0, w * residual, 0)
    # a product takes half the time of a sum
    squares = weighted * weighted / (w + _NEXT_TO_NOTHING)
    return linalg.dot(weighted, design.weights), linalg.dot(squares, jnp.ones(w.shape[1]))


class Step(NamedTuple):
    """Where the refinement of a block of stars is: (star, ...).

    number, of steps that say how far H_0 is from H; z, with its chi2, and what it leaves of the
    equations (rest); size, of what H_0 makes of that; direction, where to go next; left, the most
    that a step left of the size before; off, the sums over steps of the squares of elements that
    `MOST_OFF` limits; active, whether to go on; good, whether z + direction is the solution.
    """

    number: Any
    z: Any
    chi2: Any
    rest: Any
    size: Any
    direction: Any
    left: Any
    off: Any
    active: Any
    good: Any


def refine(system: System, rhs: Any) -> Step:
    """Take steps to the solution, until none of the stars needs or deserves another."""
    first = _judge(system, _begin(system, rhs), _CLEARLY_FIRST)
    most = _go_on(system, first, least=FEW)
    # the last of a block would make all of it wait
    end: Step = jax.lax.while_loop(
        lambda now: now.active.any(), functools.partial(_finish_few, system), most
    )
    return end


def _begin(system: System, rhs: Any) -> Step:
    """Return where H_0 leads, with what residuals say of it and what H_0 makes of that.

    Of products that are rounded a first step is taken, whose roundings the residuals bring back.
    """
    start, whole = system.solve(rhs)
    zero, yes = jnp.zeros_like(whole), jnp.ones(whole.shape, bool)
    nowhere, off = jnp.zeros_like(start), jnp.zeros_like(system.error)
    step = Step(zero, nowhere, zero, rhs, whole, start, zero, off, yes, ~yes)
    if not system.is_rounded:
        return _measure_next(system, step)
    rounded = coarse.round_latents(start, system.dtype)
    change, size = system.solve(rhs - system.multiply(rounded))
    z = rounded + change
    left, off = _compare(system, z - start, size, whole)
    rest, chi2 = system.measure(z)
    change, size = system.solve(rest)
    first = Step(zero + 1, z, chi2, rest, size, change, left, off, yes, ~yes)
    first = _shorten(system, first)
    direction = coarse.round_latents(first.direction, system.dtype)
    return first._replace(active=first.size <= _LONGEST, direction=direction)


def _shorten(system: System, step: Step) -> Step:
    """Go where the next step leads, and measure again, where its roundings would matter."""
    is_long = step.size > _LONGEST

    def measure_all() -> Step:
        choose = functools.partial(_choose, is_long)
        found: Step = jax.tree.map(choose, _measure_next(system, step), step)
        return found

    def measure_few() -> Step:
        few = _pick_few(is_long)
        found: Step = few.put(_measure_next(system.take(few), few.take(step)), step)
        return found

    number = is_long.sum()
    way = (number > 0).astype(np.int32) + (number > FEW)
    shortened: Step = jax.lax.switch(way, [lambda: step, measure_few, measure_all])
    return shortened


def _measure_next(system: System, step: Step) -> Step:
    """Take a step of full length, and measure where it leads."""
    z = step.z + step.direction
    rest, chi2 = system.measure(z)
    change, size = system.solve(rest)
    ratio, off = _compare(system, change, size, step.size)
    return step._replace(
        number=step.number + 1,
        z=z,
        chi2=chi2,
        rest=rest,
        size=size,
        direction=change,
        left=jnp.maximum(step.left, ratio),
        off=step.off + off,
    )


class _Few(NamedTuple):
    """Some stars of a block: rows are their places in it, and beyond it where they are fewer."""

    rows: Any

    def take(self, arrays: Any) -> Any:
        """Return what arrays (star, ...) hold of these stars."""
        return jax.tree.map(lambda array: array.at[self.rows].get(mode="clip"), arrays)

    def put(self, found: Any, arrays: Any) -> Any:
        """Return arrays (star, ...) with what was found of these stars."""
        return jax.tree.map(lambda x, y: y.at[self.rows].set(x, mode="drop"), found, arrays)


def _pick_few(stars: Any) -> _Few:
    """Return some stars, (star,) bool, of which only `FEW` are taken."""
    n = len(stars)
    is_one, rows = jax.lax.top_k(stars.astype(np.float32), min(FEW, n))
    # without a sign, none counts from the end
    return _Few(jnp.where(is_one > 0, rows, n).astype(np.uint32))


def _go_on(system: System, now: Step, least: int) -> Step:
    """Take steps while more than so many stars need one."""
    step: Step = jax.lax.while_loop(
        lambda now: now.active.sum() > least, functools.partial(_take_step, system), now
    )
    return step


def _finish_few(system: System, now: Step) -> Step:
    """Take all the steps that some of the stars need, without the others."""
    few = _pick_few(now.active)
    equations = system._replace(values=()).take(few)  # none is measured again
    step: Step = few.take(now)
    step = step._replace(active=step.active & (few.rows < len(now.z)))
    found: Step = few.put(_go_on(equations, step, least=0), now)
    return found


def _take_step(system: System, now: Step) -> Step:
    """Take a step of the best length; a star that is done stays as it is, whatever others need."""
    fall = system.multiply(now.direction)
    length = (now.size**2 / _avoid_zero(jnp.sum(now.direction * fall, 1)))[:, None]
    z, rest = now.z + length * now.direction, now.rest - length * fall
    before, after = (system.find_pull(x, y) for x, y in [(now.z, now.rest), (z, rest)])
    change, size = system.solve(rest)
    ratio, off = _compare(system, change, size, now.size)
    onward = change + (ratio**2)[:, None] * now.direction
    found = now._replace(
        number=now.number + 1,
        z=z,
        chi2=now.chi2 - jnp.sum(length * now.direction * (before + after), 1),
        rest=rest,
        size=size,
        direction=coarse.round_latents(onward, system.dtype),
        left=jnp.maximum(now.left, ratio),
        off=now.off + off,
    )

    choose = functools.partial(_choose, now.active)
    step: Step = jax.tree.map(choose, _judge(system, found, _CLEARLY), now)
    return step


def _compare(system: System, change: Any, size: Any, before: Any) -> tuple[Any, Any]:
    """Return what a step left of the size before, and the squares of `MOST_OFF`'s elements."""
    along = linalg.dot(change, system.slopes) / system.error
    before = _avoid_zero(before)
    return size / before, (along / before[:, None]) ** 2


def _judge(system: System, step: Step, clearly: int) -> Step:
    """Return where refinement is, with whether to go on and whether the next step is the last."""
    number, left, off = step.number, step.left, step.off
    mean = jnp.sum(off, 1) / (number * max(off.shape[1], 1))
    # false of NaN
    hopeful = (left < _MOST_LEFT) & _are_errors_near(system.angle, number, off)
    typical = jnp.maximum(jnp.sqrt(mean), left / (2 * np.sqrt(step.z.shape[1])))
    near = (clearly * typical * step.size < TOLERANCE) & (left * step.size < 10 * TOLERANCE)
    go_on = hopeful & ~near & (number < MOST_STEPS)
    return step._replace(active=step.active & go_on, good=hopeful & near)


def _are_errors_near(angle: Any, number: Any, off: Any) -> Any:
    """Return whether errors of labels are right to 1%, from sums over steps: (star,)."""
    # one or two steps say little
    mean = off / jnp.maximum(number, 3)[:, None]
    change = jnp.minimum(angle, _MOST_ANGLE) ** 2 * mean
    each = (change <= MOST_OFF**2).all(1)
    return each & (jnp.sum(change, 1) <= off.shape[1] * _MOST_OFF_TOGETHER**2)


def _choose(stars: Any, new: Any, old: Any) -> Any:
    """Return what is new of some stars, (star,) bool, and what is old of the others."""
    return jax.lax.select(jax.lax.broadcast_in_dim(stars, old.shape, (0,)), new, old)


def _avoid_zero(y: Any) -> Any:
    """Return y, infinite where it is 0: what is divided by it is 0 then."""
    return jnp.where(y == 0, np.inf, y)
