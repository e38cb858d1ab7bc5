"""Spectra as anyone may have them: named arrays in an HDF5, npz or FITS file.

An array has one row per star; rows are read a block at a time.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.readers.base import BadFile, Format, Option, Spectra, compute_ivar
from luxscale.readers.field import Field, flatten_field
from luxscale.readers.fields import get_field, open_fields
from luxscale.readers.grids import MOST_PIXELS, UNITS, Grids, iterate_rows, open_grids
from luxscale.schema.identifiers import convert_floats
from luxscale.schema.variables import STAR, SURVEY

#: Names that something else has in a survey, or in the table of its stars while it is made.
_TAKEN = {variable.name for variable in SURVEY} - {STAR} | {
    "file",
    "batch",
    "row",
    "catalog_id",
    "source_file",
}

#: Arrays of pixels that may be the same for all stars.
_FOR_ALL = ("ivar", "error", "mask")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Source:
    """The arrays of a file that spectra are read from.

    Parameters
    ----------
    file : str
        Name of the file, by which stars without identifiers are called.
    found : dict of str to Field
        Arrays by what they are: ``flux``, ``ivar`` or ``error``, ``star``, ``mask``.
    extra : dict of str to Field
        Other columns to keep, by their names.
    grids : Grids
    one_star : bool
        Whether the arrays are those of one star, (pixel,).
    """

    file: str
    found: dict[str, Field]
    extra: dict[str, Field]
    grids: Grids
    one_star: bool


def read_arrays(
    path: str | Path,
    *,
    flux: str = "flux",
    ivar: str = "ivar",
    error: str = "",
    wavelength: str = "wavelength",
    star: str = "",
    mask: str = "",
    columns: str = "",
    units: str = "Angstrom",
    medium: str = "vacuum",
) -> Iterator[Spectra]:
    """Read spectra from named arrays: flux and ivar (star, pixel), wavelength (pixel,), and others.

    A file of one star may have them (pixel,). In FITS, an array is an image HDU by its name or
    number, or a column of the only table, and wavelengths may be those of a header (CRVAL1,
    CDELT1). What is (pixel,) of ivar, error and mask holds for all stars. Wavelengths may be
    (star, pixel): where stars differ in them, each is a block of its own. They may descend, with
    all pixels, or be log10 of Angstrom, by what the file states, their name (``loglam``) or
    ``units``. Identifiers are those of the array ``star`` if no other is named; where there is
    none, a star is called FILE:ROW. ``medium`` is for those who use the wavelengths; a file that
    states another, or another unit than ``units``, is refused.

    Raises
    ------
    BadFile
        Names the array that is missing or wrong, and those there are.
    """
    if not Path(path).is_file():
        raise BadFile("no such file")
    noise = {"error": error} if error else {"ivar": ivar}
    names = {"flux": flux, **noise, "wavelength": wavelength, "star": star, "mask": mask}
    with open_fields(Path(path)) as fields:
        if not star and STAR in fields:
            names["star"] = STAR
        found = {what: get_field(fields, name) for what, name in names.items() if name}
        extra = {
            _name_column(name): flatten_field(get_field(fields, name))
            for name in columns.split(",")
            if name.strip()
        }
        if "star" in found:
            found["star"] = flatten_field(found["star"])
        of_wavelength = flatten_field(found.pop("wavelength"))
        _check_medium(of_wavelength, medium)
        grids = open_grids(of_wavelength, wavelength, units)
        source = _Source(
            file=Path(path).name,
            found=found,
            extra=extra,
            grids=grids,
            one_star=len(found["flux"].shape) == 1,
        )
        yield from _read_blocks(source)


def _name_column(name: str) -> str:
    # a store would take the groups of a file for its own
    named = name.strip().removeprefix("/").replace("/", "_")
    if named in _TAKEN:
        raise BadFile(
            f"a survey has something else that is called {named!r}; leave it out of "
            "--option columns, or call the array otherwise"
        )
    return named


def _check_medium(field: Field, medium: str) -> None:
    if field.medium and field.medium != medium:
        raise BadFile(
            f"the file states that wavelengths are those in {field.medium}; say --option "
            f"medium={field.medium}"
        )


def _read_blocks(source: _Source) -> Iterator[Spectra]:
    n_stars, n_pixels = _check_shapes(source)
    for rows in iterate_rows(n_stars, n_pixels):
        yield from source.grids.place(_read_stars(source, rows.start, rows.stop), rows.start)


def _check_shapes(source: _Source) -> tuple[int, int]:
    """Return the numbers of stars and pixels, which the shapes of all arrays agree on."""
    flux_shape = source.found["flux"].shape
    if source.one_star:
        n_stars, n_pixels = 1, flux_shape[0]
    else:
        n_stars, n_pixels = _check_flux_shape(flux_shape)
    n_wavelengths = source.grids.n_pixels
    if n_pixels != n_wavelengths:
        do = "; its rows look like pixels: write flux.T" if flux_shape[0] == n_wavelengths else ""
        raise BadFile(f"{n_pixels} pixels of flux, {n_wavelengths} wavelengths{do}")
    for name, field in source.found.items():
        is_one_name = n_stars == 1 and name == "star" and field.shape == ()
        # of as many stars it may be one number of each
        holds_for_all = name in _FOR_ALL and field.shape == (n_pixels,) != (n_stars,)
        expected = (n_stars,) if name == "star" else flux_shape
        if field.shape != expected and not is_one_name and not holds_for_all:
            raise BadFile(f"{name} has shape {field.shape}, expected {expected}")
    grids = source.grids
    if not grids.is_common and grids.field.shape != flux_shape:
        raise BadFile(f"wavelength has shape {grids.field.shape}, expected {flux_shape}")
    return n_stars, n_pixels


def _check_flux_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2 or not all(shape) or shape[1] > MOST_PIXELS:
        raise BadFile(f"flux has shape {shape}, expected stars and pixels")
    return shape[0], shape[1]


def _read_stars(source: _Source, start: int, stop: int) -> Spectra:
    found = source.found
    flux = _read_pixels(source, "flux", start, stop).astype(float)
    if "error" in found:
        ivar = compute_ivar(_read_pixels(source, "error", start, stop))
    else:
        ivar = _read_pixels(source, "ivar", start, stop).astype(float)
    mask = None
    if "mask" in found:
        is_masked = _read_pixels(source, "mask", start, stop) != 0
        mask = is_masked.astype(np.uint8)
    if "star" in found:
        star = _convert_identifiers(found["star"].read_rows(start, stop))
    else:
        star = _make_row_names(source.file, start, stop)
    return Spectra(
        star=star,
        flux=flux,
        ivar=ivar,
        wavelength=np.arange(1.0, source.grids.n_pixels + 1),  # until they are placed
        mask=mask,
        columns=_read_extra(source, start, stop),
    )


def _read_pixels(source: _Source, name: str, start: int, stop: int) -> np.ndarray:
    """Return rows of an array that has a number for each pixel: (star, pixel)."""
    field = source.found[name]
    expected = (stop - start, source.grids.n_pixels)
    if len(field.shape) == 1:
        values = np.broadcast_to(field.read_all(), expected)
    else:
        values = field.read_numbers(start, stop)
    if values.shape != expected or values.dtype.kind not in "iufb":
        raise BadFile(f"{name} holds {values.dtype} of shape {values.shape}, no numbers of pixels")
    return values


def _read_extra(source: _Source, start: int, stop: int) -> dict[str, np.ndarray]:
    columns = {}
    for name, field in source.extra.items():
        values = field.read_rows(start, stop)
        if values.dtype.kind not in "iufbUS":
            raise BadFile(f"column {name!r} holds {values.dtype}, neither numbers nor text")
        columns[name] = _fill_column(values)
    return columns


def _fill_column(values: np.ma.MaskedArray) -> np.ndarray:
    """Return a column with NaN, -1 or "" where it is missing."""
    kind = values.dtype.kind
    if kind in "US":
        return _convert_text(values.filled(b"" if kind == "S" else ""))
    if kind == "u":  # float64 would round identifiers
        return _convert_identifiers(values)
    if not np.ma.getmaskarray(values).any():
        return np.ma.getdata(values)
    if kind == "i":
        return values.filled(-1)
    return np.ma.filled(values.astype(float), np.nan)


def _make_row_names(file: str, start: int, stop: int) -> np.ndarray:
    name = os.fsencode(file).decode("utf-8", "backslashreplace")
    return np.array([f"{name}:{row}" for row in range(start, stop)], object)


def _convert_identifiers(values: np.ma.MaskedArray) -> np.ndarray:
    """Return identifiers as int64, -1 where missing, or as text, then ""."""
    missing, data = np.ma.getmaskarray(values), np.ma.getdata(values)
    if data.dtype.kind in "iu":
        fits = missing | (data < 2**63)
        if fits.all():
            return np.where(missing, -1, data.astype(np.int64))
        return np.where(missing, "", data.astype(str)).astype(object)
    if data.dtype.kind == "f":
        whole = convert_floats(data, missing)
        if whole is not None:
            return whole
    if data.dtype.kind not in "US":
        raise BadFile(f"star holds {data.dtype}, expected whole numbers or text")
    return _convert_text(data)


def _convert_text(values: np.ndarray) -> np.ndarray:
    words = []
    for value in values.ravel().tolist():
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        words.append(text.strip())
    return np.array(words, object).reshape(values.shape)


FORMATS = (
    Format(
        name="arrays",
        doc="named arrays, one row per star, in HDF5, npz or FITS",
        reader=read_arrays,
        bits={"MASKED": 0},
        bad=("MASKED",),
        options=(
            Option("flux", "flux", None, "name of the flux"),
            Option("ivar", "ivar", None, "name of its inverse variance"),
            Option("error", "", None, "name of its error, in place of ivar"),
            Option(
                "wavelength",
                "wavelength",
                None,
                "name of the wavelengths, (pixel) or (star, pixel)",
            ),
            Option("star", "", None, "name of the identifiers; by default star, else FILE:ROW"),
            Option("mask", "", None, "name of what is not 0 where a pixel is bad"),
            Option("columns", "", None, "names of other columns to keep, by commas"),
            Option(
                "units",
                next(iter(UNITS)),
                tuple(UNITS),
                "unit of the wavelengths; log10 is that of Angstrom",
            ),
            Option("medium", "vacuum", ("vacuum", "air"), "what the wavelengths were measured in"),
        ),
        pattern=("*.h5", "*.hdf5", "*.npz", "*.fits"),
        many=True,
        general=True,
        tried="real",
    ),
)
