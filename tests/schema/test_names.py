"""Names that are not there: those that were meant are found, and messages list what is."""

import pytest

from luxscale.schema.names import find_close_names, suggest_names


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
def test_the_close_ones_of_many(wanted, nearest):
    names = [f"2M{i:08d}+{i:07d}" for i in range(5000)]
    assert (find_close_names(names, wanted) or [None])[0] == nearest
    assert len(find_close_names(names, wanted)) <= 3


def test_the_close_ones_of_few_in_any_case_of_letters():
    assert find_close_names(["TEFF", "LOGG", "TEFF_ERR"], "tef") == ["TEFF"]
    assert find_close_names(["mg_fe", "logg"], "mg") == ["mg_fe"]  # holds all of it
    assert find_close_names(["teff"], "xyz") == []


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ([], "there are none"),
        (["teff", "logg"], "similar: teff"),
        (["ra", "dec"], "there are: ra, dec"),
        (map(str, range(23)), f"there are: {', '.join(map(str, range(20)))} and 3 more"),
    ],
)
def test_what_a_message_says(known, said):
    assert suggest_names("tef", known) == said
