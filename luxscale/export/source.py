"""What an export reads: a catalogue or survey on disk or as a Dataset, block by block."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

from luxscale import store
from luxscale.errors import InputError
from luxscale.model.arguments import put_stars_first
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.standard import standardize_catalog
from luxscale.schema.status import mark_done
from luxscale.schema.variables import STAR
from luxscale.store.fills import open_exactly


@dataclasses.dataclass(frozen=True)
class Source:
    """A catalogue or survey to read from.

    Parameters
    ----------
    where : str
        What messages call it.
    dataset : Dataset
    variables : mapping of str to Variable
        Its variables as they are read; from a path, without Dask, whose tasks cost several times
        what reading does.
    """

    where: str
    dataset: xr.Dataset
    variables: Mapping[Any, xr.Variable]

    @classmethod
    def open(cls, given: str | Path | xr.Dataset, kind: str) -> Source:
        """Open what is given, a path or a Dataset.

        Raises
        ------
        InputError
            If there is nothing to open.
        """
        if isinstance(given, xr.Dataset):
            given = put_stars_first(given)
            if kind == "catalogue" and STAR in given.dims:
                given = mark_done(standardize_catalog(given))  # as what is inferred in memory is
            return cls(kind, given, given.variables)
        if not isinstance(given, str | os.PathLike):
            raise InputError(
                f"the {kind} is a {type(given).__name__}, not a Dataset or the path of one"
            )
        path = os.fspath(given)
        dataset = store.open_dataset(path, kind=kind)
        without_dask = open_exactly(
            store.locate(path), chunks=None, consolidated=False, create_default_indexes=False
        )
        return cls(path, dataset, without_dask.variables)


def read_blocks(
    variables: Mapping[str, xr.Variable], block: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield values of lazy variables (star, ...), ``block`` stars at a time."""
    # identifiers come in longer chunks than the rest: a chunk of them serves several blocks
    long = {v for v, variable in variables.items() if _get_chunk(variable) > block}
    pieces = {name: _read_pieces(variables[name], block) for name in variables if name in long}
    others = {name: variable for name, variable in variables.items() if name not in long}
    n_stars = next(iter(variables.values())).sizes[STAR]
    for rows in iterate_blocks(n_stars, block):
        lazy = [variable[rows].data for variable in others.values()]
        computed = map(np.asarray, dask.compute(*lazy))
        values = dict(zip(others, computed, strict=True))
        yield values | {name: next(piece) for name, piece in pieces.items()}


def _get_chunk(variable: xr.Variable) -> int:
    """Return how many stars are read at the least: a chunk's."""
    if variable.chunks:
        return int(variable.chunks[0][0])
    stored = variable.encoding.get("chunks") or (1,)
    return int(stored[0])


def _read_pieces(variable: xr.Variable, block: int) -> Iterator[np.ndarray]:
    """Yield values block by block of a variable of longer chunks; reads each about once."""
    step = block * -(-_get_chunk(variable) // block)
    for rows in iterate_blocks(variable.sizes[STAR], step):
        values = variable[rows].values
        for part in iterate_blocks(len(values), block):
            yield values[part]
