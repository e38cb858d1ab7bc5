"""The paper's training step (section 4.2): two agendas of exact block solves.

Where the paper leaves a choice: the constant latent of equation 9 is an offset of its own, so that
P counts the others; a missing label starts at the median; the columns of A and B whose latents
start at 0 stay at their start until a z-step has given them latents; "L2" in equation 7 is a
Gaussian prior on z whose precision is ``latent_precision`` (the authors' code minimises sum z^2 /
(2 * 1000^2), so their Omega = 10^3 is the prior's standard deviation); it is also kept in agenda 1,
where the paper has none, because without it a star with fewer pixels than latents has no solution.

Where the paper is left:

- The uniform numbers in A and B are always the same, so that neither a seed nor the order of the
  stars matters. Principal components of the spectra in their place are a worse start: they are near
  a saddle of the objective, for gaps make components too, which have next to nothing of the weak
  directions that they displace.
- Each a- and b-step of agenda 1 is overshot by a third, which cannot lower a quadratic objective
  (any factor below 2 leaves it risen), and agenda 1 ends when the objective rises no more, not
  after five iterations.
- A label counts as known to `LEAST_LABEL_SCATTER` of its spread at best, for in float32 weights
  that differ by more leave no digit to the spectra.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from luxscale.errors import InputError
from luxscale.model.decoders import LinearMap
from luxscale.training.data import Arrays, Fit, Trained, TrainingData
from luxscale.training.gauge import turn_to_canonical_gauge
from luxscale.training.initial import Start
from luxscale.training.latents import Latents, solve_latents
from luxscale.training.latents_near import LatentSolver
from luxscale.training.regression import extrapolate_step, leave_out_each, regress_weights
from luxscale.training.regression_near import WeightSolver
from luxscale.training.reporting import Report

#: Least scatter of labels where spectra are given too, in units of their spread.
LEAST_LABEL_SCATTER = 5e-3

#: Of the numbers that A and B start from.
_SEED = 20250203

#: Fisher-scoring steps of the s-step, which has no closed form; ten change s by less than 1e-4 of
#: itself after the eighth.
_SCATTER_STEPS = 10

#: Factor by which a- and b-steps are overshot: nine iterations then come about as far as twelve
#: without.
_RELAX = 1.35

#: What rounding may take from the objective, per measured value and as a fraction of it.
_ROUNDING = 1e-3

_Outputs = tuple[Arrays, ...]


class Steps(NamedTuple):
    """How a solver takes the steps.

    weights(outputs, latents, stars, data, final): a- and b-step, of spectra after the s-step if
    final; latents(outputs, latents, precision, final): the z-step, from the latents before it;
    leave_out(outputs, latents, folds, data): the outputs without the stars of each fold.
    """

    weights: Callable[[_Outputs, Latents, np.ndarray, TrainingData, bool], _Outputs]
    latents: Callable[[_Outputs, Latents, float, bool], Latents]
    leave_out: Callable[[_Outputs, Latents, Sequence[np.ndarray], TrainingData], Iterable[Fit]]


def train_alternating(
    data: TrainingData,
    latent_dim: int,
    *,
    iterations: int,
    tolerance: float,
    latent_precision: float,
    solver: str,
    report: Report,
    start: Start | None = None,
) -> Trained:
    """Fit A, B, z and s by the paper's two agendas.

    Parameters
    ----------
    data : TrainingData
    latent_dim : int
    iterations : int
        Of agenda 1, at most; the paper uses five.
    tolerance : float
        Agenda 1 ends when an iteration gains less than this in the objective per measured value.
    latent_precision : float
        Precision of the Gaussian prior on latents (equation 7).
    solver : {"exact", "jaxopt"}
        The block solves of `luxscale.training.statistics`, or the paper's Gauss-Newton and LBFGS.
    report : callable
        See `Report`.
    start : Start, optional
        What to go on from.

    Returns
    -------
    Trained
        In the canonical gauge; the objective is the penalised log-likelihood per star (equation 8)
        after each iteration, the last being agenda 2's.

    Raises
    ------
    InputError
        If the objective falls, or jaxopt is not installed.
    """
    steps = _pick_steps(solver, data, latent_precision, report)
    everyone = data.mark_stars()
    values = data.values_per_star()
    outputs, latents = _begin(data, latent_dim, steps, latent_precision, start)
    history = start.history if start else []
    iteration = first = start.number if start else 0
    most = first + iterations
    last = -np.inf
    gain = np.inf
    final = False
    while not final:
        final = iteration == most or gain < tolerance * values
        new = steps.weights(outputs, latents, everyone, data, final)
        if iteration and not final:
            pairs = zip(outputs, new, strict=True)
            new = tuple(extrapolate_step(*pair, _RELAX) for pair in pairs)
        latents = steps.latents(new, latents, latent_precision, final)
        objective = _average(latents.objective, data)
        history.append(objective)
        gain = objective - last
        _check_risen(gain, objective, values, iteration)
        outputs, turned = turn_to_canonical_gauge(new, latents, data.n_stars, data.informing)
        # another gauge, another length of the latents: what the prior takes from the objective
        # changes with it
        longer = _average_length2(turned, data) - _average_length2(latents, data)
        last = objective - 0.5 * latent_precision * longer
        latents = turned
        take = functools.partial(_describe, outputs, tuple(history))
        report(iteration, most + 1, objective, take)
        iteration += 1

    def leave_out(folds: Sequence[np.ndarray]) -> Iterable[Fit]:
        return steps.leave_out(outputs, latents, folds, data)

    return _describe(outputs, history)._replace(leave_out=leave_out)


def _describe(outputs: _Outputs, history: Sequence[float]) -> Trained:
    return Trained(outputs, list(history), kinds=(LinearMap,) * len(outputs))


def _pick_steps(solver: str, data: TrainingData, latent_precision: float, report: Report) -> Steps:
    if solver == "jaxopt":
        from luxscale.training.jaxopt import jaxopt_steps

        return jaxopt_steps()
    exact = _ExactSteps(data, latent_precision, report)
    return Steps(exact.solve_weights, exact.solve_latents, _leave_out)


class _ExactSteps:
    """Block solves, from what the iteration before found as soon as there is one."""

    def __init__(self, data: TrainingData, precision: float, report: Report) -> None:
        self._weights = WeightSolver()
        self._latents = LatentSolver(data.n_stars, precision, marginal=False, tell=report.tell)
        self._has_begun = False

    def solve_weights(
        self,
        outputs: _Outputs,
        latents: Latents,
        stars: np.ndarray,
        data: TrainingData,
        final: bool,
    ) -> _Outputs:
        """Take the a- and b-step, after the s-step of what informs latents if ``final``."""
        solve = self._weights.solve if self._has_begun else regress_weights
        new = []
        for output, fitted in zip(outputs, data.informing, strict=True):
            steps = _SCATTER_STEPS if final and fitted else 0
            new.append(solve(output, latents, output.weights, stars, scatter_steps=steps))
        return tuple(new)

    def solve_latents(
        self, outputs: _Outputs, latents: Latents, precision: float, final: bool
    ) -> Latents:
        """Take the z-step."""
        if self._has_begun:
            return self._latents.solve(outputs, latents.mean)
        self._has_begun = True
        return solve_latents(outputs, precision, marginal=False)


def _average(per_star: np.ndarray, data: TrainingData) -> float:
    of_stars = np.asarray(per_star[: data.n_stars], float)
    return float(of_stars.mean())


def _average_length2(latents: Latents, data: TrainingData) -> float:
    """Return the mean squared length of the latents."""
    z = np.asarray(latents.mean, float)
    length2 = (z**2).sum(1)
    return _average(length2, data)


def _check_risen(gain: float, objective: float, values: float, iteration: int) -> None:
    """Refuse an objective that falls.

    Exact steps can only raise it, unless float32 cannot carry the weights.
    """
    if gain < -_ROUNDING * (values + abs(objective)):
        raise InputError(
            f"training went astray: its objective fell by {-gain:.3g} per star, to "
            f"{objective:.4g}, at iteration {iteration}: errors of labels and spectra differ by "
            "more than float32 can carry; check the smallest errors and the largest, or train "
            "with fewer latents, a larger latent_precision or method 'marginal'"
        )


def _leave_out(
    outputs: _Outputs, latents: Latents, folds: Sequence[np.ndarray], data: TrainingData
) -> Iterable[Fit]:
    starts = [o.weights for o in outputs]
    return leave_out_each(outputs, latents, starts, folds)


def _begin(
    data: TrainingData,
    latent_dim: int,
    steps: Steps,
    precision: float,
    start: Start | None,
) -> tuple[_Outputs, Latents]:
    """Return the outputs and latents before the first iteration."""
    begun, latents = _start(data, latent_dim)
    if start is None:
        return begun, latents
    known = []
    for output, new, fitted in zip(start.make_arrays(), begun, data.informing, strict=True):
        known.append(output if fitted else output._replace(scatter=new.scatter))
    latents = steps.latents(tuple(known), latents, precision, False)
    everyone = data.mark_stars()

    def regress_new(i: int) -> Arrays:
        scatter_steps = _SCATTER_STEPS if data.informing[i] else 0
        zero = np.zeros_like(begun[i].weights)
        return regress_weights(begun[i], latents, zero, everyone, scatter_steps=scatter_steps)

    outputs = start.begin_linear(known, regress_new)
    return outputs, steps.latents(outputs, latents, precision, False)


def _start(data: TrainingData, latent_dim: int) -> tuple[_Outputs, Latents]:
    """Return where training starts.

    Weights in [0, 1), always the same, the least scatter, and the latents of equation 9.
    """
    rng = np.random.default_rng(_SEED)
    outputs = []
    for arrays, informs in zip(data.arrays, data.informing, strict=True):
        d = arrays.values.shape[1]
        start = arrays._replace(
            weights=rng.random((d, latent_dim), np.float32), offset=np.zeros(d, np.float32)
        )
        if not informs:  # labels beside spectra
            start = start._replace(scatter=np.full(d, LEAST_LABEL_SCATTER, np.float32))
        outputs.append(start)
    return tuple(outputs), _make_first_latents(data, latent_dim)


def _make_first_latents(data: TrainingData, latent_dim: int) -> Latents:
    """Return the scaled labels as the first latents, 0 as the others: equation 9."""
    n = data.arrays[0].values.shape[0]
    labels = [np.asarray(o.arrays.values) for o in data.labels]
    others = np.zeros((n, latent_dim), np.float32)
    z = np.concatenate([*labels, others], 1)
    return Latents.certain(z[:, :latent_dim])
