"""The steps of the paper's training by the paper's solvers, those of jaxopt.

Gauss-Newton in agenda 1, LBFGS in agenda 2. They are the steps of
`luxscale.training.alternating`, with the same objectives, taken numerically: to show that both
reach the same optimum, and because residuals that are not linear could be put in.

- Agenda 1: a-, b- and z-step are least-squares problems of one feature (one star) each, whose
  residuals Gauss-Newton gets as a function; features (stars) are batched.
- Agenda 2: LBFGS with the paper's settings finds ln s of each feature from ln s = -8; then all of B
  at fixed z and s; then all z at fixed A, B and s, with the Gaussian prior of equation 8. B and z
  are optimised one after the other, as section 4.2 has it. Together they have no optimum: for
  latents that no label pins, the prior gains by z -> z / c, B -> c B without end.

What `luxscale.training.alternating` chose where the paper leaves a choice is kept: the offset of
its own, the prior in agenda 1 too, the pull towards the weights before the step with the strength
of one star, and an a-step before agenda 2's z-step. It differs in precision, float64 instead of
float32, which tol = 1e-6 asks for; and where the errors alone explain the residuals, ln s ends at a
large negative number, where the exact s-step ends at s = 0.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.errors import InputError
from luxscale.model import linalg
from luxscale.model.jit import compile_program, use_float64
from luxscale.model.noise import DiagonalNoise
from luxscale.training.alternating import Steps
from luxscale.training.data import BLOCK, LEAST_SCATTER, Arrays, Fit, TrainingData
from luxscale.training.latents import Latents
from luxscale.training.regression import TILE

#: Section 4.2; the gradient of the summed objective has to fall below tol.
_LBFGS = {"tol": 1e-6, "maxiter": 3000, "max_stepsize": 1e3}

#: ln s where the s-step starts (section 4.1).
_LN_SCATTER = -8.0


def jaxopt_steps() -> Steps:
    """Return the steps as jaxopt takes them.

    Raises
    ------
    InputError
        If jaxopt is not installed.
    """
    _jaxopt()
    return Steps(_solve_weights, _solve_latents, _leave_out)


def _solve_weights(
    outputs: tuple[Arrays, ...],
    latents: Latents,
    stars: np.ndarray,
    data: TrainingData,
    final: bool,
) -> tuple[Arrays, ...]:
    """Take the a- and b-step, for spectra after the s-step and by LBFGS if ``final``."""
    new = []
    for arrays, output in zip(outputs, data.outputs, strict=True):
        with_scatter = final and not output.is_label
        if with_scatter:
            scatter = _optimise_scatter(arrays, latents.mean, stars)
            arrays = arrays._replace(scatter=scatter)
        weights, offset = _optimise_weights(
            arrays,
            latents.mean,
            stars,
            final=with_scatter,
        )
        new.append(arrays._replace(weights=weights, offset=offset))
    return tuple(new)


def _solve_latents(
    outputs: tuple[Arrays, ...], latents: Latents, precision: float, final: bool
) -> Latents:
    z, objective = _optimise_latents(outputs, latents.mean, precision, final=final)
    return latents._replace(mean=z, objective=objective)


def _leave_out(
    outputs: tuple[Arrays, ...], latents: Latents, folds: Sequence[np.ndarray], data: TrainingData
) -> Iterator[Fit]:
    for fold in folds:
        others = data.mark_stars()
        others[fold] = 0
        yield Fit(_solve_weights(outputs, latents, others, data, final=False))


@functools.cache
def _jaxopt() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "JAXopt is no longer maintained", DeprecationWarning)
            import jaxopt
    except ImportError as error:
        raise InputError(
            "solver 'jaxopt' needs the package jaxopt: pip install 'luxscale[jaxopt]'"
        ) from error
    return jaxopt


def _program(**options: Any) -> Callable[[Callable], Callable]:
    """Compile as `luxscale.model.jit.compile_program` does, in float64.

    What comes back is float32, but for objectives.
    """

    def decorate(function: Callable) -> Callable:
        compiled = compile_program(**options)(function)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with use_float64():
                return compiled(*args, **kwargs)

        return run

    return decorate


def _run(solver: Any, x: Any, *args: Any) -> Any:
    """Run a solver from x until its error is below its tol.

    As ``solver.run`` does, which compiles the update twice.
    """

    def update(carry: tuple[Any, Any]) -> tuple[Any, Any]:
        return tuple(solver.update(*carry, *args))  # type: ignore[return-value]

    def is_unfinished(carry: tuple[Any, Any]) -> Any:
        _, state = carry
        is_off = state.error > solver.tol
        may_go_on = state.iter_num < solver.maxiter
        return is_off & may_go_on

    first = solver.init_state(x, *args)
    found, _ = jax.lax.while_loop(is_unfinished, update, (x, first))
    return found


def _double(*arrays: Any) -> list[Any]:
    return [jnp.asarray(a, jnp.float64) for a in arrays]


def _feature_residuals(x: Any, pull: Any, y: Any, w: Any, z1: Any) -> Any:
    """Return the residuals of one feature: (star + latent + 1,).

    Half their sum of squares is what a- and b-step minimise: sqrt(w_n) (y_n - x . [z_n, 1]) of each
    star, and the pull of ``regress_weights`` towards the weights before the step.

    Parameters
    ----------
    x, pull : array, (latent + 1,)
        Weights and offset; those before the step, with offset 0.
    y, w : array, (star,)
    z1 : array, (star, latent + 1)
    """
    n_stars = jnp.sum(w > 0)
    strength = jnp.sum(w) / jnp.maximum(n_stars, 1)
    # a feature without data is pulled too; the offset next to nothing
    pull_weight = jnp.where(strength > 0, strength, 1)
    ridge = pull_weight * jnp.ones_like(x).at[-1].set(1e-6)
    of_stars = jnp.sqrt(w) * (y - z1 @ x)
    of_pull = jnp.sqrt(ridge) * (x - pull)
    return jnp.concatenate([of_stars, of_pull])


def _star_residuals(
    z: Any, values: list[Any], weights: list[Any], designs: list[Any], prior: Any
) -> Any:
    """Return the residuals of one star: (features + latent,).

    Half their sum of squares is what the z-step minimises: sqrt(w_d) (y_d - X_d . z) of each
    feature of every output, y less the offset, and sqrt(prior) z.
    """
    residuals = []
    for y, w, x in zip(values, weights, designs, strict=True):
        predicted = x @ z
        residuals.append(jnp.sqrt(w) * (y - predicted))
    of_prior = jnp.sqrt(prior) * z
    return jnp.concatenate([*residuals, of_prior])


@_program(static_argnames=("final",))
def _optimise_weights(output: Arrays, z: Any, stars: Any, final: bool = False) -> tuple[Any, Any]:
    """Solve for weights and offset of all features at fixed latents and scatter (a- and b-step).

    Parameters
    ----------
    output : Arrays
    z : array, (star, latent)
    stars : array, (star,)
        1 for the stars that take part, 0 for those that do not.
    final : bool
        Whether by LBFGS, all features at once, or by Gauss-Newton, feature by feature.

    Returns
    -------
    weights : array, (feature, latent)
    offset : array, (feature,)
    """
    y, ivar, x, offset, s, z, stars = _double(*output, z, stars)
    # the offset is the weight of a last, constant latent
    z1 = jnp.pad(z, ((0, 0), (0, 1)), constant_values=1)
    taking_part = ivar * stars[:, None]
    w = DiagonalNoise(s).weigh(taking_part)
    pull = jnp.pad(x, ((0, 0), (0, 1)))
    has_data = jnp.any(w > 0, 0)
    first_offset = jnp.where(has_data, offset, 0)
    first = pull.at[:, -1].set(first_offset)
    if final:
        residuals = jax.vmap(_feature_residuals, (0, 0, 0, 0, None))

        def half_chi2(*a: Any) -> Any:
            return 0.5 * jnp.sum(residuals(*a) ** 2)

        solver = _jaxopt().LBFGS(half_chi2, **_LBFGS)
        x = _run(solver, first, pull, y.T, w.T, z1)
    else:
        solver = _jaxopt().GaussNewton(_feature_residuals)

        def solve_feature(a: tuple[Any, ...]) -> Any:
            return _run(solver, *a, z1)

        features = (first, pull, y.T, w.T)
        x = jax.lax.map(solve_feature, features, batch_size=TILE)
    weights, offset = x[:, :-1], x[:, -1]
    return weights.astype(jnp.float32), offset.astype(jnp.float32)


@_program(static_argnames=("final",))
def _optimise_latents(
    outputs: tuple[Arrays, ...], z: Any, prior: Any, final: bool = False
) -> tuple[Any, Any]:
    """Solve for the latents of all stars at fixed weights and scatter (z-step).

    Parameters
    ----------
    outputs : tuple of Arrays
    z : array, (star, latent)
        Where to start.
    prior : float
        Precision of the Gaussian prior on latents.
    final : bool
        Whether by LBFGS, all stars at once, or by Gauss-Newton, star by star.

    Returns
    -------
    z : array, (star, latent)
    objective : array, (star,)
        Penalised log-likelihood (equation 8).
    """
    (z,) = _double(z)
    values = []
    weights = []
    designs = []
    noises = []
    for output in outputs:
        y, ivar, x, offset, s = _double(*output)
        noise = DiagonalNoise(s)
        values.append(y - offset)
        weights.append(noise.weigh(ivar))
        designs.append(x)
        noises.append(noise)
    residuals = jax.vmap(_star_residuals, (0, 0, 0, None, None))
    if final:

        def half_chi2(*a: Any) -> Any:
            return 0.5 * jnp.sum(residuals(*a) ** 2)

        solver = _jaxopt().LBFGS(half_chi2, **_LBFGS)
        z = _run(solver, z, values, weights, designs, prior)
    else:
        solver = _jaxopt().GaussNewton(_star_residuals)

        def solve_star(a: tuple[Any, ...]) -> Any:
            return _run(solver, *a, designs, prior)

        stars = (z, values, weights)
        z = jax.lax.map(solve_star, stars, batch_size=BLOCK)
    squares = residuals(z, values, weights, designs, prior) ** 2
    objective = -0.5 * jnp.sum(squares, 1)
    for noise, w in zip(noises, weights, strict=True):
        # chi2 is among the squares already
        objective += noise.log_likelihood(w, jnp.zeros_like(w))
    return z.astype(jnp.float32), objective


@_program()
def _optimise_scatter(output: Arrays, z: Any, stars: Any) -> Any:
    """Maximise the likelihood over the scatter of each feature (s-step): (feature,).

    Parameters are those of ``_optimise_weights``.
    """
    y, ivar, x, offset, _, z, stars = _double(*output, z, stars)
    ivar = ivar * stars[:, None]
    predicted = linalg.dot(z, x.T)
    q = (y - offset - predicted) ** 2
    # jaxopt's default line search (zoom) fails from ln s = -8, where the curvature is negative, and
    # never recovers
    solver = _jaxopt().LBFGS(
        _minus_log_likelihood,
        linesearch="hager-zhang",
        **_LBFGS,
    )
    first = jnp.asarray(_LN_SCATTER)

    def solve_feature(a: tuple[Any, ...]) -> Any:
        return _run(solver, first, *a)

    ln_s = jax.lax.map(solve_feature, (q.T, ivar.T), batch_size=TILE)
    s = jnp.maximum(jnp.exp(ln_s), LEAST_SCATTER)
    has_data = jnp.any(ivar > 0, 0)
    return jnp.where(has_data, s, LEAST_SCATTER).astype(jnp.float32)


def _minus_log_likelihood(ln_s: Any, q: Any, ivar: Any) -> Any:
    """Return what the s-step minimises of one feature, less a constant.

    Squared residuals ``q`` and ``ivar`` are (star,).
    """
    w = DiagonalNoise(jnp.exp(ln_s)).weigh(ivar)
    known = w > 0
    # a logarithm of 0 would make the gradient NaN, masked or not
    log_w = jnp.log(jnp.where(known, w, 1))
    terms = jnp.where(known, w * q - log_w, 0)
    return 0.5 * jnp.sum(terms)
