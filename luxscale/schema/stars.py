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


class _LikePandasIndex(type):
    """Makes xarray align StarIndex and PandasIndex with each other.

    xarray aligns indexes whose types are equal; these differ only in when they are built.
    """

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is PandasIndex

    def __hash__(cls) -> int:
        return hash(PandasIndex)


class StarIndex(PandasIndex, metaclass=_LikePandasIndex):
    """Index of star identifiers, read on the first selection by identifier.

    Opening a survey of millions, or selecting by position, reads no identifiers; ``sel(star=...)``
    and alignment with other Datasets do. It aligns with an ordinary index as that with its like.

    Parameters
    ----------
    variable : Variable, (star,)
    """

    __slots__ = ("_built", "_name", "_variable")

    def __init__(self, variable: xr.Variable, name: Hashable = STAR) -> None:
        self._variable = variable
        self._name = name
        self._built: PandasIndex | None = None
        self.dim = variable.dims[0]
        self.coord_dtype = np.dtype(object) if variable.dtype.kind in "UT" else variable.dtype

    @classmethod
    def from_variables(
        cls, variables: Mapping[Any, xr.Variable], *, options: Mapping[str, Any]
    ) -> StarIndex:
        """Make the index of one 1-D coordinate; reads nothing."""
        ((name, variable),) = variables.items()
        return cls(variable, name)

    def _build(self) -> PandasIndex:
        if self._built is None:
            identifiers = pd.Index(_to_pandas(self._variable.values), name=self._name)
            # what xarray finds for text of pandas is no dtype of NumPy in all of its versions
            self._built = PandasIndex(identifiers, self.dim, coord_dtype=self.coord_dtype)
        return self._built

    @property
    def index(self) -> pd.Index:  # type: ignore[override]
        """The identifiers as pandas indexes them; read when first asked for."""
        return self._build().index

    def create_variables(
        self, variables: Mapping[Any, xr.Variable] | None = None
    ) -> dict[Hashable, xr.Variable]:  # type: ignore[override]
        """Return the coordinate as it is, unread."""
        return {self._name: self._variable}

    def isel(self, indexers: Mapping[Any, Any]) -> StarIndex | None:
        """Select by position."""
        selected = self._variable.isel({self.dim: indexers[self.dim]})
        if selected.dims != (self.dim,):
            return None
        return type(self)(selected, self._name)

    def sel(self, labels: dict[Any, Any], method: Any = None, tolerance: Any = None) -> Any:
        """Select by identifier.

        Raises
        ------
        KeyError
            If there is no such star; names those that are called nearly so.
        """
        try:
            return self._build().sel(labels, method, tolerance)
        except KeyError:
            wanted = np.atleast_1d(np.asarray(next(iter(labels.values())), object)).ravel()
            missing = [star for star in wanted.tolist() if star not in self.index]
            if not missing or isinstance(next(iter(labels.values())), slice):
                raise
            advice = _advise_star(self.index, missing[0])
        raise KeyError(f"not all values found in index {self._name!r}: {missing[0]!r}; {advice}")

    def equals(self, other: xr.Index, **options: Any) -> bool:
        """Return whether both name the same stars in the same order."""
        if not isinstance(other, PandasIndex):
            return False
        if isinstance(other, StarIndex):
            if self is other or self._variable is other._variable:
                return True
            if self._variable.shape != other._variable.shape:
                return False
        elif self._variable.shape != other.index.shape:
            return False
        return bool(self.index.equals(other.index)) and self.dim == other.dim

    def join(self, other: PandasIndex, how: str = "inner") -> PandasIndex:  # type: ignore[override]
        """Join with the stars of another Dataset, by identifier."""
        # with three Datasets, xarray calls this with what two have joined to as self
        return _get_built(self).join(_get_built(other), how)

    @classmethod
    def concat(cls, indexes: Any, dim: Hashable, positions: Any = None) -> StarIndex:
        """Join surveys end to end."""
        variables = [_get_variable(index) for index in indexes]
        # Dask cannot join its arrays of objects to those in memory
        if not all(v.chunks for v in variables):
            variables = [v.as_numpy() for v in variables]
        return cls(xr.Variable.concat(variables, dim, positions), dim)

    def roll(self, shifts: Mapping[Any, int]) -> StarIndex:
        """Shift the stars."""
        return type(self)(self._variable.roll(shifts), self._name)

    def rename(self, name_dict: Any, dims_dict: Any) -> StarIndex:
        """Rename the coordinate, or its dim; reads nothing."""
        name = name_dict.get(self._name, self._name)
        dim = dims_dict.get(self.dim, self.dim)
        return type(self)(xr.Variable((dim,), self._variable._data, self._variable.attrs), name)

    def _copy(self, deep: bool = True, memo: Any = None) -> StarIndex:
        # nothing changes an index, so that a copy may share what it holds
        copied = type(self)(self._variable, self._name)
        copied._built = self._built
        return copied

    def __reduce__(self) -> Any:
        return type(self), (self._variable, self._name)

    def __getitem__(self, indexer: Any) -> StarIndex:
        return type(self)(self._variable[indexer], self._name)

    def __repr__(self) -> str:
        return f"<{self._repr_inline_(80)}>"

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
    for star in wanted:
        if not np.isscalar(star):
            raise InputError(
                f"{where}: a star is named by its identifier, such as {_give_example(index)}, "
                f"and not by a {type(star).__name__}"
            )
    if index.dtype.kind in "iu":
        wanted = [int(star) if str(star).isdecimal() else star for star in stars]
    rows = np.asarray(index.get_indexer(wanted))
    if (rows < 0).any():
        missing = stars[int(np.argmax(rows < 0))]
        raise InputError(f"{where}: no star {missing!r}; {_advise_star(index, missing)}")
    return rows


def _advise_star(index: pd.Index, missing: Any) -> str:
    """Say which stars may have been meant by an identifier that is not there."""
    near = find_close_names(map(str, index), str(missing))
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"give identifiers, such as {_give_example(index)}"


def _get_built(index: PandasIndex) -> PandasIndex:
    """Return the ordinary index that an index of either kind stands for."""
    return index._build() if isinstance(index, StarIndex) else index


def _get_variable(index: PandasIndex) -> xr.Variable:
    """Return the identifiers of an index of either kind, unread where they are."""
    if isinstance(index, StarIndex):
        return index._variable
    return xr.Variable((index.dim,), np.asarray(index.index))


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
