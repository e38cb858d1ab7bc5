"""The correlated noise of spectra as components, in training.

c = W phi(z) + e, e ~ N(0, (t^2 N1 + N0) / g), t^2 the noise level of a star and g its weight under
heavy tails. T brings both to diagonal form, T N1 T^T = 1, T N0 T^T = diag(s^2).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from luxscale.model.correlated import WHITE, CorrelatedNoise
from luxscale.training.components import MODEL_SHARE, Components

#: Rounds in which N1 and N0 are separated, the first time and later.
_FIRST_ROUNDS, _ROUNDS = 15, 3

#: Pull of the weights to 0, in stars of unit weight.
RIDGE = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseParts:
    """The noise of components.

    Parameters
    ----------
    whitener : array, (component, component)
        T.
    variance : array, (component,)
        s^2.
    """

    whitener: np.ndarray
    variance: np.ndarray

    def find_variance(self, level: np.ndarray) -> np.ndarray:
        """Return t^2 + s^2: (star,) -> (star, component)."""
        return level[:, None] + self.variance

    def describe(self, components: Components) -> CorrelatedNoise:
        """Return it as noise of pixels."""
        return CorrelatedNoise(
            shapes=components.vectors.T @ np.linalg.inv(self.whitener),
            unit=components.unit,
            variance=self.variance,
        )


def complete(
    components: Components, noise: NoiseParts, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the components of all stars with gaps filled, and the covariance of what is filled.

    E[c | pixels, z] = mu + P (V x - A mu) with P = (q N^-1 + A)^-1 and q the white noise; its
    covariance is q P.

    Parameters
    ----------
    components : Components
    noise : NoiseParts
    predicted : array, (star, component)
        mu = W phi(z).

    Returns
    -------
    values : array, (star, component)
    covariance : array, (gap star, component, component)
    """
    gaps = components.gaps
    values = components.values.copy()
    if not gaps.rows.size:
        return values, gaps.overlap
    inverse = _invert(noise, components.level[gaps.rows])
    p = np.linalg.inv(WHITE * inverse + gaps.overlap)
    mu = predicted[gaps.rows]
    rest = gaps.projected - np.einsum("nde,ne->nd", gaps.overlap, mu)
    values[gaps.rows] = mu + np.einsum("nde,ne->nd", p, rest)
    return values, WHITE * p


def find_precision(
    components: Components, noise: NoiseParts, rows: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what pixels of stars with gaps say of W phi: M and M (c - offset).

    M = N^-1 P A, and N^-1 P (V x - A offset) for the other, with P as in `complete`.

    Returns
    -------
    precision : array, (star, component, component)
    pull : array, (star, component)
    """
    place = components.find_gaps(rows)
    d = len(noise.variance)
    overlap = np.tile(np.eye(d), (len(rows), 1, 1))
    projected = components.values[rows].copy()
    gapped = place >= 0
    overlap[gapped] = components.gaps.overlap[place[gapped]]
    projected[gapped] = components.gaps.projected[place[gapped]]
    inverse = _invert(noise, components.level[rows])
    half = inverse @ np.linalg.inv(WHITE * inverse + overlap)
    precision = half @ overlap
    rest = projected - overlap @ offset
    pull = (half @ rest[..., None])[..., 0]
    return (precision + precision.swapaxes(1, 2)) / 2, pull


def _invert(noise: NoiseParts, level: np.ndarray) -> np.ndarray:
    """Return N^-1 = T^T diag(1 / (t^2 + s^2)) T of stars: (star, component, component)."""
    u = 1 / noise.find_variance(level)
    return (noise.whitener.T * u[:, None]) @ noise.whitener


def measure_chi2(
    components: Components, noise: NoiseParts, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return chi-square of all stars about predicted components, and what belongs to it.

    Returns
    -------
    chi2, n_values, log_norm : array, (star,)
        n_values is the number of components that the pixels determine, log_norm the logarithm of
        the density at chi-square 0, without factors that never change.
    """
    u = 1 / noise.find_variance(components.level)
    rest = (components.values - predicted) @ noise.whitener.T
    chi2 = (u * rest**2).sum(1)
    n_values = np.full(len(u), float(u.shape[1]))
    _, log_det = np.linalg.slogdet(noise.whitener)
    log_norm = 0.5 * np.log(u).sum(1) + log_det
    gaps = components.gaps
    if gaps.rows.size:
        inverse = _invert(noise, components.level[gaps.rows])
        p = np.linalg.inv(WHITE * inverse + gaps.overlap)
        seen = gaps.projected - np.einsum("nde,ne->nd", gaps.overlap, predicted[gaps.rows])
        e = np.einsum("nde,ne->nd", p, seen)
        chi2[gaps.rows] = np.einsum("nd,nde,ne->n", e, inverse, e)
        n_values[gaps.rows] = np.einsum("nde,ned->n", p, gaps.overlap)
    return chi2, n_values, log_norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over stars of what weights and noise of components follow from, by bin of noise level.

    Parameters
    ----------
    normal : array, (bin, term + 1, term + 1)
        Sum of g E[f f^T], f = (1, phi).
    right : array, (bin, term + 1, component)
        Sum of g E[f] c^T.
    square : array, (bin, component, component)
        Sum of g (c c^T + covariance of c).
    count : array, (bin,)
        Number of stars.
    """

    normal: np.ndarray
    right: np.ndarray
    square: np.ndarray
    count: np.ndarray


def maximise(
    sums: Sums, level: np.ndarray, noise: NoiseParts | None
) -> tuple[np.ndarray, NoiseParts]:
    """Return the weights, (component, term + 1), and the noise that sums make most likely.

    W_d = (sum g u_d E[f f^T] + ridge)^-1 sum g u_d E[f] (T c)_d with u = 1 / (t^2 + s^2); then N1
    and N0 by expectation-maximisation of t a + b, a ~ N(0, N1), b ~ N(0, N0).

    Parameters
    ----------
    sums : Sums
    level : array, (bin,)
        t^2.
    noise : NoiseParts, optional
        Of the last iteration; None in the first.
    """
    d = sums.square.shape[-1]
    rounds = _ROUNDS
    if noise is None:
        start = MODEL_SHARE / (1 - MODEL_SHARE) * np.median(level)
        noise = NoiseParts(whitener=np.eye(d), variance=np.full(d, start))
        rounds = _FIRST_ROUNDS
        weights = _regress(sums, level, noise)
        scatter = _find_scatter(sums, weights)
        # both parts alike, but for their size
        total = np.tensordot(1 / (level + start), scatter, axes=1) / sums.count.sum()
        noise = _diagonalise(total, start * total)
    else:
        weights = _regress(sums, level, noise)
        scatter = _find_scatter(sums, weights)
    for _ in range(rounds):
        noise = _separate(scatter, sums.count, level, noise)
    return weights, noise


def _regress(sums: Sums, level: np.ndarray, noise: NoiseParts) -> np.ndarray:
    u = 1 / noise.find_variance(level)
    normal = np.tensordot(u.T, sums.normal, axes=1)
    whitened = sums.right @ noise.whitener.T
    right = np.einsum("bd,bkd->dk", u, whitened)
    k = normal.shape[-1]
    ridge = RIDGE * np.diag(np.arange(k) > 0)
    solved = np.linalg.solve(normal + ridge, right[..., None])[..., 0]
    return np.linalg.solve(noise.whitener, solved)


def _find_scatter(sums: Sums, weights: np.ndarray) -> np.ndarray:
    """Return the sum of g E[(c - W f)(c - W f)^T] of each bin."""
    cross = weights @ sums.right
    explained = weights @ sums.normal @ weights.T
    return np.asarray(sums.square - cross - cross.swapaxes(1, 2) + explained)


def _separate(
    scatter: np.ndarray, count: np.ndarray, level: np.ndarray, noise: NoiseParts
) -> NoiseParts:
    """Take a step of expectation-maximisation for N1 and N0, and bring them to diagonal form."""
    total = count.sum()
    d = scatter.shape[-1]
    of_data, of_model = np.zeros((d, d)), np.zeros((d, d))
    t = noise.whitener
    for s, n, t2 in zip(scatter, count, level, strict=True):
        v = t2 + noise.variance
        whitened = t @ s @ t.T
        # means of both parts, and what is not known of them
        data = np.sqrt(t2) / v
        model = noise.variance / v
        unknown_data = np.diag(model)
        unknown_model = np.diag(t2 * noise.variance / v)
        of_data += whitened * np.outer(data, data) + n * unknown_data
        of_model += whitened * np.outer(model, model) + n * unknown_model
    step = _diagonalise(of_data / total, of_model / total)
    return NoiseParts(whitener=step.whitener @ t, variance=step.variance)


def _diagonalise(of_data: np.ndarray, of_model: np.ndarray) -> NoiseParts:
    """Return T and s^2 with T N1 T^T = 1 and T N0 T^T = diag(s^2)."""
    tiny = 1e-9 * np.diag(np.diag(of_data))
    root = np.linalg.cholesky(of_data + tiny)
    half = np.linalg.inv(root)
    whitened = half @ of_model @ half.T
    variance, rotation = np.linalg.eigh(whitened)
    return NoiseParts(whitener=rotation.T @ half, variance=np.maximum(variance, 1e-8))
