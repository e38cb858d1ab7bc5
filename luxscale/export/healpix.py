"""Stars in files by sky position: one for each HEALPix pixel, finer where stars are dense.

Blocks of stars are scattered to one file per pixel; a pixel that holds too many is scattered again
to the four next finer ones. So memory holds one block, whatever the pixels hold.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from luxscale.errors import InputError

#: Order of the index that every row carries; its name is of the HATS standard.
FINEST, INDEX = 29, "_healpix_29"

#: Most stars of a pixel, unless it is of the finest order that files may have.
PIXEL_STARS, FINEST_FILES = 500_000, 9

#: Most files open at once while scattering; systems commonly allow a process 1,024.
_OPEN_FILES = 256


class Pixel(NamedTuple):
    """A HEALPix pixel, nested."""

    order: int
    number: int

    @property
    def path(self) -> Path:
        """Where the HATS layout has its file."""
        folder = self.number // 10_000 * 10_000
        return Path(f"Norder={self.order}", f"Dir={folder}", f"Npix={self.number}.parquet")

    @property
    def start(self) -> int:
        """The first pixel of the finest order in it."""
        return self.number << 2 * (FINEST - self.order)


def find_index(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return the pixels, of the finest order, of positions [deg].

    Raises
    ------
    InputError
        If a package is missing.
    """
    units, healpix = _import_healpix()
    pixel = healpix.lonlat_to_healpix(ra * units.deg, dec * units.deg, 1 << FINEST, order="nested")
    return np.asarray(pixel)


def coarsen(index: np.ndarray, order: int) -> np.ndarray:
    """Return the pixels of an order that pixels of the finest order lie in.

    Nested, a pixel of the next coarser order is two bits less.
    """
    return index >> 2 * (FINEST - order)


def find_neighbours(pixel: np.ndarray, order: int) -> np.ndarray:
    """Return the pixels around each, (8, ...); -1 where there are only seven."""
    _, healpix = _import_healpix()
    return np.asarray(healpix.neighbours(pixel, 1 << order, order="nested"))


def _import_healpix() -> tuple[Any, Any]:
    try:
        import astropy_healpix
        from astropy import units
    except ImportError as error:
        raise InputError(
            "HEALPix needs the package astropy-healpix: pip install 'luxscale[export]'"
        ) from error
    return units, astropy_healpix


def scatter_rows(
    pa: ModuleType, batches: Iterator[tuple[Any, np.ndarray]], schema: Any, path: Path, most: int
) -> None:
    """Write batches of rows to a directory for each number that they come with.

    Parameters
    ----------
    pa : module
        pyarrow.
    batches : iterator of (RecordBatch, array)
        Rows, and a number for each, (row,).
    schema : Schema
        Of the rows.
    path : Path
        Directory to make; that of number 7 is ``Npix=7`` in it.
    most : int
        Most different numbers.
    """
    key = pa.field("Npix", pa.int64())
    path.mkdir(parents=True)
    numbered = (batch.append_column("Npix", pa.array(number)) for batch, number in batches)
    pa.dataset.write_dataset(
        pa.RecordBatchReader.from_batches(schema.append(key), numbered),
        path,
        format="ipc",
        partitioning=pa.dataset.partitioning(pa.schema([key]), flavor="hive"),
        max_partitions=most,
        max_open_files=_OPEN_FILES,
        use_threads=False,
    )


def list_scattered(path: Path) -> list[tuple[int, Path]]:
    """Return the numbers that rows were scattered to, ascending, and their directories."""
    return sorted((int(p.name.removeprefix("Npix=")), p) for p in path.iterdir())


def open_scattered(pa: ModuleType, path: Path, schema: Any) -> Any:
    """Return the rows that were scattered to a directory, as a dataset of Arrow."""
    return pa.dataset.dataset(path, schema=schema, format="ipc")


def divide_pixels(
    pa: ModuleType, path: Path, schema: Any, order: int
) -> Iterator[tuple[Pixel, Any]]:
    """Yield the pixels of rows that were scattered by an order, and the rows, in order on the sky.

    Those that hold more than `PIXEL_STARS` are divided, down to `FINEST_FILES`. What was yielded is
    removed.
    """
    for number, folder in list_scattered(path):
        rows = open_scattered(pa, folder, schema)
        if rows.count_rows() <= PIXEL_STARS or order >= FINEST_FILES:
            yield Pixel(order, number), rows
            shutil.rmtree(folder)
            continue
        finer = folder / "finer"
        batches = (
            (batch, coarsen(np.asarray(batch.column(INDEX)), order + 1))
            for batch in rows.to_batches()
        )
        scatter_rows(pa, batches, schema, finer, most=4)
        yield from divide_pixels(pa, finer, schema, order + 1)
        shutil.rmtree(folder)
