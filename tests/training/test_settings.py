"""What a setting may be, and how one that may not be is refused."""

import math

import pytest

from luxscale.errors import InputError
from luxscale.training.settings import Setting, check_label_clip, check_positive, check_whole


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, "2", None])
def test_no_positive_number_is_refused_with_its_name(value):
    with pytest.raises(InputError, match=r"width is .*; it must be a positive number"):
        check_positive("width", value)


def test_zero_is_taken_where_it_may_be():
    assert check_positive("width", 0, zero=True) == 0
    with pytest.raises(InputError, match="width is 0; it must be a positive number"):
        check_positive("width", 0)


@pytest.mark.parametrize("value", [1.0, 0, "3"])
def test_no_whole_number_is_refused(value):
    with pytest.raises(InputError, match="must be a whole number of at least 1"):
        check_whole("folds", value, 1)


def test_all_labels_may_be_kept():
    assert check_label_clip(math.inf) == math.inf
    for value in (0, math.nan):
        with pytest.raises(InputError, match="above 0, or inf to keep all"):
            check_label_clip(value)


def test_a_choice_is_one_of_its_own():
    setting = Setting(default="exact", choices=("exact", "jaxopt"))
    setting.check("solver", "jaxopt")
    with pytest.raises(InputError, match="solver 'newton' is unknown; choose exact or jaxopt"):
        setting.check("solver", "newton")
