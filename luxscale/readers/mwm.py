"""Spectra of SDSS-V's Milky Way Mapper: mwmStar and mwmVisit files, by APOGEE or BOSS.

Both kinds of file are in the star's rest frame, on the instrument's grid; the velocity that was
taken out is the column ``v_rad``. An instrument is a format of its own, since its grid and its
mask's bits are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from luxscale.readers import apogee, boss
from luxscale.readers.base import (
    BadFile,
    Format,
    HduList,
    Header,
    Option,
    Spectra,
    Table,
    open_fits,
    read_column,
    read_number,
    read_table,
)

#: What goes with an instrument: grid, names of the mask's bits, and the bad ones.
INSTRUMENTS: dict[str, tuple[np.ndarray, dict[str, int], tuple[str, ...]]] = {
    "APOGEE": (apogee.GRID, apogee.BITS, apogee.BAD),
    "BOSS": (boss.GRID, boss.BITS, boss.BAD),
}

#: Relative; wavelengths in the files are float32.
ROUNDING = 1e-6

MOST_ROWS = 1000

Columns = dict[str, np.ndarray]


def read_mwmstar(path: str | Path, *, instrument: str, flux: str = "observed") -> Iterator[Spectra]:
    """Read an mwmStar file: the star's stacked spectrum, or the model that fits it best.

    The model is that by which the file's continuum was found, times this.

    A star observed from both observatories has two, of different line spread: the one of higher S/N
    is read, and the column ``n_spectra`` says how many there are.

    Raises
    ------
    BadFile
        Also if the instrument has not observed the star.
    """
    with open_fits(path) as hdus:
        spectra, columns = read_instrument(hdus, instrument, "wavelength", "mjd")
        n_spectra = len(columns["snr"])
        columns["n_spectra"] = np.full(n_spectra, n_spectra)
        known_snr = np.nan_to_num(columns["snr"], nan=-np.inf)
        best = [int(np.argmax(known_snr))]
        spectra, columns = take_rows(spectra, best), take_rows(columns, best)
        star = columns.pop("sdss_id")
        grid = INSTRUMENTS[instrument][0]
        wavelength = restore_grid(spectra.pop("wavelength")[0], grid)
        spectra["flux"] = choose_flux(flux, spectra, spectra.pop("rectified_model"))
    yield Spectra(star=star, wavelength=wavelength, **spectra, columns=columns)


def choose_flux(which: str, spectra: Columns, model: np.ndarray | None) -> np.ndarray:
    """Return the flux of spectra as observed, or of their best fits.

    Parameters
    ----------
    which : str
        ``"observed"`` or ``"model"``.
    spectra : dict of str to array, (star, pixel)
    model : array, (star, pixel), optional
        Over the continuum of the spectra.

    Raises
    ------
    BadFile
        If there is no model.
    """
    if which == "observed":
        return spectra["flux"]
    if model is None:
        raise BadFile("no best fit in it: leave out flux=model")
    return model * spectra["continuum"]


def restore_grid(wavelength: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the instrument's grid where wavelengths are that but for rounding: (pixel,)."""
    if len(wavelength) == len(grid):
        is_grid = np.allclose(wavelength, grid, rtol=ROUNDING, atol=0)
        if is_grid:
            return grid
    with np.errstate(invalid="ignore"):
        return wavelength.astype(float)


def read_mwmvisit(path: str | Path, *, instrument: str, rows: str = "stacked") -> Iterator[Spectra]:
    """Read an mwmVisit file: a spectrum per visit, as a star named ``SDSS_ID-SPECTRUM_PK``.

    Visits that did not go into the star's stack are left out (``rows="stacked"``): of most of these
    no velocity is known, so they are not in the rest frame. Files that do not say which they are
    (APOGEE in DR19) hold stacked ones.

    Raises
    ------
    BadFile
        Also if the instrument has no such visits of the star.
    """
    with open_fits(path) as hdus:
        spectra, columns = read_instrument(hdus, instrument, "mjd", "wavelength")
        grid = INSTRUMENTS[instrument][0]
        n_visits, n_pixels = spectra["flux"].shape
        if n_pixels != len(grid):
            raise BadFile(f"{n_pixels} pixels, where {instrument} has {len(grid)}")
        selected = np.arange(n_visits)
        if rows == "stacked":
            selected = np.flatnonzero(columns["in_stack"] != 0)
        if not len(selected):
            raise BadFile(f"none of the {n_visits} visits went into the stack; rows=all reads them")
        spectra, columns = take_rows(spectra, selected), take_rows(columns, selected)
        key = columns.pop("sdss_id")
        spectrum_pk = columns.pop("spectrum_pk")
        pairs = zip(key.tolist(), spectrum_pk.tolist(), strict=True)
        names = [f"{name}-{number}" if name > 0 else "" for name, number in pairs]
        star = np.array(names, object)
    yield Spectra(star=star, wavelength=grid, **spectra, key=key, columns=columns)


def read_instrument(
    hdus: HduList, instrument: str, with_column: str, without: str
) -> tuple[Columns, Columns]:
    """Return the spectra of an instrument and what is known of them.

    Those of one observatory come after those of the other.

    Raises
    ------
    BadFile
    """
    spectra, columns = [], []
    for name in (f"{instrument}/APO", f"{instrument}/LCO"):
        rows = read_table(hdus, name)
        if with_column not in rows or without in rows:
            raise BadFile(
                f"HDU {name!r} should have a column {with_column}, and none {without}: another "
                "kind of file"
            )
        if len(rows) > MOST_ROWS:
            raise BadFile(f"{len(rows)} spectra in HDU {name!r}")
        if len(rows):
            spectra.append(_read_spectra(rows, with_column))
            columns.append(_read_columns(rows, hdus[0].header))
    if not spectra:
        raise BadFile(
            f"no spectrum by {instrument}: HDUs {instrument}/APO and {instrument}/LCO are empty"
        )
    return _join_parts(spectra), _join_parts(columns)


def _join_parts(parts: list[Columns]) -> Columns:
    shapes = {values.shape[1:] for part in parts for values in part.values()}
    if len(shapes) > 1:
        lengths = " and ".join(str(shape[0]) for shape in shapes)
        raise BadFile(f"spectra of {lengths} pixels in one file")
    joined = {}
    for name in parts[0]:
        joined[name] = np.concatenate([part[name] for part in parts])
    return joined


def take_rows(columns: Columns, rows: Any) -> Columns:
    """Return some rows of all columns."""
    return {name: values[rows] for name, values in columns.items()}


def _read_spectra(rows: Table, with_column: str) -> Columns:
    names = ["flux", "ivar", "continuum", "pixel_flags"]
    if with_column == "wavelength":
        names += ["wavelength", "nmf_rectified_model_flux"]
    spectra = {name: read_column(rows, name) for name in names}
    for name, values in spectra.items():
        if values.ndim != 2 or values.dtype.kind not in "iuf":
            raise BadFile(f"column {name!r} of shape {values.shape} holds no spectra")
    spectra["mask"] = _convert_bits(spectra.pop("pixel_flags"))
    if with_column == "wavelength":
        spectra["rectified_model"] = spectra.pop("nmf_rectified_model_flux")
    return spectra


def _convert_bits(flags: np.ndarray) -> np.ndarray:
    """Return bits that are declared float32 as integers; what is no such number has none.

    float32 has 24 bits: beside one of BOSS's bits from 24 up, the lowest may have been lost when
    the file was written.
    """
    is_bits = (flags >= 0) & (flags < 2**32)
    return np.where(is_bits, flags, 0).astype(np.int64)


def _read_columns(rows: Table, header: Header) -> Columns:
    """Return the facts of each row: (row,)."""
    n_rows = len(rows)
    velocity = "v_rad" if "v_rad" in rows else "xcsao_v_rad"
    telescope = np.full(n_rows, "", object)
    if "telescope" in rows:
        telescope = rows["telescope"].astype(object)
    columns = {
        "sdss_id": _read_number_column(rows, ("sdss_id",)),
        "snr": _read_number_column(rows, ("snr",)).astype(float),
        "v_rad": _read_number_column(rows, (velocity,), np.nan).astype(float),
        "telescope": telescope,
        "ra": np.full(n_rows, read_number(header, "RA")),
        "dec": np.full(n_rows, read_number(header, "DEC")),
        "gaia_dr3_source_id": np.full(n_rows, _check_identifier(header.get("GAIA3_ID"))),
        "apogee_id": np.full(n_rows, str(header.get("APOGEEID") or ""), object),
    }
    is_named = columns["sdss_id"] > 0
    if columns["sdss_id"].dtype.kind != "i" or not is_named.any():
        raise BadFile("no sdss_id: which star is it?")
    columns["sdss_id"] = np.where(is_named, columns["sdss_id"], -1)
    if "mjd" not in rows:
        columns["n_visits"] = _read_number_column(rows, ("n_visits",), -1)
        return columns
    columns["spectrum_pk"] = _read_number_column(rows, ("spectrum_pk", "spectrum_pk_id"))
    columns["mjd"] = _read_number_column(rows, ("mjd",))
    columns["in_stack"] = _read_number_column(rows, ("in_stack",), -1).astype(int)
    return columns


def _read_number_column(
    rows: Table, names: tuple[str, ...], missing: float | None = None
) -> np.ndarray:
    """Return the column of numbers that has one of these names, by release: (row,)."""
    for name in names:
        if name in rows:
            values = rows.get_identifiers(name)
            if values.shape != (len(rows),) or values.dtype.kind not in "iufb":
                raise BadFile(f"column {name!r} is not one number per row")
            return values
    if missing is None:
        raise BadFile(f"table without column {names[0]!r}")
    return np.full(len(rows), missing)


def _check_identifier(value: Any) -> int:
    """Return an identifier of a header, -1 for what is none."""
    if type(value) is int and 0 < value < 2**63:
        return value
    return -1


def _make_format(
    kind: str, doc: str, read: Callable[..., Iterator[Spectra]], instrument: str, *options: Option
) -> Format:
    grid, bits, bad = INSTRUMENTS[instrument]
    return Format(
        name=f"{kind}-{instrument}".lower(),
        doc=f"{instrument} spectra of SDSS-V's Milky Way Mapper, {doc} (SDSS DR19, DR20)",
        reader=functools.partial(read, instrument=instrument),
        grid=grid,
        bits=bits,
        bad=bad,
        continuum="file",
        pattern=(f"{kind}-*.fits",),
        options=options,
    )


_ROWS = Option(
    "rows", "stacked", ("stacked", "all"), "visits that went into the star's stack, or all of them"
)

#: What stands in a survey as the flux.
FLUX = Option(
    "flux", "observed", ("observed", "model"), "the star's, or that of the best fit to it"
)

FORMATS = (
    *(
        _make_format("mwmStar", "combined per star", read_mwmstar, instrument, FLUX)
        for instrument in INSTRUMENTS
    ),
    *(
        _make_format("mwmVisit", "per visit", read_mwmvisit, instrument, _ROWS)
        for instrument in INSTRUMENTS
    ),
)
