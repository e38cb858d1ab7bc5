"""Cameras of DESI: their spectra joined on one grid, and the resolving power by their matrices."""

from __future__ import annotations

import dataclasses

import numpy as np

from luxscale.readers.base import BadFile, HduList

#: Vacuum Angstrom. All cameras have pixels of this grid, on which they overlap.
START, STEP = 3600.0, 0.8
GRID = START + STEP * np.arange(7781)

CAMERAS = "BRZ"

#: Full width at half maximum of a Gaussian over its standard deviation.
_FWHM = 2.3548200450309493

Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Camera:
    """Where a camera's pixels stand on `GRID`, and the numbers of diagonals of its resolution."""

    name: str
    pixels: slice
    wavelength: np.ndarray
    n_diagonals: int


def find_camera(hdus: HduList, name: str, n_rows: int) -> Camera | None:
    """Return a camera by its letter, None if the file lacks it.

    Raises
    ------
    BadFile
        If its arrays are not of the file's targets, or its pixels not those of the grid.
    """
    if f"{name}_FLUX" not in hdus:
        return None
    hdu = hdus[f"{name}_WAVELENGTH"]
    if not hdu.is_image or len(hdu.shape) != 1 or not 2 <= hdu.shape[0] <= len(GRID):
        raise BadFile(f"{name}_WAVELENGTH of shape {hdu.shape} is no grid")
    wavelength = hdu.data.astype(float)
    first = round(float(wavelength[0] - START) / STEP) if np.isfinite(wavelength[0]) else -1
    pixels = slice(first, first + len(wavelength))
    is_there = first >= 0 and pixels.stop <= len(GRID)
    if not is_there or not (np.abs(wavelength - GRID[pixels]) < STEP / 100).all():
        raise BadFile(
            f"wavelengths of camera {name} that are not {START:g} + {STEP:g} i Angstrom, on which "
            "cameras are joined"
        )
    for what in ("FLUX", "IVAR"):
        shape = hdus[f"{name}_{what}"].shape
        if shape != (n_rows, len(wavelength)):
            raise BadFile(
                f"{name}_{what} has shape {shape}, expected {(n_rows, len(wavelength))}: the rows "
                "of FIBERMAP, and wavelengths"
            )
    return Camera(name, pixels, GRID[pixels], _count_diagonals(hdus, name, wavelength, n_rows))


def _count_diagonals(hdus: HduList, name: str, wavelength: np.ndarray, n_rows: int) -> int:
    """Return how many diagonals the resolution of a camera has, 0 if the file has none."""
    if f"{name}_RESOLUTION" not in hdus:
        return 0
    shape = hdus[f"{name}_RESOLUTION"].shape
    if len(shape) != 3 or (shape[0], shape[2]) != (n_rows, len(wavelength)) or shape[1] > 99:
        raise BadFile(f"{name}_RESOLUTION has shape {shape}, expected targets, diagonals, pixels")
    return shape[1]


def join_cameras(hdus: HduList, cameras: list[Camera], block: slice) -> Columns:
    """Return flux, ivar and mask of a block of targets on the common grid: (star, pixel)."""
    shape = (block.stop - block.start, len(GRID))
    weighted = {is_good: np.zeros(shape) for is_good in (True, False)}
    weight = {is_good: np.zeros(shape) for is_good in (True, False)}
    bits = np.zeros(shape, np.int64)
    for camera in cameras:
        flux, ivar = (_read_rows(hdus, camera, what, block) for what in ("FLUX", "IVAR"))
        mask = np.zeros(flux.shape, np.int64)
        if f"{camera.name}_MASK" in hdus:
            mask = _read_rows(hdus, camera, "MASK", block).astype(np.int64)
        usable = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
        for is_good in (True, False):
            chosen = usable & ((mask == 0) == is_good)
            weighted[is_good][:, camera.pixels] += np.where(chosen, flux * ivar, 0)
            weight[is_good][:, camera.pixels] += np.where(chosen, ivar, 0)
        bits[:, camera.pixels] |= mask
    # a bad pixel of one camera does not spoil the good one of another
    has_good = weight[True] > 0
    ivar = np.where(has_good, weight[True], weight[False])
    flux = np.where(has_good, weighted[True], weighted[False])
    return {
        "flux": np.where(ivar > 0, flux / ivar, 0),
        "ivar": ivar,
        "mask": np.where(has_good, 0, bits),
    }


def _read_rows(hdus: HduList, camera: Camera, what: str, block: slice) -> np.ndarray:
    values = hdus[f"{camera.name}_{what}"].read_rows(block.start, block.stop)
    shape = (block.stop - block.start, len(camera.wavelength))
    kinds = "iu" if what == "MASK" else "iuf"
    if (
        not isinstance(values, np.ndarray)
        or values.shape != shape
        or values.dtype.kind not in kinds
    ):
        raise BadFile(f"{camera.name}_{what} holds no number for each pixel")
    return values if what == "MASK" else values.astype(float)


def read_resolution(hdus: HduList, cameras: list[Camera], block: slice) -> Columns:
    """Return the median resolving power of each camera by its matrix, NaN without: (star,)."""
    columns = {
        f"resolution_{name.lower()}": np.full(block.stop - block.start, np.nan) for name in CAMERAS
    }
    for camera in cameras:
        if camera.n_diagonals:
            diagonals = hdus[f"{camera.name}_RESOLUTION"].read_rows(block.start, block.stop)
            columns[f"resolution_{camera.name.lower()}"] = compute_resolution(
                diagonals, camera.wavelength
            )
    return columns


def compute_resolution(diagonals: np.ndarray, wavelength: np.ndarray) -> np.ndarray:
    """Return the median of wavelength / FWHM over pixels, NaN where a fibre has none: (star,).

    Parameters
    ----------
    diagonals : array, (star, diagonal, pixel)
        Of the matrices that spread light over neighbouring pixels.
    wavelength : array, (pixel,)
    """
    n_diagonals = diagonals.shape[1]
    offset = np.arange(n_diagonals) - n_diagonals // 2
    total = diagonals.sum(1, dtype=float)
    mean = np.einsum("d,sdp->sp", offset, diagonals) / total
    square = np.einsum("d,sdp->sp", offset**2, diagonals) / total
    variance = square - mean**2
    sigma = np.sqrt(np.where(variance > 0, variance, np.nan))
    fwhm = _FWHM * STEP * sigma
    power = np.where(total > 0, wavelength / fwhm, np.nan)
    known = np.isfinite(power).any(1)
    found = np.full(len(power), np.nan)
    found[known] = np.nanmedian(power[known], axis=1)
    return found
