"""Spectra of APOGEE as SDSS-III and SDSS-IV published them: apStar files, and aspcapStar files."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.base import (
    BadFile,
    Format,
    HduList,
    Header,
    Option,
    Spectra,
    compute_ivar,
    open_fits,
    read_image,
    read_number,
    read_table,
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
    *("BADPIX", "CRPIX", "SATPIX", "UNFIXABLE", "BADDARK", "BADFLAT", "BADERR", "NOSKY"),
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
        flux, error, mask = (read_image(hdus, i) for i in (1, 2, 3))
        if mask.dtype.kind not in "iu":
            raise BadFile(
                "HDU 3 is no pixel mask: this is no apStar file, perhaps an aspcapStar file"
            )
        if not len(flux) == len(error) == len(mask) <= MOST_ROWS:
            raise BadFile(f"{len(flux)} rows of flux, {len(error)} of errors, {len(mask)} of masks")
        wavelength = read_log_grid(header, hdus[1].header, flux.shape[1])
        selected, visit = _select_rows(len(flux), rows)
        flux, error, mask = flux[selected], error[selected], mask[selected]
        n_spectra = len(flux)
        columns = {
            "snr": _read_snr(header, visit),
            **read_position(header, n_spectra),
            "n_visits": np.full(n_spectra, _read_n_visits(header)),
        }
        name = read_identifier(header, "OBJID")
        star = np.full(n_spectra, name, object)
        key = None
        if rows == "visits":
            # catalogues know the star, of which each visit is one here
            key = star
            star = np.array([f"{name}-{number}" for number in visit], object)
            columns["visit"] = visit
    yield Spectra(
        star=star,
        flux=flux,
        ivar=compute_ivar(error),
        wavelength=wavelength,
        mask=mask,
        key=key,
        columns=columns,
    )


def _select_rows(n_rows: int, rows: str) -> tuple[slice, np.ndarray]:
    """Return which rows are wanted, and the numbers of their visits, from 1; 0: the coadd."""
    first_row = slice(0, 1)
    if rows == "coadd":
        return first_row, np.zeros(1, int)
    if n_rows <= 2:
        return first_row, np.ones(1, int)
    return slice(2, None), np.arange(1, n_rows - 1)


def _read_snr(header: Header, visit: np.ndarray) -> np.ndarray:
    """Return the S/N of the coadd (visit 0) and of visits: (row,)."""
    keys = [f"SNRVIS{number}" if number else "SNR" for number in visit]
    return np.array([read_number(header, key) for key in keys])


def _read_n_visits(header: Header) -> int:
    value = header.get("NVISITS")
    if type(value) is int and 0 <= value <= MOST_ROWS:
        return value
    return -1


def read_aspcapstar(path: str | Path) -> Iterator[Spectra]:
    """Read an aspcapStar file: flux over ASPCAP's continuum, bad pixels by huge errors.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        header = hdus[0].header
        flux, error, best_fit = (read_image(hdus, i) for i in (1, 2, 3))
        if best_fit.dtype.kind != "f" or len(flux) != 1:
            raise BadFile(
                "no best fit in HDU 3: this is no aspcapStar file, perhaps an apStar file"
            )
        wavelength = read_log_grid(header, hdus[1].header, flux.shape[1])
        star = np.array([_read_aspcap_identifier(hdus)], object)
        snr = np.array([read_number(header, "SNR")])
        columns = {"snr": snr, **read_position(header, 1)}
    yield Spectra(
        star=star,
        flux=flux,
        ivar=compute_ivar(error),
        wavelength=wavelength,
        columns=columns,
    )


def _read_aspcap_identifier(hdus: HduList) -> str:
    header = hdus[0].header
    for key in ("OBJID", "OBJ"):
        if str(header.get(key) or "").strip():
            return read_identifier(header, key)
    if len(hdus) > 4:
        names = read_table(hdus, 4)["APOGEE_ID"]
        if len(names) and str(names[0]):
            return str(names[0])
    raise BadFile("neither OBJID nor OBJ in the header, nor APOGEE_ID in HDU 4: which star is it?")


def read_log_grid(primary: Header, header: Header, n_pixels: int) -> np.ndarray:
    """Return the wavelengths of a header that gives log10 of the first, and the step: (pixel,).

    Raises
    ------
    BadFile
    """
    for found in (header, primary):
        if "CRVAL1" not in found or "CDELT1" not in found:
            continue
        start, step = read_number(found, "CRVAL1"), read_number(found, "CDELT1")
        is_log_grid = 0 < start < 6 and 0 < step < 0.1 and start + step * n_pixels < 6
        if not is_log_grid or found.get("CRPIX1", 1) != 1:
            raise BadFile(
                f"CRVAL1 = {start:g} and CDELT1 = {step:g} are no logarithmic wavelength grid"
            )
        return _compute_grid(start, step, n_pixels)
    raise BadFile("no wavelength grid: the header has no CRVAL1 and CDELT1")


@functools.lru_cache(maxsize=8)
def _compute_grid(start: float, step: float, n_pixels: int) -> np.ndarray:
    """Return 10**(start + step * i), once for all files alike; not to be changed: (pixel,)."""
    log_wavelength = start + step * np.arange(n_pixels)
    grid = 10**log_wavelength
    grid.flags.writeable = False
    return grid


def read_identifier(header: Header, key: str) -> str:
    """Return a star's identifier.

    Raises
    ------
    BadFile
    """
    name = str(header.get(key) or "").strip()
    if not name:
        raise BadFile(f"no {key} in the header: which star is it?")
    return name


def read_position(header: Header, n_rows: int) -> dict[str, np.ndarray]:
    """Return the star's coordinates by a header, the same in all rows: (row,)."""
    return {
        "ra": np.full(n_rows, read_number(header, "RA")),
        "dec": np.full(n_rows, read_number(header, "DEC")),
    }


FORMATS = (
    Format(
        name="apstar",
        doc="APOGEE spectra combined per star (SDSS DR10 to DR17)",
        reader=read_apstar,
        grid=GRID,
        bits=BITS,
        bad=BAD,
        continuum="chebyshev",
        pattern=("apStar-*.fits", "asStar-*.fits"),
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
        name="aspcapstar",
        doc="APOGEE spectra over the continuum of ASPCAP (SDSS DR10 to DR17)",
        reader=read_aspcapstar,
        grid=GRID,
        pattern=("aspcapStar-*.fits",),
        tried="real",
    ),
)
