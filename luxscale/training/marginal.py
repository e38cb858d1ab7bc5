"""Maximum marginal likelihood: the latents are integrated out, by expectation-maximisation.

For latents z ~ N(0, I), the E-step finds each star's posterior mean and covariance; the M-step
regresses every feature on them with E[z z^T] = z z^T + C, after updating its scatter from E[(y - W
z)^2]; then weights and latents are brought back to the canonical gauge, which keeps the prior exact
(parameter-expanded EM, Liu, Rubin & Wu 1998).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from luxscale.model.decoders import LinearMap
from luxscale.training.data import Arrays, Trained, TrainingData
from luxscale.training.gauge import turn_to_canonical_gauge
from luxscale.training.initial import Start
from luxscale.training.label_ridge import LabelRegression
from luxscale.training.latents import Latents, solve_latents
from luxscale.training.latents_near import LatentSolver
from luxscale.training.principal_start import (
    begin_output,
    find_principal_latents,
    measure_label_scatter,
)
from luxscale.training.regression import extrapolate_step, regress_weights
from luxscale.training.regression_near import WeightSolver
from luxscale.training.reporting import Report

#: Fisher-scoring steps of the scatter: the first must find it, later ones, every second iteration,
#: follow it.
_FIRST_STEPS, _STEPS = 8, 2

#: Factor by which each M-step is overshot, which leaves EM convergent: 12 iterations then come as
#: far as 16 without.
RELAX = 1.5


class Limits(NamedTuple):
    """Most iterations, and the gain in ln evidence per measured value below which they end."""

    iterations: int
    tolerance: float


class Maximum(NamedTuple):
    """Outputs of greatest evidence, the objective of each iteration, what solves for latents.

    find_latents() returns those of all stars.
    """

    outputs: tuple[Arrays, ...]
    history: list[float]
    find_latents: Callable[[], Latents]


def train_marginal(
    data: TrainingData,
    latent_dim: int,
    *,
    iterations: int,
    tolerance: float,
    report: Report,
    start: Start | None = None,
) -> Trained:
    """Fit weights and scatter by maximum marginal likelihood.

    Parameters
    ----------
    data : TrainingData
    latent_dim : int
    iterations : int
        At most this many.
    tolerance : float
        Stop when an iteration gains less than this in ln evidence per measured value.
    report : callable
        See `Report`.
    start : Start, optional
        What to go on from.

    Returns
    -------
    Trained
        In the canonical gauge; the objective is the log evidence per star after each iteration.
        Weights of labels with large errors are pulled to 0: see `luxscale.training.label_ridge`.
    """
    limits = Limits(iterations, tolerance)
    found = maximise_evidence(data, latent_dim, limits, report, start)
    labels = LabelRegression(data, found.outputs, found.find_latents)
    trained = describe(labels.improve(report.say), found.history)
    return trained._replace(leave_out=labels.leave_out)


def maximise_evidence(
    data: TrainingData,
    latent_dim: int,
    limits: Limits,
    report: Report,
    start: Start | None = None,
) -> Maximum:
    """Iterate until the evidence is greatest, or the limits are reached; see `train_marginal`."""
    informing = data.informing
    everyone = data.mark_stars()
    outputs, latents = begin_outputs(data, latent_dim, start)
    least_gain = limits.tolerance * data.values_per_star()
    first = start.number if start else 0
    most = first + limits.iterations
    history = start.history if start else []
    weight_solver = WeightSolver()
    latent_solver = LatentSolver(data.n_stars, 1.0, tell=report.tell)
    for iteration in range(first, most):
        steps = count_scatter_steps(iteration)
        regressed = []
        for output, fitted in zip(outputs, informing, strict=True):
            zero = np.zeros_like(output.weights)
            new = weight_solver.solve(output, latents, zero, everyone, steps if fitted else 0)
            if iteration:
                new = extrapolate_step(output, new, RELAX)
            regressed.append(new)
        outputs, turned = turn_to_canonical_gauge(
            tuple(regressed), latents, data.n_stars, informing
        )
        latents = latent_solver.solve(outputs, turned.mean)
        objective = np.asarray(latents.objective[: data.n_stars], float)
        history.append(float(objective.mean()))
        report(iteration, most, history[-1], functools.partial(describe, outputs, tuple(history)))
        if has_converged(history, least_gain):
            break
    outputs, turned = turn_to_canonical_gauge(outputs, latents, data.n_stars, informing)
    return Maximum(outputs, history, lambda: latent_solver.solve(outputs, turned.mean))


def describe(outputs: tuple[Arrays, ...], history: Sequence[float]) -> Trained:
    """Return linear outputs as what a trainer returns."""
    return Trained(outputs, list(history), kinds=(LinearMap,) * len(outputs))


def begin_outputs(
    data: TrainingData, latent_dim: int, start: Start | None
) -> tuple[tuple[Arrays, ...], Latents]:
    """Return the outputs and latents before the first iteration."""
    everyone = data.mark_stars()
    latents = Latents.certain(find_principal_latents(data, latent_dim))
    scatters = measure_label_scatter(data, latents.mean[: data.n_stars])
    begun = []
    for arrays, scatter in zip(data.arrays, scatters, strict=True):
        begun.append(begin_output(arrays, scatter, latent_dim))
    if start is None:
        return tuple(regress(output, latents, everyone, 0) for output in begun), latents
    known = []
    for output, new, fitted in zip(start.make_arrays(), begun, data.informing, strict=True):
        # that of labels is measured, and their misfit has taken its place in the model
        known.append(output if fitted else output._replace(scatter=new.scatter))
    latents = solve_latents(tuple(known), 1.0)

    def regress_new(i: int) -> Arrays:
        return regress(begun[i], latents, everyone, _FIRST_STEPS if data.informing[i] else 0)

    outputs = start.begin_linear(known, regress_new)
    return outputs, solve_latents(outputs, 1.0)


def has_converged(history: Sequence[float], least_gain: float) -> bool:
    """Return whether iterations gain too little in log evidence per star to go on."""
    # scatter is fitted every second time: two iterations together are what gains
    return len(history) > 2 and history[-1] - history[-3] < 2 * least_gain


def count_scatter_steps(iteration: int) -> int:
    """Return the Fisher-scoring steps of the scatter in an iteration."""
    if iteration == 0:
        return _FIRST_STEPS
    return 0 if iteration % 2 else _STEPS


def regress(output: Arrays, latents: Latents, stars: np.ndarray, steps: int) -> Arrays:
    """Fit scatter (unless ``steps`` is 0) and weights of an output to the stars that take part."""
    zero = np.zeros_like(output.weights)
    return regress_weights(
        output,
        latents,
        start=zero,
        stars=stars,
        scatter_steps=steps,
    )
