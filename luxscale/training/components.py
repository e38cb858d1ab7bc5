"""Spectra as few components, in training.

With x = y / unit in units of the typical error of each pixel, c = V x are the leading principal
components. Their noise is in `luxscale.training.component_noise`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

#: Groups of stars of like noise level, within which it counts as equal where sums are taken.
BINS = 16

#: Share of the variance at the median noise level that the model's own noise starts with.
MODEL_SHARE = 0.03


#: Rounds in which gaps are filled with components.
_FILLS = 10

#: Least square of a component, as a fraction of the greatest.
_LEAST_SIZE = 1e-11

#: Length of a spectrum, in those of the typical star, beyond which it counts less for components.
_MOST_LENGTH = 5.0


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
    sizes, vectors = np.linalg.eigh(bounded.T @ bounded)
    # components beyond the rank of the spectra have neither signal nor noise
    number = min(number, int((sizes > _LEAST_SIZE * sizes[-1]).sum()))
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
