"""Stars by identifier, and what is said of those that are not there."""

import numpy as np
import pytest
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.stars import find_stars


def test_positions_of_stars():
    dataset = xr.Dataset(coords={"star": ["c", "a", "b"]})
    assert find_stars(dataset, ["b", "c"], "survey").tolist() == [2, 0]


def test_identifiers_that_are_numbers_are_found_by_their_text():
    dataset = xr.Dataset(coords={"star": np.array([10, 2**60 + 1])})
    assert find_stars(dataset, [str(2**60 + 1), 10], "survey").tolist() == [1, 0]
    with pytest.raises(InputError, match="survey: no star 'HD 1'; give identifiers, such as 10"):
        find_stars(dataset, ["HD 1"], "survey")


def test_several_stars_in_place_of_one_are_said():
    survey = xr.Dataset(coords={"star": ["a", "b"]})
    with pytest.raises(InputError, match="a star is named by its identifier, such as 'a', and not"):
        find_stars(survey, [["a", "b"]], "survey")
