"""Spectra on the grid of a survey: copied where the pixels are the same, else resampled so that flux is conserved."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from luxscale.readers.base import BadFile

#: Grids that agree to this many pixels are the same: log wavelengths in float32 are off by a
#: thousandth.
SAME = 0.005

#: A resampled pixel of which less than this share came from good pixels is missing. Its flux is the
#: mean over the good part: where that is much less than the whole, its centre moves, which costs
#: more than the loss of a pixel.
LEAST_GOOD = 0.9

#: A step this many times the one before or after it is a gap between detectors.
_GAP = 3.0

#: More stretches between gaps than any instrument has cameras are no wavelength scale.
_MOST_SEGMENTS = 32


class Pixels(NamedTuple):
    """Spectra: flux and ivar (star, pixel), both 0 where missing, and the codes of the reasons for that (uint8)."""

    flux: np.ndarray
    ivar: np.ndarray
    reason: np.ndarray


def offset(wavelength: np.ndarray, grid: np.ndarray) -> int | None:
    """Return i such that pixel k of the file is pixel k + i of the grid, wherever both have one; None: no such i."""
    if grid[-1] < wavelength[0] or wavelength[-1] < grid[0]:
        return None
    if grid[0] <= wavelength[0]:
        i = int(np.abs(grid - wavelength[0]).argmin())
    else:
        i = -int(np.abs(wavelength - grid[0]).argmin())
    ours, theirs = overlap(i, len(wavelength), len(grid))
    a, b = wavelength[theirs], grid[ours]
    if len(b) < 2 or (np.abs(a - b) > SAME * np.gradient(b)).any():
        return None
    return i


def settle(pixels: Pixels, code: int) -> Pixels:
    """Return the pixels such that a good one has finite flux and ivar > 0; others are missing, for ``code`` if no other."""
    flux, ivar, reason = pixels
    good = (reason == 0) & np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
    reason = np.where((reason == 0) & ~good, np.uint8(code), reason)
    return Pixels(np.where(good, flux, 0), np.where(good, ivar, 0), reason)


@functools.cache
def _spectres() -> Callable:
    """Return spectres compiled by numba where that is installed (30 times faster), else the plain one; same results."""
    try:
        from spectres.spectral_resampling_numba import spectres_numba
    except ImportError:
        from spectres.spectral_resampling import spectres

        return spectres
    return spectres_numba


def overlap(i: int, n_file: int, n_grid: int) -> tuple[slice, slice]:
    """Return the pixels that both have, as a slice of the grid and one of the file."""
    start, stop = max(i, 0), min(i + n_file, n_grid)
    return slice(start, stop), slice(start - i, stop - i)


def copy(pixels: Pixels, i: int, n_grid: int, outside: int) -> Pixels:
    """Copy spectra to a grid on which they lie ``i`` pixels further; what they lack has the code ``outside``."""
    n_stars, n_file = pixels.flux.shape
    if i == 0 and n_file == n_grid:
        return pixels
    ours, theirs = overlap(i, n_file, n_grid)
    moved = Pixels(
        *(
            np.full((n_stars, n_grid), fill, a.dtype)
            for a, fill in zip(pixels, (0, 0, outside), strict=True)
        )
    )
    for to, array in zip(moved, pixels, strict=True):
        to[:, ours] = array[:, theirs]
    return moved


def rebin(pixels: Pixels, wavelength: np.ndarray, grid: np.ndarray, outside: int) -> Pixels:
    """Resample spectra that have one wavelength scale; all stars and what is needed of each go through one loop.

    A pixel's flux is the mean over the good part of what it covers, its variance that of this mean.
    Neighbours that share a pixel of the file are correlated, which no inverse variance can say:
    lest it count twice, a pixel's ivar is at most its share of that of the file's pixels, so that
    the information in a stretch of wavelength is what it was. No detector's edge pixel is drawn out
    over a gap. A pixel that is missing for what it covers has the reason of the nearest bad pixel.

    Parameters
    ----------
    pixels : Pixels
        Flux is per unit wavelength.
    wavelength : array, (pixel,)
    grid : array, (wavelength,)
    outside : int
        Code of pixels that the spectra do not cover.
    """
    good = pixels.ivar > 0
    density = np.where(good, pixels.ivar, 0) / _widths(wavelength)
    planes = np.stack([np.where(good, pixels.flux, 0), good.astype(float), density])
    error = np.where(good, 1 / np.sqrt(np.where(good, pixels.ivar, 1)), 0)
    errors = np.stack([error, np.zeros_like(error), np.zeros_like(error)])
    # flux and error, each times the share that is good, the share, and inverse variance per unit
    # wavelength
    out = np.full((4, len(good), len(grid)), np.nan)
    for new in segments(grid):
        for old in segments(wavelength):
            arrays = map(
                np.ascontiguousarray,
                (grid[new], wavelength[old], planes[..., old], errors[..., old]),
            )
            (f, share, inform), (e, _, _) = _spectres()(*arrays, fill=np.nan, verbose=False)
            inside = np.isfinite(share[0])
            out[:, :, new][..., inside] = np.stack([f, e, share, inform])[..., inside]
    f, e, share, inform = out
    known = share >= LEAST_GOOD
    divide = np.where(known, share, 1)
    ivar = np.where(
        known, np.minimum((divide / np.where(known, e, 1)) ** 2, inform * _widths(grid)), 0
    )
    reason = np.where(known, 0, outside).astype(np.uint8)
    for row, codes, lost in zip(reason, pixels.reason, np.isfinite(share) & ~known, strict=True):
        row[lost] = _nearest(wavelength, codes, grid[lost])
    return Pixels(np.where(known, f / divide, 0), ivar, reason)


def _widths(wavelength: np.ndarray) -> np.ndarray:
    """Return the widths of pixels, those at the edge of a detector like their neighbours: (pixel,)."""
    widths = np.ones_like(wavelength)
    for part in segments(wavelength):
        widths[part] = np.gradient(wavelength[part])
    return widths


def _nearest(wavelength: np.ndarray, codes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the code of the bad pixel that is nearest to each wavelength."""
    bad = np.flatnonzero(codes)
    middles = (wavelength[bad][1:] + wavelength[bad][:-1]) / 2
    return codes[bad[np.searchsorted(middles, at)]]


def segments(wavelength: np.ndarray) -> list[slice]:
    """Return the stretches of at least two pixels between gaps in a wavelength scale.

    Raises
    ------
    BadFile
        If there is none, or more than any instrument has.
    """
    steps = np.diff(wavelength)
    beside = np.minimum(np.r_[steps[1:], np.inf], np.r_[np.inf, steps[:-1]])
    cuts = np.flatnonzero(steps > _GAP * beside) + 1
    bounds = [0, *cuts.tolist(), len(wavelength)]
    found = [slice(a, b) for a, b in itertools.pairwise(bounds) if b - a > 1]
    if not 0 < len(found) <= _MOST_SEGMENTS:
        raise BadFile(f"wavelengths in {len(found)} stretches between gaps are no spectrum's")
    return found
