"""The paper's training step (section 4.2): two agendas of exact block solves.

Where the paper leaves a choice: the constant latent of equation 9 is an offset of its own, so that P counts the
others; a missing label starts at the median; the columns of A and B whose latents start at 0 stay at their random
start until a z-step has given them latents; "L2" in equation 7 is a Gaussian prior on z whose precision is
``latent_precision`` (the authors' code minimises sum z^2 / (2 * 1000^2), so their Omega = 10^3 is the prior's
standard deviation); it is also kept in agenda 1, where the paper has none, because without it a star with fewer
pixels than latents has no solution.
"""

from __future__ import annotations

import numpy as np

from luxscale.train.data import TrainingData, to_device
from luxscale.train.marginal import Report, trim
from luxscale.train.steps import BLOCK, TILE, Arrays, Latents, canonical, latent_step, weight_step

#: Fisher-scoring steps of the s-step, which has no closed form; it converges quadratically.
_SCATTER_STEPS = 20


def train_alternating(
    data: TrainingData, latent_dim: int, *, iterations: int, latent_precision: float, seed: int, report: Report
) -> tuple[tuple[Arrays, ...], list[float]]:
    """Fit A, B, z and s by the paper's two agendas.

    Parameters
    ----------
    data : TrainingData
    latent_dim : int
    iterations : int
        Of agenda 1; the paper uses five.
    latent_precision : float
        Precision of the Gaussian prior on latents (equation 7).
    seed : int
        Of the random start of A and B.
    report : callable
        Called with (method, iteration, objective per star).

    Returns
    -------
    outputs : tuple of Arrays
        In the canonical gauge, scaled units, without padding.
    objective : list of float
        Penalised log-likelihood per star (equation 8) after each iteration; the last is agenda 2's.
    """
    rng = np.random.default_rng(seed)
    shape = [a.values.shape[1] for a in data.arrays]
    outputs = tuple(_start(o, latent_dim, rng) for o in to_device(data.arrays, block=BLOCK, tile=TILE))
    latents = _labels_as_latents(data, latent_dim)
    history: list[float] = []
    for iteration in range(iterations + 1):
        final = iteration == iterations
        outputs = tuple(
            _weights(o, latents, _SCATTER_STEPS if final and s else 0)
            for o, s in zip(outputs, data.spectral, strict=True)
        )
        latents = latent_step(outputs, latent_precision, marginal=False)
        history.append(float(np.asarray(latents.objective[: data.n_stars], float).mean()))
        report("alternating", iteration, history[-1])
        outputs, latents = canonical(outputs, latents, data.n_stars, data.spectral)
    return tuple(trim(o, d, data.n_stars) for o, d in zip(outputs, shape, strict=True)), history


def _weights(output: Arrays, latents: Latents, steps: int) -> Arrays:
    return weight_step(output, latents, output.weights, tile=min(TILE, output.values.shape[1]), scatter_steps=steps)


def _start(output: Arrays, latent_dim: int, rng: np.random.Generator) -> Arrays:
    d = output.values.shape[1]
    return output._replace(
        weights=rng.random((d, latent_dim), np.float32), offset=np.zeros(d, np.float32), scatter=np.zeros(d, np.float32)
    )


def _labels_as_latents(data: TrainingData, latent_dim: int) -> Latents:
    """Equation 9: the scaled labels are the first latents, the others start at 0."""
    labels = [a.values for a, s in zip(data.arrays, data.spectral, strict=True) if not s]
    given = np.concatenate(labels, 1)[:, :latent_dim] if labels else np.zeros((data.n_stars, 0), np.float32)
    z = np.pad(given, ((0, -data.n_stars % BLOCK), (0, latent_dim - given.shape[1])))
    return Latents(z, np.zeros((len(z), 0), np.float32), np.zeros(len(z), np.float32))
