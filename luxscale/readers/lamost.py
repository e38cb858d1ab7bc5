"""Spectra of LAMOST: low resolution (LRS) and medium resolution (MRS), in both layouts of files."""

from __future__ import annotations

import dataclasses
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
    Table,
    open_fits,
    read_image,
    read_number,
    read_table,
)
from luxscale.readers.boss import LIGHT, LOG_START, LOG_STEP, compute_wavelength

#: 3700 to 9099 Angstrom, vacuum: pixels as those of SDSS, 159 further on. Files to DR1 end five
#: pixels earlier.
LRS_GRID = 10 ** (LOG_START + LOG_STEP * np.arange(159, 159 + 3909))

#: Blue and red arm, vacuum Angstrom, 4950 to 5350 and 6300 to 6800; steps of 2.3e-5 of the
#: wavelength, six to the resolution. Files have pixels of their own.
MRS_GRID = 10 ** (1e-5 * np.r_[369461:372836, 379935:383251])

#: Bits of ANDMASK and ORMASK, which are not those of SDSS.
BITS = {"BADCCD": 0, "BADPROFILE": 1, "NOSKY": 2, "BRIGHTSKY": 3, "BADCENTER": 4, "NODATA": 5}

#: What leaves no flux to trust. Under a bright sky there is some, with an error that knows of the
#: sky; of a faint star that may be a third of the pixels.
BAD = ("BADCCD", "BADPROFILE", "NOSKY", "BADCENTER", "NODATA")

#: Bits of a mask are written as float32.
_MOST_MASK = 2**24

_ARMS = ("COADD_B", "COADD_R")

Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Pixels:
    """What files give of each pixel: (pixel,) each."""

    flux: np.ndarray
    ivar: np.ndarray
    wavelength: np.ndarray
    bits: np.ndarray


def read_lrs(path: str | Path, *, mask: str = "and", key: str = "obsid") -> Iterator[Spectra]:
    """Read a low-resolution file: to DR8 an image of five rows, from DR9 a table of one row.

    The wavelengths are heliocentric: the velocity is ``c Z``, with the pipeline's redshift. Of the
    first releases the third row is no wavelength but the flux over a continuum; there the header
    has the wavelengths, as in others too.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        header = hdus[0].header
        if any(name in hdus for name in _ARMS):
            raise BadFile("it has the arms of a file of the medium resolution")
        if hdus[0].shape:
            pixels = _read_image_rows(hdus, mask)
        else:
            pixels = _read_single_row(read_table(hdus, 1), mask)
        wavelength = pixels.wavelength
        if not (wavelength[0] > 1000 and (wavelength[1:] > wavelength[:-1]).all()):
            wavelength = _compute_header_grid(header, len(pixels.flux))
        wavelength = compute_wavelength(_compute_log10(wavelength))
        snr = {
            f"snr{band}": _read_first_number(header, f"SNR{band.upper()}", f"SN_{band.upper()}")
            for band in "ugriz"
        }
        # of the five, the pipeline's own choice for whether a spectrum has parameters
        columns = {"snr": snr["snrg"], **snr, **_read_facts(header)}
        star, catalog_key = _read_names(header, key)
        velocity = LIGHT * _read_first_number(header, "Z")
    yield Spectra(
        star=star,
        flux=pixels.flux[None],
        ivar=pixels.ivar[None],
        wavelength=wavelength,
        mask=_convert_bits(pixels.bits)[None],
        velocity=velocity,
        key=catalog_key,
        columns=columns,
    )


def _read_image_rows(hdus: HduList, mask: str) -> _Pixels:
    rows = read_image(hdus, 0)
    if len(rows) != 5:
        raise BadFile(
            f"{len(rows)} rows in HDU 0; five are flux, ivar, wavelength, andmask, ormask"
        )
    flux, ivar, wavelength, and_mask, or_mask = rows
    bits = and_mask if mask == "and" else or_mask
    return _Pixels(flux, ivar, wavelength, bits)


def _compute_header_grid(header: Header, n_pixels: int) -> np.ndarray:
    start, step = read_number(header, "COEFF0"), read_number(header, "COEFF1")
    is_log_grid = 3 < start < 5 and 0 < step < 0.01 and start + step * n_pixels < 5
    if not is_log_grid:
        raise BadFile(
            f"no wavelengths: neither a row of them, nor COEFF0 and COEFF1 ({start:g}, {step:g})"
        )
    log_wavelength = start + step * np.arange(n_pixels)
    return 10**log_wavelength


def _compute_log10(wavelength: np.ndarray) -> np.ndarray:
    if not (wavelength > 0).all():
        raise BadFile("wavelengths that are not positive")
    return np.log10(wavelength.astype(float))


def _read_single_row(rows: Table, mask: str) -> _Pixels:
    """Return the pixels of a table that has them as arrays of its one row."""
    if len(rows) != 1:
        raise BadFile(f"{len(rows)} rows in a table that should have one")
    names = ("FLUX", "IVAR", "WAVELENGTH", f"{mask.upper()}MASK")
    return _make_pixels([np.atleast_1d(rows[name][0]) for name in names])


def read_mrs(path: str | Path, *, mask: str = "and", key: str = "obsid") -> Iterator[Spectra]:
    """Read the coadds of a medium-resolution file, both arms as one spectrum.

    A file may lack one of them. The wavelengths are heliocentric. A velocity is in no file known to
    us: the catalogues have it. Where a header has ``Z``, the velocity is ``c Z``.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus:
        header = hdus[0].header
        names = [name for name in _ARMS if name in hdus]
        if not names:
            raise BadFile(
                "neither COADD_B nor COADD_R in it: no coadd, or no file of the medium resolution"
            )
        arms = [_read_arm(read_table(hdus, name), mask) for name in names]
        columns = {**_read_arms_snr(hdus), **_read_facts(header)}
        star, catalog_key = _read_names(header, key)
        velocity = LIGHT * _read_first_number(header, "Z")
    bits = np.concatenate([arm.bits for arm in arms])
    yield Spectra(
        star=star,
        flux=np.concatenate([arm.flux for arm in arms])[None],
        ivar=np.concatenate([arm.ivar for arm in arms])[None],
        wavelength=np.concatenate([arm.wavelength for arm in arms]),
        mask=_convert_bits(bits)[None],
        velocity=velocity,
        key=catalog_key,
        columns=columns,
    )


def _read_arms_snr(hdus: HduList) -> Columns:
    """Return the S/N of each arm, NaN where a file lacks it, and the mean of those known: (1,)."""
    snr_b, snr_r = (
        _read_first_number(hdus[name].header, "SNR") if name in hdus else np.full(1, np.nan)
        for name in _ARMS
    )
    both = np.concatenate([snr_b, snr_r])
    known = both[np.isfinite(both)]
    mean = known.mean(keepdims=True) if known.size else np.full(1, np.nan)
    return {"snr": mean, "snr_b": snr_b, "snr_r": snr_r}


def _read_arm(rows: Table, mask: str) -> _Pixels:
    """Return the pixels of an arm, ascending.

    Its table has one row per pixel, or from DR9 all of them in one.
    """
    if "LOGLAM" in rows:
        names = ("FLUX", "IVAR", "LOGLAM", f"{mask.upper()}MASK")
        found = _make_pixels([rows[name] for name in names])
        log_wavelength = found.wavelength
        if not (np.abs(log_wavelength) < 6).all():
            raise BadFile("LOGLAM is no logarithm of wavelengths")
        wavelength = 10 ** log_wavelength.astype(float)
    else:
        found = _read_single_row(rows, mask)
        wavelength = found.wavelength
    order = np.argsort(wavelength, kind="stable")
    return _Pixels(found.flux[order], found.ivar[order], wavelength[order], found.bits[order])


def _make_pixels(arrays: list[np.ndarray]) -> _Pixels:
    shapes = {array.shape for array in arrays}
    are_numbers = all(array.dtype.kind in "iuf" for array in arrays)
    if len(shapes) > 1 or arrays[0].ndim != 1 or not are_numbers:
        raise BadFile(
            "flux, ivar, wavelength and mask should be as many numbers each, and have shapes "
            f"{shapes}"
        )
    return _Pixels(*arrays)


def _convert_bits(values: np.ndarray) -> np.ndarray:
    """Return bits that are written as float32 as integers; what is no such number has none."""
    is_bits = (values >= 0) & (values < _MOST_MASK)
    return np.where(is_bits, values, 0).astype(np.int32)


def _read_names(header: Header, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what LAMOST calls the spectrum, as it does the file, and what catalogues do: (1,)."""
    obsid, designation = _read_text(header, "OBSID"), _read_text(header, "DESIG")
    file_name = _read_text(header, "FILENAME").removesuffix(".gz").removesuffix(".fits")
    spectrum = file_name or obsid
    if not spectrum:
        raise BadFile("neither FILENAME nor OBSID in the header: which spectrum is it?")
    catalog_key = designation if key == "designation" else obsid or designation
    return np.array([spectrum], object), np.array([catalog_key or spectrum], object)


def _read_text(header: Header, name: str) -> str:
    value = header.get(name)
    if value is None:
        return ""
    return str(value).strip()


def _read_first_number(header: Header, *names: str) -> np.ndarray:
    """Return a number by the first name that the header has, NaN where it has none: (1,)."""
    for name in names:
        if name in header:
            return np.full(1, read_number(header, name))
    return np.full(1, np.nan)


def _read_facts(header: Header) -> Columns:
    return {
        "ra": _read_first_number(header, "RA"),
        "dec": _read_first_number(header, "DEC"),
        "obsid": np.array([_read_text(header, "OBSID")], object),
        "designation": np.array([_read_text(header, "DESIG")], object),
    }


_OPTIONS = (
    Option("mask", "and", ("and", "or"), "bits set in all exposures of a pixel, or in any"),
    Option(
        "key",
        "obsid",
        ("obsid", "designation"),
        "what catalogues know it by: the spectrum's OBSID (where there is one), or the star's "
        "designation",
    ),
)

FORMATS = (
    Format(
        name="lamost-lrs",
        doc="LAMOST at low resolution, layouts to DR8 and from DR9",
        reader=read_lrs,
        grid=LRS_GRID,
        bits=BITS,
        bad=BAD,
        continuum="chebyshev",
        options=_OPTIONS,
        velocities=True,
        pattern=("spec-*.fits",),
        tried="real",
    ),
    Format(
        name="lamost-mrs",
        doc="coadds of LAMOST at medium resolution, both arms, layouts to DR8 and from DR9",
        reader=read_mrs,
        grid=MRS_GRID,
        bits=BITS,
        bad=BAD,
        continuum="chebyshev",
        rest_frame=False,
        options=_OPTIONS,
        velocities=True,
        pattern=("med-*.fits",),
        tried="real",
    ),
)
