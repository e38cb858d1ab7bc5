"""The identifiers of a catalogue's stars: those of its survey, in the same order."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr

from luxscale import store
from luxscale.labelling.plan import Plan
from luxscale.schema.variables import STAR

#: Identifiers carry a checksum, as the arrays that regions fill do.
STAR_ENCODING: dict[str, Any] = {"compressors": store.make_codecs(np.dtype(np.uint8))}


def read_stars(plan: Plan) -> np.ndarray:
    """Return the stars of the survey, as they are written: (star,), int64 or object.

    Those that it got since it was planned are left out.
    """
    survey = store.open_dataset(plan.survey, dask=False)
    stars: np.ndarray = survey[STAR].values[: plan.n_stars]
    return stars if stars.dtype.kind in "iu" else stars.astype(object)


def write_stars(group: zarr.Group, stars: np.ndarray) -> None:
    """Write the identifiers of a catalogue anew: (star,)."""
    array = group.create_array(
        STAR,
        shape=stars.shape,
        chunks=stars.shape,
        dtype=np.dtypes.StringDType() if stars.dtype.kind == "O" else stars.dtype,
        dimension_names=(STAR,),
        overwrite=True,
        **STAR_ENCODING,
    )
    array[:] = stars.astype(array.dtype)


def read_identifiers(group: zarr.Group) -> np.ndarray | str:
    """Return the identifiers that a catalogue has: (star,); or why they cannot be read."""
    try:
        return np.asarray(store.open_array(group, STAR)[:])
    except Exception as error:  # codecs raise what they like
        if store.is_outage(error) and not isinstance(error, KeyError):
            raise
        return f"{type(error).__name__}: {error}"


def find_wrong_stars(group: zarr.Group, stars: np.ndarray) -> str:
    """Return why the identifiers of a catalogue will not do; empty if they are these."""
    there = read_identifiers(group)
    if isinstance(there, str):
        return there
    if np.array_equal(there.astype(stars.dtype), stars):
        return ""
    return "not the identifiers of the survey"


def has_first(there: np.ndarray, stars: np.ndarray) -> bool:
    """Whether a catalogue's identifiers are the first of a survey's, or all of them."""
    first = stars[: there.size]
    return np.array_equal(there.astype(object), first.astype(object))


def describe_other_stars(there: np.ndarray, stars: np.ndarray) -> str:
    """Say in what the stars of a survey are others than those of a catalogue.

    Parameters
    ----------
    there : array, (star,)
        Identifiers in the catalogue.
    stars : array, (star,)
        Those of the survey, which do not begin with the former.
    """
    n = min(there.size, stars.size)
    # text beside numbers is no error here
    differs = there[:n].astype(object) != stars[:n].astype(object)
    if differs.any():
        first = int(differs.argmax())
        return (
            f"survey (star {first:,} was {there[first]!s} and is {stars[first]!s}: stars may be "
            "added at the end, not removed, renamed or put in another order)"
        )
    if there.size > n:
        return f"survey (of {there.size:,} stars, now {n:,}: {there[n]!s} and later are missing)"
    return "survey"
