"""Stars by identifier: an index that is built when first asked for, finding, matching."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.indexes import PandasIndex

from luxscale.errors import InputError
from luxscale.schema.checks import check_unique
from luxscale.schema.names import find_close_names
from luxscale.schema.status import find_done
from luxscale.schema.variables import STAR


class StarIndex(xr.Index):
    """Index of star identifiers, read on the first selection by identifier.

    Opening a survey of millions, or selecting by position, reads no identifiers; ``sel(star=...)``
    and alignment of different surveys do. To reindex by names of your own, select with ``sel``.

    Parameters
    ----------
    variable : Variable, (star,)
    """

    def __init__(self, variable: xr.Variable) -> None:
        self._variable = variable
        self._built: PandasIndex | None = None

    @classmethod
    def from_variables(
        cls, variables: Mapping[Any, xr.Variable], *, options: Mapping[str, Any]
    ) -> StarIndex:
        """Make the index of one 1-D coordinate; reads nothing."""
        (variable,) = variables.values()
        return cls(variable)

    @property
    def _dim(self) -> Hashable:
        return self._variable.dims[0]

    def _build(self) -> PandasIndex:
        if self._built is None:
            self._built = PandasIndex(_to_pandas(self._variable.values), self._dim)
        return self._built

    def create_variables(
        self, variables: Mapping[Any, xr.Variable] | None = None
    ) -> dict[Hashable, xr.Variable]:
        """Return the coordinate as it is, unread."""
        return {self._dim: self._variable}

    def to_pandas_index(self) -> Any:
        """Return the identifiers as a pandas index."""
        return self._build().to_pandas_index()

    def isel(self, indexers: Mapping[Any, Any]) -> StarIndex | None:
        """Select by position."""
        selected = self._variable.isel({self._dim: indexers[self._dim]})
        if selected.dims != (self._dim,):
            return None
        return type(self)(selected)

    def sel(self, labels: dict[Any, Any], **options: Any) -> Any:
        """Select by identifier."""
        return self._build().sel(labels, **options)

    def equals(self, other: xr.Index, **options: Any) -> bool:
        """Return whether both name the same stars in the same order."""
        if not isinstance(other, StarIndex):
            return False
        if self is other or self._variable is other._variable:
            return True
        if self._variable.shape != other._variable.shape:
            return False
        return self._build().equals(other._build())

    def join(self, other: StarIndex, how: str = "inner") -> StarIndex:  # type: ignore[override]
        """Join two surveys by identifier."""
        joined = self._build().join(other._build(), how)  # type: ignore[arg-type]
        return type(self)(xr.Variable((self._dim,), joined.index.values))

    def reindex_like(self, other: StarIndex) -> dict[Hashable, Any]:  # type: ignore[override]
        """Return where the stars of another survey stand in this one."""
        return self._build().reindex_like(other._build())

    @classmethod
    def concat(cls, indexes: Any, dim: Hashable, positions: Any = None) -> StarIndex:
        """Join surveys end to end."""
        variables = [i._variable for i in indexes]
        # Dask cannot join its arrays of objects to those in memory
        if not all(v.chunks for v in variables):
            variables = [v.as_numpy() for v in variables]
        return cls(xr.Variable.concat(variables, dim, positions))

    def roll(self, shifts: Mapping[Any, int]) -> StarIndex:
        """Shift the stars."""
        return type(self)(self._variable.roll(shifts))

    def _repr_inline_(self, max_width: int) -> str:
        return "StarIndex (built)" if self._built else "StarIndex (built when asked for)"


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
    index = index_stars(dataset)
    wanted = list(stars)
    if index.dtype.kind in "iu":
        wanted = [int(star) if str(star).isdecimal() else star for star in stars]
    rows = np.asarray(index.get_indexer(wanted))
    if (rows < 0).any():
        missing = stars[int(np.argmax(rows < 0))]
        near = find_close_names(map(str, index), str(missing))
        if near:
            advice = f"did you mean {' or '.join(near)}?"
        else:
            advice = f"give identifiers, such as {_give_example(index)}"
        raise InputError(f"{where}: no star {missing!r}; {advice}")
    return rows


def index_stars(dataset: xr.Dataset) -> pd.Index:
    """Return the star identifiers of a dataset, whatever index it has."""
    if STAR in dataset.xindexes:
        return dataset.xindexes[STAR].to_pandas_index()
    return pd.Index(_to_pandas(dataset[STAR].values))


def _to_pandas(stars: np.ndarray) -> np.ndarray:
    """Return identifiers as pandas indexes them: text as objects, numbers in native bytes."""
    if stars.dtype.kind in "UT":
        return stars.astype(object)
    return stars.astype(stars.dtype.newbyteorder("="), copy=False)


def match_stars(catalog: xr.Dataset, truth: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of common stars that are done, in the catalogue's order.

    Returns
    -------
    rows, truth_rows : array, (star,)
        In the catalogue, and in the other dataset.

    Raises
    ------
    InputError
        If there are none.
    """
    ours, theirs = index_stars(catalog), index_stars(truth)
    at = match_identifiers(ours, theirs, ("catalogue", "truth"))
    if not (at >= 0).any():
        raise InputError(
            f"no star is in common: the catalogue's are like {_give_example(ours)}, the survey's "
            f"like {_give_example(theirs)}; give the survey that was labelled, or one with the "
            "same identifiers"
        )
    rows = np.flatnonzero((at >= 0) & find_done(catalog))
    if not rows.size:
        raise InputError(
            "none of the stars in common is done (status 1) in the catalogue; finish it with "
            "luxscale.label_survey"
        )
    return rows, at[rows]


def match_identifiers(ours: pd.Index, theirs: pd.Index, names: tuple[str, str]) -> np.ndarray:
    """Return where each star of one dataset stands in another: (star,), -1 where it is not there.

    Parameters
    ----------
    ours, theirs : Index
    names : tuple of str
        What messages call the two datasets.

    Raises
    ------
    InputError
        If one of them names a star twice, unless both name the same in the same order.
    """
    if ours.equals(theirs):
        return np.arange(len(ours))
    check_unique(np.asarray(ours), names[0])
    check_unique(np.asarray(theirs), names[1])
    return np.asarray(theirs.get_indexer(ours))


def _give_example(stars: pd.Index) -> str:
    if not len(stars):
        return "none, it is empty"
    return repr(stars[:1].tolist()[0])
