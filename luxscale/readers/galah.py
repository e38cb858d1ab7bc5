"""Spectra of GALAH: DR3 as four files a star, one of each camera, and DR4 as the table that its pipeline fitted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.apogee import ivar_of, number_in
from luxscale.readers.base import BadFile, Format, Hdu, HduList, Option, Spectra, open_fits, table

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
_CAMERA_FILE = re.compile(r"(.*?)(\d{15})([1-4])(\.fits(?:\.gz)?)", re.DOTALL)
_FIT_FILE = re.compile(r"(\d{15})_.*\.fits(?:\.gz)?", re.DOTALL)


def main_file(path: str) -> str:
    """Return the path by which the star of a camera's file is read: that of its first camera that is there."""
    return next((p for p in _cameras(path).values() if os.path.exists(p)), path)


def _cameras(path: str) -> dict[str, str]:
    """Return the path of each camera's file, or none if the name is not that of one."""
    folder, name = os.path.split(path)
    found = _CAMERA_FILE.fullmatch(name)
    if not found:
        return {}
    return {
        camera: os.path.join(folder, f"{found[1]}{found[2]}{camera}{found[4]}")
        for camera in CAMERAS
    }


def read_dr3(path: str | Path, *, flux: str = "normalised") -> Iterator[Spectra]:
    """Read the files of a star, of which one is named: those of its other cameras are beside it, or missing.

    The normalised flux is in the star's rest frame, on wavelengths of its own. The observed flux is
    barycentric; its velocity is the header's. Errors are relative ones times the flux, with which
    they end at the same pixel.

    Raises
    ------
    BadFile
    """
    files = _cameras(str(path))
    if not files:
        with open_fits(path) as hdus:
            _line(hdus[0])  # what is no such file at all should be told so
        raise BadFile(
            "not named as a file of a camera, 15 digits of the sobject_id and 1 to 4: which "
            "star is it?"
        )
    if not os.path.exists(path):
        raise BadFile("no such file")
    parts = [
        _read_camera(file, flux, camera) for camera, file in files.items() if os.path.exists(file)
    ]
    values, ivar, wavelength = (np.concatenate([part[i] for part in parts])[None] for i in range(3))
    star = np.array([int(_CAMERA_FILE.fullmatch(Path(path).name)[2])])  # type: ignore[index]
    velocity = (
        None
        if flux == "normalised"
        else np.array([next((p[3] for p in parts if p[3] == p[3]), np.nan)])
    )
    columns = {"n_cameras": np.array([len(parts)])}
    yield Spectra(star, values, ivar, wavelength[0], velocity=velocity, columns=columns)


def _read_camera(
    path: str, kind: str, camera: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return flux, ivar and wavelengths of a camera, (pixel,) each, and the velocity that the header gives."""
    try:
        with open_fits(path) as hdus, np.errstate(all="ignore"):
            error = _line(hdus[1])
            if hdus[1].name.lower() == "normalized":
                raise BadFile(
                    "a file of a camera of DR4, which has other HDUs; read its "
                    "_allstar_fit_spectrum table"
                )
            hdu = _flux_hdu(hdus, kind)
            flux = _line(hdu)
            if len(flux) > len(error):
                raise BadFile(f"{len(flux)} pixels of flux, {len(error)} of errors")
            ivar = ivar_of(
                error[len(error) - len(flux) :].astype(float) * np.abs(flux.astype(float))
            )
            velocity = [number_in(hdus[0].header, key) for key in ("RV", "RVCOM")]
            return flux, ivar, _wavelength(hdu), next((v for v in velocity if v == v), np.nan)
    except BadFile as error_:
        raise BadFile(f"camera {camera}: {error_}") from error_


def _flux_hdu(hdus: HduList, kind: str) -> Hdu:
    if kind == "observed":
        return hdus[0]
    if len(hdus) < 5:
        raise BadFile(
            "no normalised flux in HDU 4, as of 227 stars; the option flux=observed reads what "
            "there is"
        )
    return hdus[4]


def _line(hdu: Hdu) -> np.ndarray:
    if not hdu.is_image or len(hdu.shape) != 1 or hdu.shape[0] < 2:
        raise BadFile(f"HDU {hdu.name!r} of shape {hdu.shape} is no spectrum")
    return hdu.data


def _wavelength(hdu: Hdu) -> np.ndarray:
    """Return linear wavelengths; the reference pixel is the first, be it called 1 or 0."""
    header = hdu.header
    start, first = (
        number_in(header, "CRVAL1"),
        number_in(header, "CRPIX1") if "CRPIX1" in header else 1.0,
    )
    step = number_in(header, "CDELT1" if "CDELT1" in header else "CD1_1")
    if not (4000 < start < 9000 and 0 < step < 1 and abs(first) < 1e5):
        raise BadFile(
            f"CRVAL1 = {start:g}, CDELT1 = {step:g}, CRPIX1 = {first:g} are no wavelengths of "
            "a camera"
        )
    return start + step * (np.arange(hdu.shape[0]) + 1 - (first or 1))


def read_dr4(path: str | Path) -> Iterator[Spectra]:
    """Read a table of DR4: normalised flux in the star's rest frame with its error, as the pipeline fitted it.

    The star is in the file's name alone. Pixels that the fit left out are named ``NOT_FITTED``.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus, np.errstate(all="ignore"):
        rows = table(hdus, 1)
        flux, error, wavelength = (rows[name] for name in ("sob", "uob", "wave"))
        if flux.ndim != 1 or any(
            a.dtype.kind != "f" or a.shape != flux.shape for a in (flux, error, wavelength)
        ):
            raise BadFile("columns sob, uob and wave should be one number a pixel")
        fitted = rows["mob"] if "mob" in rows else np.ones(len(flux), bool)
        if fitted.shape != flux.shape or fitted.dtype.kind != "b":
            raise BadFile("column mob should be true or false for each pixel")
        mask, ivar = (~fitted).astype(np.uint8), ivar_of(error)
    named = _FIT_FILE.fullmatch(Path(path).name)
    if not named:
        raise BadFile(
            "not named as a table of DR4, which begins with the 15 digits of the sobject_id: "
            "which star is it?"
        )
    star = np.array([int(named[1])])
    yield Spectra(star, flux[None], ivar[None], wavelength.astype(float), mask=mask[None])


FORMATS = (
    Format(
        "galah-dr3",
        "GALAH DR3, up to four files a star, one of each camera",
        read_dr3,
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
        pattern=tuple("[0-9]" * 15 + f"[1-4].fits{end}" for end in ("", ".gz")),
        main=main_file,
    ),
    Format(
        "galah-dr4",
        "GALAH DR4, tables of the pipeline's fit",
        read_dr4,
        grid=GRID,
        medium="air",
        bits={"NOT_FITTED": 0},
        pattern=("*_allstar_fit_spectrum.fits", "*_allspec_fit_spectrum.fits"),
    ),
)
