"""Spectra of GALAH: DR3 has four files per star, one from each camera; DR4 the table of the fit."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.base import (
    BadFile,
    Format,
    Hdu,
    HduList,
    Option,
    Spectra,
    compute_ivar,
    open_fits,
    read_number,
    read_table,
)

CAMERAS = "1234"

#: Air Angstrom. The common wavelengths of DR2's Cannon: start, step and pixels of each camera.
#: Files have their own.
_CAMERA_GRIDS = (
    (4715.94, 0.046, 3915),
    (5650.06, 0.055, 3968),
    (6480.52, 0.064, 3960),
    (7693.50, 0.074, 2461),
)
GRID = np.concatenate([start + step * np.arange(n) for start, step, n in _CAMERA_GRIDS])

#: A sobject_id (date, run, combination, fibre) and a camera; the table of DR4.
_CAMERA_FILE = re.compile(r"(.*?)(\d{15})([1-4])(\.fits(?:\.gz|\.bz2|\.xz)?)", re.DOTALL)
_FIT_FILE = re.compile(r"(\d{15})_.*\.fits(?:\.gz|\.bz2|\.xz)?", re.DOTALL)


def find_main_file(path: str) -> str:
    """Return the path by which the star of a camera's file is read: its first camera's there is."""
    for camera_path in _list_camera_files(path).values():
        if os.path.exists(camera_path):
            return camera_path
    return path


def _list_camera_files(path: str) -> dict[str, str]:
    """Return the path of each camera's file; none if the name is not that of such a file."""
    folder, name = os.path.split(path)
    found = _CAMERA_FILE.fullmatch(name)
    if not found:
        return {}
    start, sobject_id, _, suffix = found.groups()
    return {
        camera: os.path.join(folder, f"{start}{sobject_id}{camera}{suffix}") for camera in CAMERAS
    }


@dataclasses.dataclass(frozen=True)
class _Camera:
    """The spectrum of a camera: flux, ivar and wavelength, (pixel,), and the header's velocity."""

    flux: np.ndarray
    ivar: np.ndarray
    wavelength: np.ndarray
    velocity: float


def read_dr3(path: str | Path, *, flux: str = "normalised") -> Iterator[Spectra]:
    """Read the files of a star, of which one is named; those of other cameras are beside it.

    Any but the one that is named may be missing. The normalised flux is in the star's rest frame,
    on wavelengths of its own. The observed flux is barycentric; its velocity is the header's.
    Errors are relative ones times the flux, with which they end at the same pixel.

    Raises
    ------
    BadFile
    """
    files = _list_camera_files(str(path))
    if not files:
        with open_fits(path) as hdus:
            _read_line(hdus[0])  # what is no such file at all should be told so
        raise BadFile(
            "not named as a file of a camera, 15 digits of the sobject_id and 1 to 4: which "
            "star is it?"
        )
    if not os.path.exists(path):
        raise BadFile("no such file")
    cameras = [
        _read_camera(file, flux, camera) for camera, file in files.items() if os.path.exists(file)
    ]
    sobject_id = int(_CAMERA_FILE.fullmatch(Path(path).name)[2])  # type: ignore[index]
    velocity = None
    if flux != "normalised":
        velocity = np.array([_find_known([camera.velocity for camera in cameras])])
    yield Spectra(
        star=np.array([sobject_id]),
        flux=np.concatenate([camera.flux for camera in cameras])[None],
        ivar=np.concatenate([camera.ivar for camera in cameras])[None],
        wavelength=np.concatenate([camera.wavelength for camera in cameras]),
        velocity=velocity,
        columns={"n_cameras": np.array([len(cameras)])},
    )


def _find_known(values: list[float]) -> float:
    """Return the first value that is not NaN, or NaN."""
    return next((value for value in values if not np.isnan(value)), np.nan)


def _read_camera(path: str, kind: str, camera: str) -> _Camera:
    try:
        with open_fits(path) as hdus:
            relative_error = _read_line(hdus[1]).astype(float)
            if hdus[1].name.lower() == "normalized":
                raise BadFile(
                    "a file of a camera of DR4, which has other HDUs; read its "
                    "_allstar_fit_spectrum table"
                )
            hdu = _find_flux_hdu(hdus, kind)
            flux = _read_line(hdu)
            # the errors may begin before the flux; they end with it
            n_before = len(relative_error) - len(flux)
            if n_before < 0:
                raise BadFile(f"{len(flux)} pixels of flux, {len(relative_error)} of errors")
            error = relative_error[n_before:] * np.abs(flux.astype(float))
            header = hdus[0].header
            velocity = _find_known([read_number(header, key) for key in ("RV", "RVCOM")])
            return _Camera(flux, compute_ivar(error), _compute_wavelength(hdu), velocity)
    except BadFile as bad_file:
        raise BadFile(f"camera {camera}: {bad_file}") from bad_file


def _find_flux_hdu(hdus: HduList, kind: str) -> Hdu:
    if kind == "observed":
        return hdus[0]
    if len(hdus) < 5:
        raise BadFile(
            "no normalised flux in HDU 4, as of 227 stars; the option flux=observed reads what "
            "there is"
        )
    return hdus[4]


def _read_line(hdu: Hdu) -> np.ndarray:
    """Return an image of one axis: (pixel,)."""
    if not hdu.is_image or len(hdu.shape) != 1 or hdu.shape[0] < 2:
        raise BadFile(f"HDU {hdu.name!r} of shape {hdu.shape} is no spectrum")
    return hdu.data


def _compute_wavelength(hdu: Hdu) -> np.ndarray:
    """Return linear wavelengths; the reference pixel is the first, be it called 1 or 0."""
    header = hdu.header
    start = read_number(header, "CRVAL1")
    step = read_number(header, "CDELT1" if "CDELT1" in header else "CD1_1")
    reference = 1.0
    if "CRPIX1" in header:
        reference = read_number(header, "CRPIX1")
    is_optical = 4000 < start < 9000 and 0 < step < 1
    if not is_optical or not abs(reference) < 1e5:
        raise BadFile(
            f"CRVAL1 = {start:g}, CDELT1 = {step:g}, CRPIX1 = {reference:g} are no wavelengths of "
            "a camera"
        )
    pixel = np.arange(hdu.shape[0]) + 1
    return start + step * (pixel - (reference or 1))


def read_dr4(path: str | Path) -> Iterator[Spectra]:
    """Read a table of DR4: normalised flux in the star's rest frame with its error, as fitted.

    The star is in the file's name alone. Pixels that the fit left out are named ``NOT_FITTED``.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        rows = read_table(hdus, 1)
        flux, error, wavelength = (rows[name] for name in ("sob", "uob", "wave"))
        for values in (flux, error, wavelength):
            if values.ndim != 1 or values.dtype.kind != "f" or values.shape != flux.shape:
                raise BadFile("columns sob, uob and wave should be one number per pixel")
        fitted = rows["mob"] if "mob" in rows else np.ones(len(flux), bool)
        if fitted.shape != flux.shape or fitted.dtype.kind != "b":
            raise BadFile("column mob should be true or false for each pixel")
        mask = (~fitted).astype(np.uint8)
        ivar = compute_ivar(error)
    name = _FIT_FILE.fullmatch(Path(path).name)
    if not name:
        raise BadFile(
            "not named as a table of DR4, which begins with the 15 digits of the sobject_id: "
            "which star is it?"
        )
    yield Spectra(
        star=np.array([int(name[1])]),
        flux=flux[None],
        ivar=ivar[None],
        wavelength=wavelength.astype(float),
        mask=mask[None],
    )


FORMATS = (
    Format(
        name="galah-dr3",
        doc="GALAH DR3, up to four files per star, one from each camera",
        reader=read_dr3,
        grid=GRID,
        medium="air",
        options=(
            Option(
                "flux",
                "normalised",
                ("normalised", "observed"),
                "over the pipeline's continuum, or counts",
            ),
        ),
        velocities=True,
        pattern=("[0-9]" * 15 + "[1-4].fits",),
        main=find_main_file,
    ),
    Format(
        name="galah-dr4",
        doc="GALAH DR4, tables of the pipeline's fit",
        reader=read_dr4,
        grid=GRID,
        medium="air",
        bits={"NOT_FITTED": 0},
        pattern=("*_allstar_fit_spectrum.fits", "*_allspec_fit_spectrum.fits"),
    ),
)
