"""The posterior of latents and nuisances together, of linear models: Gauss-Newton steps.

Spectra are bilinear in latents and coefficients, and shifts bend them. So each step takes the
spectrum as linear about where the star is, and solves for all; what is left of the equations is
measured from the residuals of the distorted spectrum itself, so that the end is the maximum of the
posterior whatever the steps rest on. The matrix of the latents alone, which is most of the work, is
that of the spectrum at rest until the steps have ended, and is then made anew for the stars that
are far from it. Labels are marginalised over the coefficients: their covariance is that of all
unknowns, and the prior of the coefficients holds what the spectrum does not tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.model import by_star, linalg
from luxscale.model.blocks import Data, Posterior, Target, Weighed, run_blocks, weigh_outputs
from luxscale.model.distortion import FARTHEST, Distortion
from luxscale.model.jit import compile_program
from luxscale.model.lowered import keep_lowered
from luxscale.model.priors import GaussianPrior
from luxscale.model.problem import Problem

#: Squared length of a step, in sigma, after which a star is done, as what is left is a small part,
#: and beyond which it is flagged if rounding ended its steps.
_SETTLED, _UNSETTLED = 1e-4, 1e-3

#: Most steps of a star.
_MOST_STEPS = 30

#: Least and most that is taken of the next step, and of one again that went too far; the shortest.
_NEXT, _AGAIN, _SHORTEST = (0.1, 1.0), (0.1, 0.5), 1e-3

#: Part of the flux, pixels of a shift and square pixels of a blur by which a spectrum may be off
#: for its matrix to be that at rest.
_MOST_FACTOR, _MOST_SHIFT, _MOST_BLUR = 0.01, 0.5, 0.1

#: By how much of itself chi-square may rise: rounding.
_ROUNDING = 1e-5


class _State(NamedTuple):
    """Where the search of a block of stars is: (star, ...).

    number, of steps; x, latents and coefficients; objective, chi2; direction, where to go next,
    left, its squared length in sigma, and the part of it to go; active, whether to go on.
    """

    number: Any
    x: Any
    objective: Any
    chi2: Any
    direction: Any
    left: Any
    length: Any
    active: Any


class _System(NamedTuple):
    """Equations of a block of stars."""

    designs: tuple[Any, ...]
    weighed: Weighed
    distortion: Distortion
    prior: GaussianPrior

    @property
    def latent_dim(self) -> int:
        """Number of latents P."""
        return int(self.distortion.weights.shape[1])

    @property
    def size(self) -> int:
        """Number of latents and coefficients."""
        return self.latent_dim + int(self.distortion.widths.size)

    @property
    def distorted(self) -> tuple[Any, Any, Any]:
        """Design, weights and residuals of the output that has nuisances."""
        i = self.distortion.output
        return self.designs[i], self.weighed.weights[i], self.weighed.residuals[i]

    @property
    def others(self) -> list[tuple[Any, Any, Any]]:
        """The same of each of the others."""
        parts = zip(self.designs, self.weighed.weights, self.weighed.residuals, strict=True)
        return [part for i, part in enumerate(parts) if i != self.distortion.output]

    def measure(self, x: Any) -> tuple[Any, Any, Any]:
        """Return chi2, what is minimised, and minus half the gradient of that."""
        z, c = x[:, : self.latent_dim], x[:, self.latent_dim :]
        design, w, r = self.distorted
        predicted = self.distortion.predict(z, c)
        rest = r - predicted.value
        weighted = w * rest
        chi2 = design.noise.chi2(w, rest)
        held = self.prior.precision * z
        pull = self.distortion.pull_latents(predicted, weighted) - held
        own = self.distortion.pull_coefficients(predicted, weighted) - c
        for design, w, r in self.others:
            rest = r - linalg.dot(z, design.weights.T)
            chi2 = chi2 + design.noise.chi2(w, rest)
            pull = pull + linalg.dot(w * rest, design.weights)
        of_latents = jnp.sum(held * z, 1)
        of_coefficients = jnp.sum(c * c, 1)
        penalty = of_latents + of_coefficients
        # one that is at its bound goes no farther
        is_free = abs(c) < FARTHEST
        goes_back = own * c < 0
        own = jnp.where(is_free | goes_back, own, 0)
        return chi2, chi2 + penalty, jnp.concatenate([pull, own], 1)

    def sum_products(self, w: Any) -> Any:
        """Return the matrix of the latents alone, for weights of the distorted output."""
        design, _, _ = self.distorted
        packed = linalg.dot(w, design.packed.T)
        packed = packed + sum(linalg.dot(w, d.packed.T) for d, w, _ in self.others)
        return linalg.unpack(packed, self.latent_dim) + self.prior.hessian()

    def make_hessian(self, known: Any, w: Any, z: Any, factor: Any, blur: Any) -> Any:
        """Return the matrix of all unknowns, of spectra at rest but for continuum and resolution.

        Parameters
        ----------
        known : array, (star, latent, latent)
            `sum_products` of w.
        w : array, (star, feature)
            At rest, with the square of the factor.
        z : array, (star, latent)
        factor, blur : array, or 1 and 0
        """
        design, _, _ = self.distorted
        slopes = self.distortion.find_slopes(z, factor, blur)
        mixed = [linalg.dot(w * slope, design.weights) for slope in slopes]
        own = [[jnp.sum(w * a * b, 1) for b in slopes] for a in slopes]
        cross = jnp.stack(mixed, 2)
        corner = jnp.stack([jnp.stack(row, 1) for row in own], 1) + jnp.eye(len(slopes))
        above = jnp.concatenate([known, cross], 2)
        below = jnp.concatenate([cross.swapaxes(1, 2), corner], 2)
        return jnp.concatenate([above, below], 1)


def solve_with_nuisances(
    problem: Problem, data: Sequence[Data], targets: Sequence[Target], *, covariance: bool
) -> Posterior:
    """Return the posterior of z of every star of a linear model with nuisances."""
    found: Posterior = run_blocks(
        _solve_block,
        problem=problem,
        data=data,
        targets=targets,
        prior=(problem.prior, problem.distortion),
        n=data[0].value.shape[0],
        covariance=covariance,
    )
    return found


@compile_program(static_argnames=("covariance",))
@keep_lowered
def _solve_block(
    designs: tuple[Any, ...],
    data: tuple[Data, ...],
    targets: tuple[Target, ...],
    prior: tuple[GaussianPrior, Distortion],
    covariance: bool,
) -> Posterior:
    own, distortion = prior
    weighed = weigh_outputs(designs, data)
    system = _System(designs, weighed, distortion, own)
    _, w, _ = system.distorted
    known = system.sum_products(w)
    begun = _begin(system, known)
    p = system.latent_dim
    hessian = system.make_hessian(known, w, begun[:, :p], 1, 0)
    end = _search(system, begun, hessian)
    hessian = _refresh(system, end.x, hessian)
    end = _search(system, end.x, hessian)
    x = _move(end.x, end.direction, p)
    half = linalg.solve(hessian, jnp.zeros_like(x), _join(targets, p, system.size - p)).half
    edges = np.cumsum([t.weights.shape[0] for t in targets])
    *halves, of_nuisances = jnp.split(half, edges, -1)
    spread = [linalg.square(h) if covariance else jnp.sum(h * h, 1) for h in halves]
    no = jnp.zeros(len(x), bool)
    return Posterior(
        latent=x[:, :p],
        chi2=end.chi2,
        n_values=weighed.n_values,
        wrong=weighed.wrong,
        settled=(end.left <= _UNSETTLED) & (end.objective < jnp.inf),
        spread=tuple(spread),
        mean=(),
        apart=no,
        fell_back=no,
        nuisance=(x[:, p:], jnp.sqrt(jnp.sum(of_nuisances**2, 1))),
    )


def _begin(system: _System, known: Any) -> Any:
    """Return the best of the starts of each star, with the latents that go with it."""
    design, w, r = system.distorted
    pull = sum(linalg.dot(w * r, d.weights) for d, w, r in system.others)
    starts = system.distortion.starts
    inverse = linalg.invert_root(known)

    def try_start(start: Any) -> tuple[Any, Any]:
        rest = r - start.values
        white = by_star.multiply(inverse, linalg.dot(w * rest, start.weights) + pull)
        objective = design.noise.chi2(w, rest) + start.coefficient**2 - jnp.sum(white * white, 1)
        return objective, by_star.multiply(inverse.swapaxes(1, 2), white)

    objectives, latents = jax.lax.map(try_start, starts)
    best = jnp.argmin(objectives, 0)
    z = jnp.take_along_axis(latents, best[None, :, None], 0)[0]
    others = jnp.zeros((len(z), system.size - system.latent_dim - 1))
    # where there is no choice, the first coefficient is any, and 0
    return jnp.concatenate([z, starts.coefficient[best][:, None], others], 1)


def _refresh(system: _System, x: Any, hessian: Any) -> Any:
    """Return the matrices of a block, made anew for stars far from a spectrum at rest."""
    z, c = x[:, : system.latent_dim], x[:, system.latent_dim :]
    _, w, _ = system.distorted
    predicted = system.distortion.predict(z, c)
    far = jnp.max(abs(predicted.factor - 1), 1) > _MOST_FACTOR
    far = far | (jnp.max(abs(predicted.shift), 1) > _MOST_SHIFT)
    far = far | (jnp.max(abs(predicted.blur), 1) > _MOST_BLUR)

    def renew() -> Any:
        moved = jnp.maximum(system.distortion.pull_weights(predicted, w), 0)
        fresh = system.make_hessian(
            system.sum_products(moved), moved, z, predicted.factor, predicted.blur
        )
        return jnp.where(far[:, None, None], fresh, hessian)

    return jax.lax.cond(far.any(), renew, lambda: hessian)


def _search(system: _System, x: Any, hessian: Any) -> _State:
    """Take steps until none of the stars needs another."""
    zero, nowhere = jnp.zeros(len(x)), jnp.zeros_like(x)
    inverse = linalg.invert_root(hessian)
    start = _State(
        number=jnp.int32(0),
        x=x,
        objective=zero + jnp.inf,
        chi2=zero,
        direction=nowhere,
        left=zero,
        length=zero + 1,
        active=zero == 0,
    )

    def is_unfinished(now: _State) -> Any:
        return now.active.any() & (now.number < _MOST_STEPS)

    def step(now: _State) -> _State:
        return _take_step(system, inverse, now)

    end: _State = jax.lax.while_loop(is_unfinished, step, start)
    return end


def _take_step(system: _System, inverse: Any, now: _State) -> _State:
    """Take a step; a star that is done stays as it is, whatever others need."""
    step = now.length[:, None] * now.direction
    x = _move(now.x, step, system.latent_dim)
    chi2, objective, downhill = system.measure(x)
    white = by_star.multiply(inverse, downhill)
    direction = by_star.multiply(inverse.swapaxes(1, 2), white)
    left = jnp.sum(white * white, 1)
    # false of NaN
    better = objective <= now.objective * (1 + _ROUNDING)
    # the part of the step after which its slope would have been 0
    fall = now.left - jnp.sum(now.direction * downhill, 1)
    divisor = jnp.where(fall > 0, fall, 1)
    part = jnp.where(fall > 0, now.left / divisor, 1)
    onward = jnp.clip(now.length * part, *_NEXT)
    again = now.length * jnp.clip(part, *_AGAIN)
    length = jnp.where(better, onward, again)
    active = jnp.where(better, left > _SETTLED, length > _SHORTEST)
    number = now.number + 1
    taken = _State(number, x, objective, chi2, direction, left, length, active)
    kept = now._replace(number=number, length=length, active=active)
    moved = _choose_stars(better, taken, kept)
    return _choose_stars(now.active, moved, now)


def _choose_stars(which: Any, new: _State, old: _State) -> _State:
    """Return the new state of some stars, and the old one of the others."""

    def choose(ours: Any, theirs: Any) -> Any:
        if ours.ndim == 0:
            return ours
        return by_star.choose(which, ours, theirs)

    return _State(*map(choose, new, old))


def _move(x: Any, step: Any, latent_dim: int) -> Any:
    """Return x + step, with coefficients within their farthest."""
    moved = x + step
    inside = jnp.clip(moved[:, latent_dim:], -FARTHEST, FARTHEST)
    return jnp.concatenate([moved[:, :latent_dim], inside], 1)


def _join(targets: Sequence[Target], latent_dim: int, number: int) -> Any:
    """Return the directions of all labels, then of all coefficients: (latent + nuisance, label)."""
    slopes = [t.weights.T for t in targets]
    labels = jnp.concatenate([*slopes, jnp.zeros((latent_dim, 0))], 1)
    above = jnp.concatenate([labels, jnp.zeros((latent_dim, number))], 1)
    below = jnp.concatenate([jnp.zeros((number, labels.shape[1])), jnp.eye(number)], 1)
    return jnp.concatenate([above, below], 0)
