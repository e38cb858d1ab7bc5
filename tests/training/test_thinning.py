"""Pixels on which recipes are compared: every k-th of each spectrum, and some of each window."""

import numpy as np
import pytest

from luxscale.errors import InputError
from luxscale.training.thinning import thin_pixels


def thin(survey, step, windows=None):
    return thin_pixels(survey, None, "survey", step, windows or {})


def test_every_kth_pixel_stays_and_labels_do(small_survey):
    thinned = thin(small_survey, 3)
    kept = small_survey.isel(wavelength=slice(None, None, 3))
    assert thinned.identical(kept)
    assert thin(small_survey, 1) is small_survey


def test_a_window_between_the_pixels_kept_stays_whole(small_survey):
    grid = small_survey.wavelength.values
    between, across = [(grid[1], grid[2])], [(grid[4], grid[9])]
    label = str(small_survey.label.values[0])
    other = str(small_survey.label.values[1])
    thinned = thin(small_survey, 4, {label: between, other: across})
    kept = np.flatnonzero(np.isin(grid, thinned.wavelength.values))
    assert kept.tolist() == [0, 1, 2, *range(4, grid.size, 4)]


def test_thinning_reads_nothing(small_survey, no_compute):
    lazy = small_survey.chunk(star=100)
    with no_compute():
        thinned = thin(lazy, 2)
    assert thinned.flux.chunks is not None


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        ([(1, 2)], "give a dict"),
        ({"nothing": [(1, 2)]}, "is no label"),
        ({"LABEL": [(1.0, 2.0)]}, "holds no pixel"),
    ],
)
def test_windows_that_are_none_are_refused(small_survey, windows, said):
    label = str(small_survey.label.values[0])
    if isinstance(windows, dict):
        windows = {name.replace("LABEL", label): spans for name, spans in windows.items()}
    with pytest.raises(InputError, match=said):
        thin(small_survey, 2, windows)
