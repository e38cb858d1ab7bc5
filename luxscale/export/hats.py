"""A catalogue as Parquet by sky position, in the HATS layout, which LSDB opens.

Stars come in the survey's order, so they are first scattered to one file per HEALPix pixel; then
each pixel is read, sorted and written. Memory holds one block, or the fullest pixel.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from luxscale.errors import InputError
from luxscale.export import parquet
from luxscale.export.healpix import (
    FINEST,
    INDEX,
    Pixel,
    coarsen,
    divide_pixels,
    find_index,
    find_neighbours,
    list_scattered,
    open_scattered,
    scatter_rows,
)
from luxscale.export.layout import Table
from luxscale.progress import Progress
from luxscale.schema.variables import STAR

#: Orders that files may have where stars are not dense: 12 to 12,288 pixels over the sky.
ORDERS = range(6)

#: Widest margin [arcsec]: a fourth of the finest pixel that is a file.
WIDEST_MARGIN = 100.0

_PROPERTIES, _COLLECTION = "hats.properties", "collection.properties"

#: What the directory of a catalogue holds.
_NAMES = {"dataset", "partition_info.csv", _PROPERTIES}


def is_hats(path: Path) -> bool:
    """Return whether a path is a directory of what `write_hats` writes, and of nothing else."""
    if not path.is_dir():
        return False
    names = {entry.name for entry in path.iterdir()}
    if _COLLECTION not in names:
        return names == _NAMES
    return all(is_hats(path / name) for name in names - {_COLLECTION})


def write_hats(
    table: Table, path: Path, shown: Progress, *, order: int, margin: float | None, name: str
) -> None:
    """Write a table as a HATS catalogue whose files are HEALPix pixels (nested).

    Parameters
    ----------
    table : Table
    path : Path
        Directory to make.
    shown : Progress
    order : int
        Of the pixels; those with many stars are divided.
    margin : float or None
        Width [arcsec] of a margin cache, which makes it a collection: the catalogue, and beside it,
        for each pixel, the stars of others that lie this close to it.
    name : str
        Of the catalogue.

    Raises
    ------
    InputError
        If order or margin are out of bounds, the table has no columns ``ra`` and ``dec``, a star
        has no position, or a package is missing.
    """
    pa, pq = parquet.import_pyarrow()
    _check_choices(table, order, margin)
    schema = _make_schema(pa, table)
    main = path if margin is None else path / name
    scattered = path / "scattered"
    shown.stage("scattering to pixels")
    located = _locate_stars(pa, table, schema, order, shown)
    scatter_rows(pa, located, schema, scattered, most=12 << 2 * order)
    shown.stage("sorting pixels")
    pixels = []
    for pixel, rows in divide_pixels(pa, scattered, schema, order):
        _write_pixel(pq, rows, main, pixel)
        pixels.append(pixel)
    shutil.rmtree(scattered)
    facts = {
        "obs_collection": name,
        "dataproduct_type": "object",
        "hats_nrows": table.n_stars,
        **_describe(table),
    }
    _finish_catalog(pq, schema, main, pixels, order, facts)
    if margin is not None:
        shown.stage("writing the margin")
        _write_margin(pa, pq, table, schema, path, pixels, margin=margin, name=name)


def _check_choices(table: Table, order: int, margin: float | None) -> None:
    if order not in ORDERS:
        raise InputError(f"healpix_order={order}: choose {ORDERS.start} to {ORDERS.stop - 1}")
    if margin is not None and not 0 < margin <= WIDEST_MARGIN:
        raise InputError(
            f"healpix_margin={margin:g}: give a width in arcsec above 0, at most {WIDEST_MARGIN:g}"
        )
    if not {"ra", "dec"} <= {c.name for c in table.columns}:
        raise InputError(
            "a partition by sky position needs the columns ra and dec [deg] of the survey: "
            "name them too"
        )


def _make_schema(pa: ModuleType, table: Table) -> Any:
    doc = {"description": f"HEALPix pixel of order {FINEST}, nested, ICRS"}
    return parquet.make_schema(pa, table).insert(0, pa.field(INDEX, pa.int64(), metadata=doc))


def _locate_stars(
    pa: ModuleType, table: Table, schema: Any, order: int, shown: Progress
) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield blocks of stars with their indices on the sky, and the pixel of each star."""
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
        index = find_index(ra, dec)
        batch = parquet.make_batch(pa, table, block, {INDEX: index}, schema)
        done += batch.num_rows
        yield batch, coarsen(index, order)
        shown.update(done)


def _write_pixel(pq: ModuleType, rows: Any, path: Path, pixel: Pixel) -> None:
    """Write the stars of a pixel, in their order on the sky."""
    file = path / "dataset" / pixel.path
    file.parent.mkdir(parents=True, exist_ok=True)
    ordered = rows.to_table().sort_by([(INDEX, "ascending"), (STAR, "ascending")])
    pq.write_table(ordered, file, **parquet.OPTIONS)


def _finish_catalog(
    pq: ModuleType,
    schema: Any,
    path: Path,
    pixels: Sequence[Pixel],
    order: int,
    facts: Mapping[str, Any],
) -> None:
    """Write what the HATS standard asks for beside the files of pixels."""
    (path / "dataset").mkdir(parents=True, exist_ok=True)
    pq.write_metadata(schema, path / "dataset" / "_common_metadata")
    lines = ["Norder,Npix", *(f"{pixel.order},{pixel.number}" for pixel in pixels), ""]
    (path / "partition_info.csv").write_text("\n".join(lines))
    finest = max((pixel.order for pixel in pixels), default=order)
    _write_properties(path / _PROPERTIES, {**facts, "hats_order": finest})


def _describe(table: Table) -> dict[str, Any]:
    """Return what holds of a catalogue and of its margin."""
    return {
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": INDEX,
        "hats_col_healpix_order": FINEST,
        "hats_npix_suffix": ".parquet",
        "hats_builder": table.provenance["exported_by"],
    }


def _write_properties(path: Path, facts: Mapping[str, Any]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in facts.items()), encoding="utf-8")


def _write_margin(
    pa: ModuleType,
    pq: ModuleType,
    table: Table,
    schema: Any,
    path: Path,
    pixels: Sequence[Pixel],
    *,
    margin: float,
    name: str,
) -> None:
    """Write the margin cache of a catalogue in a collection, and describe the collection."""
    cache, scattered = f"{name}_{margin:g}arcs", path / "scattered"
    files = [path / name / "dataset" / pixel.path for pixel in pixels]
    scatter_rows(
        pa,
        _find_margins(pa, pq, files, pixels, margin, schema),
        schema,
        scattered,
        most=max(1, len(pixels)),
    )
    n_rows, kept = 0, []
    for number, folder in list_scattered(scattered):
        rows = open_scattered(pa, folder, schema)
        _write_pixel(pq, rows, path / cache, pixels[number])
        n_rows += rows.count_rows()
        kept.append(pixels[number])
    shutil.rmtree(scattered)
    facts = {
        "obs_collection": cache,
        "dataproduct_type": "margin",
        "hats_nrows": n_rows,
        "hats_primary_table_url": name,
        "hats_margin_threshold": margin,
        **_describe(table),
    }
    _finish_catalog(pq, schema, path / cache, kept, 0, facts)
    facts = {
        "obs_collection": name,
        "hats_primary_table_url": name,
        "all_margins": cache,
        "default_margin": cache,
    }
    _write_properties(path / _COLLECTION, facts)


def _find_margins(
    pa: ModuleType,
    pq: ModuleType,
    files: Sequence[Path],
    pixels: Sequence[Pixel],
    margin: float,
    schema: Any,
) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield stars that lie close to other pixels than their own, and the position of such a pixel.

    A star comes once for each. Close are the eight small pixels around the star's, which are at
    least as wide as twice the margin; so some stars are a little farther than it.
    """
    order = _choose_order(margin)
    starts = np.array([pixel.start for pixel in pixels])
    stops = np.array([Pixel(pixel.order, pixel.number + 1).start for pixel in pixels])
    by_start = np.argsort(starts)
    for own, file in enumerate(files):
        for batch in pq.ParquetFile(file).iter_batches():
            small = coarsen(np.asarray(batch.column(INDEX)), order)
            around = find_neighbours(small, order)
            index = around << 2 * (FINEST - order)
            found = np.searchsorted(starts[by_start], index, side="right") - 1
            number = by_start[np.maximum(found, 0)]
            is_inside = (found >= 0) & (index < stops[number])
            is_other = (around >= 0) & is_inside & (number != own)
            number = np.where(is_other, number, -1)
            # a pixel counts once, however many of the small ones lie in it
            number.sort(axis=0)
            is_again = number[1:] == number[:-1]
            number[1:][is_again] = -1
            is_close = number >= 0
            _, row = np.nonzero(is_close)
            if row.size:
                stars = pa.record_batch(batch.columns, schema=schema)
                yield stars.take(pa.array(row)), number[is_close]


def _choose_order(margin: float) -> int:
    """Return the finest order whose pixels are at least twice as wide as a margin [arcsec].

    Where pixels are skewed, the narrowest of them are about .6 as high as wide.
    """
    sky_width = np.degrees(np.sqrt(np.pi / 3)) * 3600
    return int(np.floor(np.log2(sky_width / (2 * margin))))
