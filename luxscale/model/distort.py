"""What the nuisances of a model take of its outputs: a distortion, and designs that go with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from luxscale.errors import InputError
from luxscale.model.distortion import FARTHEST, Distortion, Starts
from luxscale.model.nuisances import Nuisances
from luxscale.model.output import Output
from luxscale.model.problem import Design
from luxscale.model.splines import HALF, fit_spline, list_segments

#: Pixels that a spectrum may be shifted by at most, with which the search for it still ends.
_MOST_SHIFT = 16

#: Pixels between the velocities that a search begins at.
_START_STEP = 1.5

#: Speed of light, km/s, by definition.
_LIGHT = 299_792.458

#: FWHM of a Gaussian, in standard deviations.
_FWHM = np.sqrt(8 * np.log(2))


def distort(
    designs: list[Design], given: Sequence[Output], search: bool
) -> tuple[list[Design], Distortion | None]:
    """Return designs without pixels that a shift would bring from beyond the ends, and nuisances.

    Parameters
    ----------
    designs : list of Design
        One for each given output.
    given : sequence of Output
    search : bool
        Whether latents have to be searched for.

    Raises
    ------
    InputError
        If the model is not linear, or nuisances leave no pixel.
    """
    distorted = [i for i, o in enumerate(given) if o.nuisances is not None]
    if not distorted:
        return designs, None
    (position,) = distorted
    if search:
        raise InputError(
            f"{given[position].name!r} has nuisances, which are inferred with linear models only: "
            "train one, e.g. by recipe='linear', or train without nuisances"
        )
    made = make_distortion(given[position], position)
    of_output = _restrict_design(designs[position], given[position], made)
    return [*designs[:position], of_output, *designs[position + 1 :]], made


def make_distortion(output: Output, position: int = 0) -> Distortion:
    """Return the nuisances of an output, prepared for the kernel.

    Parameters
    ----------
    output : Output
        With nuisances.
    position : int
        Among those given.
    """
    nuisances: Any = output.nuisances
    grid, used = np.asarray(output.coord, float), np.asarray(output.used, bool)
    scale = np.asarray(output.scale, float)
    weights = np.where(used[:, None], output.map.weights, 0)
    offset = np.where(used, output.map.offset, 0)
    shift, blur = _find_shift(grid, nuisances), _find_blur(grid, nuisances)
    reach = _find_reach(shift, blur)
    base = offset
    if reach:
        parts = list_segments(grid, used)
        base = fit_spline(offset[:, None], used, parts)[:, 0]
        weights = fit_spline(weights, used, parts)
    arrays = {
        "widths": nuisances.widths,
        "weights": weights,
        "base": base,
        "offset": offset,
        "unit": 1 / np.where(scale > 0, scale, 1),
        "shift": shift,
        "blur": blur,
        "polynomials": _make_polynomials(grid, nuisances),
        "patterns": np.reshape(nuisances.patterns, (len(nuisances.templates), grid.size)),
    }
    starts = _make_starts(weights, base, offset, arrays["unit"], shift, reach)
    single = jax.tree.map(_make_single, {**arrays, "starts": starts})
    return Distortion(output=position, reach=reach, names=nuisances.names, **single)


def _make_single(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float32)


def _make_starts(
    weights: np.ndarray,
    base: np.ndarray,
    offset: np.ndarray,
    unit: np.ndarray,
    shift: np.ndarray | None,
    reach: int,
) -> Starts:
    """Return where searches may begin: so near that one of them ends in the best velocity."""
    from scipy import interpolate

    widths = np.zeros(1)
    if shift is not None:
        step = _START_STEP / shift.max()
        most = int(FARTHEST / step)
        widths = step * np.arange(-most, most + 1)
    spline = interpolate.BSpline.basis_element(np.arange(-3, 4), extrapolate=False)
    columns = np.concatenate([base[:, None], weights], 1)
    padded = np.pad(columns, ((reach, reach), (0, 0)))
    n = len(base)
    moved = []
    for width in widths:
        if not reach:
            moved.append(columns)
            continue
        by = np.broadcast_to(0.0 if shift is None else width * shift, n)
        total = np.zeros_like(columns)
        for j in range(-reach, reach + 1):
            weight = np.nan_to_num(spline(-by - j))
            neighbour = padded[reach + j : reach + j + n]
            total = total + weight[:, None] * neighbour
        moved.append(total)
    found = np.array(moved)
    values = (found[:, :, 0] - offset) * unit
    slopes = found[:, :, 1:] * unit[:, None]
    return Starts(widths, values, slopes)


def _restrict_design(design: Design, output: Output, distortion: Distortion) -> Design:
    """Return a design without the pixels that shifted spectra cannot be told of.

    Those near to the ends of the spectrum and its gaps.
    """
    if not distortion.reach:
        return design
    grid, used = np.asarray(output.coord, float), np.asarray(output.used, bool)
    known = np.zeros(grid.size, bool)
    for part in list_segments(grid, used):
        known[part.start + distortion.reach : max(part.stop - distortion.reach, 0)] = True
    if not (known & used).any():
        raise InputError(
            f"{output.name!r}: with this velocity or resolution as a nuisance no pixel is left: "
            f"each needs {distortion.reach} others to each side; give a smaller width"
        )
    ivar_unit = np.where(known, np.asarray(design.ivar_unit), 0).astype(np.float32)
    return dataclasses.replace(design, ivar_unit=ivar_unit)


def _find_pixels_per_speed(grid: np.ndarray) -> np.ndarray:
    """Return pixels per km/s: (feature,), or (1,) where all pixels have the same."""
    from scipy import ndimage

    steps = np.gradient(grid) if grid.size > 1 else np.ones(1)
    per_speed = grid / steps / _LIGHT
    if np.ptp(per_speed) < 1e-3 * per_speed.mean():
        return per_speed.mean(keepdims=True)
    # a step across a gap is of no pixel: that of its neighbours is near enough
    return np.asarray(ndimage.median_filter(per_speed, 5, mode="nearest"))


def _find_shift(grid: np.ndarray, nuisances: Nuisances) -> np.ndarray | None:
    if not nuisances.velocity:
        return None
    return nuisances.velocity * _find_pixels_per_speed(grid)


def _find_blur(grid: np.ndarray, nuisances: Nuisances) -> np.ndarray | None:
    """Return what a second derivative is multiplied by: a variance grows by twice its fraction."""
    if not nuisances.resolution:
        return None
    width, power = nuisances.resolution
    sigma = _LIGHT / power / _FWHM * _find_pixels_per_speed(grid)
    return np.asarray(width * sigma**2)


def _find_reach(shift: np.ndarray | None, blur: np.ndarray | None) -> int:
    if shift is None:
        return 0 if blur is None else HALF
    farthest = FARTHEST * float(shift.max())
    if farthest > _MOST_SHIFT:
        raise InputError(
            f"nuisance velocity: {FARTHEST:g} times its width are up to {farthest:.0f} pixels, "
            f"beyond the {_MOST_SHIFT} that can be searched; give a smaller width, and bring the "
            "spectra to rest as well as is known"
        )
    return int(np.ceil(farthest)) + HALF


def _make_polynomials(grid: np.ndarray, nuisances: Nuisances) -> np.ndarray:
    """Return Legendre's polynomials over the grid, times their width: (order, feature)."""
    if not nuisances.continuum:
        return np.zeros((0, grid.size))
    degree, width = nuisances.continuum
    x = 2 * (grid - grid[0]) / np.ptp(grid) - 1
    return np.asarray(width * np.polynomial.legendre.legvander(x, degree).T)
