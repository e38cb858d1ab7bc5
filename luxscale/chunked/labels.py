"""The training stars as the client has them: labels and bands, of spectra nothing but sums."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from luxscale.chunked.folder import Folder, Found
from luxscale.chunked.spectra import FarSpectra, count_values, measure_spreads
from luxscale.chunked.stars import take_spread
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.preparation import PREPARATION
from luxscale.schema.variables import STAR
from luxscale.store import explain_writing
from luxscale.training.data import Arrays, TrainingData, TrainingOutput
from luxscale.training.load import load_named, read_units
from luxscale.training.screen import keep_all, screen_by


@dataclasses.dataclass(frozen=True, kw_only=True)
class FarOutput(TrainingOutput):
    """A spectrum whose data stay in the survey: `arrays` hold no stars.

    Parameters
    ----------
    used : array of bool, (feature,)
        Which features any star has.
    """

    used: np.ndarray

    def find_used(self) -> np.ndarray:
        """Return which features any star has: (feature,) bool."""
        return self.used


@dataclasses.dataclass(frozen=True)
class FarData(TrainingData):
    """Training stars whose spectra stay in the survey.

    Parameters
    ----------
    known : float
        Values measured, of all stars and outputs.
    digest : str
        Checksum of their spectra.
    """

    known: float = 0.0
    digest: str = ""

    def values_per_star(self) -> float:
        """Return the mean number of measured values of a star."""
        return self.known / self.n_stars

    def checksum(self) -> str:
        """Return a SHA-256 of stars, values and errors, unlike that of data in memory."""
        own = hashlib.sha256("\n".join(map(str, self.stars.tolist())).encode())
        own.update(self.digest.encode())
        for output in self.labels:
            for array in output.read_table():
                own.update(np.ascontiguousarray(array).data)
        return own.hexdigest()


def load_far(
    folder: Folder, survey: xr.Dataset, left_out: Mapping[str, int], clip: float
) -> FarData:
    """Read labels and bands, screen the labels by the spectra, and find the spread of all.

    Parameters
    ----------
    folder : Folder
    survey : Dataset
        The training stars, lazy.
    left_out : mapping of str to int
        What of the survey takes no part.
    clip : float
        As for `luxscale.train`.
    """
    plan = folder.plan
    stars = np.asarray(survey[STAR].values)
    measure_spreads(folder)
    made: dict[str, TrainingOutput] = {}
    for spec in plan.outputs:
        if spec.role is Role.BANDS:
            made[spec.name] = _load_named(folder, survey, spec, keep_all)
    counts = count_values(folder)
    for spec in plan.outputs:
        if spec.role is Role.SPECTRUM:
            made[spec.name] = _describe_spectrum(folder, survey, spec, counts)

    def screen(values: np.ndarray, errors: np.ndarray) -> Any:
        return screen_by(FarSpectra(folder), stars, clip)(values, errors)

    for spec in plan.outputs:
        if spec.role is Role.LABELS:
            chosen = screen if np.isfinite(clip) else keep_all
            made[spec.name] = _load_named(folder, survey, spec, chosen)
    known = float(counts["known"].sum())
    for output in made.values():
        if output.is_label:
            known += float((output.read_table()[1] > 0).sum())
    return FarData(
        tuple(made[spec.name] for spec in plan.outputs),
        stars,
        tuple(left_out.items()),
        known=known,
        digest=hashlib.sha256(counts["checksum"].tobytes()).hexdigest(),
    )


def _load_named(
    folder: Folder, survey: xr.Dataset, spec: OutputSpec, screen: Any
) -> TrainingOutput:
    """Return labels or bands of the training stars, which tasks find in files of the folder."""
    plan = folder.plan

    def find() -> Found:
        output = load_named(survey, spec, plan.where, screen=screen)
        for name, table in zip(("values", "ivar"), output.read_table(), strict=True):
            _save(folder, f"{name}-{spec.name}.npy", table)
        none = np.zeros((plan.n_stars, output.size), bool)
        marks = {name: getattr(output, name) for name in ("outlying", "widened")}
        return {
            **output.spread._asdict(),
            **{name: none if mark is None else mark for name, mark in marks.items()},
        }

    found = folder.take(f"spread-{spec.name}", find)
    values, ivar = (np.load(plan.path / f"{n}-{spec.name}.npy") for n in ("values", "ivar"))
    return TrainingOutput(
        spec=spec,
        arrays=Arrays.empty(values=values, ivar=ivar, d=values.shape[1]),
        spread=take_spread(found),
        grid=survey[spec.dim],
        units=read_units(survey, spec),
        n_stars=plan.n_stars,
        outlying=found["outlying"],
        widened=found["widened"],
        preparation=str(survey[spec.name].attrs.get(PREPARATION, "")),
    )


def _save(folder: Folder, name: str, table: np.ndarray) -> None:
    target = folder.plan.path / name
    with explain_writing(target):
        made = target.with_name(f".{name}")
        np.save(made, table)
        os.replace(made, target)


def _describe_spectrum(
    folder: Folder, survey: xr.Dataset, spec: OutputSpec, counts: Found
) -> FarOutput:
    found = folder.take(f"spread-{spec.name}", dict)
    d = int(survey.sizes[spec.dim])
    empty = np.zeros((0, d), np.float32)
    return FarOutput(
        spec=spec,
        arrays=Arrays.empty(values=empty, ivar=empty, d=d),
        spread=take_spread(found),
        grid=survey[spec.dim],
        units=read_units(survey, spec),
        n_stars=folder.plan.n_stars,
        preparation=str(survey[spec.name].attrs.get(PREPARATION, "")),
        used=counts[f"ivar-{spec.name}"][1] > 0,
    )
