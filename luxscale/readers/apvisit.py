"""Spectra of single visits of APOGEE, as its three detectors saw them: apVisit files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.apogee import BAD, BITS, GRID, read_identifier, read_position
from luxscale.readers.base import (
    BadFile,
    Format,
    HduList,
    Spectra,
    compute_ivar,
    open_fits,
    read_image,
    read_number,
    read_table,
)

N_DETECTORS = 3

#: What APOGEE's detectors see, Angstrom.
_LEAST, _MOST = 15_000, 17_100

#: Images of a file: flux, error, mask, wavelength.
_IMAGES = (1, 2, 3, 4)


def read_apvisit(path: str | Path) -> Iterator[Spectra]:
    """Read an apVisit file: a visit of a star, named ``OBJID-PLATE-MJD-FIBER``.

    The detectors stand one after another, by ascending wavelength, and do not overlap. Wavelengths
    are those of the observatory, vacuum. The velocity is the one that they are shifted by, ``VRAD``
    of the header or ``VREL`` of the table, before the barycentric correction ``BC``; files since
    DR17 have neither.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        header = hdus[0].header
        flux, error, mask, wavelength = (_read_detectors(hdus, i) for i in _IMAGES)
        if not flux.shape == error.shape == mask.shape == wavelength.shape:
            raise BadFile("flux, error, mask and wavelength of other numbers of pixels each")
        if mask.dtype.kind not in "iu":
            raise BadFile("HDU 3 is no pixel mask")
        if not ((wavelength > _LEAST) & (wavelength < _MOST)).all():
            raise BadFile("HDU 4 holds no wavelengths of APOGEE: this is no apVisit file")
        name = read_identifier(header, "OBJID")
        visit = [_read_word(hdus, key) for key in ("PLATE", "MJD5", "FIBERID")]
        columns = {
            "snr": np.array([read_number(header, "SNR")]),
            **read_position(header, 1),
            "bc": np.array([read_number(header, "BC")]),
        }
        velocity = np.array([_read_velocity(hdus)])
    order = np.argsort(wavelength, kind="stable")
    yield Spectra(
        star=np.array(["-".join([name, *visit])], object),
        flux=flux[None, order],
        ivar=compute_ivar(error)[None, order],
        wavelength=wavelength[order].astype(float),
        mask=mask[None, order],
        velocity=velocity,
        key=np.array([name], object),
        columns=columns,
    )


def _read_detectors(hdus: HduList, index: int) -> np.ndarray:
    """Return an image of a row for each detector, all in one row: (pixel,)."""
    rows = read_image(hdus, index)
    if len(rows) != N_DETECTORS:
        raise BadFile(
            f"{len(rows)} rows in HDU {index}, where {N_DETECTORS} detectors have one each"
        )
    return rows.ravel()


def _read_word(hdus: HduList, key: str) -> str:
    return str(hdus[0].header.get(key) or "").strip() or "0"


def _read_velocity(hdus: HduList) -> float:
    """Return by what the lines are shifted, km/s, NaN where the file does not say."""
    velocity = read_number(hdus[0].header, "VRAD")
    if not np.isnan(velocity) or len(hdus) <= 11 or hdus[11].kind != "BINTABLE":
        return velocity
    rows = read_table(hdus, 11)
    if "VREL" not in rows or len(rows) != 1 or rows["VREL"].dtype.kind != "f":
        return np.nan
    return float(rows["VREL"].ravel()[0])


FORMATS = (
    Format(
        name="apvisit",
        doc="single visits of APOGEE, three detectors, not at rest (SDSS DR10 to DR19)",
        reader=read_apvisit,
        grid=GRID,
        bits=BITS,
        bad=BAD,
        continuum="chebyshev",
        velocities=True,
        pattern=("apVisit-*.fits", "asVisit-*.fits"),
        tried="real",
    ),
)
