"""Training data in the units of the arithmetic: what the trainers see."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from luxscale.model.decoders import Kind
from luxscale.model.lux import Output
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.training.steps import Arrays

Report = Callable[[str, int, float], None]


class Spread(NamedTuple):
    """Centre, spread and bounds of each feature of an output, in its own units: (feature,)."""

    center: np.ndarray
    scale: np.ndarray
    least: np.ndarray
    greatest: np.ndarray


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The outputs of the training stars, centred and scaled to order one, on the device.

    Parameters
    ----------
    specs : tuple of OutputSpec
    arrays : tuple of Arrays
        Values and inverse variances in units of ``spreads``, with weights still empty; padded with
        missing stars to whole blocks. The only copy of the data that training holds.
    spreads : tuple of Spread
    grids : tuple of DataArray
        Coordinates of the feature dims.
    units : tuple of tuple of str
    stars : array, (star,)
        Identifiers.
    left_out : tuple of (what, number)
        What of the survey takes no part.
    """

    specs: tuple[OutputSpec, ...]
    arrays: tuple[Arrays, ...]
    spreads: tuple[Spread, ...]
    grids: tuple[xr.DataArray, ...]
    units: tuple[tuple[str, ...], ...]
    stars: np.ndarray
    left_out: tuple[tuple[str, int], ...] = ()

    @property
    def n_stars(self) -> int:
        """Number of training stars."""
        return int(self.stars.size)

    @property
    def spectral(self) -> tuple[bool, ...]:
        """Which outputs are measured like spectra: all but labels."""
        return tuple(s.role is not Role.LABELS for s in self.specs)

    def table(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values and inverse variances of an output without padding, in units of its spread: (star, feature)."""
        return tuple(np.asarray(a)[: self.n_stars] for a in self.arrays[index][:2])  # type: ignore[return-value]

    def physical(self, index: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values and inverse variances of some stars in the units of the survey: (star, feature)."""
        (values, ivar), spread = self.table(index), self.spreads[index]
        safe = np.where(spread.scale > 0, spread.scale, 1)
        return spread.center + values[rows] * spread.scale, ivar[rows] / safe**2

    def values_per_star(self) -> float:
        """Return the mean number of measured values of a star."""
        return sum(float(np.sum(np.asarray(a.ivar) > 0)) for a in self.arrays) / self.n_stars

    def present(self) -> np.ndarray:
        """Return 1 for stars and 0 for padding: (star,), float32."""
        return (np.arange(self.arrays[0].values.shape[0]) < self.n_stars).astype(np.float32)

    def fold(self, folds: int) -> np.ndarray:
        """Return the fold of each star: (star,). See `folds_of`."""
        return folds_of(self.stars, folds)

    def checksum(self) -> str:
        """Return the SHA-256 of stars, values and inverse variances."""
        digest = hashlib.sha256("\n".join(map(str, self.stars.tolist())).encode())
        for i, spec in enumerate(self.specs):
            digest.update(spec.name.encode())
            for array in self.table(i):
                for row in (
                    array
                ):  # a row at a time: the table is a view, and hashing wants contiguous bytes
                    digest.update(row.data)
        return digest.hexdigest()

    def outputs(self, arrays: Sequence[Arrays], kinds: Sequence[Kind]) -> tuple[Output, ...]:
        """Return trained arrays as the outputs of a model, in the units of the survey."""
        made = []
        for i, (spec, a, spread, grid, units, kind) in enumerate(
            zip(self.specs, arrays, self.spreads, self.grids, self.units, kinds, strict=True)
        ):
            used = np.any(self.table(i)[1] > 0, axis=0)
            scale, d = spread.scale, grid.size
            weights = np.where(
                np.expand_dims(used, 1), np.asarray(a.weights, float) * scale[:, None], 0
            )
            offset = np.where(used, spread.center + scale * np.asarray(a.offset, float), np.nan)
            attrs = tuple((str(k), str(v)) for k, v in grid.attrs.items() if k != "units")
            made.append(
                Output(
                    spec,
                    tuple(grid.values.tolist()),
                    units,
                    attrs,
                    kind(weights, offset),
                    np.asarray(a.scatter, float) * scale,
                    scale,
                    np.zeros(d),
                    used,
                    np.stack([spread.least, spread.greatest], 1),
                )
            )
        return tuple(made)


class Trained(NamedTuple):
    """What a trainer returns.

    arrays: trained outputs in scaled units; history: objective per star after each iteration;
    leave_out: what returns, for the stars of each fold (positions), the arrays that the others give
    at the latents found; kinds: map of each output; prior: precision of the prior on latents that
    the test step needs, None if free to choose; exact_labels: whether the latents are the labels.
    """

    arrays: tuple[Arrays, ...]
    history: list[float]
    leave_out: Callable[[Sequence[np.ndarray]], Iterable[tuple[Arrays, ...]]]
    kinds: tuple[Kind, ...]
    prior: float | None = None
    exact_labels: bool = False


def folds_of(stars: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold of each star, by its identifier, so that the order of the stars does not matter: (star,).

    Folds are of equal size.
    """
    keys = [
        (zlib.crc32(name.encode()), name) for name in map(str, stars.tolist())
    ]  # CRCs of many stars may be equal
    rank = np.empty(len(keys), int)
    rank[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return rank % folds
