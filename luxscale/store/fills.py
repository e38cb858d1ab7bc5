"""How xarray opens a store: with values that it takes for missing, and of stars that are whole."""

from __future__ import annotations

from typing import Any

import xarray as xr
import zarr

from luxscale.errors import InputError
from luxscale.schema.variables import STAR
from luxscale.store.arrays import list_arrays

#: Attribute of a Dataset of which some arrays have more stars than others: the most.
GROWING = "growing"


def open_exactly(place: Any, **options: Any) -> xr.Dataset:
    """Open a Zarr store by xarray, with the values that decoding of fill values would take.

    Where stars are being added, or adding them was cut off, some arrays have more than others: then
    it holds the stars that all have, and its attribute ``growing`` is how many the others have.

    Parameters
    ----------
    place : str or zarr store
        As `luxscale.store.locate` returns it.
    **options
        Of ``xarray.open_zarr``.
    """
    return _restore_values(_open_common(place, **options), place, **options)


def _open_common(place: Any, **options: Any) -> xr.Dataset:
    """Open the stars that all arrays have."""
    try:
        return xr.open_zarr(place, **options)
    except ValueError:
        sizes = _read_star_sizes(place)
        if len(set(sizes.values())) < 2:
            raise
    common = slice(min(sizes.values()))
    parts = []
    for size in sorted(set(sizes.values())):
        others = [name for name, found in sizes.items() if found != size]
        part = xr.open_zarr(place, drop_variables=others, **options)
        parts.append(part.isel({STAR: common}))
    whole = parts[0]
    for part in parts[1:]:
        own = {name: part.variables[name] for name in sizes if name in part.variables}
        coords = {name: own.pop(name) for name in list(own) if name in part.coords}
        whole = whole.assign_coords(xr.Coordinates(coords, indexes={})).assign(own)
    return whole.assign_attrs({GROWING: max(sizes.values())})


def _read_star_sizes(place: Any) -> dict[str, int]:
    """Return how many stars each array has."""
    sizes: dict[str, int] = {}
    for name, array in list_arrays(zarr.open_group(place, mode="r")):
        dims: Any = getattr(array.metadata, "dimension_names", None)
        dims = dims or array.attrs.get("_ARRAY_DIMENSIONS")
        if dims and dims[0] == STAR:
            sizes[name] = array.shape[0]
    return sizes


def refuse_growing(survey: xr.Dataset, where: str) -> None:
    """Refuse a survey to which stars are being added: which of them are whole, nobody can tell.

    Raises
    ------
    InputError
    """
    if GROWING in survey.attrs:
        raise InputError(
            f"{where}: some of its arrays have {survey.attrs[GROWING]:,} stars, others only "
            f"{survey.sizes[STAR]:,}: stars are being added, or adding them was cut off; finish "
            "that, and run the same command again"
        )


def _restore_values(dataset: xr.Dataset, place: Any, **options: Any) -> xr.Dataset:
    """Return a dataset with the values that decoding of fill values took from it.

    Whole numbers of one dim are identifiers, counts and bits: they stay what they are. The fill
    value of Zarr format 2 is 0 unless told otherwise, which marks nothing as missing, unless values
    are packed.
    """
    filled = {
        str(name): variable
        for name, variable in dataset.variables.items()
        if "_FillValue" in variable.encoding and not _PACKED & variable.encoding.keys()
    }
    names = [name for name, variable in filled.items() if _is_exact(variable)]
    zeros = [name for name, variable in filled.items() if variable.encoding["_FillValue"] in _ZEROS]
    if zeros and zarr.open_group(place, mode="r").metadata.zarr_format == 2:
        names += zeros
    if not names:
        return dataset
    stored = _open_common(place, **options, mask_and_scale=False)
    restored = {}
    for name in names:
        restored[name] = stored[name].variable
        restored[name].attrs = dict(dataset[name].attrs)
    coords = {name: found for name, found in restored.items() if name in dataset.coords}
    data = {name: found for name, found in restored.items() if name not in coords}
    return dataset.assign(data).assign_coords(coords)


_ZEROS = (0, "", b"")
_PACKED = {"scale_factor", "add_offset"}


def _is_exact(variable: xr.Variable) -> bool:
    dtype = variable.encoding.get("dtype")
    is_whole = dtype is not None and getattr(dtype, "kind", "") in "iu"
    return is_whole and variable.ndim == 1
