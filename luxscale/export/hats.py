"""A catalogue as Parquet by sky position, in the HATS layout, which LSDB opens.

There is a file for each HEALPix pixel. Stars come in the survey's order, so they are first
scattered to one file per pixel, block by block, and then each pixel is read, sorted and written:
memory holds one block, or the fullest pixel.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from luxscale.errors import InputError
from luxscale.export import parquet
from luxscale.export.columns import Table
from luxscale.progress import Progress
from luxscale.schema.variables import STAR

#: Finest order, of the index that every row carries; its name is of the HATS standard.
_FINEST, INDEX = 29, "_healpix_29"

#: Orders that files may have: 12 to 12,288 pixels over the sky.
ORDERS = range(6)

#: What a catalogue's directory holds.
NAMES = ("dataset", "partition_info.csv", "hats.properties")

#: Most files open at once while scattering; systems commonly allow a process 1,024.
_OPEN_FILES = 256


def write_hats(table: Table, path: Path, shown: Progress, *, order: int, name: str) -> None:
    """Write a table as a HATS catalogue whose files are the HEALPix pixels (nested) of one order.

    Raises
    ------
    InputError
        If the order is out of bounds, the table has no columns ``ra`` and ``dec``, a star has no
        position, or a package is missing.
    """
    pa, pq = parquet.import_pyarrow()
    if order not in ORDERS:
        raise InputError(f"healpix_order={order}: choose {ORDERS.start} to {ORDERS.stop - 1}")
    if not {"ra", "dec"} <= {c.name for c in table.columns}:
        raise InputError(
            "a partition by sky position needs the columns ra and dec [deg] of the survey: "
            "name them too"
        )
    doc = {"description": "HEALPix pixel of order 29, nested, ICRS"}
    schema = parquet.make_schema(pa, table).insert(0, pa.field(INDEX, pa.int64(), metadata=doc))
    scattered, dataset = path / "scattered", path / "dataset"
    shown.stage("scattering to pixels")
    _scatter_stars(pa, schema, _locate_stars(pa, table, schema, order, shown), scattered, order)
    shown.stage("sorting pixels")
    pixels = sorted(int(p.name.removeprefix("Npix=")) for p in scattered.iterdir())
    for pixel in pixels:
        rows = pa.dataset.dataset(scattered / f"Npix={pixel}", schema=schema, format="ipc")
        ordered = rows.to_table().sort_by([(INDEX, "ascending"), (STAR, "ascending")])
        folder = dataset / f"Norder={order}" / f"Dir={pixel // 10_000 * 10_000}"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(ordered, folder / f"Npix={pixel}.parquet", **parquet.OPTIONS)
    shutil.rmtree(scattered)
    dataset.mkdir(exist_ok=True)
    pq.write_metadata(schema, dataset / "_common_metadata")
    lines = ["Norder,Npix", *(f"{order},{pixel}" for pixel in pixels), ""]
    (path / "partition_info.csv").write_text("\n".join(lines))
    (path / "hats.properties").write_text(_format_properties(table, order, name), encoding="utf-8")


def _locate_stars(
    pa: ModuleType, table: Table, schema: Any, order: int, shown: Progress
) -> Iterator[Any]:
    """Yield blocks with the pixel of each star, of the finest order and of the files'."""
    find_pixels = _import_healpix()
    by_name = {c.name: c for c in table.columns}
    done = 0
    for block in table.read_blocks():
        ra, dec = (np.asarray(by_name[name].get_values(block), float) for name in ("ra", "dec"))
        nowhere = ~(np.isfinite(ra) & (np.abs(dec) <= 90))
        if nowhere.any():
            row = int(np.argmax(nowhere))
            raise InputError(
                f"star {block[STAR].tolist()[row]!r} has no position (ra {ra[row]}, dec "
                f"{dec[row]}); export without --healpix-order, or a selection of stars that "
                "have one"
            )
        finest = find_pixels(ra, dec)
        batch = parquet.make_batch(pa, table, block, {INDEX: finest}, schema)
        # nested: a pixel of the next coarser order is two bits less
        pixel = finest >> 2 * (_FINEST - order)
        done += batch.num_rows
        yield batch.append_column("Npix", pa.array(pixel))
        shown.update(done)


def _import_healpix() -> Any:
    """Return the function from positions [deg] to pixels of the finest order."""
    try:
        from astropy import units
        from astropy_healpix import lonlat_to_healpix
    except ImportError as error:
        raise InputError(
            "HEALPix needs the package astropy-healpix: pip install 'luxscale[export]'"
        ) from error

    def find_pixels(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        return lonlat_to_healpix(ra * units.deg, dec * units.deg, 1 << _FINEST, order="nested")

    return find_pixels


def _scatter_stars(
    pa: ModuleType, schema: Any, batches: Iterator[Any], path: Path, order: int
) -> None:
    """Write blocks to a directory a pixel."""
    key = pa.field("Npix", pa.int64())
    path.mkdir(parents=True)
    pa.dataset.write_dataset(
        pa.RecordBatchReader.from_batches(schema.append(key), batches),
        path,
        format="ipc",
        partitioning=pa.dataset.partitioning(pa.schema([key]), flavor="hive"),
        max_partitions=12 << 2 * order,
        max_open_files=_OPEN_FILES,
        use_threads=False,
    )


def _format_properties(table: Table, order: int, name: str) -> str:
    """Return the description of the catalogue that the HATS standard asks for."""
    facts: Mapping[str, Any] = {
        "obs_collection": name,
        "dataproduct_type": "object",
        "hats_nrows": table.n_stars,
        "hats_order": order,
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": INDEX,
        "hats_col_healpix_order": _FINEST,
        "hats_npix_suffix": ".parquet",
        "hats_builder": table.provenance["exported_by"],
    }
    return "".join(f"{key}={value}\n" for key, value in facts.items())
