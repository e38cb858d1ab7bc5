"""Spectra on the grid of a survey: copied where the pixels are the same, else resampled.

Resampling conserves flux.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

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
    """Spectra: flux and ivar, both 0 where missing, and the codes of the reasons for that (uint8).

    All are (star, pixel).
    """

    flux: np.ndarray
    ivar: np.ndarray
    reason: np.ndarray


def find_offset(wavelength: np.ndarray, grid: np.ndarray) -> int | None:
    """Return i such that pixel k of the file is pixel k + i of the grid, or None.

    That must hold wherever both have a pixel.
    """
    if grid[-1] < wavelength[0] or wavelength[-1] < grid[0]:
        return None
    # the pixel nearest to the first of whichever starts later
    if grid[0] <= wavelength[0]:
        distance = np.abs(grid - wavelength[0])
        i = int(distance.argmin())
    else:
        distance = np.abs(wavelength - grid[0])
        i = -int(distance.argmin())
    in_grid, in_file = find_overlap(i, len(wavelength), len(grid))
    common = grid[in_grid]
    if len(common) < 2:
        return None
    off = np.abs(wavelength[in_file] - common)
    most_off = SAME * np.gradient(common)
    if (off > most_off).any():
        return None
    return i


def clear_unusable(pixels: Pixels, code: int) -> Pixels:
    """Return the pixels such that a good one has finite flux and ivar > 0.

    Others are missing, for ``code`` if they had no other reason.
    """
    flux, ivar, reason = pixels
    had_no_reason = reason == 0
    is_usable = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
    good = had_no_reason & is_usable
    reason = np.where(had_no_reason & ~good, np.uint8(code), reason)
    return Pixels(
        flux=np.where(good, flux, 0),
        ivar=np.where(good, ivar, 0),
        reason=reason,
    )


def find_overlap(i: int, n_file: int, n_grid: int) -> tuple[slice, slice]:
    """Return the pixels that both have, as a slice of the grid and one of the file."""
    start = max(i, 0)
    stop = min(i + n_file, n_grid)
    in_grid = slice(start, stop)
    in_file = slice(start - i, stop - i)
    return in_grid, in_file


def copy_pixels(pixels: Pixels, i: int, n_grid: int, outside: int) -> Pixels:
    """Copy spectra to a grid on which they lie ``i`` pixels further.

    What they lack has the code ``outside``.
    """
    n_stars, n_file = pixels.flux.shape
    if i == 0 and n_file == n_grid:
        return pixels
    in_grid, in_file = find_overlap(i, n_file, n_grid)
    shape = (n_stars, n_grid)
    moved = Pixels(
        flux=np.zeros(shape, pixels.flux.dtype),
        ivar=np.zeros(shape, pixels.ivar.dtype),
        reason=np.full(shape, outside, pixels.reason.dtype),
    )
    for target, array in zip(moved, pixels, strict=True):
        target[:, in_grid] = array[:, in_file]
    return moved


def rebin_pixels(pixels: Pixels, wavelength: np.ndarray, grid: np.ndarray, outside: int) -> Pixels:
    """Resample spectra that have one wavelength scale.

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
    flux, variance, share, density = _resample(pixels, wavelength, grid)
    known = share >= LEAST_GOOD
    good_share = np.where(known, share, 1)
    safe_variance = np.where(known, variance, 1)
    # flux and variance are of whole pixels, the bad part as 0: of the good part they are larger
    mean_flux = flux / good_share
    mean_ivar = good_share**2 / safe_variance
    # correlated neighbours must not count what they share twice
    information = density * _compute_widths(grid)
    ivar = np.minimum(mean_ivar, information)
    reason = np.where(known, 0, outside).astype(np.uint8)
    is_lost = np.isfinite(share) & ~known
    for row, codes, lost in zip(reason, pixels.reason, is_lost, strict=True):
        row[lost] = _find_nearest_code(wavelength, codes, grid[lost])
    return Pixels(
        flux=np.where(known, mean_flux, 0),
        ivar=np.where(known, ivar, 0),
        reason=reason,
    )


def _resample(pixels: Pixels, wavelength: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return what the pixels of a grid have of those of the file: (4, star, wavelength).

    These are the mean flux and its variance, with bad pixels as 0, the share of the pixel that is
    good, and the inverse variance per unit wavelength; NaN where the file has no pixel.
    """
    good = pixels.ivar > 0
    flux = np.where(good, pixels.flux, 0)
    ivar = np.where(good, pixels.ivar, 0)
    variance = np.where(good, 1 / np.where(good, pixels.ivar, 1), 0)
    density = ivar / _compute_widths(wavelength)
    out = np.full((4, len(good), len(grid)), np.nan)
    for new in find_segments(grid):
        width = np.diff(_find_edges(grid[new]))
        for old in find_segments(wavelength):
            overlap, covered = _compute_overlap(grid[new], wavelength[old])
            means = [
                (overlap @ flux[:, old].T).T / width,
                (overlap.power(2) @ variance[:, old].T).T / width**2,
                (overlap @ good[:, old].T).T / width,
                (overlap @ density[:, old].T).T / width,
            ]
            out[:, :, new][..., covered] = np.stack(means)[..., covered]
    return out


def _compute_overlap(grid: np.ndarray, wavelength: np.ndarray) -> tuple[csr_array, np.ndarray]:
    """Return how much of each pixel of a grid lies in which of a file's, without gaps in either.

    Returns
    -------
    overlap : csr_array, (wavelength, pixel)
        In the unit of the wavelengths.
    covered : array of bool, (wavelength,)
        Which pixels of the grid lie wholly in those of the file.
    """
    n_new, n_old = len(grid), len(wavelength)
    new = _find_edges(grid)
    old = _find_edges(wavelength)
    # between two neighbouring edges, whichever they are of, is one pixel of each
    edges = np.union1d(new, old)
    row = np.searchsorted(new, edges[:-1], side="right") - 1
    column = np.searchsorted(old, edges[:-1], side="right") - 1
    is_in_new = (row >= 0) & (row < n_new)
    is_in_old = (column >= 0) & (column < n_old)
    is_in_both = is_in_new & is_in_old
    parts = np.diff(edges)[is_in_both]
    places = row[is_in_both], column[is_in_both]
    overlap = csr_array((parts, places), shape=(n_new, n_old))
    starts_inside = new[:-1] >= old[0]
    ends_inside = new[1:] <= old[-1]
    return overlap, starts_inside & ends_inside


def _find_edges(wavelength: np.ndarray) -> np.ndarray:
    """Return the edges of pixels, halfway between their centres: (pixel + 1,)."""
    halves = np.diff(wavelength) / 2
    first, last = wavelength[0] - halves[0], wavelength[-1] + halves[-1]
    return np.concatenate([[first], wavelength[:-1] + halves, [last]])


def _compute_widths(wavelength: np.ndarray) -> np.ndarray:
    """Return the widths of pixels, at the edge of a detector like their neighbours: (pixel,)."""
    widths = np.ones_like(wavelength)
    for part in find_segments(wavelength):
        widths[part] = np.gradient(wavelength[part])
    return widths


def _find_nearest_code(wavelength: np.ndarray, codes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the code of the bad pixel that is nearest to each wavelength."""
    bad = np.flatnonzero(codes)
    bad_wavelength = wavelength[bad]
    middles = (bad_wavelength[1:] + bad_wavelength[:-1]) / 2
    nearest = bad[np.searchsorted(middles, wanted)]
    return codes[nearest]


def find_segments(wavelength: np.ndarray) -> list[slice]:
    """Return the stretches of at least two pixels between gaps in a wavelength scale.

    Raises
    ------
    BadFile
        If there is none, or more than any instrument has.
    """
    steps = np.diff(wavelength)
    after = np.r_[steps[1:], np.inf]
    before = np.r_[np.inf, steps[:-1]]
    ordinary = np.minimum(after, before)
    is_gap = steps > _GAP * ordinary
    cuts = np.flatnonzero(is_gap) + 1
    bounds = [0, *cuts.tolist(), len(wavelength)]
    found = []
    for start, stop in itertools.pairwise(bounds):
        if stop - start > 1:
            found.append(slice(start, stop))
    if not 0 < len(found) <= _MOST_SEGMENTS:
        raise BadFile(f"wavelengths in {len(found)} stretches between gaps are no spectrum's")
    return found
