"""A survey in the contract's own form, where it says the same in another.

Numbers in another byte order, whole numbers as fluxes or labels, names as bytes, other spellings of
a unit: all of it can be read right, and none of it is a reason to refuse a survey.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from luxscale.schema.outputs import find_outputs
from luxscale.schema.variables import CATALOG, STAR

#: Spellings of units of wavelength, in lower case, and the one that they are compared as.
_UNITS = {
    spelling: unit
    for unit, spellings in {
        "Angstrom": (
            "a",
            "aa",
            "å",
            "\u212b",
            "ang",
            "angstrom",
            "angstroms",
            "ångström",
            "0.1 nm",
        ),
        "nm": ("nm", "nanometer", "nanometers", "nanometre", "nanometres"),
        "um": ("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"),
    }.items()
    for spelling in spellings
}

#: Spellings of the medium, in lower case, and the one that a survey has.
_MEDIA = {"vacuum": "vacuum", "vac": "vacuum", "air": "air"}

#: log10 of the Angstrom that spectra of stars have.
_LEAST_LOG10, _MOST_LOG10 = 2.5, 5.5

_LN_10 = float(np.log(10))


def standardize_survey(dataset: xr.Dataset) -> xr.Dataset:
    """Return a survey with all that its outputs need in the contract's own form.

    Values and errors become floats in this machine's byte order, names text, wavelengths floats. On
    Dask, a star's values are brought into one chunk. What is in the contract's form already is
    returned as it is, and nothing lazy is read.

    Parameters
    ----------
    dataset : Dataset
        Backed by Dask, or in memory.
    """
    dataset = _turn_identifiers(decode_names(dataset))
    outputs = find_outputs(dataset)
    arrays = {}
    for name in {v for output in outputs for v in output.variables}:
        array = dataset[name]
        standard = join_features(_to_native_floats(array))
        if standard is not array:
            arrays[name] = standard
    grids = {}
    for dim in {output.dim for output in outputs if output.dim in dataset.coords}:
        grid = dataset[dim].variable
        standard_grid = _standardize_grid(grid)
        if standard_grid is not grid:
            grids[dim] = standard_grid
    if arrays:
        dataset = dataset.assign(arrays)
    if grids:
        dataset = dataset.drop_indexes([d for d in grids if d in dataset.xindexes])
        dataset = dataset.assign_coords(grids)
    return dataset


def standardize_catalog(dataset: xr.Dataset) -> xr.Dataset:
    """Return a catalogue with integers where ``where(condition, drop=True)`` made floats of them.

    Floats remain where a value is missing, of stars that were not dropped, and what is lazy as it
    is.

    Parameters
    ----------
    dataset : Dataset
    """
    whole = {}
    for variable in CATALOG:
        array = dataset.variables.get(variable.name)
        if array is None or not variable.is_integer or array.dtype.kind != "f" or array.chunks:
            continue
        with np.errstate(invalid="ignore"):  # a missing value is no integer
            integers = array.astype(variable.dtype)
        if (integers.values == array.values).all():
            whole[variable.name] = integers
    return dataset.assign(whole) if whole else dataset


def has_native_floats(dataset: xr.Dataset) -> bool:
    """Return whether all outputs are in the contract's own form, so that none is converted."""
    dtypes = [dataset[name].dtype for o in find_outputs(dataset) for name in o.variables]
    return all(dtype.kind == "f" and dtype.isnative for dtype in dtypes)


def decode_names(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose identifiers and other names are text where they were bytes."""
    decoded = {}
    for name, coord in dataset.coords.items():
        if coord.dtype.kind == "S":
            variable = xr.apply_ufunc(
                np.char.decode,
                coord.variable,
                dask="parallelized",
                output_dtypes=[np.dtype(f"U{coord.dtype.itemsize}")],
                keep_attrs=True,
            )
            decoded[name] = variable
    if not decoded:
        return dataset
    dataset = dataset.drop_indexes([name for name in decoded if name in dataset.xindexes])
    return dataset.assign_coords(decoded)


def _turn_identifiers(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose identifiers are in this machine's byte order."""
    if STAR not in dataset.coords:
        return dataset
    stars = dataset[STAR].variable
    if stars.dtype.kind not in "iu" or stars.dtype.isnative:
        return dataset
    native = stars.astype(stars.dtype.newbyteorder("="))
    if STAR in dataset.xindexes:
        dataset = dataset.drop_indexes(STAR)
    return dataset.assign_coords({STAR: native})


def is_same_unit(one: str, other: str) -> bool:
    """Return whether two spellings, such as ``AA`` and ``Angstrom``, mean the same unit."""
    here, there = _spell_unit(one), _spell_unit(other)
    return here == there or _parse_unit(here) == _parse_unit(there)


def measure_otherwise(one: str, other: str) -> bool:
    """Return whether values in one unit are not values in another.

    They may be if one is not stated or not known, or where one is a bare ``dex``, which is said of
    any logarithm.
    """
    if is_same_unit(one, other):
        return False
    if not one.strip() or not other.strip():
        return False
    units = [_parse_unit(_spell_unit(unit)) for unit in (one, other)]
    are_known = not any(isinstance(unit, str) for unit in units)
    are_bare = any(str(unit) in ("", "dex") for unit in units)
    return are_known and not are_bare


def is_logarithmic(grid: np.ndarray) -> bool:
    """Return whether wavelengths are log10 of Angstrom by their values: 316 to 316,000 of these.

    Those of no spectrum of stars are a few Angstrom.
    """
    return bool(grid.size > 1 and grid.min() > _LEAST_LOG10 and grid.max() < _MOST_LOG10)


def is_natural_logarithm(grid: np.ndarray) -> bool:
    """Return whether wavelengths are natural logarithms of as many Angstrom by their values."""
    return is_logarithmic(grid / _LN_10)


def find_shifted(grid: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return where a grid is not the one expected, but for rounding: bool, (pixel,).

    Wavelengths may differ by 0.005 of a pixel, and by the rounding of float32 where they are that.
    """
    steps = np.gradient(expected.astype(float)) if expected.size > 1 else np.zeros(1)
    tolerance = 0.005 * steps
    if grid.dtype.itemsize < 8:
        tolerance = tolerance + np.spacing(expected.astype(np.float32))
    shifted: np.ndarray = np.abs(grid - expected) > tolerance
    return shifted


def _spell_unit(unit: str) -> str:
    spelling = str(unit).strip()
    return _UNITS.get(spelling.lower(), spelling)


def _parse_unit(unit: str) -> object:
    """Return the unit that astropy reads; the text itself if it knows none."""
    from astropy import units

    try:
        return units.Unit(unit)
    except ValueError:
        return unit


def _to_native_floats(array: xr.DataArray) -> xr.DataArray:
    """Return whole numbers as floats that hold them, and floats in this machine's byte order."""
    dtype = array.dtype
    if dtype.kind in "iu":
        return array.astype(np.result_type(dtype.newbyteorder("="), np.float32))
    if dtype.kind == "f" and not dtype.isnative:
        return array.astype(dtype.newbyteorder("="))
    return array


def join_features(array: xr.DataArray) -> xr.DataArray:
    """Return an array on Dask whose chunks hold all features of their stars."""
    split = [d for d, sizes in array.variable.chunksizes.items() if d != STAR and len(sizes) > 1]
    return array.chunk(dict.fromkeys(split, -1)) if split else array


def _standardize_grid(grid: xr.Variable) -> xr.Variable:
    """Return wavelengths as native floats, their medium as one word; names as they are."""
    dtype = grid.dtype
    if dtype.kind in "iu" and "units" in grid.attrs:
        dtype = np.dtype(np.float64)
    elif dtype.kind == "f":
        dtype = dtype.newbyteorder("=")
    attrs = dict(grid.attrs)
    spelling = str(attrs.get("medium")).strip().lower()
    if spelling in _MEDIA:
        attrs["medium"] = _MEDIA[spelling]
    if dtype == grid.dtype and attrs == grid.attrs:
        return grid
    return xr.Variable(grid.dims, grid.values.astype(dtype), attrs)
