"""Best fits of SDSS-V's pipelines, astraStar files: spectra over the continuum of a fit.

An astraStar file has the model of a pipeline (ASPCAP, The Payne, ...) and the continuum that goes
with it, but not the spectrum, which is in the mwmStar file of the star.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.base import BadFile, Format, Spectra, Table, open_fits, read_table
from luxscale.readers.mwm import (
    FLUX,
    INSTRUMENTS,
    MOST_ROWS,
    choose_flux,
    read_instrument,
    restore_grid,
    take_rows,
)

#: How the archive calls the folders of fits, and of spectra.
_FITS, _SPECTRA = f"{os.sep}results{os.sep}star{os.sep}", f"{os.sep}spectra{os.sep}star{os.sep}"


def read_astrastar(
    path: str | Path, *, instrument: str, flux: str = "observed"
) -> Iterator[Spectra]:
    """Read the fit of a pipeline to the star's stacked spectrum, and that spectrum.

    The spectrum is in the mwmStar file of the same version and SDSS_ID, beside or in the folder
    that the archive has for it. Of a star that was observed from both observatories it is that of
    higher S/N that was fitted.

    Raises
    ------
    BadFile
        Also if the pipeline has not fitted the star, or its spectrum is not there.
    """
    fits = _read_fits(path, instrument)
    spectrum_file = find_spectrum_file(str(path))
    try:
        with open_fits(spectrum_file) as hdus:
            spectra, columns = read_instrument(hdus, instrument, "wavelength", "mjd")
    except BadFile as error:
        raise BadFile(
            f"{os.path.basename(spectrum_file)}, which has its spectrum: {error}"
        ) from error
    row = _find_best(columns, fits)
    spectra, columns = take_rows(spectra, [row]), take_rows(columns, [row])
    fit = fits[str(columns["telescope"][0])]
    wavelength = restore_grid(spectra.pop("wavelength")[0], INSTRUMENTS[instrument][0])
    spectra.pop("rectified_model")
    shape = spectra["flux"].shape
    if fit["continuum"].shape != shape or fit["model_flux"].shape != shape:
        raise BadFile(f"a fit of {fit['continuum'].shape[1]} pixels to a spectrum of {shape[1]}")
    spectra["continuum"] = fit["continuum"]
    spectra["flux"] = choose_flux(flux, spectra, fit["model_flux"])
    columns["rchi2"] = fit["rchi2"]
    yield Spectra(star=columns.pop("sdss_id"), wavelength=wavelength, **spectra, columns=columns)


def find_spectrum_file(path: str) -> str:
    """Return the mwmStar file of a star by its astraStar file: beside, or as the archive has it."""
    folder, name = os.path.split(os.path.abspath(path))
    _, dash, rest = name.partition("-")
    if not name.startswith("astraStar") or not dash:
        raise BadFile("not named astraStarPIPELINE-VERSION-SDSS_ID: which spectrum was fitted?")
    beside = os.path.join(folder, f"mwmStar-{rest}")
    in_archive = f"{folder}{os.sep}".replace(_FITS, _SPECTRA)
    for found in (beside, os.path.join(in_archive, f"mwmStar-{rest}")):
        if os.path.isfile(found):
            return found
    there = "beside it" if _FITS not in folder + os.sep else f"beside it, nor in {in_archive}"
    raise BadFile(
        f"no mwmStar-{rest} {there}, which has the spectrum that was fitted; fetch it, too"
    )


def _read_fits(path: str | Path, instrument: str) -> dict[str, dict[str, np.ndarray]]:
    """Return the fit to the spectrum of each telescope; the latest, which stands first."""
    fits: dict[str, dict[str, np.ndarray]] = {}
    with open_fits(path) as hdus:
        for site in ("APO", "LCO"):
            rows = read_table(hdus, f"{instrument}/{site}")
            if "model_flux" not in rows or "continuum" not in rows:
                raise BadFile(
                    f"HDU '{instrument}/{site}' has no model_flux with a continuum: no astraStar "
                    "file, or of a pipeline that fits none"
                )
            if not 0 < len(rows) <= MOST_ROWS:
                continue
            telescopes = rows["telescope"]
            if telescopes.dtype.kind != "U" or telescopes.ndim != 1:
                raise BadFile("telescope is no text")
            for row, telescope in enumerate(telescopes.tolist()):
                if telescope not in fits:
                    fits[telescope] = _take_fit(rows, row)
    if not fits:
        raise BadFile(f"no fit to a spectrum by {instrument}")
    return fits


def _take_fit(rows: Table, row: int) -> dict[str, np.ndarray]:
    fit = {}
    for name in ("continuum", "model_flux"):
        values = rows[name]
        if values.ndim != 2 or values.dtype.kind != "f":
            raise BadFile(f"column {name!r} of shape {values.shape} holds no spectra")
        fit[name] = values[row : row + 1]
    fit["rchi2"] = np.full(1, np.nan)
    if "rchi2" in rows and rows["rchi2"].shape == (len(rows),):
        fit["rchi2"] = rows["rchi2"][row : row + 1].astype(float)
    return fit


def _find_best(columns: dict[str, np.ndarray], fits: dict[str, dict[str, np.ndarray]]) -> int:
    """Return the row of the spectrum of highest S/N that was fitted."""
    is_fitted = np.array([telescope in fits for telescope in columns["telescope"].tolist()], bool)
    if not is_fitted.any():
        raise BadFile("the spectra of the star are of other telescopes than its fits")
    snr = np.nan_to_num(columns["snr"], nan=-1e30)
    return int(np.argmax(np.where(is_fitted, snr, -np.inf)))


FORMATS = tuple(
    Format(
        name=f"astrastar-{instrument}".lower(),
        doc=f"{instrument} spectra over the continuum of a pipeline's fit (SDSS DR19, DR20)",
        reader=functools.partial(read_astrastar, instrument=instrument),
        grid=grid,
        bits=bits,
        bad=bad,
        continuum="file",
        pattern=("astraStar*.fits",),
        options=(FLUX,),
    )
    for instrument, (grid, bits, bad) in INSTRUMENTS.items()
)
