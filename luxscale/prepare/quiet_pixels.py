"""The pixels that are continuum in all spectra, to fit the continuum of each star at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from luxscale.errors import InputError
from luxscale.prepare.continuum import choose_chips
from luxscale.prepare.recipe import Ranges
from luxscale.schema.windows import find_within


def continuum_pixels(
    flux: np.ndarray,
    ivar: np.ndarray,
    grid: np.ndarray,
    *,
    fraction: float = 0.07,
    chips: Ranges = (),
    stretches: int = 8,
    level: float = 1.0,
) -> Ranges:
    """Find the pixels that are continuum in all spectra, for `Recipe.continuum_pixels`.

    After The Cannon (Ness et al. 2015, ApJ 808, 16), which takes those where the mean spectrum is
    near 1 and depends little on labels; here they are those where mean and intrinsic scatter of the
    stars, together, are least off.

    Parameters
    ----------
    flux, ivar : array, (star, wavelength)
        Spectra of high S/N over a first continuum; ivar = 0 where missing. Stars that span the
        labels, a few hundred of them.
    grid : array, (wavelength,)
    fraction : float
        Share of the pixels that is wanted; 5 to 9% in The Cannon.
    chips : tuple of (float, float)
        As of a recipe.
    stretches : int
        Equal parts of a chip that each give their share, so that no part of the continuum is
        without a hold.
    level : float
        Where the first continuum puts the true one: above 1 if it runs through the lines.

    Returns
    -------
    tuple of (float, float)
        Wavelength ranges, ascending.

    Raises
    ------
    InputError
        If the fraction is none, or no pixel is good in half of the stars.
    """
    if not 0 < fraction <= 1:
        raise InputError(
            f"fraction = {fraction!r} must be a share of the pixels, above 0 and at most 1"
        )
    deviation = _measure_deviation(flux, ivar, level)
    chosen = np.zeros(len(grid), bool)
    for low, high in chips or choose_chips(grid):
        is_within = find_within(grid, [(low, high)])
        pixels = np.flatnonzero(is_within)
        for part in np.array_split(pixels, stretches):
            n_wanted = round(fraction * len(part))
            order = np.argsort(deviation[part], kind="stable")
            best = part[order[:n_wanted]]
            is_known = np.isfinite(deviation[best])
            chosen[best[is_known]] = True
    if not chosen.any():
        raise InputError(
            "no continuum pixel found: no pixel is good in half of the stars, or the fraction "
            "too small"
        )
    return tuple(_list_runs(chosen, grid))


def _measure_deviation(flux: np.ndarray, ivar: np.ndarray, level: float) -> np.ndarray:
    """Return how far each pixel is from a constant continuum, noise taken out: (wavelength,).

    It is inf where most stars lack the pixel.
    """
    good = ivar > 0
    y = np.where(good, flux, 0).astype(float)
    n_good = good.sum(0)
    n_or_one = np.maximum(n_good, 1)
    mean = y.sum(0) / n_or_one
    safe_ivar = np.where(good, ivar, 1)
    variance = np.where(good, 1 / safe_ivar, 0)
    noise = np.sum(variance, 0) / n_or_one
    squares = np.where(good, (y - mean) ** 2, 0)
    # a mean is taken out, which costs a degree of freedom
    freedom = np.maximum(n_good - 1, 1)
    spread = squares.sum(0) / freedom
    intrinsic = np.maximum(spread - noise, 0)
    off_level = mean - level
    deviation = np.sqrt(off_level**2 + intrinsic)
    in_most = n_good > len(flux) / 2
    return np.where(in_most, deviation, np.inf)


def _list_runs(chosen: np.ndarray, grid: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield the stretches of chosen pixels, from edge to edge."""
    first_step = grid[1] - grid[0]
    last_step = grid[-1] - grid[-2]
    between = (grid[1:] + grid[:-1]) / 2
    first_edge = grid[0] - first_step / 2
    last_edge = grid[-1] + last_step / 2
    edges = np.r_[first_edge, between, last_edge]
    # with an unchosen pixel at either end, every stretch starts and stops
    padded = np.r_[0, chosen.astype(np.int8), 0]
    turns = np.flatnonzero(np.diff(padded))
    for start, stop in turns.reshape(-1, 2):
        yield float(edges[start]), float(edges[stop])
