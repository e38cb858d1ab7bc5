"""The plan of an ingest: which files become which survey, how, and in which batches."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from luxscale.prepare import Recipe
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.preparation import Preparation

#: Batches that a small set of files is shared out in, at least.
_LEAST_BATCHES = 16


@dataclasses.dataclass(frozen=True)
class Batch:
    """Files ``start`` to ``stop`` of a session."""

    index: int
    start: int
    stop: int


@dataclasses.dataclass(frozen=True)
class Piece:
    """A chunk of the survey, to be put together from what batches read.

    It has stars ``start`` to ``stop`` of the survey.
    """

    index: int
    start: int
    stop: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How files become stars of a survey: all that a task needs to know, as plain values.

    Parameters
    ----------
    survey : str
        Path or URL.
    format : str
    options : tuple of (name, value)
        Of the format.
    recipe : Recipe
    chunk : int
        Stars per chunk.
    grid : str
        Checksum of the wavelengths.
    """

    survey: str
    format: str
    options: tuple[tuple[str, str], ...]
    recipe: Recipe
    chunk: int
    grid: str

    @property
    def preparation(self) -> Preparation:
        """How spectra are prepared, as they say themselves."""
        identity = self.identity
        return Preparation(identity["format"], identity["options"], identity["recipe"])

    @property
    def identity(self) -> dict[str, Any]:
        """What a survey must agree on for more files to be added, ready for JSON."""
        recipe = dataclasses.asdict(self.recipe)
        return {
            "format": self.format,
            "options": dict(self.options),
            "recipe": {name: _make_lists(value) for name, value in recipe.items()},
            "chunk": self.chunk,
            "grid": self.grid,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """Files that are added together.

    Parameters
    ----------
    plan : Plan
    number : int
    n_files, batch_files : int
        Files in all, and in a batch.
    first : int
        Stars of the survey before.
    """

    plan: Plan
    number: int
    n_files: int
    batch_files: int
    first: int

    @property
    def group(self) -> str:
        """Group of the survey that holds what is known of the session."""
        return f"ingest/{self.number}"

    @property
    def batches(self) -> tuple[Batch, ...]:
        """All batches, in order."""
        blocks = iterate_blocks(self.n_files, self.batch_files)
        return tuple(Batch(i, files.start, files.stop) for i, files in enumerate(blocks))

    def pieces(self, n_new: int) -> tuple[Piece, ...]:
        """Return the chunks of the survey that so many new stars fill, in order."""
        chunk = self.plan.chunk
        last = self.first + n_new
        first_chunk = self.first - self.first % chunk
        found = []
        for index, start in enumerate(range(first_chunk, last, chunk)):
            found.append(Piece(index, max(start, self.first), min(start + chunk, last)))
        return tuple(found)


def choose_batch_size(n_files: int, chunk: int, many: bool) -> int:
    """Return the files of a batch: as many as a chunk has stars, fewer of a small set.

    It is one where each file holds many stars.
    """
    if many:
        return 1
    shared_out = -(-n_files // _LEAST_BATCHES)
    return max(1, min(chunk, shared_out))


def compute_grid_checksum(grid: np.ndarray) -> str:
    """Return a short name of a wavelength grid, by its values."""
    values = np.ascontiguousarray(grid, "<f8")
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


def _make_lists(value: Any) -> Any:
    """Return tuples as the lists that JSON makes of them."""
    if isinstance(value, list | tuple):
        return [_make_lists(item) for item in value]
    return value
