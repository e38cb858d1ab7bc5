"""Training data in the units of the arithmetic: what the trainers see."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr

from luxscale.model import LinearMap, Output
from luxscale.schema import STAR, InputError, OutputSpec
from luxscale.train.steps import Arrays

#: A label measured in fewer stars says nothing on its own misfit.
LEAST_MEASURED = 10


class Spread(NamedTuple):
    """Centre, spread and bounds of each feature of an output, in its own units: (feature,)."""

    center: np.ndarray
    scale: np.ndarray
    least: np.ndarray
    greatest: np.ndarray


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The outputs of the training stars, centred and scaled to order one.

    Parameters
    ----------
    specs : tuple of OutputSpec
    arrays : tuple of Arrays
        Values and inverse variances (star, feature) in units of ``spreads``, with weights still empty.
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
        """Which outputs are on a grid of pixels."""
        return tuple(g.dtype.kind == "f" for g in self.grids)

    def select(self, rows: np.ndarray) -> TrainingData:
        """Return the data of some of the stars, in the same units."""
        arrays = tuple(a._replace(values=a.values[rows], ivar=a.ivar[rows]) for a in self.arrays)
        return dataclasses.replace(self, arrays=arrays, stars=self.stars[rows])

    def fold(self, folds: int) -> np.ndarray:
        """Return the fold of each star, by its identifier, so that the order of the stars does not matter: (star,).

        Folds are of equal size.
        """
        key = np.array([zlib.crc32(str(s).encode()) for s in self.stars.tolist()])
        rank = np.empty(key.size, int)
        rank[np.argsort(key, kind="stable")] = np.arange(key.size)
        return rank % folds

    def checksum(self) -> str:
        """Return the SHA-256 of stars, values and inverse variances."""
        digest = hashlib.sha256("\n".join(map(str, self.stars.tolist())).encode())
        for spec, a in zip(self.specs, self.arrays, strict=True):
            digest.update(spec.name.encode())
            for array in (a.values, a.ivar):
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def outputs(self, arrays: Sequence[Arrays], floors: Sequence[np.ndarray]) -> tuple[Output, ...]:
        """Return trained arrays as the outputs of a model, in the units of the survey."""
        made = []
        for spec, a, spread, grid, units, floor in zip(
            self.specs, arrays, self.spreads, self.grids, self.units, floors, strict=True
        ):
            used = np.any(a.ivar > 0, axis=0)
            scale = spread.scale
            weights = np.where(np.expand_dims(used, 1), np.asarray(a.weights, float) * scale[:, None], 0)
            offset = np.where(used, spread.center + scale * np.asarray(a.offset, float), np.nan)
            attrs = tuple((str(k), str(v)) for k, v in grid.attrs.items() if k != "units")
            made.append(
                Output(
                    spec,
                    tuple(grid.values.tolist()),
                    units,
                    attrs,
                    LinearMap(weights, offset),
                    np.asarray(a.scatter, float) * scale,
                    scale,
                    np.asarray(floor, float) * scale,
                    used,
                    np.stack([spread.least, spread.greatest], 1),
                )
            )
        return tuple(made)


def load_training(survey: xr.Dataset, specs: Iterable[OutputSpec], where: str) -> TrainingData:
    """Read the training stars into memory, and refuse data that carry no model.

    Raises
    ------
    InputError
        A label without a single measurement, or whose measurements are all equal; no pixel with data.
    """
    specs = tuple(specs)
    loaded = [_load(survey, spec, where) for spec in specs]
    grids = tuple(survey[s.dim] for s in specs)
    units = tuple(_units(survey, g) for g in grids)
    return TrainingData(
        specs, tuple(a for a, _ in loaded), tuple(s for _, s in loaded), grids, units, np.asarray(survey[STAR].values)
    )


def _units(survey: xr.Dataset, grid: xr.DataArray) -> tuple[str, ...]:
    if grid.dtype.kind == "f":
        return (str(grid.attrs["units"]),)
    named = survey.coords.get(f"{grid.name}_units")
    return tuple(str(u) for u in named.values) if named is not None else ("",) * grid.size


def _load(survey: xr.Dataset, spec: OutputSpec, where: str) -> tuple[Arrays, Spread]:
    values, noise = (np.asarray(survey[v].values) for v in spec.variables)
    ivar = spec.ivar(values, noise)
    known = ivar > 0
    grid = survey[spec.dim].values
    spectral = grid.dtype.kind == "f"
    spread = _spread_of_pixels(values, known) if spectral else _spread_of_labels(values, known)
    _refuse(known, spread, spec, grid, spectral, where)
    center, scale = (x.astype(values.dtype) for x in (spread.center, spread.scale))
    scaled = np.where(known, (values - center) / scale, 0).astype(np.float32)
    return Arrays.empty(scaled, (ivar * scale * scale).astype(np.float32)), spread


def _spread_of_labels(values: np.ndarray, known: np.ndarray) -> Spread:
    """Centroid and scale of equation 9: median, and a quarter of the central 95%."""
    some = known.any(0)
    out = np.zeros((5, values.shape[1]))
    held = np.where(known, values, np.nan)[:, some]
    out[:, some] = np.nanpercentile(held, [50, 97.5, 2.5, 0, 100], axis=0)
    center, high, low, least, greatest = out
    return Spread(center, (high - low) / 4, least, greatest)


def _spread_of_pixels(values: np.ndarray, known: np.ndarray) -> Spread:
    """Mean of each pixel, and one scale for all: a pixel that hardly varies needs no magnifying."""
    some, count = known.any(0), np.maximum(known.sum(0), 1)
    center = np.sum(values, axis=0, where=known, dtype=float) / count
    square = np.square(values - center.astype(values.dtype))
    scale = np.sqrt(np.sum(square, axis=0, where=known, dtype=float) / count)
    typical = float(np.median(scale[some])) if some.any() else 1.0
    least = np.min(values, axis=0, where=known, initial=np.inf)
    greatest = np.max(values, axis=0, where=known, initial=-np.inf)
    bounds = (np.where(some, x, 0).astype(float) for x in (least, greatest))
    return Spread(center, np.full(center.size, typical), *bounds)


def _refuse(known: np.ndarray, spread: Spread, spec: OutputSpec, grid: np.ndarray, spectral: bool, where: str) -> None:
    if spectral:
        if not known.any() or spread.scale[0] == 0:
            raise InputError(f"{where}: {spec.name!r} holds no pixel that varies between stars; check {spec.noise!r}")
        return
    for name, count, scale in zip(grid.tolist(), known.sum(0), spread.scale, strict=True):
        if count < LEAST_MEASURED:
            few = f"only {count} measurements" if count else "no measurement"
            raise InputError(
                f"{where}: {spec.dim} {name!r} has {few} in {spec.name!r} with {spec.noise!r}, too few to learn from: "
                f"leave it out with .drop_sel({spec.dim}=[{name!r}])"
            )
        if scale == 0:
            raise InputError(
                f"{where}: {spec.dim} {name!r} has the same value for (nearly) all stars; there is nothing "
                f"to learn: leave it out with .drop_sel({spec.dim}=[{name!r}])"
            )


def to_device(arrays: Iterable[Arrays], *, block: int, tile: int) -> tuple[Arrays, ...]:
    """Return arrays padded with missing stars and features, so that blocks and tiles fit."""

    def pad(array: np.ndarray, n: int, d: int) -> np.ndarray:
        return np.pad(array, ((0, -array.shape[0] % n), (0, -array.shape[1] % d)))

    return tuple(
        a._replace(values=jnp.asarray(pad(a.values, block, d)), ivar=jnp.asarray(pad(a.ivar, block, d)))
        for a in arrays
        for d in [min(tile, a.values.shape[1])]
    )
