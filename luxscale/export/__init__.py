"""Catalogues in the formats of other tools: FITS binary tables, Parquet, and text.

Imports analysis and what it stands on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import xarray as xr
from astropy.table import Table as AstropyTable

from luxscale import store
from luxscale.errors import InputError
from luxscale.export import fits, hats, parquet, tables
from luxscale.export.layout import Table, make_table
from luxscale.progress import Progress
from luxscale.store import damage

__all__ = ["Export", "export_catalog", "to_table"]

#: Bytes of a file's beginning and end in which provenance is looked for.
_HEADER = 1 << 16

_WRITERS: dict[str, Callable[..., None]] = {
    ".fits": fits.write_fits,
    ".parquet": parquet.write_parquet,
    **{suffix: functools.partial(tables.write_table, suffix=suffix) for suffix in tables.FORMATS},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
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
    columns: str | Sequence[str] = (),
    covariance: bool = False,
    latents: bool = True,
    healpix_order: int | None = None,
    healpix_margin: float | None = None,
    unfinished: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Export:
    """Write a catalogue as a FITS table or as Parquet, a block of stars at a time.

    CSV, ECSV and VOTable are held in memory.

    Parameters
    ----------
    catalog : str, Path or Dataset
        As `label_survey` or `infer` makes it, or a selection of its stars.
    out : str or Path
        ``NAME.fits``, ``NAME.csv``, ``NAME.ecsv`` or ``NAME.vot``, a file; or ``NAME.parquet``, a
        directory of files of about 1,000,000 stars.
    survey : str, Path or Dataset, optional
        Survey with the same stars in the same order.
    columns : str or sequence of str
        Variables (star, ...) of the survey to add.
    covariance : bool
        Whether to add the labels' covariances, as one column (label, label).
    latents : bool
        Whether to add the latents, which take 4 bytes each.
    healpix_order : int, optional
        Write Parquet by sky position, one file per HEALPix pixel of this order, in the HATS layout,
        which LSDB opens; needs the columns ``ra`` and ``dec`` [deg]. A pixel of more than 500,000
        stars is divided into finer ones.
    healpix_margin : float, optional
        Width [arcsec], up to 100, of a margin cache to write with it: for each file, the stars of
        others that lie this close (and some up to four times as far), which LSDB needs for matches
        across the borders of files.
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
    One row per star. A label ``fe_h`` becomes ``fe_h`` and ``fe_h_err``; other columns are
    ``star``, ``chi2``, ``n_pixels``, ``flags``, ``status`` and the vector ``latent``. Names are of
    letters, digits and underscores, numbered where they collide; FITS has them in capitals. The
    file gets its name only when it is complete.

    Examples
    --------
    >>> from luxscale.export import export_catalog
    >>> export_catalog(catalog.isel(star=slice(0, 10)), "ten.fits", progress=False).rows
    10
    """
    target = _check_target(out, overwrite)
    write = _choose_writer(target, out, healpix_order, healpix_margin)
    with _locate_damage(catalog):
        table = make_table(
            catalog,
            survey=survey,
            columns=columns,
            covariance=covariance,
            latents=latents,
            unfinished=unfinished,
        )
        if target.suffix == ".fits":
            fits.check_number(table, str(out))
        with store.write_then_move(target) as made:
            with Progress("exporting", table.n_stars, unit="stars", enabled=progress) as shown:
                write(table, made, shown)
            size = _measure_size(made)
    return Export(
        path=str(out),
        rows=table.n_stars,
        not_done=table.n_not_done,
        unreadable=table.n_unreadable,
        bytes=size,
        columns=_list_names(table, target.suffix, healpix_order is not None),
    )


def to_table(
    catalog: str | Path | xr.Dataset,
    *,
    survey: str | Path | xr.Dataset | None = None,
    columns: str | Sequence[str] = (),
    covariance: bool = False,
    latents: bool = True,
    unfinished: bool = False,
    progress: bool = True,
) -> AstropyTable:
    """Return a catalogue as a table of astropy, in memory.

    Parameters
    ----------
    catalog : str, Path or Dataset
        As `label_survey` or `infer` makes it, or a selection of its stars.
    survey, columns, covariance, latents, unfinished
        As of `export_catalog`.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    astropy.table.Table
        One row per star, with the columns that `export_catalog` writes, their units and
        descriptions: ``star``, ``teff``, ``teff_err``, ... ``meta`` says where it comes from.

    Raises
    ------
    InputError
        As `export_catalog`.

    Examples
    --------
    >>> import luxscale as lux
    >>> table = lux.to_table(lux.select(catalog, "teff < 4800"), progress=False)
    >>> table["teff"].unit
    Unit("K")
    """
    with _locate_damage(catalog):
        table = make_table(
            catalog,
            survey=survey,
            columns=columns,
            covariance=covariance,
            latents=latents,
            unfinished=unfinished,
        )
        with Progress("reading", table.n_stars, unit="stars", enabled=progress) as shown:
            return tables.make_astropy_table(table, shown)


def _choose_writer(
    target: Path, out: str | Path, order: int | None, margin: float | None
) -> Callable[..., None]:
    """Return what writes the format of a target, by sky position where an order is given."""
    if order is None:
        if margin is not None:
            raise InputError(
                "healpix_margin: a margin is of files by sky position; give their order, too "
                "(--healpix-order)"
            )
        return _WRITERS[target.suffix]
    if target.suffix != ".parquet":
        raise InputError(
            f"{out}: only Parquet is partitioned by sky position; name it .parquet "
            "(--healpix-order)"
        )
    return functools.partial(hats.write_hats, order=order, margin=margin, name=target.stem)


def _locate_damage(catalog: str | Path | xr.Dataset) -> contextlib.AbstractContextManager[None]:
    """Say where the chunks of a stored catalogue are damaged, if reading fails for that."""
    if isinstance(catalog, xr.Dataset):
        return contextlib.nullcontext()
    return damage.locate_damage(catalog)


def _measure_size(made: Path) -> int:
    """Return the bytes of a file, or of those in a directory."""
    files = made.rglob("*") if made.is_dir() else [made]
    return sum(f.stat().st_size for f in files if f.is_file())


def _list_names(table: Table, suffix: str, by_sky: bool) -> tuple[str, ...]:
    """Return the names of the columns as they stand in the file."""
    names = tuple(c.name for c in table.columns)
    if suffix == ".fits":
        return tuple(name.upper() for name in names)
    if by_sky:
        return (hats.INDEX, *names)
    return names


def _check_target(out: str | Path, overwrite: bool) -> Path:
    """Refuse a path that is of no known format, cannot be written, or holds something else."""
    target = store.require_local(out, "export")
    if target.suffix not in _WRITERS:
        also = "; compress the .fits afterwards" if target.suffix == ".gz" else ""
        raise InputError(
            f"{out}: unknown format; name it .fits, .csv, .ecsv or .vot (one table) or .parquet "
            f"(a directory){also}"
        )
    return store.claim_file(out, "export", _is_export, overwrite=overwrite)


def _is_export(target: Path) -> bool:
    """Return whether an export of the same format wrote what is there."""
    if target.suffix != ".parquet":
        return target.is_file() and _names_luxscale(target)
    if not target.is_dir():
        return False
    if not (all(f.suffix == ".parquet" for f in target.iterdir()) or hats.is_hats(target)):
        return False
    return any(_names_luxscale(f) for f in sorted(target.rglob("*.parquet"))[:1])


def _names_luxscale(file: Path) -> bool:
    """Return whether a file's header or footer holds the provenance that exports have."""
    with file.open("rb") as content:
        header = content.read(_HEADER)
        if file.suffix == ".csv":  # which holds names of columns alone
            return tables.CSV_NAMES in header.split(b"\n", 1)[0]
        content.seek(max(file.stat().st_size - _HEADER, 0))
        return b"luxscale" in header + content.read()
