"""Spectra as few components, and their correlated noise, in training.

With x = y / unit in units of the typical error of each pixel, c = V x are the leading principal
components, and c = W phi(z) + e, e ~ N(0, (t^2 N1 + N0) / g), t^2 the noise level of a star and g
its weight under heavy tails. T brings both to diagonal form, T N1 T^T = 1, T N0 T^T = diag(s^2).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from luxscale.model.noise import WHITE, CorrelatedNoise

#: Groups of stars of like noise level, within which it counts as equal where sums are taken.
BINS = 16

#: Share of the variance at the median noise level that the model's own noise starts with.
MODEL_SHARE = 0.03

#: Rounds in which N1 and N0 are separated, the first time and later.
_FIRST_ROUNDS, _ROUNDS = 15, 3

#: Rounds in which gaps are filled with components.
_FILLS = 10

#: Length of a spectrum, in those of the typical star, beyond which it counts less for components.
_MOST_LENGTH = 5.0

#: Pull of the weights to 0, in stars of unit weight.
RIDGE = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Components:
    """The spectra of the training stars as components.

    Parameters
    ----------
    vectors : array, (component, pixel)
        V.
    unit : array, (pixel,)
        Typical error, in the units of training; 0 for pixels without data.
    values : array, (star, component)
        c; of stars with gaps, the last estimate.
    level : array, (star,)
        t^2.
    bins : array of int, (star,)
        Group of each star by its level.
    bin_level : array, (bin,)
        Mean t^2 of each.
    gaps : Gaps
    """

    vectors: np.ndarray
    unit: np.ndarray
    values: np.ndarray
    level: np.ndarray
    bins: np.ndarray
    bin_level: np.ndarray
    gaps: Gaps

    def take(self, rows: np.ndarray) -> Components:
        """Return the components of some of the stars."""
        place = self.find_gaps(rows)
        with_gaps = np.flatnonzero(place >= 0)
        return dataclasses.replace(
            self,
            values=self.values[rows],
            level=self.level[rows],
            bins=self.bins[rows],
            gaps=Gaps(
                rows=with_gaps,
                overlap=self.gaps.overlap[place[with_gaps]],
                projected=self.gaps.projected[place[with_gaps]],
            ),
        )

    def find_gaps(self, rows: np.ndarray) -> np.ndarray:
        """Return where stars stand in ``gaps``, -1 for those without: (star,)."""
        place = np.full(len(self.values), -1)
        place[self.gaps.rows] = np.arange(self.gaps.rows.size)
        return place[rows]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gaps:
    """What is known of the components of stars that lack pixels.

    Parameters
    ----------
    rows : array of int, (gap star,)
        Which stars.
    overlap : array, (gap star, component, component)
        A = V V^T over the pixels that are there.
    projected : array, (gap star, component)
        V x over them.
    """

    rows: np.ndarray
    overlap: np.ndarray
    projected: np.ndarray


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


def find_components(values: np.ndarray, ivar: np.ndarray, number: int) -> Components:
    """Find the components of spectra.

    Parameters
    ----------
    values, ivar : array, (star, pixel)
        Centred; ivar 0 where missing.
    number : int
        Of components, D; fewer where there are fewer stars or pixels.
    """
    known = ivar > 0
    error2 = 1 / np.where(known, ivar, np.nan)
    used = known.any(0)
    unit = np.zeros(values.shape[1])
    unit[used] = np.sqrt(np.nanmedian(error2[:, used], axis=0))
    safe = np.where(used, unit, 1)
    x = np.where(known, values / safe, 0).astype(float)
    ratio = np.where(known, error2 / safe**2, np.nan)
    number = min(number, len(values) - 1, int(used.sum()))
    has_data = known.any(1)
    level = np.ones(len(values))
    level[has_data] = np.nanmedian(ratio[has_data], axis=1)
    vectors = _find_vectors(x, number)
    rows = np.flatnonzero((~known & used).any(1))
    gaps = _find_gaps(x, known, vectors, rows)
    for _ in range(_FILLS if rows.size else 0):
        x[rows] = np.where(known[rows], x[rows], _fill(gaps) @ vectors)
        vectors = _find_vectors(x, number)
        gaps = _find_gaps(np.where(known, x, 0), known, vectors, rows)
    components = x @ vectors.T
    if rows.size:
        components[rows] = _fill(gaps)
    order = np.argsort(level, kind="stable")
    bins = np.empty(len(level), int)
    means = []
    for i, group in enumerate(np.array_split(order, min(BINS, len(level)))):
        bins[group] = i
        means.append(level[group].mean())
    return Components(
        vectors=vectors,
        unit=unit,
        values=components,
        level=level,
        bins=bins,
        bin_level=np.array(means),
        gaps=gaps,
    )


def _find_vectors(x: np.ndarray, number: int) -> np.ndarray:
    """Return the leading principal components, on which no star has much more say than others."""
    length = np.sqrt((x**2).sum(1))
    most = _MOST_LENGTH * np.median(length)
    bounded = x * (most / np.maximum(length, most))[:, None]
    _, vectors = np.linalg.eigh(bounded.T @ bounded)
    leading = vectors[:, ::-1][:, :number].T
    # the sign of an eigenvector is arbitrary
    largest = np.take_along_axis(leading, np.abs(leading).argmax(1)[:, None], 1)
    return np.asarray(leading * np.sign(largest))


def _find_gaps(x: np.ndarray, known: np.ndarray, vectors: np.ndarray, rows: np.ndarray) -> Gaps:
    d = len(vectors)
    overlap = np.zeros((rows.size, d, d))
    for i, row in enumerate(rows):
        seen = vectors[:, known[row]]
        overlap[i] = seen @ seen.T
    return Gaps(rows=rows, overlap=overlap, projected=np.where(known, x, 0)[rows] @ vectors.T)


def _fill(gaps: Gaps) -> np.ndarray:
    """Return components that the pixels which are there suggest, by ridge regression."""
    d = gaps.overlap.shape[-1]
    ridge = 1e-3 * np.eye(d)
    return np.linalg.solve(gaps.overlap + ridge, gaps.projected[..., None])[..., 0]


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
        data, model = np.sqrt(t2) / v, noise.variance / v
        of_data += whitened * np.outer(data, data) + n * np.diag(noise.variance / v)
        of_model += whitened * np.outer(model, model) + n * np.diag(t2 * noise.variance / v)
    step = _diagonalise(of_data / total, of_model / total)
    return NoiseParts(whitener=step.whitener @ t, variance=step.variance)


def _diagonalise(of_data: np.ndarray, of_model: np.ndarray) -> NoiseParts:
    """Return T and s^2 with T N1 T^T = 1 and T N0 T^T = diag(s^2)."""
    tiny = 1e-9 * np.diag(np.diag(of_data))
    half = np.linalg.inv(np.linalg.cholesky(of_data + tiny))
    variance, rotation = np.linalg.eigh(half @ of_model @ half.T)
    return NoiseParts(whitener=rotation.T @ half, variance=np.maximum(variance, 1e-8))
