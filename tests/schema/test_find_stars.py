"""Stars by identifier, and what is said of those that are not there."""

import numpy as np
import pytest
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema.stars import close_names, find_stars


def test_positions_of_stars():
    dataset = xr.Dataset(coords={"star": ["c", "a", "b"]})
    assert find_stars(dataset, ["b", "c"], "survey").tolist() == [2, 0]


def test_identifiers_that_are_numbers_are_found_by_their_text():
    dataset = xr.Dataset(coords={"star": np.array([10, 2**60 + 1])})
    assert find_stars(dataset, [str(2**60 + 1), 10], "survey").tolist() == [1, 0]
    with pytest.raises(InputError, match="survey: no star 'HD 1'; give identifiers, such as 10"):
        find_stars(dataset, ["HD 1"], "survey")


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ("2M00000123+000012", "2M00000123+0000123"),  # cut off
        ("00000123+0000123", "2M00000123+0000123"),  # without its beginning
        ("2M00000123+0009123", "2M00000123+0000123"),  # a digit wrong
        ("2M00000123+0000123 ", "2M00000123+0000123"),
        ("apogee", None),
        ("", None),
    ],
)
def test_names_nearly_so(wanted, nearest):
    names = [f"2M{i:08d}+{i:07d}" for i in range(5000)]
    assert (close_names(names, wanted) or [None])[0] == nearest
    assert len(close_names(names, wanted)) <= 3
