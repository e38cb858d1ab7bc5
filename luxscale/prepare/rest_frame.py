"""Spectra brought to rest, on the wavelengths of a survey."""

from __future__ import annotations

import numpy as np
from scipy.constants import c as LIGHT

from luxscale.prepare import masks
from luxscale.prepare.recipe import Recipe
from luxscale.prepare.resample import (
    Pixels,
    clear_unusable,
    copy_pixels,
    find_offset,
    rebin_pixels,
)
from luxscale.readers.base import Spectra


def find_velocity(spectra: Spectra, recipe: Recipe) -> np.ndarray:
    """Return the velocities to be taken out, km/s: (star,)."""
    if not recipe.rest_frame or spectra.velocity is None:
        return np.zeros(len(spectra.star))
    velocity = np.asarray(spectra.velocity, float)
    # none is faster than light: such numbers stand for no velocity
    is_real = np.abs(velocity) < LIGHT / 1e3
    return np.where(is_real, velocity, np.nan)


def move_to_grid(
    pixels: Pixels, wavelength: np.ndarray, velocity: np.ndarray, grid: np.ndarray, recipe: Recipe
) -> tuple[Pixels, np.ndarray]:
    """Return the spectra on the grid, and which were resampled: (star,)."""
    outside = masks.get_code(recipe.bad, "outside file's range")
    not_finite = masks.get_code(recipe.bad, "not finite")
    shape = (len(velocity), len(grid))
    result = Pixels(
        flux=np.zeros(shape),
        ivar=np.zeros(shape),
        reason=np.zeros(shape, np.uint8),
    )
    is_resampled = np.zeros(len(velocity), bool)
    # spectra of one velocity have one wavelength scale, and are moved together
    known = velocity[np.isfinite(velocity)]
    for speed in np.unique(known):
        rows = velocity == speed
        part = pixels
        if not rows.all():
            part = Pixels(*(array[rows] for array in pixels))
        at_rest = wavelength / (1 + speed * 1e3 / LIGHT)
        offset = find_offset(at_rest, grid)
        if offset is None:
            resampled = rebin_pixels(part, at_rest, grid, outside)
            moved = clear_unusable(resampled, not_finite)
            is_resampled[rows] = True
        else:
            moved = copy_pixels(part, offset, len(grid), outside)
        if rows.all():
            return moved, is_resampled
        for target, array in zip(result, moved, strict=True):
            target[rows] = array
    return result, is_resampled
