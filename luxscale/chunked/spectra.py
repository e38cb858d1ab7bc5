"""What training has to know of all spectra before it begins: spreads, who has what, products."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from luxscale.chunked.folder import Folder, Found, load_step
from luxscale.chunked.plan import Plan, Region
from luxscale.chunked.stars import iterate_batches, load_batch, open_place
from luxscale.schema.outputs import Role
from luxscale.training.load import make_spread, measure_pixels, refuse_errors
from luxscale.training.principal_spectra import Tables
from luxscale.training.spread import PixelMoments


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasurePixels:
    """Moments of each pixel over the stars of a region: a `Stage`.

    Parameters
    ----------
    plan : Plan
    name : str
    """

    plan: Plan
    name: str = "pixels"

    def compute(self, region: Region) -> Found:
        """Return moments, and a typical flux of the first stars, of each spectrum."""
        moments: dict[int, PixelMoments] = {}
        units: dict[int, float] = {}
        for positions in iterate_batches(self.plan, region):
            for i, spec in enumerate(self.plan.outputs):
                if spec.role is not Role.SPECTRUM:
                    continue
                block = open_place(self.plan).read(positions, spec)
                of_batch, unit = measure_pixels(block, spec, self.plan.where)
                if i in moments:
                    moments[i].merge(of_batch)
                else:
                    moments[i] = of_batch
                if unit is not None:
                    units.setdefault(i, unit)
        found = {f"moments-{i}": m.to_array() for i, m in moments.items()}
        return found | {f"unit-{i}": np.array(units.get(i, np.nan)) for i in moments}


def measure_spreads(folder: Folder) -> None:
    """Find centre and scale of the pixels of each spectrum."""
    plan = folder.plan
    for i, spec in enumerate(plan.outputs):
        if spec.role is not Role.SPECTRUM:
            continue

        def find(i: int = i, spec: Any = spec) -> Found:
            folder.run(MeasurePixels(plan=plan), plan.regions, "reading spectra")
            arrays = folder.list_parts("pixels", f"moments-{i}")
            moments = PixelMoments.from_array(np.asarray(arrays[0]))
            for array in arrays[1:]:
                moments.merge(PixelMoments.from_array(np.asarray(array)))
            spread = make_spread(moments, spec, plan.where)
            units = np.array(folder.list_parts("pixels", f"unit-{i}"))
            known = units[np.isfinite(units)]
            unit = known[0] if known.size else 1.0
            return {**spread._asdict(), "unit": np.asarray(unit)}

        folder.take(f"spread-{spec.name}", find)
    folder.drop("pixels")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountValues:
    """How much of each pixel, band and star is known: a `Stage`.

    Parameters
    ----------
    plan : Plan
    name : str
    """

    plan: Plan
    name: str = "counts"

    def compute(self, region: Region) -> Found:
        """Return sums of inverse variances, counts by pixel and by star, and a checksum."""
        total: Found = {}
        known, digest = [], hashlib.sha256()
        for positions in iterate_batches(self.plan, region):
            data = load_batch(self.plan, positions, labels=False)
            known.append(Tables(data.measured).count_known())
            digest.update(data.checksum().encode())
            for output in data.measured:
                _, ivar = output.read_table()
                sums = np.stack([ivar.sum(0, dtype=float), (ivar > 0).sum(0).astype(float)])
                name = f"ivar-{output.spec.name}"
                total[name] = total[name] + sums if name in total else sums
        checksum = np.frombuffer(digest.digest(), np.uint8)
        return {**total, "known": np.concatenate(known), "checksum": checksum}


def count_values(folder: Folder) -> Found:
    """Return what `CountValues` finds, of all regions."""
    plan = folder.plan
    names = [f"ivar-{s.name}" for s in plan.outputs if s.role is not Role.LABELS]

    def find() -> Found:
        folder.run(CountValues(plan=plan), plan.regions, "counting values")
        return {
            **{name: folder.sum("counts", name) for name in names},
            "known": folder.collect("counts", "known"),
            "checksum": folder.collect("counts", "checksum"),
        }

    found = folder.take("counts", find, drop=["counts"])
    for spec in plan.outputs:
        if spec.role is not Role.LABELS and not found[f"ivar-{spec.name}"][1].any():
            refuse_errors(spec, plan.where)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadStars:
    """The spectra of some stars: a `Stage`.

    Parameters
    ----------
    plan : Plan
    name, step : str
        Of itself, and of what found the positions of the stars.
    """

    plan: Plan
    name: str = "basis-stars"
    step: str = "basis-rows"

    def compute(self, region: Region) -> Found:
        """Return values, 0 where missing, and which are known: (star, pixel)."""
        rows = load_step(self.plan.folder, self.step)["rows"]
        rows = rows[(rows >= region.start) & (rows < region.stop)]
        values, known = [], []
        for start in range(0, rows.size, self.plan.batch):
            positions = rows[start : start + self.plan.batch]
            data = load_batch(self.plan, positions, labels=False)
            of_batch = Tables(data.measured).read(np.arange(positions.size))
            values.append(of_batch[0])
            known.append(of_batch[1])
        d = sum(self.plan.sizes[i] for i in self.plan.measured)
        return {
            "values": np.concatenate([np.zeros((0, d), np.float32), *values]),
            "known": np.concatenate([np.zeros((0, d), bool), *known]),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multiply:
    """Products of the spectra, or their variances, of a region with given columns: a `Stage`.

    Parameters
    ----------
    plan : Plan
    name : str
    step : str
        What found the columns: (pixel, column).
    """

    plan: Plan
    name: str
    step: str

    def compute(self, region: Region) -> Found:
        """Return scores, or sums of errors: (star, column)."""
        columns = load_step(self.plan.folder, self.step)["columns"]
        found = []
        for positions in iterate_batches(self.plan, region):
            tables = Tables(load_batch(self.plan, positions, labels=False).measured)
            multiply = tables.sum_errors if self.step == "error-columns" else tables.project
            found.append(multiply(columns))
        return {"product": np.concatenate(found)}


class FarSpectra:
    """The training spectra of a survey: a `luxscale.training.principal_spectra.Source`.

    Parameters
    ----------
    folder : Folder
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.n_pixels = sum(folder.plan.sizes[i] for i in folder.plan.measured)

    def count_known(self) -> np.ndarray:
        """Return how many values each star has: (star,)."""
        return count_values(self._folder)["known"]

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values of some stars, 0 where missing, and which are known: (star, pixel)."""
        folder = self._folder
        folder.take("basis-rows", lambda: {"rows": rows})

        def find() -> Found:
            folder.run(ReadStars(plan=folder.plan), folder.plan.regions, "reading typical stars")
            names = ("values", "known")
            return {name: folder.collect("basis-stars", name) for name in names}

        found = folder.take("basis-stars", find, drop=["basis-stars"])
        return found["values"], found["known"]

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Return the scores of all stars on directions (pixel, component): (star, component)."""
        return self._multiply("score-columns", vectors, "components of spectra")

    def sum_errors(self, square: np.ndarray) -> np.ndarray:
        """Return sum_d sigma_nd^2 square_dk: (pixel, k) -> (star, k)."""
        return self._multiply("error-columns", square, "errors of components")

    def _multiply(self, step: str, columns: np.ndarray, title: str) -> np.ndarray:
        folder, name = self._folder, f"{step}-products"
        folder.take(step, lambda: {"columns": columns})

        def find() -> Found:
            stage = Multiply(plan=folder.plan, name=name, step=step)
            folder.run(stage, folder.plan.regions, title)
            return {"product": folder.collect(name, "product")}

        return folder.take(name, find, drop=[name])["product"]
