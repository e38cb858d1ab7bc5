"""Optical spectra of SDSS-I to SDSS-IV: files ``spec-PLATE-MJD-FIBER.fits``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.base import (
    BadFile,
    Format,
    Header,
    Option,
    Spectra,
    Table,
    open_fits,
    read_column,
    read_number,
    read_table,
)

LOG_START, LOG_STEP = 3.5523, 1e-4

#: The grid of stacked BOSS spectra, vacuum Angstrom. A spec file has pixels of the same kind, but
#: begins and ends elsewhere.
GRID = 10 ** (LOG_START + LOG_STEP * np.arange(4648))

#: Bits of SPPIXMASK: to 15 of the whole fibre, from 16 of each pixel.
BITS = {
    "NOPLUG": 0,
    "BADTRACE": 1,
    "BADFLAT": 2,
    "BADARC": 3,
    "MANYBADCOLUMNS": 4,
    "MANYREJECTED": 5,
    "LARGESHIFT": 6,
    "BADSKYFIBER": 7,
    "NEARWHOPPER": 8,
    "WHOPPER": 9,
    "SMEARIMAGE": 10,
    "SMEARHIGHSN": 11,
    "SMEARMEDSN": 12,
    "NEARBADPIXEL": 16,
    "LOWFLAT": 17,
    "FULLREJECT": 18,
    "PARTIALREJECT": 19,
    "SCATTEREDLIGHT": 20,
    "CROSSTALK": 21,
    "NOSKY": 22,
    "BRIGHTSKY": 23,
    "NODATA": 24,
    "COMBINEREJ": 25,
    "BADFLUXFACTOR": 26,
    "BADSKYCHI": 27,
    "REDMONSTER": 28,
}

#: What leaves no flux to trust. A pixel rejected in some exposures (PARTIALREJECT, COMBINEREJ) is
#: good in the others.
BAD = (
    *("NOPLUG", "BADTRACE", "BADFLAT", "BADARC", "LOWFLAT", "FULLREJECT", "NOSKY", "BRIGHTSKY"),
    *("NODATA", "BADFLUXFACTOR", "BADSKYCHI", "REDMONSTER"),
)

#: km/s.
LIGHT = 299792.458


def read_spec(path: str | Path, *, mask: str = "and") -> Iterator[Spectra]:
    """Read a spec file: the coadd, and its row of the catalogue of all spectra.

    The wavelengths are heliocentric: the velocity is ``c Z``, with the pipeline's redshift.
    (``ELODIE_Z`` is 0 where that fit was not made, which no header tells from a star at rest.)
    Catalogues know the spectrum by ``SPECOBJID``.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        coadd, about = read_table(hdus, 1), read_table(hdus, 2)
        if len(about) != 1:
            raise BadFile(f"{len(about)} rows in HDU 2, where one tells which star it is")
        wavelength = compute_wavelength(read_column(coadd, "loglam"))
        flux, ivar, bits = (_read_pixels(coadd, name) for name in ("flux", "ivar", f"{mask}_mask"))
        if bits.dtype.kind not in "iu":
            raise BadFile(f"{mask}_mask holds no bits")
        plate, mjd, fiber = (_read_count(about, name) for name in ("PLATE", "MJD", "FIBERID"))
        star = f"{plate:04d}-{mjd:05d}-{fiber:04d}"
        key = None
        if "SPECOBJID" in about:
            key = np.array([str(about["SPECOBJID"][0])], object)
        velocity = LIGHT * _read_number(about, "Z")
        columns = _read_columns(about, hdus[0].header)
    yield Spectra(
        star=np.array([star], object),
        flux=flux,
        ivar=ivar,
        wavelength=wavelength,
        mask=bits,
        velocity=velocity,
        key=key,
        columns=columns,
    )


def compute_wavelength(loglam: np.ndarray) -> np.ndarray:
    """Return wavelengths of log10 wavelengths in float32: (pixel,).

    They are exact where they are on the pixels of the common grid.

    Raises
    ------
    BadFile
        If they are none, or out of order.
    """
    if loglam.ndim != 1 or len(loglam) < 2 or not ((loglam > 3) & (loglam < 5)).all():
        raise BadFile("loglam is no logarithm of optical wavelengths")
    exact = loglam.astype(float)
    pixel = (exact - LOG_START) / LOG_STEP
    nearest = np.round(pixel)
    # float32 rounds a log10 wavelength by up to 0.003 pixels
    if np.abs(pixel - nearest).max() < 0.01:
        exact = LOG_START + LOG_STEP * nearest
    return 10**exact


def _read_pixels(coadd: Table, name: str) -> np.ndarray:
    values = read_column(coadd, name)
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise BadFile(f"column {name!r} is not one number per pixel")
    return values[None]


def _read_number(about: Table, name: str) -> np.ndarray:
    """Return a number of the catalogue's row, NaN where there is none: (1,)."""
    if name in about:
        values = np.asarray(about[name])
        if values.shape == (1,) and values.dtype.kind in "iuf":
            return values.astype(float)
    return np.full(1, np.nan)


def _read_count(about: Table, name: str) -> int:
    values = read_column(about, name)
    if values.shape != (1,) or values.dtype.kind not in "iu" or values[0] <= 0:
        raise BadFile(f"no {name} in HDU 2: which star is it?")
    return int(values[0])


def _read_columns(about: Table, header: Header) -> dict[str, np.ndarray]:
    position = {}
    for name, key in (("ra", "PLUG_RA"), ("dec", "PLUG_DEC")):
        if key in about:
            position[name] = _read_number(about, key)
        else:
            position[name] = np.array([read_number(header, key)])
    classes = np.array([""], object)
    if "CLASS" in about and about["CLASS"].dtype.kind == "U":
        classes = about["CLASS"].astype(object)
    zwarning = np.nan_to_num(_read_number(about, "ZWARNING"), nan=-1)
    return {
        "snr": _read_number(about, "SN_MEDIAN_ALL"),
        **position,
        "zwarning": zwarning.astype(int),
        "class": classes,
    }


FORMATS = (
    Format(
        name="spec",
        doc="optical SDSS and BOSS spectra, spec-PLATE-MJD-FIBER (SDSS DR9 to DR17)",
        reader=read_spec,
        grid=GRID,
        bits=BITS,
        bad=BAD,
        continuum="chebyshev",
        velocities=True,
        pattern=("spec-*.fits",),
        options=(
            Option("mask", "and", ("and", "or"), "bits set in all exposures of a pixel, or in any"),
        ),
        tried="real",
    ),
)
