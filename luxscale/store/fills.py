"""Values that xarray takes for missing, and that are none."""

from __future__ import annotations

from typing import Any

import xarray as xr
import zarr


def open_exactly(place: Any, **options: Any) -> xr.Dataset:
    """Open a Zarr store by xarray, with the values that decoding of fill values would take.

    Parameters
    ----------
    place : str or zarr store
        As `luxscale.store.locate` returns it.
    **options
        Of ``xarray.open_zarr``.
    """
    return _restore_values(xr.open_zarr(place, **options), place, **options)


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
    stored = xr.open_zarr(place, **options, mask_and_scale=False)
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
