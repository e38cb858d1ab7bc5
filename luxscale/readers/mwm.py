"""Spectra of SDSS-V's Milky Way Mapper: mwmStar and mwmVisit files, by APOGEE or BOSS, from both observatories.

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
    field,
    open_fits,
    table,
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


def read_mwmstar(path: str | Path, *, instrument: str) -> Iterator[Spectra]:
    """Read an mwmStar file: the star's stacked spectrum.

    A star observed from both observatories has two, of different line spread: the one of higher S/N
    is read, and the column ``n_spectra`` says how many there are.

    Raises
    ------
    BadFile
        Also if the instrument has not observed the star.
    """
    with open_fits(path) as hdus:
        spectra, columns = _read(hdus, instrument, "wavelength", "mjd")
        wavelength = spectra.pop("wavelength")
        best = [int(np.argmax(np.nan_to_num(columns["snr"], nan=-np.inf)))]
        columns["n_spectra"] = np.full(len(wavelength), len(wavelength))
        star = columns.pop("sdss_id")[best]
        grid = INSTRUMENTS[instrument][0]
        same = wavelength.shape[1] == len(grid) and np.allclose(
            wavelength[best[0]], grid, rtol=ROUNDING, atol=0
        )
        with np.errstate(invalid="ignore"):
            pixels = grid if same else wavelength[best[0]].astype(float)
    yield Spectra(star, wavelength=pixels, **_take(spectra, best), columns=_take(columns, best))


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
        spectra, columns = _read(hdus, instrument, "mjd", "wavelength")
        grid = INSTRUMENTS[instrument][0]
        if spectra["flux"].shape[1] != len(grid):
            raise BadFile(f"{spectra['flux'].shape[1]} pixels, where {instrument} has {len(grid)}")
        take = (
            np.flatnonzero(columns["in_stack"] != 0)
            if rows == "stacked"
            else np.arange(len(columns["snr"]))
        )
        if not len(take):
            raise BadFile(
                f"none of the {len(columns['snr'])} visits went into the stack; rows=all reads them"
            )
        spectra, columns = _take(spectra, take), _take(columns, take)
        key, number = columns.pop("sdss_id"), columns.pop("spectrum_pk")
        star = np.array(
            [f"{a}-{b}" for a, b in zip(key.tolist(), number.tolist(), strict=True)], object
        )
    yield Spectra(star, wavelength=grid, **spectra, key=key, columns=columns)


def _read(
    hdus: HduList, instrument: str, with_column: str, without: str
) -> tuple[Columns, Columns]:
    """Return the spectra of an instrument and what is known of them, both observatories one after the other."""
    parts = []
    for name in (f"{instrument}/APO", f"{instrument}/LCO"):
        rows = table(hdus, name)
        if with_column not in rows or without in rows:
            raise BadFile(
                f"HDU {name!r} should have a column {with_column}, and none {without}: another "
                "kind of file"
            )
        if len(rows) > MOST_ROWS:
            raise BadFile(f"{len(rows)} spectra in HDU {name!r}")
        if len(rows):
            parts.append((_spectra(rows, with_column), _columns(rows, hdus[0].header)))
    if not parts:
        raise BadFile(
            f"no spectrum by {instrument}: HDUs {instrument}/APO and {instrument}/LCO are empty"
        )
    return _join([part[0] for part in parts]), _join([part[1] for part in parts])


def _join(parts: list[Columns]) -> Columns:
    shapes = {values.shape[1:] for part in parts for values in part.values()}
    if len(shapes) > 1:
        raise BadFile(
            f"spectra of {' and '.join(str(shape[0]) for shape in shapes)} pixels in one file"
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _take(columns: Columns, rows: Any) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


def _spectra(rows: Table, with_column: str) -> Columns:
    names = [
        "flux",
        "ivar",
        "continuum",
        "pixel_flags",
        *(["wavelength"] if with_column == "wavelength" else []),
    ]
    spectra = {name: field(rows, name) for name in names}
    for name, values in spectra.items():
        if values.ndim != 2 or values.dtype.kind not in "iuf":
            raise BadFile(f"column {name!r} of shape {values.shape} holds no spectra")
    spectra["mask"] = _bits(spectra.pop("pixel_flags"))
    return spectra


def _bits(flags: np.ndarray) -> np.ndarray:
    """Return bits that are declared float32 as integers; what is no number of at most 32 bits has none.

    float32 has 24 bits: beside one of BOSS's bits from 24 up, the lowest may have been lost when
    the file was written.
    """
    return np.where((flags >= 0) & (flags < 2**32), flags, 0).astype(np.int64)


def _columns(rows: Table, header: Header) -> Columns:
    """Return the facts of each row: (row,)."""
    n = len(rows)
    velocity = "v_rad" if "v_rad" in rows else "xcsao_v_rad"
    columns = {
        "sdss_id": _first(rows, ("sdss_id",)),
        "snr": _first(rows, ("snr",)).astype(float),
        "v_rad": _first(rows, (velocity,), np.nan).astype(float),
        "telescope": rows["telescope"].astype(object)
        if "telescope" in rows
        else np.full(n, "", object),
        "ra": np.full(n, apogee.number_in(header, "RA")),
        "dec": np.full(n, apogee.number_in(header, "DEC")),
        "gaia_dr3_source_id": np.full(n, _whole(header.get("GAIA3_ID"))),
        "apogee_id": np.full(n, str(header.get("APOGEEID") or ""), object),
    }
    if (columns["sdss_id"] <= 0).any() or columns["sdss_id"].dtype.kind != "i":
        raise BadFile("no sdss_id: which star is it?")
    if "mjd" not in rows:
        return {**columns, "n_visits": _first(rows, ("n_visits",), -1)}
    columns["spectrum_pk"] = _first(rows, ("spectrum_pk", "spectrum_pk_id"))
    return {
        **columns,
        "mjd": _first(rows, ("mjd",)),
        "in_stack": _first(rows, ("in_stack",), -1).astype(int),
    }


def _first(rows: Table, names: tuple[str, ...], missing: float | None = None) -> np.ndarray:
    """Return the column of numbers that has one of these names, by release: (row,)."""
    for name in names:
        if name in rows:
            values = field(rows, name)
            if values.shape != (len(rows),) or values.dtype.kind not in "iufb":
                raise BadFile(f"column {name!r} is not one number a row")
            return values
    if missing is None:
        raise BadFile(f"table without column {names[0]!r}")
    return np.full(len(rows), missing)


def _whole(value: Any) -> int:
    return value if type(value) is int and 0 < value < 2**63 else -1


def _format(
    kind: str, doc: str, read: Callable[..., Iterator[Spectra]], instrument: str, *options: Option
) -> Format:
    grid, bits, bad = INSTRUMENTS[instrument]
    return Format(
        f"{kind}-{instrument}".lower(),
        f"{instrument} spectra of SDSS-V's Milky Way Mapper, {doc} (SDSS DR19, DR20)",
        functools.partial(read, instrument=instrument),
        grid=grid,
        bits=bits,
        bad=bad,
        continuum="file",
        pattern=(f"{kind}-*.fits", f"{kind}-*.fits.gz"),
        options=options,
    )


_ROWS = Option(
    "rows", "stacked", ("stacked", "all"), "visits that went into the star's stack, or all of them"
)

FORMATS = (
    *(
        _format("mwmStar", "combined per star", read_mwmstar, instrument)
        for instrument in INSTRUMENTS
    ),
    *(
        _format("mwmVisit", "per visit", read_mwmvisit, instrument, _ROWS)
        for instrument in INSTRUMENTS
    ),
)
