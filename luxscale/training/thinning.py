"""Every k-th pixel of spectra, where recipes would take too long to compare on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from luxscale.schema.outputs import Role, pick_outputs
from luxscale.schema.windows import Spans, find_within
from luxscale.training.select import read_windows


def thin_pixels(
    survey: xr.Dataset,
    outputs: Sequence[str] | None,
    where: str,
    step: int,
    windows: Mapping[str, Sequence[tuple[float, float]]],
) -> xr.Dataset:
    """Return a survey with one pixel in so many of each of its spectra, lazily.

    Windows of labels that none of these lies in keep all their pixels.

    Parameters
    ----------
    survey : Dataset
    outputs : sequence of str, optional
        All of the survey if not given.
    where : str
        Name of the survey in messages.
    step : int
        With 1 the survey comes back as it is.
    windows : mapping of label to sequence of (least, greatest)
        In the unit of the grids.

    Raises
    ------
    InputError
        If a window is of no label, or holds no pixel.
    """
    if step == 1:
        return survey
    specs = pick_outputs(survey, outputs, where)
    labels = [str(n) for s in specs if s.role is Role.LABELS for n in survey[s.dim].values]
    grids = {s.dim: survey[s.dim].values for s in specs if s.role is Role.SPECTRUM}
    found = read_windows(windows, labels, list(grids.values()))
    return survey.isel({dim: _pick_pixels(grid, step, found) for dim, grid in grids.items()})


def _pick_pixels(grid: np.ndarray, step: int, windows: Mapping[str, Spans]) -> np.ndarray:
    """Return the positions of the pixels that are kept."""
    kept = np.arange(grid.size) % step == 0
    for span in (span for spans in windows.values() for span in spans):
        within = find_within(grid, [span])
        if not kept[within].any():
            kept |= within
    return np.flatnonzero(kept)
