"""What an export reads: a catalogue or survey on disk or as a Dataset, block by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

from luxscale import store
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.variables import STAR


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
    def of(cls, given: str | Path | xr.Dataset, kind: str) -> Source:
        """Open what is given, a path or a Dataset.

        Raises
        ------
        InputError
            If there is nothing to open.
        """
        if isinstance(given, xr.Dataset):
            return cls(kind, given, given.variables)
        dataset = store.open_dataset(given)
        plain = xr.open_zarr(
            store.locate(given), chunks=None, consolidated=False, create_default_indexes=False
        )
        return cls(str(given), dataset, plain.variables)


def read(variables: Mapping[str, xr.Variable], block: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield values of lazy variables (star, ...), ``block`` stars at a time."""
    held = {name: _pieces(v, block) for name, v in variables.items() if _chunk(v) > block}
    others = {name: v for name, v in variables.items() if name not in held}
    n_stars = next(iter(variables.values())).sizes[STAR]
    for rows in iterate_blocks(n_stars, block):
        parts = dask.compute(*(v[rows].data for v in others.values()))
        values = dict(zip(others, map(np.asarray, parts), strict=True))
        yield values | {name: next(pieces) for name, pieces in held.items()}


def _chunk(variable: xr.Variable) -> int:
    """Return how many stars are read at the least: a chunk's."""
    return int(
        variable.chunks[0][0] if variable.chunks else (variable.encoding.get("chunks") or (1,))[0]
    )


def _pieces(variable: xr.Variable, block: int) -> Iterator[np.ndarray]:
    """Yield values block by block of a variable of longer chunks (identifiers have them): each is read about once."""
    step = block * -(-_chunk(variable) // block)
    for rows in iterate_blocks(variable.sizes[STAR], step):
        values = variable[rows].values
        yield from (values[part] for part in iterate_blocks(len(values), block))
