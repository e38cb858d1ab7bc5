"""Maximum marginal likelihood: the latents are integrated out, by expectation-maximisation.

For latents z ~ N(0, I), the E-step finds each star's posterior mean and covariance; the M-step
regresses every feature on them with E[z z^T] = z z^T + C, after updating its scatter from E[(y - W
z)^2]; then weights and latents are brought back to the canonical gauge, which keeps the prior exact
(parameter-expanded EM, Liu, Rubin & Wu 1998).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from luxscale.model.decoders import LinearMap
from luxscale.training.data import LEAST_SCATTER, Arrays, Trained, TrainingData
from luxscale.training.gauge import turn_to_canonical_gauge
from luxscale.training.initial import Start
from luxscale.training.label_ridge import LabelRegression
from luxscale.training.latents import Latents, solve_latents
from luxscale.training.latents_near import LatentSolver
from luxscale.training.regression import extrapolate_step, regress_weights
from luxscale.training.regression_near import WeightSolver
from luxscale.training.reporting import Report

#: Fisher-scoring steps of the scatter: the first must find it, later ones, every second iteration,
#: follow it.
_FIRST_STEPS, _STEPS = 8, 2

#: Factor by which each M-step is overshot, which leaves EM convergent: 12 iterations then come as
#: far as 16 without.
RELAX = 1.5

#: Scatter from which spectra and bands start, and labels where there is nothing else, in units of
#: their spread.
_START, _LABEL_START = 0.03, 0.1

#: Of the start of the subspace iteration.
_SEED = 20250203

#: Components beyond those asked for that make a subspace iteration converge in few rounds.
_EXTRA = 10

#: Rounds of the subspace iteration.
ROUNDS = 6

#: Folds by which the scatter of labels is measured.
_FOLDS = 5


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
    outputs, history, find_latents = maximise_evidence(
        data, latent_dim, iterations=iterations, tolerance=tolerance, report=report, start=start
    )
    labels = LabelRegression(data, outputs, find_latents)
    trained = describe(labels.improve(report.say), history)
    return trained._replace(leave_out=labels.leave_out)


def maximise_evidence(
    data: TrainingData,
    latent_dim: int,
    *,
    iterations: int,
    tolerance: float,
    report: Report,
    start: Start | None = None,
) -> tuple[tuple[Arrays, ...], list[float], Callable[[], Latents]]:
    """Iterate; return the outputs, the objectives, and what solves for the latents of all stars.

    The parameters are those of `train_marginal`.
    """
    informing = data.informing
    everyone = data.mark_stars()
    outputs, latents = _begin(data, latent_dim, start)
    least_gain = tolerance * data.values_per_star()
    first = start.number if start else 0
    most = first + iterations
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
        new_outputs = tuple(regressed)
        outputs, turned = turn_to_canonical_gauge(new_outputs, latents, data.n_stars, informing)
        latents = latent_solver.solve(outputs, turned.mean)
        objective = np.asarray(latents.objective[: data.n_stars], float)
        history.append(float(objective.mean()))
        report(iteration, most, history[-1], functools.partial(describe, outputs, tuple(history)))
        if has_converged(history, least_gain):
            break
    outputs, turned = turn_to_canonical_gauge(outputs, latents, data.n_stars, informing)
    return outputs, history, lambda: latent_solver.solve(outputs, turned.mean)


def describe(outputs: tuple[Arrays, ...], history: Sequence[float]) -> Trained:
    """Return linear outputs as what a trainer returns."""
    return Trained(outputs, list(history), kinds=(LinearMap,) * len(outputs))


def _begin(
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


def begin_output(output: Arrays, scatter: np.ndarray, latent_dim: int) -> Arrays:
    """Return an output before its first regression, with the scatter that it starts from."""
    d = output.values.shape[1]
    return output._replace(
        weights=np.zeros((d, latent_dim), np.float32),
        offset=np.zeros(d, np.float32),
        scatter=np.maximum(scatter, LEAST_SCATTER),
    )


def find_principal_latents(data: TrainingData, latent_dim: int) -> np.ndarray:
    """Return where EM starts, leading principal components of the spectra: (star, latent).

    Each pixel is weighted by its mean ivar. By subspace iteration from a fixed random start in
    feature space, so that neither a seed nor the order of the stars matters. Padding included; of
    variance 1.
    """
    values = []
    roots = []
    for arrays, informs in zip(data.arrays, data.informing, strict=True):
        if informs:
            values.append(np.asarray(arrays.values))
            roots.append(_compute_root_mean_ivar(arrays)[:, None])
    sizes = [v.shape[1] for v in values]
    n = values[0].shape[0]
    d = sum(sizes)
    basis = draw_basis(d, latent_dim, data.n_stars)
    edges = np.cumsum(sizes)[:-1]
    for _ in range(ROUNDS):
        # to the space of stars and back, an output at a time: no joint matrix of all is made
        parts = zip(values, roots, np.split(basis, edges), strict=True)
        projected = sum(y @ (root * b) for y, root, b in parts)
        left, _ = np.linalg.qr(projected)
        by_output = []
        for y, root in zip(values, roots, strict=True):
            by_output.append(root * (y.T @ left))
        basis = np.concatenate(by_output)
    _, _, rotation = np.linalg.svd(basis, full_matrices=False)
    rotated = left @ rotation.T
    components = rotated[:, :latent_dim] * np.sqrt(data.n_stars)
    # latents beyond what the data have components start at 0
    z = np.zeros((n, latent_dim), np.float32)
    z[:, : components.shape[1]] = components
    return z


def draw_basis(d: int, latent_dim: int, n_stars: int) -> np.ndarray:
    """Return what the subspace iteration starts from: (feature, component)."""
    width = min(latent_dim + _EXTRA, n_stars, d)
    rng = np.random.default_rng(_SEED)
    return rng.standard_normal((d, width)).astype(np.float32)


def _compute_root_mean_ivar(arrays: Arrays) -> np.ndarray:
    ivar = np.asarray(arrays.ivar)
    count = (ivar > 0).sum(0)
    mean = ivar.sum(0) / np.maximum(count, 1)
    return np.sqrt(mean).astype(np.float32)


def measure_label_scatter(data: TrainingData, z: np.ndarray) -> list[np.ndarray]:
    """Return the scatter each output starts from; that of labels is kept.

    A fitted label scatter collapses once there are latents enough to follow each label's noise. It
    is therefore measured: the scatter of labels about a ridge regression on the leading components
    of the spectra, each fold of stars predicted from the others, less the labels' own errors; as
    second moment, because the likelihood that it enters is Gaussian. Where there are no spectra it
    starts small, and is fitted.
    """
    scatters = []
    for output, fitted in zip(data.outputs, data.informing, strict=True):
        start = _LABEL_START if output.is_label else _START
        scatter = np.full(output.size, start, np.float32)
        if not fitted:
            values, ivar = output.read_table()
            fold = data.assign_folds(_FOLDS)
            for m in range(output.size):
                scatter[m] = _measure_scatter(z, values[:, m], ivar[:, m], fold)
        scatters.append(scatter)
    return scatters


def _measure_scatter(z: np.ndarray, value: np.ndarray, ivar: np.ndarray, fold: np.ndarray) -> float:
    """Return the scatter of a label about a ridge regression on z, out of fold, less its errors."""
    known = np.flatnonzero(ivar > 0)
    if not known.size:
        return 0.0
    constant = np.ones(known.size)
    x = np.column_stack([z[known], constant]).astype(float)
    y = value[known].astype(float)
    error2 = 1 / ivar[known].astype(float)
    fold = fold[known]
    ridge = np.eye(x.shape[1])
    residual = np.zeros(known.size)
    for k in np.unique(fold):
        left_out = fold == k
        design = x[~left_out]
        target = y[~left_out]
        normal = design.T @ design + ridge
        slope = np.linalg.solve(normal, design.T @ target)
        predicted = x[left_out] @ slope
        residual[left_out] = y[left_out] - predicted
    # errors may explain more than there is
    variance = float(np.mean(residual**2 - error2))
    return math.sqrt(max(variance, 0.0))
