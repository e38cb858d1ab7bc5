"""What stars left out of training tell, measured on all of them, region by region."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np

from luxscale.chunked.folder import Folder, Found, load_step
from luxscale.chunked.plan import Plan, Region
from luxscale.chunked.stars import iterate_batches, load_batch
from luxscale.model.file import load_model
from luxscale.model.lux import LuxModel
from luxscale.training.left_out import (
    LeftOut,
    Residuals,
    concatenate,
    list_parts,
    measure_left_out,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureLeftOut:
    """Inference of the stars of a region, each with the model of the other folds: a `Stage`.

    Parameters
    ----------
    plan : Plan
    folds : int
    name : str
    """

    plan: Plan
    folds: int
    name: str = "residuals-by-outputs"

    def compute(self, region: Region) -> Found:
        """Return the fields of `LeftOut` by fold, of which the region has stars."""
        fold = load_step(self.plan.folder, "folds")["fold"]
        parts: dict[int, list[LeftOut]] = {k: [] for k in range(self.folds)}
        for positions in iterate_batches(self.plan, region):
            data = load_batch(self.plan, positions)
            for k in range(self.folds):
                rows = np.flatnonzero(fold[positions] == k)
                if rows.size:
                    model = _load_model(self.plan, k)
                    parts[k].append(measure_left_out(model, data, rows))
        found: Found = {}
        for k, of_fold in parts.items():
            if not of_fold:
                continue
            joined = concatenate(of_fold)
            found |= {f"{k}-chi2": joined.chi2, f"{k}-distance": joined.distance}
            for given, labels in enumerate((joined.labels, *joined.parts)):
                for i, residuals in enumerate(labels):
                    for field, array in residuals._asdict().items():
                        found[f"{k}-{given}-{i}-{field}"] = array
        return found


def name_model(fold: int) -> str:
    """Return the name of the model of the stars that a fold leaves."""
    return f"without-fold-{fold}.zarr"


@functools.lru_cache(maxsize=16)
def _load_model(plan: Plan, fold: int) -> LuxModel:
    return load_model(plan.path / name_model(fold))


def measure_each_fold(folder: Folder, folds: int, model: LuxModel) -> list[LeftOut]:
    """Return what stars left out of training tell, by fold.

    Parameters
    ----------
    folder : Folder
        With the models of `name_model`.
    folds : int
    model : LuxModel
        With the outputs of the others.
    """
    plan = folder.plan
    n_given = 1 + len(list_parts(model.measured))
    sets = [[(s, i) for i in range(len(model.labels))] for s in range(n_given)]

    def find() -> Found:
        stage = MeasureLeftOut(plan=plan, folds=folds)
        folder.run(stage, plan.regions, "measuring errors on stars left out")
        names = []
        for k in range(folds):
            names += [f"{k}-chi2", f"{k}-distance"]
            for given, i in itertools.chain(*sets):
                names += [f"{k}-{given}-{i}-{field}" for field in Residuals._fields]
        return {name: folder.collect(stage.name, name) for name in names}

    found = folder.take(MeasureLeftOut.name, find, drop=[MeasureLeftOut.name])
    parts = []
    for k in range(folds):
        labels, *others = (
            tuple(_take_residuals(found, f"{k}-{given}-{i}") for given, i in of_given)
            for of_given in sets
        )
        parts.append(LeftOut(found[f"{k}-chi2"], found[f"{k}-distance"], labels, tuple(others)))
    return parts


def _take_residuals(found: Found, name: str) -> Residuals:
    """Return those of a fold, of what is given, and of an output of labels."""
    return Residuals(*(found[f"{name}-{field}"] for field in Residuals._fields))
