"""What is given to be drawn: results of analyses, and arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from luxscale.errors import InputError


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
