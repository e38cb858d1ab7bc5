"""Conjugate gradients on the exact normal equations, with nearly their inverse to go by.

For a block of stars; see `luxscale.model.gaussian`. What latents leave of the equations is measured
from the residuals of the spectrum, at every step.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import linalg
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
_CLEARLY_FIRST, _CLEARLY = 8, 5

#: What is added to weights, which may be 0, before one divides by them.
_NEXT_TO_NOTHING = 1e-36


class System(NamedTuple):
    """Equations of a block of stars, and an approximate solution of them.

    weights and weighted residuals of each output: (star, feature); inverse is R, with
    R^T R = H_0^-1: (star, latent, latent); slopes (latent, label), of labels whose errors are error
    (star, label), and angle (star, label), that of `luxscale.model.components`.
    """

    designs: tuple[Any, ...]
    weights: tuple[Any, ...]
    weighted: tuple[Any, ...]
    prior: GaussianPrior
    inverse: Any
    slopes: Any
    error: Any
    angle: Any

    def solve(self, rest: Any) -> tuple[Any, Any]:
        """Return dz = H_0^-1 rest, and its length (dz^T H_0 dz)^1/2."""
        white = _multiply(self.inverse, rest)
        change = _multiply(self.inverse.swapaxes(1, 2), white)
        return change, jnp.linalg.norm(white, axis=1)

    def measure(self, z: Any) -> Any:
        """Return what latents leave of the equations of the data: (star, latent)."""
        left = self._find_left(z)
        return sum(linalg.dot(x, d.weights) for x, d in zip(left, self.designs, strict=True))

    def measure_chi2(self, z: Any) -> Any:
        """Return chi-square of latents: (star,)."""
        left = self._find_left(z)
        # a weighted residual is 0 where its weight is
        parts = [x * x / (w + _NEXT_TO_NOTHING) for x, w in zip(left, self.weights, strict=True)]
        # a product takes half the time of a sum
        return sum(linalg.dot(part, jnp.ones(part.shape[1])) for part in parts)

    def _find_left(self, z: Any) -> list[Any]:
        """Return what latents leave of the weighted residuals: (star, feature) of each output."""
        outputs = zip(self.designs, self.weights, self.weighted, strict=True)
        return [weighted - w * linalg.dot(z, d.weights.T) for d, w, weighted in outputs]


class Step(NamedTuple):
    """Where the refinement of a block of stars is: (star, ...).

    number, of steps; z, with its chi2, and what it leaves of the equations of the data (pull);
    size, of what H_0 makes of that; direction, where to go next; left, the most that a step left of
    the size before; off, the sums over steps of the squares of elements that `MOST_OFF` limits;
    active, whether to go on; good, whether z + direction is the solution.
    """

    number: Any
    z: Any
    chi2: Any
    pull: Any
    size: Any
    direction: Any
    left: Any
    off: Any
    active: Any
    good: Any


def refine(system: System, rhs: Any) -> Step:
    """Take steps to the solution, until none of the stars needs or deserves another."""
    z, size = system.solve(rhs)
    zero, no = jnp.zeros_like(size), jnp.zeros(size.shape, bool)
    nowhere = jnp.zeros_like(z)
    off = jnp.zeros_like(system.error)
    start = Step(zero, nowhere, zero, rhs, size, z, zero, off, ~no, no)
    first = _take_step(system, start, system.measure_chi2(z))
    most = _go_on(system, first, least=FEW)
    # the last of a block would make all of it wait
    end: Step = jax.lax.while_loop(
        lambda now: now.active.any(), functools.partial(_finish_few, system), most
    )
    return end


def _go_on(system: System, now: Step, least: int) -> Step:
    """Take steps while more than so many stars need one."""
    step: Step = jax.lax.while_loop(
        lambda now: now.active.sum() > least, functools.partial(_take_step, system), now
    )
    return step


def _finish_few(system: System, now: Step) -> Step:
    """Take all the steps that some of the stars need, without the others."""
    n = len(now.z)
    rows = jnp.nonzero(now.active, size=min(FEW, n), fill_value=n)[0]

    def take(array: Any) -> Any:
        return array.at[rows].get(mode="clip")

    few = system._replace(
        weights=jax.tree.map(take, system.weights),
        weighted=jax.tree.map(take, system.weighted),
        inverse=take(system.inverse),
        error=take(system.error),
        angle=take(system.angle),
    )
    step = jax.tree.map(take, now)
    step = _go_on(few, step._replace(active=step.active & (rows < n)), least=0)
    found: Step = jax.tree.map(lambda whole, part: whole.at[rows].set(part, mode="drop"), now, step)
    return found


def _take_step(system: System, now: Step, chi2: Any = None) -> Step:
    """Take a step; a star that is done stays as it is, whatever others need.

    The first goes to H_0^-1 rhs, whose chi2 is measured.
    """
    number = now.number + 1
    z = now.z + now.direction
    pull = system.measure(z)
    is_first = chi2 is not None
    if not is_first:
        z, pull, chi2 = _find_best(system, now, pull)
    change, size = system.solve(pull - system.prior.precision * z)
    ratio = _divide(size, now.size)
    along = _divide(linalg.dot(change, system.slopes) / system.error, now.size[:, None])
    left = jnp.maximum(now.left, ratio)
    off = now.off + along**2
    mean = jnp.sum(off, 1) / (number * max(off.shape[1], 1))
    # false of NaN
    hopeful = (left < _MOST_LEFT) & _are_errors_near(system.angle, number, off)
    typical = jnp.maximum(jnp.sqrt(mean), left / (2 * np.sqrt(z.shape[1])))
    clearly = _CLEARLY_FIRST if is_first else _CLEARLY
    near = (clearly * typical * size < TOLERANCE) & (left * size < 10 * TOLERANCE)
    conjugate = 0 if is_first else (ratio**2)[:, None] * now.direction
    found = Step(
        number=number,
        z=z,
        chi2=chi2,
        pull=pull,
        size=size,
        direction=change + conjugate,
        left=left,
        off=off,
        active=now.active & hopeful & ~near & (number < MOST_STEPS),
        good=hopeful & near,
    )

    def keep(new: Any, old: Any) -> Any:
        return jnp.where(now.active.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)

    step: Step = jax.tree.map(keep, found, now)
    return step


def _are_errors_near(angle: Any, number: Any, off: Any) -> Any:
    """Return whether errors of labels are right to 1%, from sums over steps: (star,)."""
    # one or two steps say little
    mean = off / jnp.maximum(number, 3)[:, None]
    change = jnp.minimum(angle, _MOST_ANGLE) ** 2 * mean
    each = (change <= MOST_OFF**2).all(1)
    return each & (jnp.sum(change, 1) <= off.shape[1] * _MOST_OFF_TOGETHER**2)


def _find_best(system: System, now: Step, pull: Any) -> tuple[Any, Any, Any]:
    """Return z, pull and chi2 at the best length of a step, from the pull at its end.

    The pull is linear between both ends, and chi2 changes by its mean: nothing more is measured.
    """
    fall = now.pull - pull + system.prior.precision * now.direction
    length = _divide(now.size**2, jnp.sum(now.direction * fall, 1))[:, None]
    best = now.pull + length * (pull - now.pull)
    chi2 = now.chi2 - jnp.sum(length * now.direction * (now.pull + best), 1)
    return now.z + length * now.direction, best, chi2


def _divide(x: Any, y: Any) -> Any:
    """Return x / y, 0 where y is."""
    return jnp.where(y == 0, 0, x / jnp.where(y == 0, 1, y))


def _multiply(matrices: Any, vectors: Any) -> Any:
    """Return M_n v_n: (star, P, P) and (star, P) -> (star, P)."""
    return linalg.dot(matrices, vectors[..., None])[..., 0]
