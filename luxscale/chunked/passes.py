"""The passes of expectation-maximisation: sums over the stars of a region, and solutions of tiles.

What is summed within a region is float32, as in memory; over regions it is float64, in their order.
So the model is the same bit for bit whoever did which region, and when.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from luxscale.chunked.folder import Found, has_part, load_part, load_step
from luxscale.chunked.plan import Plan, Region, Tile
from luxscale.chunked.scatter import Window, place_nodes, sum_at_nodes
from luxscale.chunked.stars import iterate_batches, load_batch
from luxscale.model.noise import DiagonalNoise
from luxscale.model.threads import count_threads
from luxscale.training.data import Arrays, TrainingData
from luxscale.training.latents import Latents, solve_latents
from luxscale.training.regression import RIDGE, TILE, spread_ridge
from luxscale.training.statistics import Moments, Statistics, compute_moments, expect, maximise

#: Step that found what turns spectra into their leading components, which are the first latents.
PRINCIPAL = "principal"

#: What the parameters of an output are called in a file.
PARAMETERS = ("weights", "offset", "scatter")


def put_parameters(outputs: Sequence[Arrays]) -> Found:
    """Return the parameters of outputs as arrays by name."""
    return {
        f"{name}-{i}": np.asarray(getattr(output, name), np.float32)
        for i, output in enumerate(outputs)
        for name in PARAMETERS
    }


def take_parameters(arrays: Sequence[Arrays], found: Found) -> tuple[Arrays, ...]:
    """Return outputs with the parameters that a step found."""
    return tuple(
        output._replace(**{name: found[f"{name}-{i}"] for name in PARAMETERS})
        for i, output in enumerate(arrays)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expect:
    """Sums over the stars of a region at given parameters: a `Stage`.

    Parameters
    ----------
    plan : Plan
    name : str
    state : str
        Step that found the parameters.
    latents : str
        Step that found those under which latents have their posterior, or `PRINCIPAL`.
    window : Window, optional
        For the sums of a fit of scatter.
    statistics : bool
        Whether to take the sums of the regression.
    fold : int, optional
        Stars to take; all by default.
    """

    plan: Plan
    name: str
    state: str
    latents: str
    window: Window | None = None
    statistics: bool = False
    fold: int | None = None

    def compute(self, region: Region) -> Found:
        """Return the sums over a region; none, if it has no star of the fold."""
        total: Found = {}
        for positions in iterate_batches(self.plan, region, self.fold):
            if self.statistics and not total:
                total["statistics"] = self._allocate_statistics()
            found = self._sum_batch(load_batch(self.plan, positions), total.get("statistics"))
            for name, array in found.items():
                total[name] = total[name] + array if name in total else array
        return total

    def _allocate_statistics(self) -> np.ndarray:
        """Return zeros for the sums of the regression, `pack_statistics`: (tile, feature, sum)."""
        widest = max(tile.size for tile in self.plan.tiles)
        columns = count_columns(self.plan.latent_dim)
        return np.zeros((len(self.plan.tiles), widest, columns), np.float32)

    def _sum_batch(self, data: TrainingData, statistics: np.ndarray | None) -> Found:
        """Return the sums over a batch, but those of the regression, to which it adds."""
        outputs = take_parameters(data.arrays, load_step(self.plan.folder, self.state))
        if self.latents == PRINCIPAL:
            latents = Latents.certain(find_principal(self.plan, data))
        else:
            known = load_step(self.plan.folder, self.latents)
            latents = solve_latents(take_parameters(data.arrays, known), 1.0)
        found = _sum_latents(latents, data.n_stars)
        stars = data.mark_stars()
        for i, informs in enumerate(self.plan.informing):
            if informs:
                weights = np.asarray(outputs[i].noise.weigh(np.asarray(outputs[i].ivar)))
                found[f"weight-{i}"] = weights[: data.n_stars].sum(0)
            if informs and self.window:
                found[f"slopes-{i}"] = self._sum_slopes(i, outputs[i], latents, stars)
        if statistics is not None:
            self._add_statistics(statistics, outputs, latents, stars)
        return found

    def _sum_slopes(
        self, number: int, output: Arrays, latents: Latents, stars: np.ndarray
    ) -> np.ndarray:
        """Return the sums of a fit of scatter at the nodes of its windows: (2, node, feature)."""
        assert self.window is not None
        center = 2 * np.log(np.asarray(output.scatter, float))
        nodes = place_nodes(self.window, center)
        found = np.zeros((2, *nodes.shape), np.float32)
        for tile in self.plan.tiles:
            if tile.output == number:
                part = sum_at_nodes(output, latents, stars, nodes, tile.start, TILE)
                found[:, :, tile.start : tile.start + TILE] = part[..., : tile.size]
        return found

    def _add_statistics(
        self, total: np.ndarray, outputs: Sequence[Arrays], latents: Latents, stars: np.ndarray
    ) -> None:
        """Add the sums of the regression over a batch: (tile, feature, sum)."""
        moments = Moments(*map(np.asarray, compute_moments(latents)))

        def add_tile(tile: Tile) -> None:
            output = outputs[tile.output]
            features = slice(tile.start, tile.start + tile.size)
            ivar = np.asarray(output.ivar)[:, features] * stars[:, None]
            weights = DiagonalNoise(output.scatter[features]).weigh(ivar)
            values = np.asarray(output.values)[:, features]
            statistics = expect(values, weights, moments, np.matmul)
            total[tile.index, : tile.size] += pack_statistics(statistics)

        # XLA splits a sum over stars by its threads, and rounds it by their number
        with ThreadPoolExecutor(count_threads()) as threads:
            list(threads.map(add_tile, self.plan.tiles))


def find_principal(plan: Plan, data: TrainingData) -> np.ndarray:
    """Return the leading components of the spectra of stars, padding included: (star, latent)."""
    found = load_step(plan.folder, PRINCIPAL)
    z: Any = 0.0
    for i, output in zip(plan.measured, data.measured, strict=True):
        z = z + np.asarray(output.arrays.values) @ found[f"turn-{i}"]
    return np.asarray(z, np.float32)


def _sum_latents(latents: Latents, n_stars: int) -> Found:
    """Return the sums of latents, of their products and of the objective, in float64."""
    z = np.asarray(latents.mean, float)[:n_stars]
    square = z.T @ z
    if latents.has_covariance:
        packed = np.asarray(latents.cov, float)[:n_stars].sum(0)
        i, j = np.tril_indices(len(square))
        extra = np.zeros_like(square)
        extra[i, j] = extra[j, i] = packed
        square = square + extra
    objective = np.asarray(latents.objective, float)[:n_stars]
    return {"mean": z.sum(0), "square": square, "objective": objective.sum(keepdims=True)}


def pack_statistics(statistics: Statistics) -> np.ndarray:
    """Return the sums of each feature in one row: (feature, sum)."""
    columns = [statistics.normal, statistics.right]
    columns += [x[:, None] for x in (statistics.weight, statistics.count)]
    return np.concatenate([np.asarray(column) for column in columns], 1)


def count_columns(latent_dim: int) -> int:
    """Return the sums of a feature: of products, of right-hand sides, of weights, and the count."""
    return (latent_dim + 1) * (latent_dim + 2) // 2 + latent_dim + 3


def unpack_statistics(packed: np.ndarray, latent_dim: int) -> Statistics:
    """Return the sums that `pack_statistics` packed, as float32."""
    packed = packed.astype(np.float32)
    k = packed.shape[1] - latent_dim - 3
    return Statistics(
        normal=packed[:, :k], right=packed[:, k:-2], weight=packed[:, -2], count=packed[:, -1]
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OfSums:
    """What is made of a tile of features from the sums over all regions.

    Parameters
    ----------
    plan : Plan
    name : str
    sums : str
        Stage that took them.
    """

    plan: Plan
    name: str
    sums: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maximise(_OfSums):
    """Weights and offsets of a tile of features from the sums over all regions: a `Stage`."""

    def compute(self, tile: Tile) -> Found:
        """Return weights and offsets."""
        return solve_tile(sum_tile(self.plan, self.sums, tile), self.plan.latent_dim)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SumFold(_OfSums):
    """The sums over all regions for a tile of features: a `Stage`."""

    def compute(self, tile: Tile) -> Found:
        """Return the sums, in float64."""
        return {"total": sum_tile(self.plan, self.sums, tile)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaximiseOthers:
    """Weights and offsets of a tile without the stars of each fold: a `Stage`.

    Parameters
    ----------
    plan : Plan
    name : str
    sums : tuple of str
        Stages that took the sums of the folds.
    """

    plan: Plan
    name: str
    sums: tuple[str, ...]

    def compute(self, tile: Tile) -> Found:
        """Return weights and offsets by fold."""
        of_folds = [np.asarray(load_part(self.plan, s, tile.index, "total")) for s in self.sums]
        found = []
        for k in range(len(of_folds)):
            # by addition alone, so that what a fold held leaves no rounding behind
            others: Any = sum(of_folds[:k] + of_folds[k + 1 :])
            found.append(solve_tile(others, self.plan.latent_dim))
        return {name: np.stack([of_fold[name] for of_fold in found]) for name in found[0]}


def sum_tile(plan: Plan, stage: str, tile: Tile) -> np.ndarray:
    """Return the sums of a tile over all regions, in their order: (feature, sum), float64."""
    total: Any = 0.0
    for region in plan.regions:
        # which may hold no star of a fold
        if has_part(plan, stage, region.index, "statistics"):
            part = load_part(plan, stage, region.index, "statistics")[tile.index]
            total = total + np.asarray(part, float)
    return np.asarray(total)


def solve_tile(total: np.ndarray, latent_dim: int) -> Found:
    """Return the weights and offsets that sums over all stars make most likely."""
    zero = np.zeros((len(total), latent_dim), np.float32)
    ridge = spread_ridge(RIDGE, len(total), len(total))
    weights, offset = maximise(unpack_statistics(total, latent_dim), zero, ridge)
    return {"weights": np.asarray(weights), "offset": np.asarray(offset)}
