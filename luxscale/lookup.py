"""Stars by identifier."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from luxscale.evaluate import star_index
from luxscale.schema import InputError

#: Identifiers that one which is not there is compared with, letter by letter.
_MOST_COMPARED = 1000


def find_stars(dataset: xr.Dataset, stars: Sequence[Any], where: str) -> np.ndarray:
    """Return the positions of stars in a survey or catalogue: (star,).

    Parameters
    ----------
    dataset : Dataset
    stars : sequence of identifiers
        Text does for numbers.
    where : str
        What to call the dataset.

    Raises
    ------
    InputError
        If it has no such star; names those that are called nearly so.
    """
    index = star_index(dataset)
    wanted = [int(s) if index.dtype.kind in "iu" and str(s).isdecimal() else s for s in stars]
    at = index.get_indexer(wanted)
    if (at < 0).any():
        missing = stars[int(np.argmax(at < 0))]
        near = close_names(map(str, index), str(missing))
        advice = (
            f"did you mean {' or '.join(near)}?" if near else f"give identifiers, such as {index[:1].tolist()[0]!r}"
        )
        raise InputError(f"{where}: no star {missing!r}; {advice}")
    return np.asarray(at)


def close_names(names: Any, wanted: str, most: int = 3) -> list[str]:
    """Return names that are much like the one wanted, the nearest first.

    Only those that share half of it, or a quarter, at its beginning or end are compared: millions take a second.

    Parameters
    ----------
    names : iterable of str
    wanted : str
    most : int
        Names to return, at most.
    """
    names = list(names)
    for size in (len(wanted), len(wanted) // 2, len(wanted) // 4):
        if size < 2:
            break
        near = [n for n in names if wanted[:size] in n or wanted[-size:] in n]
        if near:
            return difflib.get_close_matches(wanted, near[:_MOST_COMPARED], most) or near[:most]
    return []
