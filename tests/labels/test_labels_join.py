"""Labels joined to stars by identifier."""

from __future__ import annotations

import numpy as np
import pytest

from luxscale.labels import LabelTable, join

TEXT = np.array(["2M1", "2M2", "2M3"], object)


def table(key):
    value = np.array([[5000.0, np.nan], [4000, 0.1], [4500, 0.2]])
    columns = {
        "snr": np.array([10.0, 20, 30]),
        "field": np.array(["x", "y", "z"], object),
        "gaia": np.array([7, 8, 9]),
        "young": np.array([True, True, True]),
    }
    return LabelTable(
        key=key,
        label=("teff", "mg_fe"),
        units=("K", "dex"),
        value=value,
        err=value / 100,
        columns=columns,
        counts={},
    )


def test_order_repeats_and_stars_without_labels():
    value, err, columns = join(table(TEXT), np.array(["2M3", "2M0", "2M1", "2M3"], object))
    np.testing.assert_array_equal(value[:, 0], [4500, np.nan, 5000, 4500])
    np.testing.assert_array_equal(err, value / 100)
    assert columns["matched"].tolist() == [True, False, True, True]
    np.testing.assert_array_equal(columns["snr"], [30, np.nan, 10, 30])
    assert columns["field"].tolist() == ["z", "", "x", "z"] and columns["gaia"].tolist() == [
        9,
        -1,
        7,
        9,
    ]
    assert columns["young"].tolist() == [True, False, True, True]
    assert columns["gaia"].dtype == np.int64 and columns["young"].dtype == bool


@pytest.mark.parametrize(
    "keys",
    [
        np.array(["2M2", "2M3 "], object),
        np.array([b" 2M2", b"2M3"]),
        np.array(["2M2", "2M3"]),
        np.array(["2M2", "2M3"], np.dtypes.StringDType()),
    ],
    ids=["object", "bytes", "str", "string"],
)
def test_text_of_every_kind_is_cleaned(keys):
    np.testing.assert_array_equal(join(table(TEXT), keys)[0][:, 0], [4000, 4500])


@pytest.mark.parametrize(
    "names", [[12, 99, 10**18], ["12", "99", str(10**18)]], ids=["integers", "text"]
)
@pytest.mark.parametrize("stars", [[10**18, 12], [str(10**18), "12"]], ids=["integers", "text"])
def test_integers_and_text_find_each_other(names, stars):
    key = np.array(names) if isinstance(names[0], int) else np.array(names, object)
    np.testing.assert_array_equal(join(table(key), np.array(stars))[0][:, 0], [4500, 5000])


@pytest.mark.parametrize(
    ("names", "stars"),
    [
        (np.array([12, 1157, 0]), ["001157", "0012"]),
        (np.array(["0012", "1157", "x"], object), [1157, 12]),
    ],
    ids=["text and integers", "integers and text"],
)
def test_leading_zeros_do_not_count_between_text_and_integers(names, stars):
    """A table of text was read as integers where all that it has are digits."""
    np.testing.assert_array_equal(join(table(names), np.array(stars))[0][:, 0], [4000, 5000])


def test_leading_zeros_count_where_they_tell_stars_apart():
    names = np.array(["0012", "12", "013"], object)
    np.testing.assert_array_equal(join(table(names), np.array([12, 13]))[0][:, 0], [4000, 4500])
    as_text = join(table(names), np.array(["0012", "12", "13"], object))[0][:, 0]
    np.testing.assert_array_equal(as_text, [5000, 4000, np.nan])


def test_no_stars():
    value, err, columns = join(table(TEXT), np.array([], object))
    assert value.shape == err.shape == (0, 2) and columns["matched"].shape == (0,)


def test_an_empty_table_matches_nothing():
    empty = LabelTable(
        key=np.array([], object),
        label=("teff",),
        units=("K",),
        value=np.empty((0, 1)),
        err=np.empty((0, 1)),
        columns={},
        counts={},
    )
    value, _, columns = join(empty, TEXT)
    assert np.isnan(value).all() and value.shape == (3, 1) and not columns["matched"].any()
