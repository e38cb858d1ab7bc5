"""The plan of an ingest: which files become which survey, how, and in which batches."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from luxscale.prepare import Recipe

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
    """A chunk of the survey, to be put together from what batches read: stars ``start`` to ``stop`` of the survey."""

    index: int
    start: int
    stop: int


@dataclasses.dataclass(frozen=True)
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
        Stars a chunk.
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
    def identity(self) -> dict[str, Any]:
        """What a survey must agree on for more files to be added, ready for JSON."""
        recipe = {k: _plain(v) for k, v in dataclasses.asdict(self.recipe).items()}
        return {
            "format": self.format,
            "options": dict(self.options),
            "recipe": recipe,
            "chunk": self.chunk,
            "grid": self.grid,
        }


@dataclasses.dataclass(frozen=True)
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
        starts = range(0, self.n_files, self.batch_files)
        return tuple(
            Batch(i, a, min(a + self.batch_files, self.n_files)) for i, a in enumerate(starts)
        )

    def pieces(self, n_new: int) -> tuple[Piece, ...]:
        """Return the chunks of the survey that so many new stars fill, in order."""
        chunk, last = self.plan.chunk, self.first + n_new
        starts = range(self.first - self.first % chunk, last, chunk)
        return tuple(
            Piece(i, max(a, self.first), min(a + chunk, last)) for i, a in enumerate(starts)
        )


def batch_files(n_files: int, chunk: int, many: bool) -> int:
    """Return the files of a batch: as many as a chunk has stars, fewer of a small set; one where each holds many."""
    return 1 if many else max(1, min(chunk, -(-n_files // _LEAST_BATCHES)))


def grid_checksum(grid: np.ndarray) -> str:
    """Return a short name of a wavelength grid, by its values."""
    return hashlib.sha256(np.ascontiguousarray(grid, "<f8").tobytes()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Return tuples as the lists that JSON makes of them."""
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
