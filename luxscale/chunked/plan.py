"""The plan of a training over chunks: which stars of which survey, in which regions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from luxscale.schema.outputs import OutputSpec, Role
from luxscale.training.regression import TILE, list_tiles

#: Stars that are worked on at once: arrays of a pass have this one shape.
BATCH = 1024


@dataclasses.dataclass(frozen=True)
class Region:
    """Training stars ``start`` to ``stop``, in whole chunks of the survey: the item of a pass."""

    index: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of stars."""
        return self.stop - self.start


@dataclasses.dataclass(frozen=True)
class Tile:
    """Features ``start`` and on of an output, the item of a sum over regions.

    As `luxscale.training.regression` cuts them: the last of an output overlaps that before it.
    """

    index: int
    output: int
    start: int
    size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a task needs to know, as plain values.

    Parameters
    ----------
    survey, folder : str
        Path or URL of the survey, and path of the folder of the training.
    where : str
        What messages call the survey.
    outputs : tuple of OutputSpec
    sizes : tuple of int
        Features of each.
    latent_dim : int
    n_stars : int
        That are trained on.
    chunk : int
        Stars in a stored chunk of the survey.
    bounds : tuple of int
        Of the regions, by position among the training stars.
    identity : tuple of (name, value)
        What a folder must agree on to be continued; all else in it follows from this.
    """

    survey: str
    folder: str
    where: str
    outputs: tuple[OutputSpec, ...]
    sizes: tuple[int, ...]
    latent_dim: int
    n_stars: int
    chunk: int
    bounds: tuple[int, ...]
    identity: tuple[tuple[str, str], ...]

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)

    @functools.cached_property
    def regions(self) -> tuple[Region, ...]:
        """All regions, in order."""
        pairs = zip(self.bounds[:-1], self.bounds[1:], strict=True)
        return tuple(Region(i, a, b) for i, (a, b) in enumerate(pairs))

    @functools.cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles of features, in order."""
        found: list[Tile] = []
        for output, d in enumerate(self.sizes):
            for start in list_tiles(d, TILE):
                found.append(Tile(len(found), output, start, min(TILE, d)))
        return tuple(found)

    @property
    def informing(self) -> tuple[bool, ...]:
        """Which outputs set the gauge and have their scatter fitted: all but labels."""
        return tuple(spec.role is not Role.LABELS for spec in self.outputs)

    @property
    def measured(self) -> tuple[int, ...]:
        """Which these are, by position."""
        return tuple(i for i, informs in enumerate(self.informing) if informs)

    @property
    def batch(self) -> int:
        """Stars that there is room for in a batch."""
        largest = max(region.size for region in self.regions)
        return min(BATCH, largest + -largest % 256)


def split(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where batches of stars begin and end."""
    return ((i, min(i + size, stop)) for i in range(start, stop, size))


def cut_regions(rows: np.ndarray, chunk: int, region_stars: int) -> tuple[int, ...]:
    """Return bounds of regions of about so many stars, none of which shares a chunk with another.

    Parameters
    ----------
    rows : array of int, (star,)
        Positions of the training stars in the survey, ascending.
    chunk : int
    region_stars : int
    """
    edges = np.flatnonzero(np.diff(rows // chunk)) + 1
    bounds = [0]
    for edge in [*edges.tolist(), rows.size]:
        if edge - bounds[-1] >= region_stars:
            bounds.append(edge)
    if bounds[-1] < rows.size:
        bounds.append(rows.size)
    return tuple(bounds)
