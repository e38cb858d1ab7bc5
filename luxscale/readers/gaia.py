"""Sampled XP spectra of Gaia.

They are what GaiaXPy's calibrator writes, or the archive's ``xp_sampled_mean_spectrum``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from luxscale.readers.base import BadFile, Format, Spectra, compute_ivar
from luxscale.readers.compressed import remove_ending
from luxscale.readers.gaia_rows import Columns, XpRows
from luxscale.readers.gaia_tables import read_table_rows
from luxscale.readers.gaia_text import parse_arrays

#: The sampling of the archive, and GaiaXPy's usual one; nm, vacuum.
GRID = 336 + 2.0 * np.arange(343)

_MOST_HEADER = 2**20

#: How tables of XP spectra are named.
TABLES = ("*.csv", "*.ecsv", "*.fits", "*.vot", "*.xml")

_NEEDED = ("source_id", "flux", "flux_error")


def read_xp(path: str | Path) -> Iterator[Spectra]:
    """Read sampled spectra from CSV, ECSV, FITS or VOTable, in blocks of stars.

    The wavelengths are those that the file gives, or that one named ``..._sampling`` beside it
    does, or `GRID`. Errors of neighbouring pixels are correlated, which no ivar tells.

    Raises
    ------
    BadFile
    """
    columns = Columns(arrays=("flux", "flux_error"), numbers=("ra", "dec"), check=_check_columns)
    wavelength = None
    for rows in read_table_rows(path, columns):
        flux, error = rows.arrays["flux"], rows.arrays["flux_error"]
        if flux.shape != error.shape:
            raise BadFile(f"flux of shape {flux.shape}, errors of {error.shape}")
        if wavelength is None:
            wavelength = _find_grid(rows.sampling, flux.shape[1], Path(path))
        yield Spectra(
            star=rows.star,
            flux=flux.astype(float),
            ivar=compute_ivar(error),
            wavelength=wavelength,
            columns=describe_rows(rows),
        )


def describe_rows(rows: XpRows) -> dict[str, np.ndarray]:
    """Return the facts of each star: (star,)."""
    return {
        "ra": rows.get_number("ra"),
        "dec": rows.get_number("dec"),
        "gaia_release": rows.name_release(),
    }


def _check_columns(names: Sequence[str]) -> None:
    if "bp_coefficients" in names:
        raise BadFile(
            "continuous spectra, as coefficients: gaia-xp-continuous samples them, by GaiaXPy"
        )
    if "xp" in names:
        raise BadFile(
            "BP and RP apart, from GaiaXPy's convert: its calibrate makes one spectrum of them"
        )
    if "wavelength" in names and "source_id" not in names:
        raise BadFile(
            "the spectrum of one star, a row per wavelength; download from the archive's Datalink "
            "with data structure RAW, which has a row per star"
        )
    for name in _NEEDED:
        if name not in names:
            raise BadFile(f"no column {name!r}; there are: {', '.join(list(names)[:20])}")


def _find_grid(given: np.ndarray | None, n_pixels: int, path: Path) -> np.ndarray:
    """Return the wavelengths: those that the file gives, those beside it, or the usual ones."""
    if given is None:
        given = _read_sampling_file(path)
    if given is None:
        if n_pixels == len(GRID):
            return GRID
        raise BadFile(
            f"{n_pixels} pixels, and no file of the sampling beside it; spectra of the archive "
            f"have {len(GRID)}"
        )
    if len(given) != n_pixels:
        raise BadFile(
            f"{n_pixels} pixels, and a sampling of {len(given)} wavelengths; spectra of the "
            f"archive have {len(GRID)}"
        )
    return given


def _read_sampling_file(path: Path) -> np.ndarray | None:
    stem, suffix = _split_suffix(path.name)
    beside = path.with_name(f"{stem}_sampling{suffix}")
    if suffix not in (".csv", ".ecsv") or not beside.is_file():
        return None
    if beside.stat().st_size > _MOST_HEADER:
        return None
    lines = []
    for line in beside.read_text("latin-1").splitlines():
        if line and not line.startswith("#"):
            lines.append(line)
    if len(lines) != 2 or lines[0] != "pos":
        raise BadFile(f"{beside.name} beside it is no sampling: a column 'pos' of one row")
    return parse_arrays([lines[1]], beside.name)[0]


def _split_suffix(name: str) -> tuple[str, str]:
    stem, dot, suffix = remove_ending(name).rpartition(".")
    return stem, dot + suffix


def find_spectra_file(path: str) -> str:
    """Return the file of the spectra whose wavelengths a file ``..._sampling`` has, if it is there.

    Of any other file, it is that itself.
    """
    folder, name = os.path.split(path)
    stem, suffix = _split_suffix(name)
    if not stem.endswith("_sampling"):
        return path
    spectra = os.path.join(folder, stem.removesuffix("_sampling") + suffix)
    return spectra if os.path.exists(spectra) else path


FORMATS = (
    Format(
        name="gaia-xp",
        doc="sampled XP spectra of Gaia, from GaiaXPy or the archive (CSV, ECSV, FITS, VOTable)",
        reader=read_xp,
        grid=GRID,
        units="nm",
        continuum="scale",
        pattern=TABLES,
        main=find_spectra_file,
        many=True,
        tried="real",
    ),
)
