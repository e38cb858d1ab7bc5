"""Continuous XP spectra of Gaia: coefficients of 55 basis functions in each of two bands.

They are read as sampled spectra, by GaiaXPy's calibration, or as the coefficients themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from luxscale.readers.base import BadFile, Format, Spectra, compute_ivar
from luxscale.readers.gaia import GRID, TABLES, describe_rows
from luxscale.readers.gaia_calibration import (
    BANDS,
    N_COEFFICIENTS,
    N_CORRELATIONS,
    BandRows,
    find_positive_definite,
    sample_bands,
)
from luxscale.readers.gaia_rows import Columns, XpRows
from luxscale.readers.gaia_tables import read_table_rows

#: The basis functions that coefficients of DR3 are of; those of another release mean other spectra.
_BASES = {"bp": 56, "rp": 57}

#: The pixels of coefficients are their numbers, of BP first.
NUMBERS = 1.0 + np.arange(2 * N_COEFFICIENTS)

_ARRAYS = tuple(
    f"{band}_{name}"
    for band in BANDS
    for name in ("coefficients", "coefficient_errors", "coefficient_correlations")
)
_NUMBERS = ("ra", "dec", *(f"{band}_basis_function_id" for band in BANDS))


def read_continuous(path: str | Path) -> Iterator[Spectra]:
    """Read continuous spectra as sampled ones, flux and errors as GaiaXPy's ``calibrate`` has them.

    A source of one band has no flux outside of it. What cannot be sampled is told by its row: no
    correlations, or a matrix of them that is not positive definite; coefficients that are not all
    numbers, or not of DR3.

    Raises
    ------
    BadFile
    """
    for rows, bands, has, unfit in _read_bands(path):
        for band in BANDS:
            _explain_correlations(unfit, band, bands[band], has[band])
        flux = np.full((len(rows.star), len(GRID)), np.nan)
        error = flux.copy()
        for names in (("bp", "rp"), ("bp",), ("rp",)):
            chosen = unfit == ""
            for band in BANDS:
                chosen &= has[band] == (band in names)
            if chosen.any():
                part = {band: _take_rows(bands[band], chosen) for band in names}
                flux[chosen], error[chosen] = sample_bands(part)
        yield Spectra(
            star=rows.star,
            flux=flux,
            ivar=compute_ivar(error),
            wavelength=GRID,
            unfit=unfit,
            columns=_describe(rows, has),
        )


def read_coefficients(path: str | Path) -> Iterator[Spectra]:
    """Read the coefficients of both bands, in place of flux, with their errors.

    The continuum is the mean of the two bands' first coefficients, which measure the brightness: a
    source of one band is told by its row. No ivar tells that errors are correlated.

    Raises
    ------
    BadFile
    """
    for rows, bands, has, unfit in _read_bands(path):
        for band in BANDS:
            is_lacking = ~has[band] & (unfit == "")
            unfit[is_lacking] = (
                f"no {band.upper()} coefficients: one band alone tells no brightness; "
                "gaia-xp-continuous reads it"
            )
        flux = np.concatenate([bands[band].coefficients for band in BANDS], axis=1)
        error = np.concatenate([bands[band].errors for band in BANDS], axis=1)
        first = [0, N_COEFFICIENTS]
        level = flux[:, first].mean(1, keepdims=True)
        # others are as often below 0 as above, and their median S/N says nothing
        snr = level[:, 0] / (np.hypot(*error[:, first].T) / 2)
        yield Spectra(
            star=rows.star,
            flux=flux,
            ivar=compute_ivar(error),
            wavelength=NUMBERS,
            continuum=np.broadcast_to(level, flux.shape),
            unfit=unfit,
            columns={**_describe(rows, has), "snr": snr},
        )


def _read_bands(
    path: str | Path,
) -> Iterator[tuple[XpRows, dict[str, BandRows], dict[str, np.ndarray], np.ndarray]]:
    """Yield rows, what they say of each band, which bands are complete, and why rows are unfit."""
    columns = Columns(arrays=_ARRAYS, numbers=_NUMBERS, check=_check_columns)
    for rows in read_table_rows(path, columns):
        bands = {band: _take_band(rows, band) for band in BANDS}
        has = {band: _find_complete(bands[band]) for band in BANDS}
        yield rows, bands, has, _explain_unfit(rows, bands, has)


def _check_columns(names: Sequence[str]) -> None:
    if "flux" in names and "bp_coefficients" not in names:
        raise BadFile("sampled spectra, a flux for each wavelength: gaia-xp reads them")
    for name in ("source_id", *(f"{band}_coefficients" for band in BANDS)):
        if name not in names:
            raise BadFile(
                f"no column {name!r}, which continuous XP spectra have; there are: "
                f"{', '.join(list(names)[:20])}"
            )


def _take_band(rows: XpRows, band: str) -> BandRows:
    """Return what rows say of a band, NaN where that is nothing."""
    arrays = []
    for name, n_values in (
        ("coefficients", N_COEFFICIENTS),
        ("coefficient_errors", N_COEFFICIENTS),
        ("coefficient_correlations", N_CORRELATIONS),
    ):
        values = rows.arrays.get(f"{band}_{name}", np.zeros((len(rows.star), 0)))
        if values.shape[1] not in (0, n_values):
            raise BadFile(
                f"{band}_{name} has {values.shape[1]} numbers a source, where DR3 has {n_values}"
            )
        if not values.shape[1]:
            values = np.full((len(rows.star), n_values), np.nan)
        arrays.append(values.astype(float))
    return BandRows(*arrays)


def _take_rows(band: BandRows, chosen: np.ndarray) -> BandRows:
    return BandRows(
        band.coefficients[chosen],
        band.errors[chosen],
        band.correlations[chosen],
    )


def _find_complete(band: BandRows) -> np.ndarray:
    """Return which rows have all coefficients and errors of a band: bool, (row,)."""
    has_errors = np.isfinite(band.errors) & (band.errors > 0)
    return np.isfinite(band.coefficients).all(1) & has_errors.all(1)


def _explain_unfit(
    rows: XpRows, bands: dict[str, BandRows], has: dict[str, np.ndarray]
) -> np.ndarray:
    """Return why rows are no spectra, "" of those that are: (row,)."""
    unfit = np.full(len(rows.star), "", object)
    unfit[~(has["bp"] | has["rp"])] = "no coefficients in either band"
    for band in BANDS:
        is_damaged = ~has[band] & np.isfinite(bands[band].coefficients).any(1)
        unfit[is_damaged] = (
            f"{band.upper()} coefficients that are not all numbers, or errors of them not above 0"
        )
        basis = rows.get_number(f"{band}_basis_function_id")
        for row in np.flatnonzero(has[band] & np.isfinite(basis) & (basis != _BASES[band])):
            unfit[row] = (
                f"not of DR3: {band.upper()} coefficients of basis functions {basis[row]:g}, "
                f"where those of DR3 are {_BASES[band]}"
            )
    return unfit


def _explain_correlations(unfit: np.ndarray, band: str, rows: BandRows, has: np.ndarray) -> None:
    """Say of which rows the correlations of a band do not give errors of samples."""
    known = np.isfinite(rows.correlations).all(1)
    unfit[has & ~known & (unfit == "")] = (
        f"no correlations of {band.upper()} coefficients, which errors of samples depend on; "
        "gaia-xp-coefficients reads it without"
    )
    checked = has & (unfit == "")
    is_bad = np.zeros(len(unfit), bool)
    is_bad[checked] = ~find_positive_definite(rows.correlations[checked])
    unfit[is_bad] = (
        f"correlations of {band.upper()} coefficients that are not positive definite; "
        "gaia-xp-coefficients reads it without"
    )


def _describe(rows: XpRows, has: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the facts of each row: (row,)."""
    columns = describe_rows(rows)
    is_dr3 = np.ones(len(rows.star), bool)
    for band in BANDS:
        is_dr3 &= ~has[band] | (rows.get_number(f"{band}_basis_function_id") == _BASES[band])
    is_dr3 &= has["bp"] | has["rp"]
    columns["gaia_release"] = np.where(is_dr3, "DR3", columns["gaia_release"]).astype(object)
    names = {(True, True): "bp+rp", (True, False): "bp", (False, True): "rp", (False, False): ""}
    pairs = zip(has["bp"].tolist(), has["rp"].tolist(), strict=True)
    columns["bands"] = np.array([names[pair] for pair in pairs], object)
    return columns


FORMATS = (
    Format(
        name="gaia-xp-continuous",
        doc="continuous XP spectra of Gaia DR3, sampled by GaiaXPy (CSV, ECSV, FITS, VOTable)",
        reader=read_continuous,
        grid=GRID,
        units="nm",
        continuum="scale",
        pattern=TABLES,
        many=True,
        tried="real",
    ),
    Format(
        name="gaia-xp-coefficients",
        doc="continuous XP spectra of Gaia DR3 as their 110 coefficients, over their brightness",
        reader=read_coefficients,
        grid=NUMBERS,
        units="1",
        continuum="file",
        most_error=None,  # coefficients have no flux in common, and the greatest have the errors
        pattern=TABLES,
        many=True,
        general=True,
        tried="real",
    ),
)
