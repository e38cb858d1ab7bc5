"""What is given to be drawn: results of analyses, and arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.stars import index_stars, match_identifiers
from luxscale.schema.variables import STAR


def require_result(given: Any, names: Iterable[str], source: str) -> None:
    """Refuse what is not the Dataset that an analysis returns.

    Parameters
    ----------
    given : Dataset
    names : iterable of str
        Variables that it must have.
    source : str
        The function that returns it, for messages.

    Raises
    ------
    InputError
    """
    if not isinstance(given, xr.Dataset):
        raise InputError(f"a {type(given).__name__} is given; give what {source} returns")
    for name in names:
        if name not in given.variables:
            raise InputError(f"no variable {name!r}; give what {source} returns")


def require_array(name: str, given: Any, source: str) -> None:
    """Refuse what is no array.

    Parameters
    ----------
    name : str
        Of the argument.
    given : array
    source : str
        What it is to be, for messages.

    Raises
    ------
    InputError
    """
    if not isinstance(given, xr.DataArray | np.ndarray | list | tuple):
        raise InputError(f"{name} is a {type(given).__name__}; give an array: {source}")


def take_of_stars(name: str, given: Any, catalog: xr.Dataset, source: str) -> np.ndarray:
    """Return values of stars in the order of a catalogue's.

    Parameters
    ----------
    name : str
        Of the argument.
    given : array, (star,)
        A DataArray that names its stars may have them in another order, and others beside.
    catalog : Dataset
    source : str
        What it is to be, for messages.

    Returns
    -------
    array, (star,)

    Raises
    ------
    InputError
        If it is no array, or a star of the catalogue is not among those that it names.
    """
    require_array(name, given, source)
    is_named = isinstance(given, xr.DataArray) and STAR in given.coords and STAR in given.dims
    if not is_named or STAR not in catalog.coords:
        return np.asarray(given)
    stars = index_stars(catalog)
    at = match_identifiers(stars, index_stars(given.to_dataset(name="given")), ("catalogue", name))
    if (at < 0).any():
        missing = stars[at < 0][:1].tolist()[0]
        raise InputError(
            f"{name} has no star {missing!r}, and {int((at < 0).sum()) - 1:,} more of the "
            "catalogue; give those of the same stars"
        )
    return np.asarray(given.isel({STAR: at}))
