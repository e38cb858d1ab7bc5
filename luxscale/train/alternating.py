"""The paper's training step (section 4.2): two agendas of exact block solves.

Where the paper leaves a choice: the constant latent of equation 9 is an offset of its own, so that P counts the
others; a missing label starts at the median; the columns of A and B whose latents start at 0 stay at their random
start until a z-step has given them latents; "L2" in equation 7 is a Gaussian prior on z whose precision is
``latent_precision`` (the authors' code minimises sum z^2 / (2 * 1000^2), so their Omega = 10^3 is the prior's
standard deviation); it is also kept in agenda 1, where the paper has none, because without it a star with fewer
pixels than latents has no solution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luxscale.maps import LinearMap
from luxscale.train.data import Report, Trained, TrainingData
from luxscale.train.steps import Arrays, Latents, canonical, latent_step, leave_out_each, weight_step

#: Fisher-scoring steps of the s-step, which has no closed form; ten change s by less than 1e-4 of itself after the eighth.
_SCATTER_STEPS = 10


def train_alternating(
    data: TrainingData,
    latent_dim: int,
    *,
    iterations: int,
    latent_precision: float,
    solver: str,
    seed: int,
    report: Report,
) -> Trained:
    """Fit A, B, z and s by the paper's two agendas.

    Parameters
    ----------
    data : TrainingData
    latent_dim : int
    iterations : int
        Of agenda 1; the paper uses five.
    latent_precision : float
        Precision of the Gaussian prior on latents (equation 7).
    solver : {"exact", "jaxopt"}
        The block solves of `luxscale.train.steps`, or the paper's Gauss-Newton and LBFGS.
    seed : int
        Of the random start of A and B.
    report : callable
        Called with (method, iteration, objective per star).

    Returns
    -------
    Trained
        In the canonical gauge; the objective is the penalised log-likelihood per star (equation 8) after each
        iteration, the last being agenda 2's.
    """
    if solver == "jaxopt":
        from luxscale.train._jaxopt import train_jaxopt

        return train_jaxopt(
            data, latent_dim, iterations=iterations, latent_precision=latent_precision, seed=seed, report=report
        )
    outputs, latents = start(data, latent_dim, seed)
    everyone = data.present()
    history: list[float] = []
    for iteration in range(iterations + 1):
        steps = _SCATTER_STEPS if iteration == iterations else 0
        outputs = _all_weights(outputs, latents, everyone, steps, data.spectral)
        latents = latent_step(outputs, latent_precision, marginal=False)
        history.append(float(np.asarray(latents.objective[: data.n_stars], float).mean()))
        report("alternating", iteration, history[-1])
        outputs, latents = canonical(outputs, latents, data.n_stars, data.spectral)

    def leave_out(folds: Sequence[np.ndarray]) -> list[tuple[Arrays, ...]]:
        return leave_out_each(outputs, latents, [o.weights for o in outputs], folds)

    return Trained(outputs, history, leave_out, (LinearMap,) * len(outputs))


def _all_weights(
    outputs: tuple[Arrays, ...], latents: Latents, stars: np.ndarray, steps: int, spectral: tuple[bool, ...]
) -> tuple[Arrays, ...]:
    """The a- and b-step, after the s-step of spectra (of all where there are none) unless ``steps`` is 0."""
    free = spectral if any(spectral) else (True,) * len(spectral)
    return tuple(
        weight_step(o, latents, o.weights, stars, scatter_steps=steps if is_spectrum else 0)
        for o, is_spectrum in zip(outputs, free, strict=True)
    )


def start(data: TrainingData, latent_dim: int, seed: int) -> tuple[tuple[Arrays, ...], Latents]:
    """Return random weights in [0, 1), the least scatter, and the latents of equation 9."""
    rng = np.random.default_rng(seed)
    return tuple(_start(o, latent_dim, rng) for o in data.arrays), _labels_as_latents(data, latent_dim)


def _start(output: Arrays, latent_dim: int, rng: np.random.Generator) -> Arrays:
    d = output.values.shape[1]
    return output._replace(weights=rng.random((d, latent_dim), np.float32), offset=np.zeros(d, np.float32))


def _labels_as_latents(data: TrainingData, latent_dim: int) -> Latents:
    """Equation 9: the scaled labels are the first latents, the others start at 0."""
    n = data.arrays[0].values.shape[0]
    given = [np.asarray(a.values) for a, is_spectrum in zip(data.arrays, data.spectral, strict=True) if not is_spectrum]
    z = np.concatenate([*given, np.zeros((n, latent_dim), np.float32)], 1)[:, :latent_dim]
    return Latents.certain(z)
