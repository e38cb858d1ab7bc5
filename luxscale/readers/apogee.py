"""Spectra of APOGEE as SDSS-III and SDSS-IV published them: apStar files, and aspcapStar files."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from luxscale.readers.base import (
    BadFile,
    Format,
    HduList,
    Header,
    Option,
    Spectra,
    image,
    open_fits,
    table,
)

#: The grid of all combined APOGEE spectra, vacuum Angstrom.
GRID = 10 ** (4.179 + 6e-6 * np.arange(8575))

#: Bits of PIXMASK.
BITS = {
    "BADPIX": 0,
    "CRPIX": 1,
    "SATPIX": 2,
    "UNFIXABLE": 3,
    "BADDARK": 4,
    "BADFLAT": 5,
    "BADERR": 6,
    "NOSKY": 7,
    "LITTROW_GHOST": 8,
    "PERSIST_HIGH": 9,
    "PERSIST_MED": 10,
    "PERSIST_LOW": 11,
    "SIG_SKYLINE": 12,
    "SIG_TELLURIC": 13,
    "NOT_ENOUGH_PSF": 14,
    "FERRE_MASK": 16,
}

BAD = (
    "BADPIX",
    "CRPIX",
    "SATPIX",
    "UNFIXABLE",
    "BADDARK",
    "BADFLAT",
    "BADERR",
    "NOSKY",
    "NOT_ENOUGH_PSF",
)


#: Rows that an apStar file may have; the most visits known are some sixty.
MOST_ROWS = 1000


def read_apstar(path: str | Path, *, rows: str = "coadd") -> Iterator[Spectra]:
    """Read an apStar file: row 0 is the coadd, row 1 another weighting of it, visits follow.

    All of them are in the star's rest frame. Of a star seen once, the coadd is the visit.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        header = hdus[0].header
        flux, error, mask = (image(hdus, i) for i in (1, 2, 3))
        if mask.dtype.kind not in "iu":
            raise BadFile(
                "HDU 3 is no pixel mask: this is no apStar file, perhaps an aspcapStar file"
            )
        if not len(flux) == len(error) == len(mask) <= MOST_ROWS:
            raise BadFile(f"{len(flux)} rows of flux, {len(error)} of errors, {len(mask)} of masks")
        wavelength = log_grid(header, hdus[1].header, flux.shape[1])
        take, number = _rows(len(flux), rows)
        flux, error, mask = flux[take], error[take], mask[take]
        name = identifier(header, "OBJID")
        snr = np.array([number_in(header, f"SNRVIS{n}" if n else "SNR") for n in number])
        columns = {
            "snr": snr,
            **_common(header, len(flux)),
            "n_visits": np.full(len(flux), _n_visits(header)),
        }
        star, key = np.full(len(flux), name, object), None
        if rows == "visits":
            star, key = np.array([f"{name}-{n}" for n in number], object), star
            columns["visit"] = number
    yield Spectra(star, flux, ivar_of(error), wavelength, mask=mask, key=key, columns=columns)


def _rows(n: int, rows: str) -> tuple[slice, np.ndarray]:
    """Return which of n rows are wanted, and the numbers of their visits, from 1; 0: the coadd."""
    if rows == "coadd":
        return slice(0, 1), np.zeros(1, int)
    return (slice(2, None), np.arange(1, n - 1)) if n > 2 else (slice(0, 1), np.ones(1, int))


def _n_visits(header: Header) -> int:
    value = header.get("NVISITS")
    return value if type(value) is int and 0 <= value <= MOST_ROWS else -1


def read_aspcapstar(path: str | Path) -> Iterator[Spectra]:
    """Read an aspcapStar file: flux over ASPCAP's continuum, bad pixels by huge errors.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        header = hdus[0].header
        flux, error, best_fit = (image(hdus, i) for i in (1, 2, 3))
        if best_fit.dtype.kind != "f" or len(flux) != 1:
            raise BadFile(
                "no best fit in HDU 3: this is no aspcapStar file, perhaps an apStar file"
            )
        wavelength = log_grid(header, hdus[1].header, flux.shape[1])
        star = np.array([_aspcap_id(hdus)], object)
        columns = {"snr": np.array([number_in(header, "SNR")]), **_common(header, 1)}
    yield Spectra(star, flux, ivar_of(error), wavelength, columns=columns)


def _aspcap_id(hdus: HduList) -> str:
    header = hdus[0].header
    for key in ("OBJID", "OBJ"):
        if str(header.get(key) or "").strip():
            return identifier(header, key)
    if len(hdus) > 4 and len(names := table(hdus, 4)["APOGEE_ID"]) and str(names[0]):
        return str(names[0])
    raise BadFile("neither OBJID nor OBJ in the header, nor APOGEE_ID in HDU 4: which star is it?")


def log_grid(primary: Header, header: Header, n_pixels: int) -> np.ndarray:
    """Return the wavelengths of a spectrum whose header gives log10 of the first, and the step: (pixel,).

    Raises
    ------
    BadFile
    """
    for found in (header, primary):
        if "CRVAL1" in found and "CDELT1" in found:
            start, step = number_in(found, "CRVAL1"), number_in(found, "CDELT1")
            if not (
                0 < start < 6
                and 0 < step < 0.1
                and start + step * n_pixels < 6
                and found.get("CRPIX1", 1) == 1
            ):
                raise BadFile(
                    f"CRVAL1 = {start:g} and CDELT1 = {step:g} are no logarithmic wavelength grid"
                )
            return _powers(start, step, n_pixels)
    raise BadFile("no wavelength grid: the header has no CRVAL1 and CDELT1")


@functools.lru_cache(maxsize=8)
def _powers(start: float, step: float, n_pixels: int) -> np.ndarray:
    """Return 10**(start + step * i), once for all files alike; not to be changed: (pixel,)."""
    grid = 10 ** (start + step * np.arange(n_pixels))
    grid.flags.writeable = False
    return grid


def identifier(header: Header, key: str) -> str:
    """Return a star's identifier.

    Raises
    ------
    BadFile
    """
    name = str(header.get(key) or "").strip()
    if not name:
        raise BadFile(f"no {key} in the header: which star is it?")
    return name


def ivar_of(error: np.ndarray) -> np.ndarray:
    """Return inverse variances of errors, 0 where these are 0, negative or not finite."""
    good = np.isfinite(error) & (error > 0)
    with np.errstate(all="ignore"):
        return np.where(good, 1 / np.where(good, error, 1).astype(float) ** 2, 0)


def number_in(header: Header, key: str) -> float:
    """Return a number from a header, NaN where there is none."""
    value: Any = header.get(key)
    return float(value) if type(value) in (int, float) else float("nan")


def _common(header: Header, n: int) -> dict[str, np.ndarray]:
    """Return the columns that come from the header: (row,)."""
    return {
        name: np.full(n, number_in(header, key)) for name, key in (("ra", "RA"), ("dec", "DEC"))
    }


FORMATS = (
    Format(
        "apstar",
        "APOGEE spectra combined per star (SDSS DR10 to DR17)",
        read_apstar,
        grid=GRID,
        bits=BITS,
        bad=BAD,
        continuum="chebyshev",
        pattern=("apStar-*.fits", "apStar-*.fits.gz", "asStar-*.fits", "asStar-*.fits.gz"),
        options=(
            Option(
                "rows",
                "coadd",
                ("coadd", "visits"),
                "the combined spectrum, or each visit as a star",
            ),
        ),
        tried="real",
    ),
    Format(
        "aspcapstar",
        "APOGEE spectra over the continuum of ASPCAP (SDSS DR10 to DR17)",
        read_aspcapstar,
        grid=GRID,
        pattern=("aspcapStar-*.fits", "aspcapStar-*.fits.gz"),
        tried="real",
    ),
)
