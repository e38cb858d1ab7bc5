"""The stars of a survey that are cross-validated."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from luxscale import store
from luxscale.crossval.frame import compute_checksum, make_frame
from luxscale.errors import InputError
from luxscale.schema.outputs import OutputSpec, pick_outputs
from luxscale.schema.selection import Selection, find_span
from luxscale.schema.variables import STAR
from luxscale.training.select import measure_sizes


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A survey that is open, and which of its stars and outputs are used.

    Made by `open_sample`.

    Parameters
    ----------
    survey : Dataset
    where : str
        Its path or URL.
    specs : tuple of OutputSpec
    selection : Selection
    rows : array, (star,)
        Positions of the stars to use.
    frame : Dataset
        Those of them with labels, see `make_frame`.
    folds : int
    """

    survey: xr.Dataset
    where: str
    specs: tuple[OutputSpec, ...]
    selection: Selection
    rows: np.ndarray
    frame: xr.Dataset
    folds: int

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(spec.name for spec in self.specs)

    @property
    def n_features(self) -> int:
        """Number of pixels, bands and labels together."""
        return sum(self.survey.sizes[spec.dim] for spec in self.specs)

    @property
    def fewest(self) -> int:
        """Stars that are left to train on where the largest fold is left out."""
        n_labelled = self.frame.sizes[STAR]
        largest_fold = -(-n_labelled // self.folds)
        return n_labelled - largest_fold

    @property
    def sizes(self) -> tuple[int, int, int]:
        """What the number of stars and features to train on is, as recipes are chosen by."""
        _, n_labels, n_pixels = measure_sizes(self.survey, self.outputs, self.where)
        return self.fewest, n_labels, n_pixels

    @property
    def identity(self) -> dict[str, str]:
        """What the identity of a store says of the stars."""
        return {
            "survey": compute_checksum(self.survey, self.specs, self.frame),
            "stars": json.dumps(find_span(self.rows) or self.selection.text),
        }


def open_sample(
    path: str,
    *,
    outputs: Sequence[str] | None,
    condition: str | None,
    stars: str | slice | None,
    folds: int,
) -> Sample:
    """Open a survey and choose the stars to use; the parameters are those of `cross_validate`.

    Raises
    ------
    InputError
    """
    survey = store.open_survey(path, outputs=outputs)
    specs = pick_outputs(survey, outputs, path)
    selection = _read_selection(condition, stars, survey.sizes[STAR], path)
    rows = selection.find_rows(survey, path)
    return Sample(
        survey=survey,
        where=path,
        specs=tuple(specs),
        selection=selection,
        rows=rows,
        frame=make_frame(survey, specs, rows, folds, path),
        folds=folds,
    )


def _read_selection(
    condition: str | None, stars: str | slice | None, n: int, where: str
) -> Selection:
    """Return which stars to use; a slice may end beyond the last of them."""
    if isinstance(stars, slice):
        start, stop, step = stars.indices(n)
        if step != 1 or start >= stop:
            raise InputError(
                f"{where}: stars={stars} takes none of its {n} stars; give a slice(START, STOP)"
            )
        stars = slice(start, stop)
    return Selection.read(condition, stars)
