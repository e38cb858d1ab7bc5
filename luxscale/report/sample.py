"""The stars of a report's figures and percentiles: a sample of a catalogue, in memory."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import xarray as xr

from luxscale.analysis.evaluate import match_labels
from luxscale.analysis.label_arrays import LABEL
from luxscale.errors import InputError
from luxscale.report.sources import Inputs
from luxscale.schema.stars import match_stars
from luxscale.schema.status import find_done
from luxscale.schema.variables import STAR

#: Figures and percentiles are of at most this many stars.
SAMPLE = 50_000


def draw_rows(rows: np.ndarray, most: int = SAMPLE) -> np.ndarray:
    """Return a random sample of rows, in order and the same every time; all if they are few."""
    if rows.size <= most:
        return rows
    drawn = np.random.default_rng(0).choice(rows, most, replace=False)
    return np.sort(drawn)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Stars of a catalogue that are done, in memory.

    Parameters
    ----------
    catalog : Dataset
    of : int
        Number of stars that it was drawn from.
    snr : array, (star,), optional
    truth : Dataset, optional
        Trusted labels of the same stars in the same order.
    """

    catalog: xr.Dataset
    of: int
    snr: np.ndarray | None = None
    truth: xr.Dataset | None = None

    @property
    def description(self) -> str:
        """How many stars it holds of how many, in words."""
        size = self.catalog.sizes[STAR]
        if size == self.of:
            return f"{size:,} stars"
        return f"{size:,} of {self.of:,} stars, drawn at random"

    @property
    def pairs(self) -> xr.Dataset | None:
        """Inferred and trusted labels side by side, of its stars in its order."""
        if self.truth is None:
            return None
        return match_labels(self.catalog, self.truth)


def take_sample(inputs: Inputs) -> Sample:
    """Draw stars from all that are done."""
    done = np.flatnonzero(find_done(inputs.catalog))
    rows = draw_rows(done)
    return Sample(_load_labels(inputs.catalog, rows), done.size, _read_snr(inputs, rows, None))


def take_compared_sample(inputs: Inputs, stars: np.ndarray | None = None) -> Sample:
    """Draw stars from those that are done and have trusted labels.

    Parameters
    ----------
    inputs : Inputs
        With ``truth``.
    stars : array, (star,), optional
        Positions in the catalogue to draw from; all by default.

    Raises
    ------
    InputError
        If no star is in common.
    """
    assert inputs.truth is not None
    with explain_truth(inputs):
        rows, truth_rows = match_stars(inputs.catalog, inputs.truth)
        chosen = np.zeros(inputs.catalog.sizes[STAR], bool)
        chosen[slice(None) if stars is None else stars] = True
        common = np.flatnonzero(chosen[rows])
        if not common.size:
            raise InputError(
                "none of the chosen stars that are done is in it; choose others (--stars)"
            )
    drawn = draw_rows(common)
    rows, truth_rows = rows[drawn], truth_rows[drawn]
    return Sample(
        catalog=_load_labels(inputs.catalog, rows),
        of=common.size,
        snr=_read_snr(inputs, rows, truth_rows),
        truth=_load_labels(inputs.truth, truth_rows),
    )


@contextlib.contextmanager
def explain_truth(inputs: Inputs) -> Iterator[None]:
    """Where trusted labels cannot be compared, say which file they are of.

    Raises
    ------
    InputError
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{inputs.truth_where}: {error} (--truth)") from error


def _load_labels(dataset: xr.Dataset, rows: np.ndarray) -> xr.Dataset:
    """Read what belongs to labels of some stars, which are numbered anew."""
    names = [name for name, v in dataset.data_vars.items() if v.dims == (STAR, LABEL)]
    if "status" in dataset:
        names.append("status")
    loaded = dataset[names].drop_vars(STAR).isel({STAR: rows}).compute()
    labels = escape_names(loaded[LABEL].values)
    return loaded.assign_coords({STAR: np.arange(rows.size), LABEL: labels})


def escape_names(names: np.ndarray) -> np.ndarray:
    """Return names that Matplotlib writes as they are: a dollar sign starts no formula."""
    return np.array([str(name).replace("$", r"\$") for name in names.tolist()], object)


def _read_snr(inputs: Inputs, rows: np.ndarray, truth_rows: np.ndarray | None) -> np.ndarray | None:
    """Return the S/N of some stars, None where it is unknown.

    It is that of the survey, or else of the survey with trusted labels.
    """
    for dataset, at in ((inputs.survey, rows), (inputs.truth, truth_rows)):
        if dataset is None or at is None or "snr" not in dataset:
            continue
        column = dataset["snr"]
        if column.dims == (STAR,) and column.dtype.kind in "fiu":
            values = column.isel({STAR: at}).values.astype(float)
            return values if np.isfinite(values).any() else None
    return None
