"""From spectra as their files hold them to the flux of a survey.

Imports model, readers and what they stand on.

Masks, velocity, grid, continuum and rounding are seen to in that order.

Bad pixels become inverse variance 0, counted by reason, and their flux 0. A star's velocity is
taken out by dividing its wavelengths by 1 + v/c; flux per pixel is left as it is. Spectra on the
survey's grid are copied, others resampled, both without a change between air and vacuum. The
continuum is found on the survey's grid, where all stars share a design; a continuum of the file's
own is divided out before.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from luxscale.errors import InputError
from luxscale.prepare import continuum as continua
from luxscale.prepare import masks
from luxscale.prepare.quiet_pixels import continuum_pixels
from luxscale.prepare.recipe import LEVELS, Recipe, default_recipe
from luxscale.prepare.resample import Pixels, clear_unusable, find_segments
from luxscale.prepare.rest_frame import find_velocity, move_to_grid
from luxscale.prepare.rounding import round_spectra
from luxscale.readers.base import BadFile, Format, Spectra
from luxscale.schema.blocks import iterate_blocks

__all__ = [
    "Prepared",
    "Recipe",
    "check_recipe",
    "continuum_pixels",
    "default_recipe",
    "prepare",
    "round_spectra",
]

#: More pixels than any spectrum of a survey has; arrays of so many would fill the memory.
_MOST_PIXELS = 2**20

#: Wavelengths from here on are none: they overflow.
_MOST_WAVELENGTH = 1e9

_ANGSTROM = {"Angstrom": 1.0, "nm": 10.0, "um": 1e4}


@dataclasses.dataclass(frozen=True, kw_only=True)
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


def prepare(
    spectra: Spectra,
    format: Format,  # noqa: A002
    recipe: Recipe,
    grid: np.ndarray,
) -> Prepared:
    """Return the spectra cleaned, on the grid, over their continuum.

    Give many at once, for a call of one takes some ms.

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
    _check_spectra(spectra, recipe)
    grid = np.ascontiguousarray(grid, float)
    names = masks.list_reasons(recipe.bad)
    n_stars = len(spectra.star)
    flux = np.zeros((n_stars, len(grid)), np.float32)
    ivar = np.zeros_like(flux)
    n_by_code = np.zeros(1 + len(names), int)
    n_resampled = 0
    refused: dict[int, str] = {}
    # blocks stay in the processor's cache
    for rows in iterate_blocks(n_stars, continua.BLOCK):
        block = _take_rows(spectra, rows)
        pixels, why, is_resampled = _prepare_block(block, format, recipe, grid)
        kept = np.ones(len(is_resampled), bool)
        kept[list(why)] = False
        flux[rows] = np.where(kept[:, None], pixels.flux, 0)
        ivar[rows] = np.where(kept[:, None], pixels.ivar, 0)
        n_by_code += np.bincount(pixels.reason[kept].ravel(), minlength=len(n_by_code))
        n_resampled += int(is_resampled[kept].sum())
        for row, reason in why.items():
            refused[rows.start + row] = reason
    if recipe.rounding is not None:
        flux, ivar = round_spectra(flux, ivar, recipe.rounding)
    # the first code is that of good pixels
    n_masked = n_by_code[1:].tolist()
    return Prepared(
        flux=flux,
        flux_ivar=ivar,
        masked=dict(zip(names, n_masked, strict=True)),
        resampled=n_resampled,
        refused=refused,
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
        length = recipe.length / _ANGSTROM[format.units]
        _make_chips(np.ascontiguousarray(grid, float).tobytes(), recipe, length)
    elif not continua.find_fit_pixels(grid, recipe.continuum_pixels).any():
        raise InputError(
            f"no pixel of the grid, {grid[0]:g} to {grid[-1]:g}, is among the continuum pixels"
        )


def _check_spectra(spectra: Spectra, recipe: Recipe) -> None:
    wavelength = spectra.wavelength
    if len(wavelength) > _MOST_PIXELS:
        raise BadFile(f"{len(wavelength):,} pixels are no spectrum's")
    # NaN fails any comparison
    in_range = (wavelength > 0) & (wavelength < _MOST_WAVELENGTH)
    ascends = np.diff(wavelength) > 0
    if not (in_range.all() and ascends.all()):
        raise BadFile("its wavelengths are not finite, positive and ascending")
    find_segments(wavelength)
    if recipe.continuum == "file" and spectra.continuum is None:
        raise BadFile("it holds no continuum of its own; choose another")


def _take_rows(spectra: Spectra, rows: slice) -> Spectra:
    parts: dict[str, Any] = {}
    for name in ("star", "flux", "ivar", "mask", "continuum", "velocity"):
        array = getattr(spectra, name)
        parts[name] = None if array is None else array[rows]
    return dataclasses.replace(spectra, **parts, key=None, unfit=None, note=None, columns={})


@np.errstate(all="ignore")
def _prepare_block(
    spectra: Spectra,
    format: Format,  # noqa: A002
    recipe: Recipe,
    grid: np.ndarray,
) -> tuple[Pixels, dict[int, str], np.ndarray]:
    """Return the spectra in float32, why stars are refused, and which were resampled: (star,)."""
    no_continuum = masks.get_code(recipe.bad, "no continuum")
    beyond = masks.get_code(recipe.bad, masks.BEYOND)
    velocity = find_velocity(spectra, recipe)
    cleaned = _clean_pixels(spectra, format, recipe)
    pixels, is_resampled = move_to_grid(cleaned, spectra.wavelength, velocity, grid, recipe)
    level = _find_level(pixels, recipe, format, grid)
    if level is not None:
        pixels = _divide_pixels(pixels, level, no_continuum)
    pixels = _convert_to_float32(pixels, beyond)
    refused = {}
    is_empty = ~(pixels.ivar > 0).any(1)
    for row in np.flatnonzero(is_empty):
        refused[int(row)] = _explain_empty(pixels.reason[row], recipe)
    # this reason comes first: without a velocity no pixel was moved to the grid
    has_no_velocity = ~np.isfinite(velocity)
    for row in np.flatnonzero(has_no_velocity):
        refused[int(row)] = (
            "no velocity, which the rest frame needs; --as-observed leaves spectra as they are"
        )
    return pixels, refused, is_resampled


def _clean_pixels(spectra: Spectra, format: Format, recipe: Recipe) -> Pixels:  # noqa: A002
    """Return the spectra without their bad pixels, over the file's continuum if asked for."""
    reason = masks.find_bad_pixels(
        spectra.flux,
        spectra.ivar,
        spectra.mask,
        bits=format.bits,
        bad=recipe.bad,
        most_error=recipe.most_error,
    )
    good = reason == masks.GOOD
    pixels = Pixels(
        flux=np.where(good, spectra.flux, 0),
        ivar=np.where(good, spectra.ivar, 0),
        reason=reason,
    )
    if recipe.continuum != "file" or spectra.continuum is None:
        return pixels
    level = spectra.continuum.astype(float)
    no_continuum = masks.get_code(recipe.bad, "no continuum")
    return _divide_pixels(pixels, level, no_continuum)


def _divide_pixels(pixels: Pixels, level: np.ndarray, code: int) -> Pixels:
    """Return flux / level and ivar level^2.

    Pixels where the level is not positive and finite are missing.
    """
    is_level = (level > 0) & (level < np.inf)
    level = np.where(is_level, level, np.nan)
    divided = Pixels(
        flux=pixels.flux / level,
        ivar=pixels.ivar * level**2,
        reason=pixels.reason,
    )
    return clear_unusable(divided, code)


def _find_level(
    pixels: Pixels,
    recipe: Recipe,
    format: Format,  # noqa: A002
    grid: np.ndarray,
) -> np.ndarray | None:
    """Return what the flux is divided by: (star, wavelength) or (star, 1).

    It is not positive where there is no continuum, and None where the flux is not divided any more.
    """
    if recipe.continuum in LEVELS:
        used = continua.find_fit_pixels(grid, recipe.continuum_pixels)
        is_mean = recipe.continuum == "scale"
        compute = continua.compute_mean_flux if is_mean else continua.compute_median_flux
        return compute(pixels.flux, pixels.ivar, used)[:, None]
    if not recipe.fits:
        return None
    typical = masks.compute_typical_flux(pixels.flux, pixels.ivar)
    # a star without flux is fitted in some unit, and gets no continuum
    scale = np.where(typical > 0, typical, 1)
    length = recipe.length / _ANGSTROM[format.units]
    chips = _make_chips(grid.tobytes(), recipe, length)
    return continua.fit_continuum(pixels.flux, pixels.ivar, scale, chips)


@functools.lru_cache(maxsize=4)
def _make_chips(grid: bytes, recipe: Recipe, length: float) -> tuple[continua.Chip, ...]:
    assert recipe.order is not None
    return continua.make_chips(
        np.frombuffer(grid),
        kind=recipe.continuum,
        order=recipe.order,
        length=length,
        ranges=recipe.chips,
        continuum_pixels=recipe.continuum_pixels,
    )


def _convert_to_float32(pixels: Pixels, code: int) -> Pixels:
    """Return flux and ivar in float32; what has no place there is missing."""
    converted = Pixels(
        flux=pixels.flux.astype(np.float32),
        ivar=pixels.ivar.astype(np.float32),
        reason=pixels.reason,
    )
    return clear_unusable(converted, code)


def _explain_empty(reason: np.ndarray, recipe: Recipe) -> str:
    names = masks.list_reasons(recipe.bad)
    n_codes = 1 + len(names)
    n_by_code = np.bincount(reason, minlength=n_codes).tolist()
    # the first code is that of good pixels
    parts = []
    for name, n in zip(names, n_by_code[1:], strict=True):
        if n:
            parts.append(f"{n} {name}")
    beyond = n_by_code[masks.get_code(recipe.bad, masks.BEYOND)]
    remedy = "; bring the flux near 1, by --continuum median or another unit" if beyond else ""
    return f"no good pixel: {', '.join(parts)}{remedy}"
