"""An index of stars that is built when it is first asked for."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from xarray.indexes import PandasIndex


class StarIndex(xr.Index):
    """Index of star identifiers, read on the first selection by identifier.

    Opening a survey of millions, or selecting by position, reads no identifiers; ``sel(star=...)`` and
    alignment of different surveys do. To reindex by names of your own, select with ``sel``.

    Parameters
    ----------
    variable : Variable, (star,)
    """

    def __init__(self, variable: xr.Variable) -> None:
        self._variable = variable
        self._built: PandasIndex | None = None

    @classmethod
    def from_variables(cls, variables: Mapping[Any, xr.Variable], *, options: Mapping[str, Any]) -> StarIndex:
        """Make the index of one 1-D coordinate; reads nothing."""
        (variable,) = variables.values()
        return cls(variable)

    @property
    def _dim(self) -> Hashable:
        return self._variable.dims[0]

    def _build(self) -> PandasIndex:
        if self._built is None:
            values = np.asarray(self._variable.values)
            self._built = PandasIndex(values.astype(object) if values.dtype.kind in "UT" else values, self._dim)
        return self._built

    def create_variables(self, variables: Mapping[Any, xr.Variable] | None = None) -> dict[Hashable, xr.Variable]:
        """Return the coordinate as it is, unread."""
        return {self._dim: self._variable}

    def to_pandas_index(self) -> Any:
        """Return the identifiers as a pandas index."""
        return self._build().to_pandas_index()

    def isel(self, indexers: Mapping[Any, Any]) -> StarIndex | None:
        """Select by position."""
        selected = self._variable.isel({self._dim: indexers[self._dim]})
        return type(self)(selected) if selected.dims == (self._dim,) else None

    def sel(self, labels: dict[Any, Any], **options: Any) -> Any:
        """Select by identifier."""
        return self._build().sel(labels, **options)

    def equals(self, other: xr.Index, **options: Any) -> bool:
        """Whether both name the same stars in the same order."""
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
        if not all(v.chunks for v in variables):  # Dask cannot join its arrays of objects to those in memory
            variables = [v.as_numpy() for v in variables]
        return cls(xr.Variable.concat(variables, dim, positions))

    def roll(self, shifts: Mapping[Any, int]) -> StarIndex:
        """Shift the stars."""
        return type(self)(self._variable.roll(shifts))

    def _repr_inline_(self, max_width: int) -> str:
        return "StarIndex (built)" if self._built else "StarIndex (built when asked for)"
