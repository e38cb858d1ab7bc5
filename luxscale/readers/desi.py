"""Spectra of DESI: coadds of targets, and spectra of their exposures, three cameras on one grid."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.base import BadFile, Format, HduList, Option, Spectra, Table
from luxscale.readers.boss import LIGHT
from luxscale.readers.desi_cameras import (
    CAMERAS,
    GRID,
    Columns,
    find_camera,
    join_cameras,
    read_resolution,
)
from luxscale.readers.fitsfile import open_large_fits
from luxscale.schema.blocks import iterate_blocks

#: Bits of the mask; all of them are of pixels not to be used.
BITS = {
    "SOMEBADPIX": 0,
    "ALLBADPIX": 1,
    "COSMIC": 2,
    "LOWFLAT": 3,
    "BADFIBERFLAT": 4,
    "BRIGHTSKY": 5,
    "BADSKY": 6,
    "BAD2DFIT": 7,
    "NODATA": 8,
    "BADFIBER": 9,
    "BADCOLUMN": 10,
}

#: Bits of DESI_TARGET that stars have: standard stars, and those of the Milky Way Survey.
_STAR_BITS = (33, 34, 35, 61)

#: Targets that are read at once: with the resolution some 400 kB each.
_BLOCK = 128


def read_desi(
    path: str | Path, *, targets: str = "stars", rows: str = "targets"
) -> Iterator[Spectra]:
    """Read a file of coadds or of spectra, a block of targets at a time.

    Where cameras overlap, their good pixels are averaged by inverse variance; where none is good,
    bits of all cameras stay set. Of a camera that the file lacks, pixels have no inverse variance.
    Wavelengths are barycentric; the velocity is ``c Z`` of the redrock file beside, which has the
    file's name but for ``redrock`` in place of ``coadd`` or ``spectra``. It is unknown without that
    file, and of targets of which redrock warns (ZWARN).

    Fibres on the sky or on no target are told as such, and so are targets that were not chosen as
    stars (``targets="stars"``): neither for the Milky Way Survey nor as standards. A target of
    several exposures is there as often; ``rows="exposures"`` names each ``TARGETID-EXPID``.

    Raises
    ------
    BadFile
    """
    with open_large_fits(path) as hdus:
        if "FIBERMAP" not in hdus:
            raise BadFile("no FIBERMAP in it: no file of DESI")
        n_rows = _count_rows(hdus)
        cameras = [find_camera(hdus, name, n_rows) for name in CAMERAS]
        found = [camera for camera in cameras if camera]
        if not found:
            raise BadFile("no camera in it: neither B_FLUX, R_FLUX nor Z_FLUX")
        redshifts = _read_redshifts(path)
        for block in iterate_blocks(n_rows, _BLOCK):
            fibers = hdus["FIBERMAP"].read_rows(block.start, block.stop)
            spectra = join_cameras(hdus, found, block)
            target = _read_targets(fibers)
            columns = _read_columns(fibers)
            columns["n_cameras"] = np.full(len(fibers), len(found))
            columns.update(read_resolution(hdus, found, block))
            exposures = _name_exposures(fibers, target) if rows == "exposures" else None
            yield Spectra(
                **spectra,
                star=target if exposures is None else exposures,
                key=None if exposures is None else target,
                wavelength=GRID,
                velocity=_find_velocities(redshifts, target),
                unfit=_explain_unfit(fibers, targets),
                columns=columns,
            )


def _count_rows(hdus: HduList) -> int:
    hdu = hdus["FIBERMAP"]
    if hdu.kind != "BINTABLE" or not hdu.shape[0]:
        raise BadFile("FIBERMAP is no table with rows")
    return hdu.shape[0]


def _read_targets(fibers: Table) -> np.ndarray:
    target = fibers.get_identifiers("TARGETID")
    if target.shape != (len(fibers),) or target.dtype.kind != "i":
        raise BadFile("TARGETID in FIBERMAP is not one whole number per row")
    return target.astype(np.int64)


def _name_exposures(fibers: Table, target: np.ndarray) -> np.ndarray:
    """Return names of exposures, "" of those on no target: (star,)."""
    if "EXPID" not in fibers:
        raise BadFile("no EXPID in FIBERMAP: a file of coadds; leave out --option rows=exposures")
    pairs = zip(target.tolist(), fibers.get_identifiers("EXPID").tolist(), strict=True)
    names = [f"{number}-{exposure}" if number >= 0 else "" for number, exposure in pairs]
    return np.array(names, object)


def _explain_unfit(fibers: Table, targets: str) -> np.ndarray:
    """Return why rows are no spectra of stars, "" of those that are: (star,)."""
    reason = np.full(len(fibers), "", object)
    if targets == "stars":
        reason[~_find_stars(fibers)] = (
            "no star: chosen neither for the Milky Way Survey nor as a standard; "
            "--option targets=all reads it"
        )
    kind = _read_text(fibers, "OBJTYPE")
    if kind is not None:
        reason[kind != "TGT"] = "no target: the fibre was on none"
        reason[kind == "SKY"] = "no target: the fibre was on the sky"
    return reason


def _find_stars(fibers: Table) -> np.ndarray:
    """Return which rows were chosen as stars in any phase of the survey: bool, (star,)."""
    is_star = np.zeros(len(fibers), bool)
    star_bits = sum(1 << bit for bit in _STAR_BITS)
    found = False
    for name in fibers.names:
        is_survey, is_program = name.endswith("mws_target"), name.endswith("desi_target")
        if not is_survey and not is_program:
            continue
        bits = fibers.get_identifiers(name)
        if bits.shape != is_star.shape or bits.dtype.kind not in "iu":
            raise BadFile(f"{name} in FIBERMAP holds no bits")
        found = True
        known = np.where(fibers.find_missing(name), 0, bits.astype(np.int64))
        is_star |= (known & (star_bits if is_program else -1)) != 0
    if not found:
        raise BadFile(
            "neither MWS_TARGET nor DESI_TARGET in FIBERMAP, by which stars are told; --option "
            "targets=all reads every target"
        )
    return is_star


def _read_text(fibers: Table, name: str) -> np.ndarray | None:
    if name not in fibers:
        return None
    values = fibers[name]
    if values.dtype.kind != "U" or values.ndim != 1:
        raise BadFile(f"{name} in FIBERMAP is no text")
    return values.astype(object)


def _read_columns(fibers: Table) -> Columns:
    """Return the facts of each row: (star,)."""
    columns: Columns = {
        "ra": _read_number(fibers, "TARGET_RA"),
        "dec": _read_number(fibers, "TARGET_DEC"),
        "n_exposures": _read_count(fibers, "COADD_NUMEXP"),
        "fiberstatus": _read_count(fibers, "COADD_FIBERSTATUS", "FIBERSTATUS"),
    }
    catalog = _read_text(fibers, "REF_CAT")
    if catalog is not None and "REF_ID" in fibers:
        is_gaia = np.array([name.startswith("G") for name in catalog.tolist()], bool)
        columns["gaia_source_id"] = np.where(is_gaia, _read_count(fibers, "REF_ID"), -1)
    return columns


def _read_number(fibers: Table, name: str) -> np.ndarray:
    values = np.full(len(fibers), np.nan)
    if name in fibers and fibers[name].shape == values.shape and fibers[name].dtype.kind in "iuf":
        return fibers[name].astype(float)
    return values


def _read_count(fibers: Table, *names: str) -> np.ndarray:
    """Return the column of whole numbers that has one of these names, -1 without: (star,)."""
    for name in names:
        if name in fibers:
            values = fibers.get_identifiers(name)
            if values.shape == (len(fibers),) and values.dtype.kind in "iu":
                return values.astype(np.int64)
    return np.full(len(fibers), -1, np.int64)


def _read_redshifts(path: str | Path) -> dict[int, float]:
    """Return the redshifts of targets by the redrock file beside, none where it is not there.

    NaN where redrock warns of it.
    """
    folder, name = os.path.split(path)
    for kind in ("coadd-", "spectra-"):
        beside = os.path.join(folder, name.replace(kind, "redrock-", 1))
        if name.startswith(kind) and os.path.isfile(beside):
            break
    else:
        return {}
    try:
        with open_large_fits(beside) as hdus:
            hdu = hdus["REDSHIFTS"]
            rows = hdu.read_rows(0, hdu.shape[0])
            target, redshift = rows.get_identifiers("TARGETID"), _read_number(rows, "Z")
            if target.shape != redshift.shape:
                raise BadFile("TARGETID is not one number per row")
            if "ZWARN" in rows:
                redshift = np.where(_read_number(rows, "ZWARN") == 0, redshift, np.nan)
            return dict(zip(target.tolist(), redshift.tolist(), strict=True))
    except BadFile as error:
        raise BadFile(f"{os.path.basename(beside)} beside it: {error}") from error


def _find_velocities(redshifts: dict[int, float], target: np.ndarray) -> np.ndarray:
    return LIGHT * np.array([redshifts.get(number, np.nan) for number in target.tolist()], float)


FORMATS = (
    Format(
        name="desi",
        doc="coadds and spectra of DESI, three cameras on one grid (EDR, DR1)",
        reader=read_desi,
        grid=GRID,
        bits=BITS,
        bad=tuple(BITS),
        continuum="chebyshev",
        velocities=True,
        rest_frame=False,
        options=(
            Option(
                "targets",
                "stars",
                ("stars", "all"),
                "those chosen for the Milky Way Survey or as standard stars, or all",
            ),
            Option(
                "rows",
                "targets",
                ("targets", "exposures"),
                "each target, by its row of highest S/N, or each exposure as a star",
            ),
        ),
        pattern=("coadd-*.fits", "spectra-*.fits"),
        many=True,
        tried="real",
    ),
)
