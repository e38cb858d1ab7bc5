"""Maximum marginal likelihood: the latents are integrated out, by expectation-maximisation.

For latents z ~ N(0, I), the E-step finds each star's posterior mean and covariance; the M-step regresses every
feature on them with E[z z^T] = z z^T + C, after updating its scatter from E[(y - W z)^2]; then weights and latents
are brought back to the canonical gauge, which keeps the prior exact (parameter-expanded EM, Liu, Rubin & Wu 1998).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from luxscale.evaluate import MAD_TO_SIGMA
from luxscale.train.data import TrainingData, to_device
from luxscale.train.steps import BLOCK, TILE, Arrays, Latents, canonical, latent_step, weight_step

Report = Callable[[str, int, float], None]

#: Fisher-scoring steps of the scatter in an iteration: the first must find it, later ones follow it.
_FIRST_STEPS, _STEPS = 8, 2


def train_marginal(
    data: TrainingData, latent_dim: int, *, iterations: int, tolerance: float, seed: int, report: Report
) -> tuple[tuple[Arrays, ...], list[float]]:
    """Fit weights and scatter by maximum marginal likelihood.

    Parameters
    ----------
    data : TrainingData
    latent_dim : int
    iterations : int
        At most this many.
    tolerance : float
        Stop when an iteration gains less than this in ln evidence per measured value.
    seed : int
        Not used: the start is deterministic.
    report : callable
        Called with (method, iteration, objective per star).

    Returns
    -------
    outputs : tuple of Arrays
        In the canonical gauge, scaled units, without padding.
    objective : list of float
        Log evidence per star after each iteration.
    """
    latents = _pad(principal_latents(data, latent_dim))
    scatter = label_scatter(data, latents.mean[: data.n_stars])
    shape = [a.values.shape[1] for a in data.arrays]
    outputs = to_device(
        (a._replace(scatter=s) for a, s in zip(data.arrays, scatter, strict=True)), block=BLOCK, tile=TILE
    )
    outputs = tuple(_start(o, latent_dim) for o in outputs)
    outputs = tuple(_weights(o, latents, 0) for o in outputs)
    values = sum(float((a.ivar > 0).sum()) for a in data.arrays) / data.n_stars
    history: list[float] = []
    for iteration in range(iterations):
        steps = _STEPS if iteration else _FIRST_STEPS
        outputs = tuple(_weights(o, latents, steps if s else 0) for o, s in zip(outputs, data.spectral, strict=True))
        outputs, _ = canonical(outputs, latents, data.n_stars, data.spectral)
        latents = latent_step(outputs, 1.0)
        history.append(float(np.asarray(latents.objective[: data.n_stars], float).mean()))
        report("marginal", iteration, history[-1])
        if iteration and history[-1] - history[-2] < tolerance * values:
            break
    outputs, _ = canonical(outputs, latents, data.n_stars, data.spectral)
    return tuple(trim(o, d, data.n_stars) for o, d in zip(outputs, shape, strict=True)), history


def _start(output: Arrays, latent_dim: int) -> Arrays:
    d = output.values.shape[1]
    fill = [np.pad(a, (0, d - a.size)) for a in (output.offset, output.scatter)]
    return output._replace(weights=np.zeros((d, latent_dim), np.float32), offset=fill[0], scatter=fill[1])


def _weights(output: Arrays, latents: Latents, steps: int) -> Arrays:
    tile = min(TILE, output.values.shape[1])
    return weight_step(output, latents, np.zeros_like(output.weights), tile=tile, scatter_steps=steps)


def _pad(z: np.ndarray) -> Latents:
    z = np.pad(z, ((0, -len(z) % BLOCK), (0, 0)))
    p = z.shape[1]
    return Latents(z, np.zeros((len(z), p * (p + 1) // 2), np.float32), np.zeros(len(z), np.float32))


def trim(output: Arrays, d: int, n: int) -> Arrays:
    """Drop padding, and come back from the device."""
    return Arrays(*(np.asarray(a)[:n, :d] for a in output[:2]), *(np.asarray(a)[:d] for a in output[2:]))


def principal_latents(data: TrainingData, latent_dim: int, *, rounds: int = 6) -> np.ndarray:
    """Return where EM starts: leading principal components of the spectra, each pixel weighted by its mean ivar.

    By subspace iteration from a fixed random start in feature space, so that neither a seed nor the order of the
    stars matters. Shape (star, latent), variance 1.
    """
    informed = [a for a, s in zip(data.arrays, data.spectral, strict=True) if s] or list(data.arrays)
    table = np.concatenate([_whitened(a) for a in informed], 1)
    n, d = table.shape
    width = min(latent_dim + 10, n, d)
    basis = np.random.default_rng(20250203).standard_normal((d, width)).astype(np.float32)
    for _ in range(rounds):
        left = np.linalg.qr(table @ basis)[0]
        basis = table.T @ left
    rotation = np.linalg.svd(basis, full_matrices=False)[2].T
    z = np.zeros((n, latent_dim), np.float32)
    kept = (left @ rotation)[:, :latent_dim] * np.sqrt(n)
    z[:, : kept.shape[1]] = kept
    return z


def _whitened(arrays: Arrays) -> np.ndarray:
    known = arrays.ivar > 0
    count = np.maximum(known.sum(0), 1)
    mean = arrays.values.sum(0) / count
    return np.where(known, (arrays.values - mean) * np.sqrt(arrays.ivar.sum(0) / count), 0).astype(np.float32)


def label_scatter(data: TrainingData, z: np.ndarray, *, folds: int = 5) -> list[np.ndarray]:
    """Return the scatter each output starts from; that of labels is kept.

    A fitted label scatter collapses once there are latents enough to follow each label's noise. It is therefore
    measured: the scatter of labels about a ridge regression on the leading components of the spectra, each fold of
    stars predicted from the others, less the labels' own errors; as second moment, because the likelihood that it
    enters is Gaussian. Where there are no spectra it is 0.
    """
    scatters = []
    for arrays, spectral in zip(data.arrays, data.spectral, strict=True):
        scatter = np.full(arrays.values.shape[1], 0.03 if spectral else 0.0, np.float32)
        if not spectral and any(data.spectral):
            for m in range(scatter.size):
                scatter[m] = _misfit(z, arrays.values[:, m], arrays.ivar[:, m], data.fold(folds))
        scatters.append(scatter)
    return scatters


def _misfit(z: np.ndarray, value: np.ndarray, ivar: np.ndarray, fold: np.ndarray) -> float:
    known = np.flatnonzero(ivar > 0)
    x = np.column_stack([z[known], np.ones(known.size)]).astype(float)
    y, error2 = value[known].astype(float), 1 / ivar[known].astype(float)
    fold = fold[known]
    residual = np.zeros(known.size)
    for k in np.unique(fold):
        train, test = fold != k, fold == k
        normal = x[train].T @ x[train] + np.eye(x.shape[1])
        residual[test] = y[test] - x[test] @ np.linalg.solve(normal, x[train].T @ y[train])
    return math.sqrt(max(float(np.mean(residual**2 - error2)), 0.0)) if known.size else 0.0


def excess_scatter(residual: np.ndarray, variance: np.ndarray) -> float:
    """Return the scatter that, added to the variances, gives the residuals a robust scatter of 1.

    Solves 1.4826 median |r| / sqrt(variance + s^2) = 1 for s; 0 where the variances explain the residuals.
    """

    def pull(s: float) -> float:
        return MAD_TO_SIGMA * float(np.median(np.abs(residual) / np.sqrt(variance + s * s)))

    high = 3 * float(np.abs(residual).max(initial=0.0))
    if residual.size == 0 or pull(0.0) <= 1:
        return 0.0
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if pull(middle) > 1 else (low, middle)
    return high
