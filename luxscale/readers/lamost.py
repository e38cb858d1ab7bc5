"""Spectra of LAMOST: low resolution (LRS) and medium resolution (MRS), as both of its layouts of files hold them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.apogee import number_in
from luxscale.readers.base import (
    BadFile,
    Format,
    HduList,
    Header,
    Option,
    Spectra,
    Table,
    image,
    open_fits,
    table,
)
from luxscale.readers.boss import LIGHT, LOG_START, LOG_STEP, place

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

Columns = dict[str, np.ndarray]


def read_lrs(path: str | Path, *, mask: str = "and", key: str = "obsid") -> Iterator[Spectra]:
    """Read a low-resolution file: to DR8 an image of five rows, from DR9 a table of one row.

    The wavelengths are heliocentric: the velocity is ``c Z``, with the pipeline's redshift. Of the
    first releases the third row is no wavelength but the flux over a continuum; there the header
    has the wavelengths, as in others too.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus, np.errstate(all="ignore"):
        header = hdus[0].header
        flux, ivar, wavelength, bits = (
            _rows(hdus, mask) if hdus[0].shape else _one_row(table(hdus, 1), mask)
        )
        if not (wavelength[0] > 1000 and (wavelength[1:] > wavelength[:-1]).all()):
            wavelength = _from_header(header, len(flux))
        wavelength = place(_log10(wavelength))
        snr = {
            f"snr{band}": _number(header, f"SNR{band.upper()}", f"SN_{band.upper()}")
            for band in "ugriz"
        }
        # of the five, the pipeline's own choice for whether a spectrum has parameters
        columns = {"snr": snr["snrg"], **snr, **_about(header)}
        star, known = _names(header, key)
        velocity = LIGHT * _number(header, "Z")
    yield Spectra(
        star,
        flux[None],
        ivar[None],
        wavelength,
        _bits(bits)[None],
        velocity=velocity,
        key=known,
        columns=columns,
    )


def _rows(hdus: HduList, mask: str) -> tuple[np.ndarray, ...]:
    rows = image(hdus, 0)
    if len(rows) != 5:
        raise BadFile(
            f"{len(rows)} rows in HDU 0; five are flux, ivar, wavelength, andmask, ormask"
        )
    return rows[0], rows[1], rows[2], rows[3 if mask == "and" else 4]


def _from_header(header: Header, n: int) -> np.ndarray:
    start, step = number_in(header, "COEFF0"), number_in(header, "COEFF1")
    if not (3 < start < 5 and 0 < step < 0.01 and start + step * n < 5):
        raise BadFile(
            f"no wavelengths: neither a row of them, nor COEFF0 and COEFF1 ({start:g}, {step:g})"
        )
    return 10 ** (start + step * np.arange(n))


def _log10(wavelength: np.ndarray) -> np.ndarray:
    if not (wavelength > 0).all():
        raise BadFile("wavelengths that are not positive")
    return np.log10(wavelength.astype(float))


def _one_row(rows: Table, mask: str) -> tuple[np.ndarray, ...]:
    """Return flux, ivar, wavelength and mask of a table that has them as arrays of its one row: (pixel,) each."""
    if len(rows) != 1:
        raise BadFile(f"{len(rows)} rows in a table that should have one")
    found = [
        np.atleast_1d(rows[name][0])
        for name in ("FLUX", "IVAR", "WAVELENGTH", f"{mask.upper()}MASK")
    ]
    return _same_length(found)


def read_mrs(path: str | Path, *, mask: str = "and", key: str = "obsid") -> Iterator[Spectra]:
    """Read the coadds of a medium-resolution file, both arms as one spectrum; a file may lack one of them.

    The wavelengths are heliocentric. A velocity is in no file known to us: the catalogues have it.
    Where a header has ``Z``, the velocity is ``c Z``.

    Raises
    ------
    BadFile
    """
    with open_fits(path) as hdus, np.errstate(all="ignore"):
        header = hdus[0].header
        arms = [name for name in ("COADD_B", "COADD_R") if name in hdus]
        if not arms:
            raise BadFile(
                "neither COADD_B nor COADD_R in it: no coadd, or no file of the medium resolution"
            )
        parts = [_arm(table(hdus, name), mask) for name in arms]
        flux, ivar, wavelength, bits = (
            np.concatenate(arrays) for arrays in zip(*parts, strict=True)
        )
        given = {name: _number(hdus[name].header, "SNR") for name in arms}
        snr = np.concatenate(
            [given.get(name, np.full(1, np.nan)) for name in ("COADD_B", "COADD_R")]
        )
        known_snr = snr[np.isfinite(snr)]
        mean = known_snr.mean(keepdims=True) if known_snr.size else np.full(1, np.nan)
        columns = {"snr": mean, "snr_b": snr[:1], "snr_r": snr[1:], **_about(header)}
        star, known = _names(header, key)
        velocity = LIGHT * _number(header, "Z")
    yield Spectra(
        star,
        flux[None],
        ivar[None],
        wavelength,
        _bits(bits)[None],
        velocity=velocity,
        key=known,
        columns=columns,
    )


def _arm(rows: Table, mask: str) -> list[np.ndarray]:
    """Return flux, ivar, wavelength and mask of an arm, ascending: a row a pixel, or from DR9 all of them in one."""
    if "LOGLAM" not in rows:
        arrays = list(_one_row(rows, mask))
    else:
        arrays = list(
            _same_length([rows[name] for name in ("FLUX", "IVAR", "LOGLAM", f"{mask.upper()}MASK")])
        )
        if not (np.abs(arrays[2]) < 6).all():
            raise BadFile("LOGLAM is no logarithm of wavelengths")
        arrays[2] = 10 ** arrays[2].astype(float)
    order = np.argsort(arrays[2], kind="stable")
    return [array[order] for array in arrays]


def _same_length(arrays: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    shapes = {array.shape for array in arrays}
    if (
        len(shapes) > 1
        or arrays[0].ndim != 1
        or any(array.dtype.kind not in "iuf" for array in arrays)
    ):
        raise BadFile(
            "flux, ivar, wavelength and mask should be as many numbers each, and have shapes "
            f"{shapes}"
        )
    return tuple(arrays)


def _bits(values: np.ndarray) -> np.ndarray:
    """Return bits that are written as float32 as integers; what is no number that could have bits has none."""
    return np.where((values >= 0) & (values < _MOST_MASK), values, 0).astype(np.int32)


def _names(header: Header, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what LAMOST calls the spectrum, as it does the file, and what catalogues do: (1,) each."""
    spectrum, obsid, designation = (_text(header, name) for name in ("FILENAME", "OBSID", "DESIG"))
    spectrum = spectrum.removesuffix(".gz").removesuffix(".fits") or obsid
    if not spectrum:
        raise BadFile("neither FILENAME nor OBSID in the header: which spectrum is it?")
    known = designation if key == "designation" else obsid or designation
    return np.array([spectrum], object), np.array([known or spectrum], object)


def _text(header: Header, name: str) -> str:
    value = header.get(name)
    return "" if value is None else str(value).strip()


def _number(header: Header, *names: str) -> np.ndarray:
    """Return a number by the first name that the header has, NaN where it has none: (1,)."""
    name = next((n for n in names if n in header), names[0])
    return np.full(1, number_in(header, name))


def _about(header: Header) -> Columns:
    return {
        "ra": _number(header, "RA"),
        "dec": _number(header, "DEC"),
        "obsid": np.array([_text(header, "OBSID")], object),
        "designation": np.array([_text(header, "DESIG")], object),
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
        "lamost-lrs",
        "LAMOST at low resolution, layouts to DR8 and from DR9",
        read_lrs,
        grid=LRS_GRID,
        bits=BITS,
        bad=BAD,
        continuum="chebyshev",
        options=_OPTIONS,
        velocities=True,
        pattern=("spec-*.fits", "spec-*.fits.gz"),
        tried="real",
    ),
    Format(
        "lamost-mrs",
        "coadds of LAMOST at medium resolution, both arms, layouts to DR8 and from DR9",
        read_mrs,
        grid=MRS_GRID,
        bits=BITS,
        bad=BAD,
        continuum="chebyshev",
        rest_frame=False,
        options=_OPTIONS,
        velocities=True,
        pattern=("med-*.fits", "med-*.fits.gz"),
    ),
)
