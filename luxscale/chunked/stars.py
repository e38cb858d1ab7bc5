"""The training stars of a region, read from the survey a batch at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import xarray as xr

from luxscale.chunked.folder import Found, load_step
from luxscale.chunked.plan import Plan, Region, split
from luxscale.errors import InputError
from luxscale.runs.executors import describe_error
from luxscale.schema.outputs import OutputSpec, Role
from luxscale.schema.standard import standardize_survey
from luxscale.schema.variables import STAR
from luxscale.store import chunks
from luxscale.store.damage import is_outage
from luxscale.store.fills import open_exactly
from luxscale.training.data import Arrays, Spread, TrainingData, TrainingOutput
from luxscale.training.load import load_spectra, read_units


class Place:
    """The survey as a process keeps it open.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rows = np.load(plan.path / "rows.npy", mmap_mode="r")
        self.survey = open_exactly(
            chunks.open_strict(plan.survey),
            chunks=None,
            consolidated=False,
            create_default_indexes=False,
        )
        self._last: dict[str, tuple[int, np.ndarray]] = {}

    def read(self, positions: np.ndarray, spec: OutputSpec) -> xr.Dataset:
        """Return an output of some training stars, in memory: ascending positions."""
        rows = np.asarray(self._rows[positions])
        arrays = {}
        for name in spec.variables:
            values = self._read_rows(name, rows)
            arrays[name] = ((STAR, spec.dim), values, self.survey[name].attrs)
        coords = {
            name: coord.variable
            for name, coord in self.survey.coords.items()
            if coord.dims in ((spec.dim,), (STAR,))
        }
        named = {
            name: variable if variable.dims == (spec.dim,) else variable[rows]
            for name, variable in coords.items()
            if variable.dims == (spec.dim,) or name == STAR
        }
        block = xr.Dataset(arrays).assign_coords(xr.Coordinates(named, indexes={}))
        return standardize_survey(block)

    def _read_rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return rows of a variable, whole chunks being read; the last one is kept."""
        size, parts = self._plan.chunk, []
        numbers = rows // size
        for number in np.unique(numbers).tolist():
            kept, chunk = self._last.get(name, (-1, np.empty(0)))
            if kept != number:
                self._last.pop(name, None)
                chunk = self._read_chunk(name, number)
                self._last[name] = (number, chunk)
            within = rows[numbers == number] - number * size
            is_whole = within.size == len(chunk)
            parts.append(chunk if is_whole else chunk[within])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _read_chunk(self, name: str, number: int) -> np.ndarray:
        """Return a chunk of a variable.

        Raises
        ------
        InputError
            If it is damaged or missing.
        """
        variable = self.survey[name].variable
        start = number * self._plan.chunk
        stop = min(start + self._plan.chunk, variable.shape[0])
        try:
            values: np.ndarray = variable[start:stop].values
        except Exception as error:  # codecs raise what they like
            if is_outage(error):
                raise
            raise InputError(
                f"{self._plan.where}: {name!r} of stars {start} to {stop} (chunk {number}) cannot "
                f"be read: {describe_error(error).rstrip('.')}; repair it, or train on other stars "
                "(stars, on the command line --stars)"
            ) from error
        return values


@functools.lru_cache(maxsize=1)
def open_place(plan: Plan) -> Place:
    """Open the survey of a plan, once a process."""
    return Place(plan)


def iterate_batches(plan: Plan, region: Region, fold: int | None = None) -> Iterator[np.ndarray]:
    """Yield positions of the training stars of a region, a batch at a time, or those of a fold."""
    positions = np.arange(region.start, region.stop)
    if fold is not None:
        folds = load_step(plan.folder, "folds")["fold"]
        positions = positions[folds[region.start : region.stop] == fold]
    for start, stop in split(0, positions.size, plan.batch):
        yield positions[start:stop]


def load_batch(plan: Plan, positions: np.ndarray, *, labels: bool = True) -> TrainingData:
    """Return training stars as training in memory has all of them, padded to a whole batch.

    Parameters
    ----------
    plan : Plan
    positions : array of int, (star,)
    labels : bool
        Whether labels are among the outputs.
    """
    outputs = []
    for spec in plan.outputs:
        if spec.role is Role.SPECTRUM:
            outputs.append(_load_spectra(plan, positions, spec))
        elif labels or spec.role is not Role.LABELS:
            outputs.append(_load_named(plan, positions, spec))
    return TrainingData(tuple(outputs), positions)


def take_spread(found: Found) -> Spread:
    """Return the spread that a step found."""
    return Spread(*(found[name] for name in Spread._fields))


def _load_spectra(plan: Plan, positions: np.ndarray, spec: OutputSpec) -> TrainingOutput:
    found = load_step(plan.folder, f"spread-{spec.name}")
    block = open_place(plan).read(positions, spec)
    unit = float(found["unit"])
    return load_spectra(block, spec, plan.where, take_spread(found), unit, plan.batch)


def _load_named(plan: Plan, positions: np.ndarray, spec: OutputSpec) -> TrainingOutput:
    found = load_step(plan.folder, f"spread-{spec.name}")
    survey = open_place(plan).survey
    lacking = plan.batch - positions.size
    padded = []
    for name in ("values", "ivar"):
        table = np.load(plan.path / f"{name}-{spec.name}.npy", mmap_mode="r")
        padded.append(np.pad(table[positions], ((0, lacking), (0, 0))))
    values, ivar = padded
    return TrainingOutput(
        spec=spec,
        arrays=Arrays.empty(values=values, ivar=ivar, d=values.shape[1]),
        spread=take_spread(found),
        grid=survey[spec.dim],
        units=read_units(survey, spec),
        n_stars=positions.size,
    )
