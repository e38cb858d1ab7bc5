"""Optical spectra of SDSS-I to SDSS-IV (SDSS, SEGUE, BOSS, eBOSS) as ``spec-PLATE-MJD-FIBER.fits`` files hold them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.apogee import number_in
from luxscale.readers.base import (
    BadFile,
    Format,
    Header,
    Option,
    Spectra,
    Table,
    field,
    open_fits,
    table,
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
    *(
        "NOPLUG",
        "BADTRACE",
        "BADFLAT",
        "BADARC",
        "LOWFLAT",
        "FULLREJECT",
        "NOSKY",
        "BRIGHTSKY",
        "NODATA",
    ),
    *("BADFLUXFACTOR", "BADSKYCHI", "REDMONSTER"),
)

#: km/s.
LIGHT = 299792.458


def read_spec(path: str | Path, *, mask: str = "and") -> Iterator[Spectra]:
    """Read a spec file: the coadd, and the row of the catalogue of all spectra that belongs to it.

    The wavelengths are heliocentric: the velocity is ``c Z``, with the pipeline's redshift.
    (``ELODIE_Z`` is 0 where that fit was not made, which no header tells from a star at rest.)
    Catalogues know the spectrum by ``SPECOBJID``.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        coadd, about = table(hdus, 1), table(hdus, 2)
        if len(about) != 1:
            raise BadFile(f"{len(about)} rows in HDU 2, where one tells which star it is")
        wavelength = place(field(coadd, "loglam"))
        flux, ivar, bits = (_pixels(coadd, name) for name in ("flux", "ivar", f"{mask}_mask"))
        if bits.dtype.kind not in "iu":
            raise BadFile(f"{mask}_mask holds no bits")
        star = "-".join(
            f"{_whole(about, name):0{n}d}" for name, n in (("PLATE", 4), ("MJD", 5), ("FIBERID", 4))
        )
        key = np.array([str(about["SPECOBJID"][0])], object) if "SPECOBJID" in about else None
        velocity = LIGHT * _one(about, "Z")
        columns = _columns(about, hdus[0].header)
    yield Spectra(
        np.array([star], object),
        flux,
        ivar,
        wavelength,
        bits,
        velocity=velocity,
        key=key,
        columns=columns,
    )


def place(loglam: np.ndarray) -> np.ndarray:
    """Return wavelengths of log10 wavelengths in float32, exact where they are on the common grid's pixels: (pixel,).

    Raises
    ------
    BadFile
        If they are none, or out of order.
    """
    if loglam.ndim != 1 or len(loglam) < 2 or not ((loglam > 3) & (loglam < 5)).all():
        raise BadFile("loglam is no logarithm of optical wavelengths")
    pixel = (loglam.astype(float) - LOG_START) / LOG_STEP
    whole = np.round(pixel)
    on_grid = np.abs(pixel - whole).max() < 0.01
    return 10 ** (LOG_START + LOG_STEP * whole) if on_grid else 10 ** loglam.astype(float)


def _pixels(coadd: Table, name: str) -> np.ndarray:
    values = field(coadd, name)
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise BadFile(f"column {name!r} is not one number a pixel")
    return values[None]


def _one(about: Table, name: str) -> np.ndarray:
    """Return a number of the catalogue's row, NaN where there is none: (1,)."""
    values = np.asarray(about[name]) if name in about else np.array([])
    return (
        values.astype(float)
        if values.shape == (1,) and values.dtype.kind in "iuf"
        else np.full(1, np.nan)
    )


def _whole(about: Table, name: str) -> int:
    values = field(about, name)
    if values.shape != (1,) or values.dtype.kind not in "iu" or values[0] <= 0:
        raise BadFile(f"no {name} in HDU 2: which star is it?")
    return int(values[0])


def _columns(about: Table, header: Header) -> dict[str, np.ndarray]:
    ra, dec = (
        _one(about, key) if key in about else np.array([number_in(header, key)])
        for key in ("PLUG_RA", "PLUG_DEC")
    )
    classes = about["CLASS"] if "CLASS" in about else np.array([""])
    return {
        "snr": _one(about, "SN_MEDIAN_ALL"),
        "ra": ra,
        "dec": dec,
        "zwarning": np.nan_to_num(_one(about, "ZWARNING"), nan=-1).astype(int),
        "class": classes.astype(object) if classes.dtype.kind == "U" else np.array([""], object),
    }


FORMATS = (
    Format(
        "spec",
        "optical SDSS and BOSS spectra, spec-PLATE-MJD-FIBER (SDSS DR9 to DR17)",
        read_spec,
        grid=GRID,
        bits=BITS,
        bad=BAD,
        continuum="chebyshev",
        velocities=True,
        pattern=("spec-*.fits", "spec-*.fits.gz"),
        options=(
            Option("mask", "and", ("and", "or"), "bits set in all exposures of a pixel, or in any"),
        ),
        tried="real",
    ),
)
