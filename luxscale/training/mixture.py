"""A sum of Gaussians fitted to latents of which a mean and a covariance are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from luxscale.model import linalg
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
    second = _pack_squares(z, covariance)
    while len(prior.weight) < gaussians:
        prior = _split(prior, gaussians)
        for _ in range(_ROUNDS):
            prior = _update(prior, z, second)
    for _ in range(_LAST_ROUNDS if gaussians > 1 else 0):
        prior = _update(prior, z, second)
    return prior


def update_mixture(prior: MixturePrior, z: np.ndarray, covariance: np.ndarray) -> MixturePrior:
    """Take one step of expectation-maximisation.

    mu_k = sum r z / n_k, S_k = (sum r [(z - mu_k)(z - mu_k)^T + C] + s S_0) / (n_k + s),
    pi_k ~ n_k + 1, with r the responsibilities, n_k their sum, s `SHRINKAGE`, S_0 the mean
    covariance of the Gaussians as they were.
    """
    return _update(prior, z, _pack_squares(z, covariance))


def _update(prior: MixturePrior, z: np.ndarray, second: np.ndarray) -> MixturePrior:
    """Take one step, with the second moments of each star packed."""
    p = z.shape[1]
    pooled = np.tensordot(prior.weight, prior.covariance, axes=1)
    share = _find_shares(prior, z, second)
    n = share.sum(0)
    first = share.T @ z
    # the mean of hardly any stars stays where it is
    enough = (n > p / 2)[:, None]
    mean = np.where(enough, first / np.maximum(n, 1e-300)[:, None], prior.mean)
    squares = linalg.unpack(share.T @ second, p)
    cross = first[:, :, None] * mean[:, None]
    square = mean[:, :, None] * mean[:, None]
    scatter = squares - cross - cross.swapaxes(1, 2) + n[:, None, None] * square
    total = (scatter + SHRINKAGE * pooled) / (n + SHRINKAGE)[:, None, None]
    return MixturePrior(
        weight=(n + 1) / (n + 1).sum(),
        mean=mean,
        covariance=(total + total.swapaxes(1, 2)) / 2,
    )


def find_responsibilities(prior: MixturePrior, z: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return r_nk ~ pi_k N(z_n | mu_k, S_k) exp(-tr(S_k^-1 C_n) / 2): (star, gaussian)."""
    return _find_shares(prior, z, _pack_squares(z, covariance))


def _pack_squares(z: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return E[z_i z_j], j <= i, of each star: (star, pair)."""
    i, j, _ = linalg.packed_index(z.shape[1])
    return np.asarray(z[:, i] * z[:, j] + covariance[:, i, j])


def _find_shares(prior: MixturePrior, z: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the responsibilities from the second moments of each star, packed."""
    log_weight, mean, precision = prior.expand()
    pull = np.einsum("kpq,kq->kp", precision, mean)
    i, j, _ = linalg.packed_index(z.shape[1])
    # off-diagonal elements are packed once
    flat = precision[:, i, j] * np.where(i == j, 1, 2)
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
