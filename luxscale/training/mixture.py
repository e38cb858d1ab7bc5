"""A sum of Gaussians fitted to latents of which a mean and a covariance are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from luxscale.model.priors import MixturePrior

#: Stars' worth of the pooled covariance in the covariance of each Gaussian.
SHRINKAGE = 10.0

#: Rounds of expectation-maximisation after each split, and once all are there.
_ROUNDS, _LAST_ROUNDS = 5, 10


def fit_mixture(z: np.ndarray, covariance: np.ndarray, gaussians: int) -> MixturePrior:
    """Fit a sum of Gaussians: from one, those of most scatter are split until all are there.

    Nothing is random, and the order of the stars is of no importance.

    Parameters
    ----------
    z : array, (star, latent)
    covariance : array, (star, latent, latent)
        Of each star's latents.
    gaussians : int
    """
    overall = np.cov(z.T, bias=True).reshape(covariance.shape[1:]) + covariance.mean(0)
    prior = MixturePrior(weight=np.ones(1), mean=z.mean(0)[None], covariance=overall[None])
    while len(prior.weight) < gaussians:
        prior = _split(prior, gaussians)
        for _ in range(_ROUNDS):
            prior = update_mixture(prior, z, covariance, pool(prior))
    for _ in range(_LAST_ROUNDS if gaussians > 1 else 0):
        prior = update_mixture(prior, z, covariance, pool(prior))
    return prior


def pool(prior: MixturePrior) -> np.ndarray:
    """Return the mean covariance of the Gaussians: (latent, latent)."""
    return np.tensordot(prior.weight, prior.covariance, axes=1)


def update_mixture(
    prior: MixturePrior, z: np.ndarray, covariance: np.ndarray, pooled: np.ndarray
) -> MixturePrior:
    """Take one step of expectation-maximisation.

    mu_k = sum r z / n_k, S_k = (sum r [(z - mu_k)(z - mu_k)^T + C] + s S_0) / (n_k + s),
    pi_k ~ n_k + 1, with r the responsibilities, n_k their sum, s `SHRINKAGE`, S_0 ``pooled``.
    """
    k, p = prior.mean.shape
    share = find_responsibilities(prior, z, covariance)
    n = share.sum(0)
    first = share.T @ z
    # the mean of hardly any stars stays where it is
    enough = (n > p / 2)[:, None]
    mean = np.where(enough, first / np.maximum(n, 1e-300)[:, None], prior.mean)
    second = z[:, :, None] * z[:, None] + covariance
    second = (share.T @ second.reshape(len(z), -1)).reshape(k, p, p)
    cross = first[:, :, None] * mean[:, None]
    square = mean[:, :, None] * mean[:, None]
    scatter = second - cross - cross.swapaxes(1, 2) + n[:, None, None] * square
    total = (scatter + SHRINKAGE * pooled) / (n + SHRINKAGE)[:, None, None]
    return MixturePrior(
        weight=(n + 1) / (n + 1).sum(),
        mean=mean,
        covariance=(total + total.swapaxes(1, 2)) / 2,
    )


def find_responsibilities(prior: MixturePrior, z: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return r_nk ~ pi_k N(z_n | mu_k, S_k) exp(-tr(S_k^-1 C_n) / 2): (star, gaussian)."""
    log_weight, mean, precision = prior.expand()
    pull = np.einsum("kpq,kq->kp", precision, mean)
    squares = z[:, :, None] * z[:, None]
    second = (squares + covariance).reshape(len(z), -1)
    flat = precision.reshape(len(mean), -1)
    distance = second @ flat.T - 2 * z @ pull.T
    log_share = log_weight - 0.5 * (distance + (pull * mean).sum(1))
    share = np.exp(log_share - log_share.max(1, keepdims=True))
    return np.asarray(share / share.sum(1, keepdims=True))


def find_local_gaussians(
    prior: MixturePrior, z: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Gaussian that a mixture is near each star.

    L_n = sum_k r_nk S_k^-1 and L_n m_n = sum_k r_nk S_k^-1 mu_k.

    Returns
    -------
    mean : array, (star, latent)
        m.
    precision : array, (star, latent, latent)
        L.
    """
    _, mean, precision = prior.expand()
    share = find_responsibilities(prior, z, covariance)
    pull = share @ np.einsum("kpq,kq->kp", precision, mean)
    local = np.tensordot(share, precision, axes=1)
    return np.linalg.solve(local, pull[..., None])[..., 0], local


def _split(prior: MixturePrior, most: int) -> MixturePrior:
    """Split the Gaussians that hold most scatter along their longest axis, all if there is room."""
    k = len(prior.weight)
    number = min(k, most - k)
    values, vectors = np.linalg.eigh(prior.covariance)
    scatter = prior.weight * values[:, -1]
    widest = np.argsort(-scatter, kind="stable")[:number]
    others = np.setdiff1d(np.arange(k), widest)
    axis = vectors[widest, :, -1]
    # the sign of an eigenvector is arbitrary
    position = np.abs(axis).argmax(1)
    largest = np.take_along_axis(axis, position[:, None], 1)
    length = np.sqrt(values[widest, -1])
    step = 0.5 * axis * np.sign(largest) * length[:, None]

    def spread(array: Any, low: Any, high: Any) -> np.ndarray:
        return np.concatenate([array[others], low, high])

    half = prior.weight[widest] / 2
    middle, covariance = prior.mean[widest], prior.covariance[widest]
    return MixturePrior(
        weight=spread(prior.weight, half, half),
        mean=spread(prior.mean, middle - step, middle + step),
        covariance=spread(prior.covariance, covariance, covariance),
    )
