"""What stars left out of training tell, measured on all of them, region by region."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from luxscale.chunked.folder import Folder, Found, load_step
from luxscale.chunked.plan import Plan, Region
from luxscale.chunked.stars import iterate_batches, load_batch
from luxscale.model.file import load_model
from luxscale.model.lux import LuxModel
from luxscale.training.calibrate import LeftOut, Residuals, concatenate, measure_left_out


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
    name: str = "residuals"

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
            for i, residuals in enumerate(joined.labels):
                for field, array in residuals._asdict().items():
                    found[f"{k}-{i}-{field}"] = array
        return found


def name_model(fold: int) -> str:
    """Return the name of the model of the stars that a fold leaves."""
    return f"without-fold-{fold}.zarr"


@functools.lru_cache(maxsize=16)
def _load_model(plan: Plan, fold: int) -> LuxModel:
    return load_model(plan.path / name_model(fold))


def measure_each_fold(folder: Folder, folds: int, n_labels: int) -> list[LeftOut]:
    """Return what stars left out of training tell, by fold.

    Parameters
    ----------
    folder : Folder
        With the models of `name_model`.
    folds : int
    n_labels : int
        Outputs that are labels.
    """
    plan = folder.plan

    def find() -> Found:
        stage = MeasureLeftOut(plan=plan, folds=folds)
        folder.run(stage, plan.regions, "measuring errors on stars left out")
        names = []
        for k in range(folds):
            names += [f"{k}-chi2", f"{k}-distance"]
            names += [f"{k}-{i}-{f}" for i in range(n_labels) for f in Residuals._fields]
        return {name: folder.collect(stage.name, name) for name in names}

    found = folder.take("residuals", find, drop=["residuals"])
    parts = []
    for k in range(folds):
        labels = []
        for i in range(n_labels):
            labels.append(Residuals(*(found[f"{k}-{i}-{f}"] for f in Residuals._fields)))
        parts.append(LeftOut(found[f"{k}-chi2"], found[f"{k}-distance"], tuple(labels)))
    return parts
