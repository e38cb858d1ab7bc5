"""Columns that pandas keeps in types of its own, categories and numbers that may be missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from pandas.api.extensions import ExtensionDtype

from luxscale.errors import InputError
from luxscale.schema.identifiers import MOST_WHOLE


def convert_extensions(dataset: xr.Dataset, where: str) -> xr.Dataset:
    """Return a Dataset whose columns of pandas' own types are NumPy's, which stores hold.

    Missing are NaN among numbers, and "" among text.

    Raises
    ------
    InputError
        If whole numbers among which some are missing have more digits than floats hold.
    """
    variables = {
        name: (variable.dims, _convert(variable, f"{where}: {name!r}"), variable.attrs)
        for name, variable in dataset.variables.items()
        if isinstance(variable.dtype, ExtensionDtype)
    }
    if not variables:
        return dataset
    coords = {name: variables.pop(name) for name in list(variables) if name in dataset.coords}
    return dataset.assign(variables).assign_coords(coords)


def _convert(variable: xr.Variable, where: str) -> np.ndarray:
    series = pd.Series(variable.to_index())
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = pd.Series(np.asarray(series))
    missing = series.isna().to_numpy(bool)
    if not pd.api.types.is_numeric_dtype(series.dtype):
        return np.where(missing, "", series.to_numpy(object))
    if not missing.any():
        return series.to_numpy(getattr(series.dtype, "numpy_dtype", None))
    if pd.api.types.is_integer_dtype(series.dtype) and series.abs().max() >= MOST_WHOLE:
        raise InputError(
            f"{where} has missing values among whole numbers of too many digits for NaN to be "
            "among them; fill them by a number of your choice, e.g. .fillna(-1)"
        )
    return series.to_numpy(float, na_value=np.nan)
