"""From spectra as their files hold them to the flux of a survey: masks, velocity, grid and continuum, in that order.

Bad pixels become inverse variance 0, counted by reason, and their flux 0. A star's velocity is
taken out by dividing its wavelengths by 1 + v/c; flux per pixel is left as it is. Spectra on the
survey's grid are copied, others resampled, both without a change between air and vacuum. The
continuum is found on the survey's grid, where all stars share a design; a continuum of the file's
own is divided out before.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.constants import c as LIGHT

from luxscale.errors import InputError
from luxscale.prepare import continuum as continua
from luxscale.prepare import masks
from luxscale.prepare.continuum import continuum_pixels
from luxscale.prepare.recipe import Recipe, default_recipe
from luxscale.prepare.resample import Pixels, copy, offset, rebin, segments, settle
from luxscale.readers.base import BadFile, Format, Spectra

__all__ = ["Prepared", "Recipe", "check_recipe", "continuum_pixels", "default_recipe", "prepare"]

#: More pixels than any spectrum of a survey has; arrays of so many would fill the memory.
_MOST_PIXELS = 2**20

#: Wavelengths from here on are none: they overflow.
_MOST_WAVELENGTH = 1e9

_ANGSTROM = {"Angstrom": 1.0, "nm": 10.0}


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Spectra of a survey.

    Parameters
    ----------
    flux, flux_ivar : array, (star, wavelength)
        float32; ivar = 0 and flux = 0 where missing, all through for stars that are refused.
    masked : dict of str to int
        Missing pixels of the stars that are not refused, by reason; they add up to their pixels of
        ivar 0.
    resampled : int
        Stars that were resampled; others are copies.
    refused : dict of int to str
        Stars that cannot be used, by their row, and why.
    """

    flux: np.ndarray
    flux_ivar: np.ndarray
    masked: dict[str, int]
    resampled: int
    refused: dict[int, str]


def prepare(spectra: Spectra, format: Format, recipe: Recipe, grid: np.ndarray) -> Prepared:  # noqa: A002
    """Return the spectra cleaned, on the grid, over their continuum; many at once, for a call of one takes some ms.

    Parameters
    ----------
    spectra : Spectra
        As a reader gives them.
    format : Format
        Says what the bits of the mask are, and the unit of the wavelengths.
    recipe : Recipe
        See `default_recipe`.
    grid : array, (wavelength,)
        Pixel centres of the survey, ascending, in the unit and medium of the format.

    Raises
    ------
    BadFile
        If nothing of the file can be used: wavelengths that do not ascend; a continuum wanted that
        it does not hold.
    InputError
        If the recipe's chips do not fit the grid, see `check_recipe`.
    """
    _check(spectra, recipe)
    grid = np.ascontiguousarray(grid, float)
    shape, names = (len(spectra.star), len(grid)), masks.reasons(recipe.bad)
    flux, ivar = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    counts, resampled = np.zeros(1 + len(names), int), 0
    refused: dict[int, str] = {}
    for start in range(0, shape[0], continua.BLOCK):  # few enough to stay in the processor's cache
        rows = slice(start, start + continua.BLOCK)
        pixels, why, moved = _prepare_block(_part(spectra, rows), format, recipe, grid)
        kept = np.isin(np.arange(len(moved)), list(why), invert=True)
        flux[rows], ivar[rows] = (np.where(kept[:, None], a, 0) for a in (pixels.flux, pixels.ivar))
        counts += np.bincount(pixels.reason[kept].ravel(), minlength=len(counts))
        refused |= {start + i: text for i, text in why.items()}
        resampled += int(moved[kept].sum())
    return Prepared(
        flux, ivar, dict(zip(names, counts[1:].tolist(), strict=True)), resampled, refused
    )


def check_recipe(recipe: Recipe, format: Format, grid: np.ndarray) -> None:  # noqa: A002
    """Refuse a recipe that no spectrum on a grid could be prepared by; reads no spectrum.

    Raises
    ------
    InputError
        If a chip has too few pixels to fit at or is wider than the sines' longest period, or no
        pixel is in the ranges of ``continuum_pixels``.
    """
    if recipe.fits:
        _chips(
            np.ascontiguousarray(grid, float).tobytes(),
            recipe,
            recipe.length / _ANGSTROM[format.units],
        )
    elif not continua.within(grid, recipe.continuum_pixels).any():
        raise InputError(
            f"no pixel of the grid, {grid[0]:g} to {grid[-1]:g}, is among the continuum pixels"
        )


def _check(spectra: Spectra, recipe: Recipe) -> None:
    wavelength = spectra.wavelength
    if len(wavelength) > _MOST_PIXELS:
        raise BadFile(f"{len(wavelength):,} pixels are no spectrum's")
    if (
        not ((wavelength > 0) & (wavelength < _MOST_WAVELENGTH)).all()
        or not (np.diff(wavelength) > 0).all()
    ):
        raise BadFile("its wavelengths are not finite, positive and ascending")
    segments(wavelength)
    if recipe.continuum == "file" and spectra.continuum is None:
        raise BadFile("it holds no continuum of its own; choose another")


def _part(spectra: Spectra, rows: slice) -> Spectra:
    names = ("star", "flux", "ivar", "mask", "continuum", "velocity")
    parts: dict[str, Any] = {
        n: None if getattr(spectra, n) is None else getattr(spectra, n)[rows] for n in names
    }
    return dataclasses.replace(spectra, **parts, key=None, columns={})


@np.errstate(all="ignore")  # what overflows is found, and missing, after each step: `settle`
def _prepare_block(
    spectra: Spectra,
    format: Format,  # noqa: A002
    recipe: Recipe,
    grid: np.ndarray,
) -> tuple[Pixels, dict[int, str], np.ndarray]:
    """Return the spectra, in float32, the stars that are refused and why, and which were resampled: (star,)."""
    velocity = _velocity(spectra, recipe)
    pixels, resampled = _to_grid(
        _clean(spectra, format, recipe), spectra.wavelength, velocity, grid, recipe
    )
    level = _level(pixels, recipe, format, grid)
    if level is not None:
        pixels = _divide(pixels, level, masks.code(recipe.bad, "no continuum"))
    pixels = _narrow(pixels, masks.code(recipe.bad, "not finite"))
    refused = {
        int(i): _why_empty(pixels.reason[i], recipe)
        for i in np.flatnonzero(~(pixels.ivar > 0).any(1))
    }
    refused |= {
        int(i): "no velocity, which the rest frame needs"
        for i in np.flatnonzero(~np.isfinite(velocity))
    }
    return pixels, refused, resampled


def _clean(spectra: Spectra, format: Format, recipe: Recipe) -> Pixels:  # noqa: A002
    """Return the spectra without their bad pixels, over the file's continuum if that is asked for."""
    reason = masks.find_bad(
        spectra.flux, spectra.ivar, spectra.mask, format.bits, recipe.bad, recipe.most_error
    )
    good = reason == masks.GOOD
    pixels = Pixels(np.where(good, spectra.flux, 0), np.where(good, spectra.ivar, 0), reason)
    if recipe.continuum != "file" or spectra.continuum is None:
        return pixels
    return _divide(pixels, spectra.continuum.astype(float), masks.code(recipe.bad, "no continuum"))


def _divide(pixels: Pixels, level: np.ndarray, code: int) -> Pixels:
    """Return flux / level and ivar level^2; pixels where the level is not positive and finite are missing."""
    level = np.where((level > 0) & (level < np.inf), level, np.nan)
    return settle(Pixels(pixels.flux / level, pixels.ivar * level**2, pixels.reason), code)


def _velocity(spectra: Spectra, recipe: Recipe) -> np.ndarray:
    """Return the velocities to be taken out, km/s: (star,)."""
    if not recipe.rest_frame or spectra.velocity is None:
        return np.zeros(len(spectra.star))
    velocity = np.asarray(spectra.velocity, float)
    return np.where(np.abs(velocity) < LIGHT / 1e3, velocity, np.nan)


def _to_grid(
    pixels: Pixels, wavelength: np.ndarray, velocity: np.ndarray, grid: np.ndarray, recipe: Recipe
) -> tuple[Pixels, np.ndarray]:
    """Return the spectra on the grid, those of one velocity together, and which were resampled: (star,)."""
    outside, lost = (
        masks.code(recipe.bad, reason) for reason in ("outside file's range", "not finite")
    )
    resampled = np.zeros(len(velocity), bool)
    result = Pixels(
        *(np.zeros((len(velocity), len(grid)), kind) for kind in (float, float, np.uint8))
    )
    for v in np.unique(velocity[np.isfinite(velocity)]):
        rows = velocity == v
        part = pixels if rows.all() else Pixels(*(a[rows] for a in pixels))
        rest = wavelength / (1 + v * 1e3 / LIGHT)
        i = offset(rest, grid)
        resampled[rows] = i is None
        moved = (
            copy(part, i, len(grid), outside)
            if i is not None
            else settle(rebin(part, rest, grid, outside), lost)
        )
        if rows.all():
            return moved, resampled
        for to, array in zip(result, moved, strict=True):
            to[rows] = array
    return result, resampled


def _level(
    pixels: Pixels,
    recipe: Recipe,
    format: Format,  # noqa: A002
    grid: np.ndarray,
) -> np.ndarray | None:
    """Return what the flux is divided by, (star, wavelength) or (star, 1), not positive where nothing; None: no more."""
    if recipe.continuum == "scale":
        used = continua.within(grid, recipe.continuum_pixels)
        return continua.mean_flux(pixels.flux, pixels.ivar, used)[:, None]
    if not recipe.fits:
        return None
    level = masks.typical(pixels.flux, pixels.ivar)
    chips = _chips(grid.tobytes(), recipe, recipe.length / _ANGSTROM[format.units])
    return continua.fit(pixels.flux, pixels.ivar, np.where(level > 0, level, 1), chips)


@functools.lru_cache(maxsize=4)
def _chips(grid: bytes, recipe: Recipe, length: float) -> tuple[continua.Chip, ...]:
    assert recipe.order is not None
    pixels = np.frombuffer(grid)
    return continua.make_chips(
        pixels, recipe.continuum, recipe.order, length, recipe.chips, recipe.continuum_pixels
    )


def _narrow(pixels: Pixels, code: int) -> Pixels:
    """Return flux and ivar in float32; what has no place there is missing."""
    return settle(
        Pixels(pixels.flux.astype(np.float32), pixels.ivar.astype(np.float32), pixels.reason), code
    )


def _why_empty(reason: np.ndarray, recipe: Recipe) -> str:
    counts = np.bincount(reason, minlength=1 + len(masks.reasons(recipe.bad)))[1:]
    named: Iterator[str] = (
        f"{n} {name}"
        for name, n in zip(masks.reasons(recipe.bad), counts.tolist(), strict=True)
        if n
    )
    return f"no good pixel: {', '.join(named)}"
