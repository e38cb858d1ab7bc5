"""Catalogues in the formats of other tools: FITS binary tables and Parquet."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import xarray as xr

from luxscale.errors import InputError
from luxscale.export import fits, hats, parquet
from luxscale.export.columns import make_table
from luxscale.export.source import Source
from luxscale.progress import Progress
from luxscale.store import damage

__all__ = ["Export", "export_catalog"]

_WRITERS: dict[str, Callable[..., None]] = {".fits": fits.write, ".parquet": parquet.write}


@dataclasses.dataclass(frozen=True)
class Export:
    """What was exported.

    Parameters
    ----------
    path : str
    rows : int
        Stars.
    not_done : int
        How many of them are not done.
    unreadable : int
        Of how many the data could not be read: they have no labels, and the flag ``unreadable``.
    bytes : int
    columns : tuple of str
        Names as they stand in the file.
    """

    path: str
    rows: int
    not_done: int
    unreadable: int
    bytes: int
    columns: tuple[str, ...]


def export_catalog(
    catalog: str | Path | xr.Dataset,
    out: str | Path,
    *,
    survey: str | Path | xr.Dataset | None = None,
    columns: Sequence[str] = (),
    covariance: bool = False,
    healpix_order: int | None = None,
    unfinished: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Export:
    """Write a catalogue as a FITS table or as Parquet, a block of stars at a time.

    Parameters
    ----------
    catalog : str, Path or Dataset
        As `label_survey` writes it, or a selection of its stars.
    out : str or Path
        ``NAME.fits``, a file; or ``NAME.parquet``, a directory of files of about 1,000,000 stars.
    survey : str, Path or Dataset, optional
        Survey with the same stars in the same order.
    columns : sequence of str
        Variables (star, ...) of the survey to add.
    covariance : bool
        Whether to add the labels' covariances, as one column (label, label).
    healpix_order : int, optional
        Write Parquet by sky position, a file a HEALPix pixel of this order, in the HATS layout,
        which LSDB opens; needs the columns ``ra`` and ``dec`` [deg]. The fullest pixel is held in
        memory.
    unfinished : bool
        Whether to export a catalogue of which stars are not done: their values are NaN, counts and
        flags 0, ``status`` 0.
    overwrite : bool
        Whether to replace what an earlier export wrote.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    Export

    Raises
    ------
    InputError
        If there is no finished catalogue, ``out`` is taken or of another kind, a column is missing
        or cannot be expressed, the survey has other stars, or a package is missing.

    Notes
    -----
    One row a star. A label ``fe_h`` becomes ``fe_h`` and ``fe_h_err``; other columns are ``star``,
    ``chi2``, ``n_pixels``, ``flags``, ``status`` and the vector ``latent``. Names are of letters,
    digits and underscores, numbered where they collide; FITS has them in capitals. The whole
    appears under its name at once, when it is complete.

    Examples
    --------
    >>> from luxscale.export import export_catalog
    >>> export_catalog(catalog.isel(star=slice(0, 10)), "ten.fits", progress=False).rows
    10
    """
    target = Path(out).absolute()
    _claim(out, target, overwrite)
    write = _WRITERS[target.suffix]
    if healpix_order is not None:
        if target.suffix != ".parquet":
            raise InputError(
                f"{out}: only Parquet is partitioned by sky position; name it .parquet "
                "(--healpix-order)"
            )
        write = functools.partial(hats.write, order=healpix_order, name=target.stem)
    with (
        contextlib.nullcontext()
        if isinstance(catalog, xr.Dataset)
        else damage.locate_damage(catalog)
    ):
        table = make_table(
            Source.of(catalog, "catalogue"),
            survey=None if survey is None else Source.of(survey, "survey"),
            survey_columns=columns,
            covariance=covariance,
            unfinished=unfinished,
        )
        with tempfile.TemporaryDirectory(
            prefix=f".{target.name}.partial-", dir=target.parent
        ) as scratch:
            made = Path(scratch) / "new"
            with Progress("exporting", table.n_stars, unit="stars", enabled=progress) as shown:
                write(table, made, shown)
            size = sum(
                f.stat().st_size
                for f in (made.rglob("*") if made.is_dir() else [made])
                if f.is_file()
            )
            if target.exists():
                os.replace(target, Path(scratch) / "old")  # goes with the scratch directory
            os.replace(made, target)
    names = tuple(c.name.upper() if target.suffix == ".fits" else c.name for c in table.columns)
    names = names if healpix_order is None else (hats.INDEX, *names)
    return Export(str(out), table.n_stars, table.n_not_done, table.n_unreadable, size, names)


def _claim(out: str | Path, target: Path, overwrite: bool) -> None:
    """Refuse a path that is of no known format, cannot be written, or holds something else."""
    if "://" in str(out):
        raise InputError(f"{out}: exports go to local files; write it here and copy it")
    if target.suffix not in _WRITERS:
        also = "; compress the .fits afterwards" if target.suffix == ".gz" else ""
        raise InputError(
            f"{out}: unknown format; name it .fits (one table) or .parquet (a directory){also}"
        )
    if not target.parent.is_dir():
        raise InputError(f"{out}: there is no directory {target.parent}; make it first")
    if not target.exists():
        return
    ours = (
        all(f.suffix == ".parquet" or f.name in hats.NAMES for f in target.iterdir())
        if target.is_dir()
        else True
    )
    if not ours or target.is_dir() != (target.suffix == ".parquet"):
        raise InputError(f"{out}: something other than an export is there; choose another path")
    if not overwrite:
        raise InputError(
            f"{out}: is there already; choose another path, or overwrite it (--overwrite)"
        )
