"""Splines of degree 5 through the pixels of spectra, by which these are shifted and bent.

A spline is a sum of B-splines, one a pixel: linear in its coefficients, which are linear in the
pixels.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np

#: Pixels that a spline rests on, to each side.
HALF = 3

#: Missing pixels in a row that a spline bridges; longer gaps end it.
_MOST_BRIDGED = 3

#: Ratio of neighbouring steps of a grid at which there is a gap between them.
_JUMP = 1.5


def evaluate_spline(x: Any, order: int) -> Any:
    """Return a derivative of the central B-spline of degree 5 and unit spacing."""
    # pieces in |x| from 0, 1 and 2 on
    pieces = [
        np.polynomial.Polynomial([11 / 20, 0, -1 / 2, 0, 1 / 4, -1 / 12]),
        np.polynomial.Polynomial([17 / 40, 5 / 8, -7 / 4, 5 / 4, -3 / 8, 1 / 24]),
        np.polynomial.Polynomial([3, -1]) ** 5 / 120,
    ]
    distance = abs(x)
    slopes = [piece.deriv(order).coef for piece in pieces]
    near, middle, far = (_evaluate(slope, distance) for slope in slopes)
    far = jnp.where(distance < 3, far, 0)
    outside = jnp.where(distance < 2, middle, far)
    value = jnp.where(distance < 1, near, outside)
    if order % 2 == 0:
        return value
    # odd derivatives of what is symmetric change their sign
    return jnp.sign(x) * value


def _evaluate(coefficients: np.ndarray, x: Any) -> Any:
    total: Any = float(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + float(coefficient)
    return total


def list_segments(grid: np.ndarray, used: np.ndarray) -> list[slice]:
    """Return the stretches of a grid without gaps, in it or in the pixels that are used."""
    steps = np.diff(grid)
    before, after = steps[:-1], steps[1:]
    ratio = np.maximum(after, before) / np.minimum(after, before)
    jumps = np.flatnonzero(ratio > _JUMP)
    # of the two steps that differ, the longer one is the gap
    gaps = jumps + (after > before)[jumps]
    cuts = set((gaps + 1).tolist())
    found = []
    edges = [0, *sorted(cuts), grid.size]
    for start, stop in itertools.pairwise(edges):
        inside = start + np.flatnonzero(used[start:stop])
        if not inside.size:
            continue
        breaks = np.flatnonzero(np.diff(inside) > _MOST_BRIDGED + 1)
        for stretch in np.split(inside, breaks + 1):
            first, last = int(stretch[0]), int(stretch[-1])
            found.append(slice(first, last + 1))
    return found


def fit_spline(columns: np.ndarray, used: np.ndarray, parts: list[slice]) -> np.ndarray:
    """Return spline coefficients of each column, stretch by stretch, 0 between: (feature, k)."""
    from scipy import ndimage

    found = np.zeros_like(columns, dtype=float)
    for part in parts:
        known = np.flatnonzero(used[part])
        pixels = np.arange(part.stop - part.start)
        for k, column in enumerate(columns[part].T):
            whole = np.interp(pixels, known, column[known])
            found[part, k] = ndimage.spline_filter1d(whole, order=5, mode="mirror")
    return found
