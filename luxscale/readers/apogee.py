"""Spectra of APOGEE as SDSS-III and SDSS-IV published them: apStar files, and aspcapStar files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luxscale.readers.base import BadFile, Format, Option, Spectra, image, open_fits

if TYPE_CHECKING:
    from astropy.io import fits

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

BAD = ("BADPIX", "CRPIX", "SATPIX", "UNFIXABLE", "BADDARK", "BADFLAT", "BADERR", "NOSKY", "NOT_ENOUGH_PSF")


def read_apstar(path: str | Path, *, rows: str = "coadd") -> Iterator[Spectra]:
    """Read an apStar file: row 0 is the coadd, row 1 another weighting of it, visits follow.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        header = hdus[0].header
        flux, error, mask = (image(hdus, i) for i in (1, 2, 3))
        wavelength = log_grid(header, hdus[1].header, flux.shape[1])
        keep, number = slice(0, 1), np.zeros(1, int)
        if rows == "visits":
            keep = slice(2, None) if len(flux) > 2 else slice(0, 1)  # of one visit, the coadd is the visit
            number = np.arange(1, max(len(flux) - 2, 1) + 1)
        flux, error, mask = flux[keep], error[keep], mask[keep]
        name = identifier(header, "OBJID")
        snr = np.array([_number(header, f"SNRVIS{n}" if n else "SNR") for n in number])
        columns = {"snr": snr, **_common(header, len(flux)), "n_visits": np.full(len(flux), header.get("NVISITS", -1))}
        star, key = np.full(len(flux), name, object), None
        if rows == "visits":
            star, key = np.array([f"{name}-{n}" for n in number], object), star
            columns["visit"] = number
    yield Spectra(star, flux, ivar_of(error), wavelength, mask=mask, key=key, columns=columns)


def read_aspcapstar(path: str | Path) -> Iterator[Spectra]:
    """Read an aspcapStar file: flux over ASPCAP's continuum, bad pixels by huge errors.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        header = hdus[0].header
        flux, error = (image(hdus, i)[:1] for i in (1, 2))
        wavelength = log_grid(header, hdus[1].header, flux.shape[1])
        star = np.array([identifier(header, "OBJID") if "OBJID" in header else _aspcap_id(hdus, path)], object)
        columns = {"snr": np.array([_number(header, "SNR")]), **_common(header, 1)}
    yield Spectra(star, flux, ivar_of(error), wavelength, columns=columns)


def _aspcap_id(hdus: fits.HDUList, path: str | Path) -> str:
    names = hdus[4].data["APOGEE_ID"] if len(hdus) > 4 else [""]
    name = str(names[0]).strip()
    if not name:
        raise BadFile("neither OBJID in the header nor APOGEE_ID in HDU 4 says which star it is")
    return name


def log_grid(primary: fits.Header, header: fits.Header, n_pixels: int) -> np.ndarray:
    """Return the wavelengths of a spectrum whose header gives log10 of the first, and the step: (pixel,).

    Raises
    ------
    BadFile
    """
    for found in (header, primary):
        if "CRVAL1" in found and "CDELT1" in found:
            start, step = float(found["CRVAL1"]), float(found["CDELT1"])
            if not (0 < start < 6 and 0 < step < 0.1 and np.isfinite([start, step]).all()):
                raise BadFile(f"CRVAL1 = {start:g} and CDELT1 = {step:g} are no logarithmic wavelength grid")
            return 10 ** (start + step * np.arange(n_pixels))
    raise BadFile("no wavelength grid: the header has no CRVAL1 and CDELT1")


def identifier(header: fits.Header, key: str) -> str:
    """Return a star's identifier.

    Raises
    ------
    BadFile
    """
    name = str(header.get(key, "")).strip()
    if not name:
        raise BadFile(f"no {key} in the header: which star is it?")
    return name


def ivar_of(error: np.ndarray) -> np.ndarray:
    """Return inverse variances of errors, 0 where these are 0, negative or not finite."""
    good = np.isfinite(error) & (error > 0)
    with np.errstate(over="ignore"):
        return np.where(good, 1 / np.where(good, error, 1).astype(float) ** 2, 0)


def _number(header: fits.Header, key: str) -> float:
    value: Any = header.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _common(header: fits.Header, n: int) -> dict[str, np.ndarray]:
    """Return the columns that come from the header: (row,)."""
    return {name: np.full(n, _number(header, key)) for name, key in (("ra", "RA"), ("dec", "DEC"))}


FORMATS = (
    Format(
        "apstar",
        "APOGEE spectra combined per star (SDSS DR10 to DR17)",
        read_apstar,
        grid=GRID,
        bits=BITS,
        bad=BAD,
        continuum="chebyshev",
        pattern=("apStar-*.fits", "asStar-*.fits"),
        options=(Option("rows", "coadd", ("coadd", "visits"), "the combined spectrum, or each visit as a star"),),
        tried="real",
    ),
    Format(
        "aspcapstar",
        "APOGEE spectra over the continuum of ASPCAP (SDSS DR10 to DR17)",
        read_aspcapstar,
        grid=GRID,
        pattern=("aspcapStar-*.fits",),
        tried="real",
    ),
)
