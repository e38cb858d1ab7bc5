"""Spectra of DESI: coadds of targets, and spectra of their exposures, three cameras on one grid."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.base import BadFile, Format, HduList, Option, Spectra, Table
from luxscale.readers.boss import LIGHT
from luxscale.readers.fitsrows import open_large_fits
from luxscale.schema.blocks import iterate_blocks

#: Vacuum Angstrom. All cameras have pixels of this grid, on which they overlap.
START, STEP = 3600.0, 0.8
GRID = START + STEP * np.arange(7781)

CAMERAS = "BRZ"

#: Bits of the mask; all of them are of pixels not to be used.
BITS = {
    "SOMEBADPIX": 0,
    "ALLBADPIX": 1,
    "COSMIC": 2,
    "LOWFLAT": 3,
    "BADFIBERFLAT": 4,
    "BRIGHTSKY": 5,
    "BADSKY": 6,
    "BAD2DFIT": 7,
    "NODATA": 8,
    "BADFIBER": 9,
    "BADCOLUMN": 10,
}

#: Bits of DESI_TARGET that stars have: standard stars, and those of the Milky Way Survey.
_STAR_BITS = (33, 34, 35, 61)

#: Targets that are read at once: with the resolution some 400 kB each.
_BLOCK = 128

#: Full width at half maximum of a Gaussian over its standard deviation.
_FWHM = 2.3548200450309493

Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Camera:
    """Where a camera's pixels stand on `GRID`, and the numbers of diagonals of its resolution."""

    name: str
    pixels: slice
    wavelength: np.ndarray
    n_diagonals: int


def read_desi(
    path: str | Path, *, targets: str = "stars", rows: str = "targets"
) -> Iterator[Spectra]:
    """Read a file of coadds or of spectra, a block of targets at a time.

    Where cameras overlap, their good pixels are averaged by inverse variance; where none is good,
    bits of all cameras stay set. Of a camera that the file lacks, pixels have no inverse variance.
    Wavelengths are barycentric; the velocity is ``c Z`` of the redrock file beside, which has the
    file's name but for ``redrock`` in place of ``coadd`` or ``spectra``, and is unknown without.

    Fibres on the sky or on no target are told as such, and so are targets that were not chosen as
    stars (``targets="stars"``): neither for the Milky Way Survey nor as standards. A target of
    several exposures is there as often; ``rows="exposures"`` names each ``TARGETID-EXPID``.

    Raises
    ------
    BadFile
    """
    with open_large_fits(path) as hdus, np.errstate(all="ignore"):
        if "FIBERMAP" not in hdus:
            raise BadFile("no FIBERMAP in it: no file of DESI")
        n_rows = _count_rows(hdus)
        cameras = [_find_camera(hdus, name, n_rows) for name in CAMERAS]
        found = [camera for camera in cameras if camera]
        if not found:
            raise BadFile("no camera in it: neither B_FLUX, R_FLUX nor Z_FLUX")
        redshifts = _read_redshifts(path)
        for block in iterate_blocks(n_rows, _BLOCK):
            fibers = hdus["FIBERMAP"].read_rows(block.start, block.stop)
            spectra = _join_cameras(hdus, found, block)
            target = _read_targets(fibers)
            columns = _read_columns(fibers)
            columns["n_cameras"] = np.full(len(fibers), len(found))
            columns.update(_read_resolution(hdus, found, block))
            exposures = _name_exposures(fibers, target) if rows == "exposures" else None
            yield Spectra(
                **spectra,
                star=target if exposures is None else exposures,
                key=None if exposures is None else target,
                wavelength=GRID,
                velocity=_find_velocities(redshifts, target),
                unfit=_explain_unfit(fibers, targets),
                columns=columns,
            )


def _count_rows(hdus: HduList) -> int:
    hdu = hdus["FIBERMAP"]
    if hdu.kind != "BINTABLE" or not hdu.shape[0]:
        raise BadFile("FIBERMAP is no table with rows")
    return hdu.shape[0]


def _find_camera(hdus: HduList, name: str, n_rows: int) -> _Camera | None:
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
    return _Camera(name, pixels, GRID[pixels], _count_diagonals(hdus, name, wavelength, n_rows))


def _count_diagonals(hdus: HduList, name: str, wavelength: np.ndarray, n_rows: int) -> int:
    """Return how many diagonals the resolution of a camera has, 0 if the file has none."""
    if f"{name}_RESOLUTION" not in hdus:
        return 0
    shape = hdus[f"{name}_RESOLUTION"].shape
    if len(shape) != 3 or (shape[0], shape[2]) != (n_rows, len(wavelength)) or shape[1] > 99:
        raise BadFile(f"{name}_RESOLUTION has shape {shape}, expected targets, diagonals, pixels")
    return shape[1]


def _join_cameras(hdus: HduList, cameras: list[_Camera], block: slice) -> Columns:
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


def _read_rows(hdus: HduList, camera: _Camera, what: str, block: slice) -> np.ndarray:
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


def _read_resolution(hdus: HduList, cameras: list[_Camera], block: slice) -> Columns:
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
    offset = np.arange(diagonals.shape[1]) - diagonals.shape[1] // 2
    total = diagonals.sum(1, dtype=float)
    mean = np.einsum("d,sdp->sp", offset, diagonals) / total
    variance = np.einsum("d,sdp->sp", offset**2, diagonals) / total - mean**2
    fwhm = _FWHM * STEP * np.sqrt(np.where(variance > 0, variance, np.nan))
    power = np.where(total > 0, wavelength / fwhm, np.nan)
    known = np.isfinite(power).any(1)
    found = np.full(len(power), np.nan)
    found[known] = np.nanmedian(power[known], axis=1)
    return found


def _read_targets(fibers: Table) -> np.ndarray:
    target = fibers.get_identifiers("TARGETID")
    if target.shape != (len(fibers),) or target.dtype.kind != "i":
        raise BadFile("TARGETID in FIBERMAP is not one whole number per row")
    return target.astype(np.int64)


def _name_exposures(fibers: Table, target: np.ndarray) -> np.ndarray:
    """Return names of exposures, "" of those on no target: (star,)."""
    if "EXPID" not in fibers:
        raise BadFile("no EXPID in FIBERMAP: a file of coadds; leave out rows=exposures")
    pairs = zip(target.tolist(), fibers.get_identifiers("EXPID").tolist(), strict=True)
    names = [f"{number}-{exposure}" if number >= 0 else "" for number, exposure in pairs]
    return np.array(names, object)


def _explain_unfit(fibers: Table, targets: str) -> np.ndarray:
    """Return why rows are no spectra of stars, "" of those that are: (star,)."""
    reason = np.full(len(fibers), "", object)
    if targets == "stars":
        reason[~_find_stars(fibers)] = (
            "no star: chosen neither for the Milky Way Survey nor as a standard; "
            "targets=all reads it"
        )
    kind = _read_text(fibers, "OBJTYPE")
    if kind is not None:
        reason[kind != "TGT"] = "no target: the fibre was on none"
        reason[kind == "SKY"] = "no target: the fibre was on the sky"
    return reason


def _find_stars(fibers: Table) -> np.ndarray:
    """Return which rows were chosen as stars in any phase of the survey: bool, (star,)."""
    is_star = np.zeros(len(fibers), bool)
    star_bits = sum(1 << bit for bit in _STAR_BITS)
    found = False
    for name in fibers.names:
        is_survey, is_program = name.endswith("mws_target"), name.endswith("desi_target")
        if not is_survey and not is_program:
            continue
        bits = fibers.get_identifiers(name)
        if bits.shape != is_star.shape or bits.dtype.kind not in "iu":
            raise BadFile(f"{name} in FIBERMAP holds no bits")
        found = True
        is_star |= ((bits.astype(np.int64) & star_bits) if is_program else bits) != 0
    if not found:
        raise BadFile(
            "neither MWS_TARGET nor DESI_TARGET in FIBERMAP, by which stars are told; the option "
            "targets=all reads every target"
        )
    return is_star


def _read_text(fibers: Table, name: str) -> np.ndarray | None:
    if name not in fibers:
        return None
    values = fibers[name]
    if values.dtype.kind != "U" or values.ndim != 1:
        raise BadFile(f"{name} in FIBERMAP is no text")
    return values.astype(object)


def _read_columns(fibers: Table) -> Columns:
    """Return the facts of each row: (star,)."""
    columns: Columns = {
        "ra": _read_number(fibers, "TARGET_RA"),
        "dec": _read_number(fibers, "TARGET_DEC"),
        "n_exposures": _read_count(fibers, "COADD_NUMEXP"),
        "fiberstatus": _read_count(fibers, "COADD_FIBERSTATUS", "FIBERSTATUS"),
    }
    catalog = _read_text(fibers, "REF_CAT")
    if catalog is not None and "REF_ID" in fibers:
        is_gaia = np.array([name.startswith("G") for name in catalog.tolist()], bool)
        columns["gaia_source_id"] = np.where(is_gaia, _read_count(fibers, "REF_ID"), -1)
    return columns


def _read_number(fibers: Table, name: str) -> np.ndarray:
    values = np.full(len(fibers), np.nan)
    if name in fibers and fibers[name].shape == values.shape and fibers[name].dtype.kind in "iuf":
        return fibers[name].astype(float)
    return values


def _read_count(fibers: Table, *names: str) -> np.ndarray:
    """Return the column of whole numbers that has one of these names, -1 without: (star,)."""
    for name in names:
        if name in fibers:
            values = fibers.get_identifiers(name)
            if values.shape == (len(fibers),) and values.dtype.kind in "iu":
                return values.astype(np.int64)
    return np.full(len(fibers), -1, np.int64)


def _read_redshifts(path: str | Path) -> dict[int, float]:
    """Return the redshifts of targets by the redrock file beside, none where it is not there."""
    folder, name = os.path.split(path)
    for kind in ("coadd-", "spectra-"):
        beside = os.path.join(folder, name.replace(kind, "redrock-", 1))
        if name.startswith(kind) and os.path.isfile(beside):
            break
    else:
        return {}
    try:
        with open_large_fits(beside) as hdus:
            hdu = hdus["REDSHIFTS"]
            rows = hdu.read_rows(0, hdu.shape[0])
            target, redshift = rows.get_identifiers("TARGETID"), _read_number(rows, "Z")
            if target.shape != redshift.shape:
                raise BadFile("TARGETID is not one number per row")
            return dict(zip(target.tolist(), redshift.tolist(), strict=True))
    except BadFile as error:
        raise BadFile(f"{os.path.basename(beside)} beside it: {error}") from error


def _find_velocities(redshifts: dict[int, float], target: np.ndarray) -> np.ndarray:
    return LIGHT * np.array([redshifts.get(number, np.nan) for number in target.tolist()], float)


FORMATS = (
    Format(
        name="desi",
        doc="coadds and spectra of DESI, three cameras on one grid (EDR, DR1)",
        read=read_desi,
        grid=GRID,
        bits=BITS,
        bad=tuple(BITS),
        continuum="chebyshev",
        velocities=True,
        rest_frame=False,
        options=(
            Option(
                "targets",
                "stars",
                ("stars", "all"),
                "those chosen for the Milky Way Survey or as standard stars, or all",
            ),
            Option(
                "rows",
                "targets",
                ("targets", "exposures"),
                "each target, by its row of highest S/N, or each exposure as a star",
            ),
        ),
        pattern=("coadd-*.fits", "spectra-*.fits"),
        many=True,
        tried="real",
    ),
)
