"""The continuum of many stars at once: weighted least squares with one design for all, and the pixels to fit it at.

The continuum of a star must not depend on its S/N, as medians and quantiles do. A weighted fit is
linear in flux, but with weights of ivar alone it would still: the noise of a bright star is least
in its lines, that of a faint one, from the sky, is not, and the same lines would pull down the one
more than the other, by 2% in a spectrum full of them. What continuum misses, lines, is part of the
error of each pixel, so weights are 1 / (sigma^2 + MISFIT^2): alike for pixels of any use, small for
those of large errors. The same star at S/N 20 and 200 then agrees to 0.1%, half its noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.errors import InputError
from luxscale.model import linalg
from luxscale.model.jit import compile_program
from luxscale.model.noise import DiagonalNoise
from luxscale.prepare.recipe import Ranges
from luxscale.prepare.resample import segments

#: Stars of one call of the compiled fit, less are filled up, so that it is compiled once.
BLOCK = 64

#: A chip is fitted where a star has at least this share of the chip's pixels for fitting ...
LEAST_SHARE = 0.25

#: ... and this many for each coefficient.
LEAST_PIXELS = 3

#: How far spectra are from their continuum in lines, over the star's typical flux.
MISFIT = 0.3

#: A continuum below this share of the star's typical flux is none to divide by.
LEAST_LEVEL = 1e-3

#: Greatest flux, and S/N squared, of a pixel in a fit, in units of the star's typical flux.
_MOST = 1e8

#: The detectors of APOGEE as The Cannon fits them (Ness et al. 2015, ApJ 808, 16), vacuum Angstrom.
APOGEE_CHIPS = ((15090.0, 15822.0), (15823.0, 16451.0), (16452.0, 16971.0))


class Chip(NamedTuple):
    """A stretch that is fitted apart: its pixels in the grid, the design (pixel, term), and the pixels fitted at."""

    pixels: slice
    design: np.ndarray
    used: np.ndarray


def default_chips(grid: np.ndarray) -> Ranges:
    """Return what is fitted apart unless told otherwise: the chips of APOGEE; else what lies between gaps of the grid."""
    if 15000 < grid[0] < 15823 and 16451 < grid[-1] < 17100:
        return APOGEE_CHIPS
    return tuple((float(grid[s][0]), float(grid[s][-1])) for s in segments(grid))


def make_chips(
    grid: np.ndarray,
    kind: str,
    order: int,
    length: float,
    ranges: Ranges,
    continuum_pixels: Ranges | None,
) -> tuple[Chip, ...]:
    """Return the chips of a grid with their designs.

    Parameters
    ----------
    grid : array, (wavelength,)
    kind, order, length
        ``"chebyshev"`` of a degree, or ``"sines"`` and cosines up to ``order`` periods in ``length``, as the grid counts.
    ranges : tuple of (float, float)
        The chips; none: `default_chips`.
    continuum_pixels : tuple of (float, float), optional
        Ranges that are fitted at.

    Raises
    ------
    InputError
        If a chip lies off the grid, has too few pixels to fit at, or is wider than the longest
        period of sines.
    """
    at = within(grid, continuum_pixels)
    chips = []
    for low, high in ranges or default_chips(grid):
        pixels = slice(*np.searchsorted(grid, [low, np.nextafter(high, np.inf)]))
        terms = 1 + order * (2 if kind == "sines" else 1)
        if at[pixels].sum() < LEAST_PIXELS * terms:
            raise InputError(
                f"chip {low:g} to {high:g} has {at[pixels].sum()} pixels to fit a continuum of "
                f"{terms} terms at; "
                f"choose other chips, continuum pixels or a lower order (the grid: {grid[0]:g} "
                f"to {grid[-1]:g})"
            )
        if kind == "sines" and length < (width := np.ptp(grid[pixels])):
            raise InputError(
                f"chip {low:g} to {high:g} is wider than the sines' longest period: a "
                "continuum that repeats itself "
                f"after {length:g} fits none; choose a length of at least {width:.0f}, "
                "narrower chips, or chebyshev"
            )
        x = (
            _sines(grid[pixels], order, length)
            if kind == "sines"
            else _chebyshev(grid[pixels], order)
        )
        chips.append(Chip(pixels, _orthonormal(x, at[pixels]), at[pixels]))
    return tuple(chips)


def within(grid: np.ndarray, ranges: Ranges | None) -> np.ndarray:
    """Return which pixels lie in one of the ranges, all for None: (wavelength,) bool."""
    if ranges is None:
        return np.ones(len(grid), bool)
    return np.any([(low <= grid) & (grid <= high) for low, high in ranges], axis=0) & np.ones(
        len(grid), bool
    )


def _sines(grid: np.ndarray, order: int, length: float) -> np.ndarray:
    phase = 2 * np.pi * np.arange(1, order + 1) * grid[:, None] / length
    return np.concatenate([np.ones((len(grid), 1)), np.cos(phase), np.sin(phase)], 1)


def _chebyshev(grid: np.ndarray, order: int) -> np.ndarray:
    middle, half = (grid[0] + grid[-1]) / 2, (grid[-1] - grid[0]) / 2
    return np.polynomial.chebyshev.chebvander((grid - middle) / half, order)


def _orthonormal(x: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return functions with the same span, orthonormal over the pixels used: sines over half a period nearly depend."""
    _, r = np.linalg.qr(x[used])
    return np.asarray(np.linalg.solve(r.T, x.T).T * np.sqrt(used.sum()), np.float32)


def fit(flux: np.ndarray, ivar: np.ndarray, level: np.ndarray, chips: Sequence[Chip]) -> np.ndarray:
    """Return the continuum of every star, 0 where it has none: (star, wavelength).

    Parameters
    ----------
    flux, ivar : array, (star, wavelength)
        ivar = 0 where missing, with a finite flux.
    level : array, (star,)
        Typical flux, positive; the arithmetic is done in its units.
    chips : sequence of Chip
    """
    continuum = np.zeros(flux.shape)
    arrays = tuple((c.design, _packed(c.design)) for c in chips)
    for start in range(0, len(flux), BLOCK):
        rows = slice(start, start + BLOCK)
        scale = level[rows, None]
        y = [_filled(flux[rows, c.pixels] / scale) for c in chips]
        known = [_filled(np.where(c.used, ivar[rows, c.pixels] * scale**2, 0)) for c in chips]
        for c, found in zip(chips, _solve(y, known, arrays), strict=True):
            continuum[rows, c.pixels] = np.asarray(found)[: len(scale)] * scale
    return continuum


def _filled(rows: np.ndarray) -> np.ndarray:
    """Return the rows in float32, filled up to the block that `_solve` is compiled for, and without the absurd."""
    block = np.zeros((BLOCK, rows.shape[1]), np.float32)
    block[: len(rows)] = np.clip(rows, -_MOST, _MOST)
    return block


def _packed(design: np.ndarray) -> np.ndarray:
    i, j, _ = linalg.packed_index(design.shape[1])
    return np.ascontiguousarray((design[:, i] * design[:, j]).T)


@compile_program()
def _solve(
    y: list[jax.Array], ivar: list[jax.Array], arrays: tuple[tuple[jax.Array, jax.Array], ...]
) -> list[jax.Array]:
    """Return the continua of the chips, (star, pixel) each, in units of the level; 0 where there is none."""
    return [_solve_chip(*chip) for chip in zip(y, ivar, arrays, strict=True)]


def _solve_chip(y: jax.Array, ivar: jax.Array, arrays: tuple[jax.Array, jax.Array]) -> jax.Array:
    x, packed = arrays
    terms = x.shape[1]
    n, n_used = (ivar > 0).sum(1), (packed[0] > 0).sum()
    w = DiagonalNoise(jnp.float32(MISFIT)).weigh(ivar)
    w = w / jnp.maximum(w.max(1, keepdims=True), jnp.finfo(w.dtype).tiny)
    h, rhs = linalg.normal_equations(w, y, x, packed)
    fitted = n >= jnp.maximum(LEAST_SHARE * n_used, LEAST_PIXELS * terms)
    h = jnp.where(fitted[:, None, None], linalg.unpack(h, terms), jnp.eye(terms))
    found = linalg.dot(linalg.solve(h, rhs).x, x.T)
    return jnp.where(fitted[:, None] & (found > LEAST_LEVEL), found, 0)


def mean_flux(flux: np.ndarray, ivar: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return the mean flux over the good pixels of each star among those used, NaN of a star without: (star,).

    All pixels weigh the same, so that it does not depend on S/N. Stars that lack different pixels
    are scaled by means over different parts of the spectrum: where the flux varies much along it,
    give ranges that all stars have.
    """
    good = (ivar > 0) & used
    n = good.sum(1)
    return np.where(n > 0, np.sum(flux, 1, where=good, dtype=float) / np.maximum(n, 1), np.nan)


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
    """Find the pixels that are continuum in all of some normalised spectra of high S/N, for `Recipe.continuum_pixels`.

    After The Cannon (Ness et al. 2015, ApJ 808, 16), which takes those where the mean spectrum is
    near 1 and depends little on labels; here they are those where mean and intrinsic scatter of the
    stars, together, are least off.

    Parameters
    ----------
    flux, ivar : array, (star, wavelength)
        Spectra over a first continuum; ivar = 0 where missing. Stars that span the labels, a few
        hundred of them.
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
    score = _deviation(flux, ivar, level)
    chosen = np.zeros(len(grid), bool)
    for low, high in chips or default_chips(grid):
        pixels = np.flatnonzero((low <= grid) & (grid <= high))
        for part in np.array_split(pixels, stretches):
            best = part[np.argsort(score[part], kind="stable")[: round(fraction * len(part))]]
            chosen[best[np.isfinite(score[best])]] = True
    if not chosen.any():
        raise InputError(
            "no continuum pixel found: no pixel is good in half of the stars, or the fraction "
            "too small"
        )
    return tuple(_runs(chosen, grid))


def _deviation(flux: np.ndarray, ivar: np.ndarray, level: float) -> np.ndarray:
    """Return how far each pixel is from a constant continuum, noise taken out; inf where most stars lack it."""
    good = ivar > 0
    y, n = np.where(good, flux, 0).astype(float), good.sum(0)
    many = np.maximum(n, 1)
    mean = y.sum(0) / many
    noise = np.sum(np.where(good, 1 / np.where(good, ivar, 1), 0), 0) / many
    spread = np.where(good, (y - mean) ** 2, 0).sum(0) / np.maximum(n - 1, 1)
    return np.where(
        n > len(flux) / 2, np.sqrt((mean - level) ** 2 + np.maximum(spread - noise, 0)), np.inf
    )


def _runs(chosen: np.ndarray, grid: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield the stretches of chosen pixels, from edge to edge."""
    edges = np.r_[
        grid[0] - (grid[1] - grid[0]) / 2,
        (grid[1:] + grid[:-1]) / 2,
        grid[-1] + (grid[-1] - grid[-2]) / 2,
    ]
    turns = np.flatnonzero(np.diff(np.r_[0, chosen.astype(np.int8), 0]))
    for start, stop in turns.reshape(-1, 2):
        yield float(edges[start]), float(edges[stop])
