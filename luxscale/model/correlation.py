"""What correlated noise makes of data in float64, for the analysis of models.

All of it rests on the components that a star's pixels tell apart. With a spectrum that is unit B mu
but for noise, B^T N^-1 r = O r says of mu what data r do, and M = O (unit B) how well:

- all pixels: M = V^-1 and O = V^-1 U, V = diag(t^2 + s^2) and U the projection on components
- some pixels: those of `luxscale.model.noise.CorrelatedNoise.observe`

Inference takes the model as B can make it, and so does this: x stands for unit B U x.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np


class Components(Protocol):
    """The arrays of correlated noise."""

    @property
    def shapes(self) -> Any:
        """B: (feature, component)."""

    @property
    def unit(self) -> Any:
        """Typical error of a feature: (feature,)."""

    @property
    def variance(self) -> Any:
        """s^2: (component,)."""

    @property
    def projection(self) -> np.ndarray:
        """U: (component, feature)."""


class Star(NamedTuple):
    """What one star's data say of the components.

    operator O (component, feature); precision M (component, component); scaled (component,
    feature), whose product with residuals has chi-square as its square; n_values, the number of
    independent values; repeat (component, component), the covariance of O r under errors alone.
    """

    operator: np.ndarray
    precision: np.ndarray
    scaled: np.ndarray
    n_values: float
    repeat: np.ndarray


def measure_level(noise: Components, ivar: np.ndarray) -> float:
    """Return t^2 of one star, the median of (error / unit)^2; 1 without data."""
    unit = np.asarray(noise.unit, float)
    known = (ivar > 0) & (unit > 0)
    if not known.any():
        return 1.0
    return float(np.median(1 / (ivar[known] * unit[known] ** 2)))


def observe_star(noise: Components, ivar: np.ndarray, white: float) -> Star:
    """Return what one star's data say of the components.

    Parameters
    ----------
    noise : Components
    ivar : array, (feature,)
        0 where missing.
    white : float
        Variance of white noise beside the components, of stars with gaps.
    """
    unit = np.asarray(noise.unit, float)
    level = measure_level(noise, ivar)
    variance = level + np.asarray(noise.variance, float)
    if ((ivar > 0) | (unit == 0)).all():
        projection = noise.projection
        return Star(
            operator=projection / variance[:, None],
            precision=np.diag(1 / variance),
            scaled=projection / np.sqrt(variance)[:, None],
            n_values=float(variance.size),
            repeat=np.diag(level / variance**2),
        )
    known = (ivar > 0) & (unit > 0)
    sd = np.sqrt(variance)
    shapes = np.asarray(noise.shapes, float)[known] * sd
    lifted = shapes.T @ shapes / white + np.eye(sd.size)
    y = np.linalg.inv(lifted)
    kept = np.eye(sd.size) - y
    scaled = np.zeros((sd.size, unit.size))
    scaled[:, known] = y @ (shapes / unit[known, None]).T / white
    # of the errors, the components' part has t^2 of their variance, and white noise is all theirs
    drawn = level * kept / variance @ kept + kept @ y
    return Star(
        operator=scaled / sd[:, None],
        precision=kept / np.outer(sd, sd),
        scaled=scaled,
        n_values=float(np.trace(kept)),
        repeat=drawn / np.outer(sd, sd),
    )


def find_root(star: Star) -> np.ndarray:
    """Return the symmetric root of a star's N^-1 = O^T M^-1 O: (feature, feature).

    As factors P, S of P S P^T, to be multiplied from the right: (feature, value).
    """
    eigenvalues, vectors = np.linalg.eigh(star.precision)
    tiny = np.finfo(float).eps * eigenvalues.size * max(eigenvalues.max(), 1e-300)
    good = eigenvalues > tiny
    half = star.operator.T @ vectors[:, good] / np.sqrt(eigenvalues[good])
    left, size, _ = np.linalg.svd(half, full_matrices=False)
    return np.asarray(left * np.sqrt(size))
