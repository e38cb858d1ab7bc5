"""The continuum of many stars at once: weighted least squares with one design for all.

The continuum of a star must not depend on its S/N, as medians and quantiles do. A weighted fit is
linear in flux, but with weights of ivar alone it would still: the noise of a bright star is least
in its lines, that of a faint one, from the sky, is not, and the same lines would pull down the one
more than the other, by 2% in a spectrum full of them. What continuum misses, lines, is part of the
error of each pixel, so weights are 1 / (sigma^2 + MISFIT^2): alike for pixels of any use, small for
those of large errors. The same star at S/N 20 and 200 then agrees to 0.1%, half its noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from luxscale.errors import InputError
from luxscale.model import linalg
from luxscale.model.jit import compile_program
from luxscale.model.noise import DiagonalNoise
from luxscale.prepare.recipe import Ranges
from luxscale.prepare.resample import find_segments
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.windows import find_within

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
    """A stretch that is fitted apart.

    Parameters
    ----------
    pixels : slice
        Its pixels in the grid.
    design : array, (pixel, term)
    used : array of bool, (pixel,)
        Those that are fitted at.
    """

    pixels: slice
    design: np.ndarray
    used: np.ndarray


def choose_chips(grid: np.ndarray) -> Ranges:
    """Return what is fitted apart unless told otherwise.

    It is the chips of APOGEE, or else what lies between gaps of the grid.
    """
    if 15000 < grid[0] < 15823 and 16451 < grid[-1] < 17100:
        return APOGEE_CHIPS
    chips = []
    for part in find_segments(grid):
        stretch = grid[part]
        chips.append((float(stretch[0]), float(stretch[-1])))
    return tuple(chips)


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
        ``"chebyshev"`` of a degree, or ``"sines"`` and cosines up to ``order`` periods in
        ``length``, as the grid counts.
    ranges : tuple of (float, float)
        The chips; none: `choose_chips`.
    continuum_pixels : tuple of (float, float), optional
        Ranges that are fitted at.

    Raises
    ------
    InputError
        If a chip lies off the grid, has too few pixels to fit at, or is wider than the longest
        period of sines.
    """
    in_ranges = find_fit_pixels(grid, continuum_pixels)
    n_terms = 1 + order
    if kind == "sines":
        n_terms = 1 + 2 * order
    chips = []
    for low, high in ranges or choose_chips(grid):
        # a pixel at either end belongs to the chip
        after_high = np.nextafter(high, np.inf)
        first, stop = np.searchsorted(grid, [low, after_high])
        pixels = slice(first, stop)
        wavelength = grid[pixels]
        used = in_ranges[pixels]
        n_used = used.sum()
        if n_used < LEAST_PIXELS * n_terms:
            raise InputError(
                f"chip {low:g} to {high:g} has {n_used} pixels to fit a continuum of "
                f"{n_terms} terms at; choose other chips, continuum pixels or a lower order (the "
                f"grid: {grid[0]:g} to {grid[-1]:g})"
            )
        if kind == "sines":
            width = np.ptp(wavelength)
            if length < width:
                raise InputError(
                    f"chip {low:g} to {high:g} is wider than the sines' longest period: a "
                    f"continuum that repeats itself after {length:g} fits none; choose a length "
                    f"of at least {width:.0f}, narrower chips, or chebyshev"
                )
            terms = _compute_sines(wavelength, order, length)
        else:
            terms = _compute_chebyshev(wavelength, order)
        design = _orthonormalize(terms, used)
        chips.append(Chip(pixels, design, used))
    return tuple(chips)


def find_fit_pixels(grid: np.ndarray, ranges: Ranges | None) -> np.ndarray:
    """Return which pixels lie in one of the ranges, all for None: (wavelength,) bool."""
    if ranges is None:
        return np.ones(len(grid), bool)
    return find_within(grid, ranges)


def _compute_sines(wavelength: np.ndarray, order: int, length: float) -> np.ndarray:
    n_pixels = len(wavelength)
    periods = np.arange(1, order + 1)
    phase = 2 * np.pi * periods * wavelength[:, None] / length
    terms = [
        np.ones((n_pixels, 1)),
        np.cos(phase),
        np.sin(phase),
    ]
    return np.concatenate(terms, 1)


def _compute_chebyshev(wavelength: np.ndarray, order: int) -> np.ndarray:
    first = wavelength[0]
    last = wavelength[-1]
    middle = (first + last) / 2
    half = (last - first) / 2
    # the polynomials are orthogonal between -1 and 1
    scaled = (wavelength - middle) / half
    return np.polynomial.chebyshev.chebvander(scaled, order)


def _orthonormalize(terms: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return functions with the same span, orthonormal over the pixels used.

    Sines over half a period nearly depend on each other.
    """
    _, r = np.linalg.qr(terms[used])
    orthonormal = np.linalg.solve(r.T, terms.T).T
    # each function has a mean square of 1 over the pixels used, however many they are
    scaled = orthonormal * np.sqrt(used.sum())
    return np.asarray(scaled, np.float32)


def fit_continuum(
    flux: np.ndarray, ivar: np.ndarray, level: np.ndarray, chips: Sequence[Chip]
) -> np.ndarray:
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
    designs = []
    for chip in chips:
        designs.append((chip.design, _pack_design(chip.design)))
    for rows in iterate_blocks(len(flux), BLOCK):
        scale = level[rows, None]
        for chip, design in zip(chips, designs, strict=True):
            chip_flux = flux[rows, chip.pixels] / scale
            chip_ivar = ivar[rows, chip.pixels] * scale**2
            used_ivar = np.where(chip.used, chip_ivar, 0)
            # one chip at a time, as calls of LAPACK must not run at once: see `linalg.solve`
            found = _solve_chip(_fill_block(chip_flux), _fill_block(used_ivar), *design)
            # without the rows that fill the block up
            of_stars = np.asarray(found)[: len(scale)]
            continuum[rows, chip.pixels] = of_stars * scale
    return continuum


def _fill_block(rows: np.ndarray) -> np.ndarray:
    """Return the rows in float32, without the absurd, in a block such as `_solve_chip` takes."""
    block = np.zeros((BLOCK, rows.shape[1]), np.float32)
    block[: len(rows)] = np.clip(rows, -_MOST, _MOST)
    return block


def _pack_design(design: np.ndarray) -> np.ndarray:
    """Return the products of all pairs of terms: (pair, pixel)."""
    i, j, _ = linalg.packed_index(design.shape[1])
    products = design[:, i] * design[:, j]
    return np.ascontiguousarray(products.T)


@compile_program()
def _solve_chip(y: jax.Array, ivar: jax.Array, x: jax.Array, packed: jax.Array) -> jax.Array:
    """Return the continua of one chip, (star, pixel), in units of the level; 0 where none."""
    n_terms = x.shape[1]
    n_good = (ivar > 0).sum(1)
    n_used = (packed[0] > 0).sum()
    noise = DiagonalNoise(jnp.float32(MISFIT))
    weight = noise.weigh(ivar)
    # only the weights' ratios matter; float32 then holds their sums
    greatest = weight.max(1, keepdims=True)
    tiny = jnp.finfo(weight.dtype).tiny
    weight = weight / jnp.maximum(greatest, tiny)
    packed_h, rhs = linalg.normal_equations(weight, y, x, packed)
    of_share = LEAST_SHARE * n_used
    of_terms = LEAST_PIXELS * n_terms
    is_fitted = n_good >= jnp.maximum(of_share, of_terms)
    # a star without enough pixels has any equations that can be solved
    h = jnp.where(
        is_fitted[:, None, None],
        linalg.unpack(packed_h, n_terms),
        jnp.eye(n_terms),
    )
    coefficients = linalg.solve(h, rhs).x
    found = linalg.dot(coefficients, x.T)
    is_continuum = is_fitted[:, None] & (found > LEAST_LEVEL)
    return jnp.where(is_continuum, found, 0)


def compute_mean_flux(flux: np.ndarray, ivar: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return the mean flux over the good pixels of each star among those used: (star,).

    It is NaN of a star without any. All pixels weigh the same, so that it does not depend on S/N.
    Stars that lack different pixels are scaled by means over different parts of the spectrum: where
    the flux varies much along it, give ranges that all stars have.
    """
    good = (ivar > 0) & used
    n_good = good.sum(1)
    total = np.sum(flux, 1, where=good, dtype=float)
    mean = total / np.maximum(n_good, 1)
    return np.where(n_good > 0, mean, np.nan)


def compute_median_flux(flux: np.ndarray, ivar: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return the median flux over the good pixels of each star among those used: (star,).

    It is NaN of a star without any.
    """
    good = (ivar > 0) & used
    median = np.full(len(flux), np.nan)
    known = good.any(1)
    median[known] = np.nanmedian(np.where(good[known], flux[known], np.nan), axis=1)
    return median
