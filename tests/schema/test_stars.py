"""The index of stars behaves like pandas' and reads nothing before it must."""

import pickle

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from luxscale.schema.stars import StarIndex


def names(n, start=0):
    return np.array([f"s{i:03d}" for i in range(start, start + n)], object)


def lazy(n=10, start=0):
    """A survey of stars whose identifiers count how often they are read."""
    reads = []

    def read(block_info=None):
        reads.append(1)
        return names(n, start)

    stars = da.map_blocks(read, dtype=object, chunks=((n,),), meta=np.array([], object))
    unread = xr.Coordinates(
        {"star": ("star", stars)}, indexes={}
    )  # the index that xarray makes by itself would read
    dataset = xr.Dataset({"x": ("star", np.arange(start, start + n))}, unread)
    return dataset.set_xindex("star", StarIndex), reads


@pytest.fixture
def stars():
    dataset = xr.Dataset({"x": ("star", np.arange(10))}, {"star": ("star", names(10))})
    return dataset.drop_indexes("star").set_xindex("star", StarIndex)


def test_opening_and_selecting_by_position_read_nothing():
    survey, reads = lazy()
    part = survey.isel(star=slice(2, 8)).isel(star=[0, 3])
    assert part["x"].values.tolist() == [2, 5]
    assert "when asked for" in repr(survey.xindexes["star"])
    assert repr(survey)
    assert not reads
    assert part["star"].values.tolist() == ["s002", "s005"]
    assert reads


def test_selecting_by_name_reads_once():
    survey, reads = lazy()
    assert survey.sel(star="s004")["x"] == 4
    assert survey.sel(star=["s009", "s001"])["x"].values.tolist() == [9, 1]
    assert len(reads) == 1
    assert "StarIndex (built)" in survey.xindexes["star"]._repr_inline_(80)


def test_selecting_by_name_keeps_names(stars):
    part = stars.sel(star=["s007", "s002"])
    assert part["star"].values.tolist() == ["s007", "s002"]
    assert isinstance(part.xindexes["star"], StarIndex)
    assert part.sel(star="s002")["x"] == 2


def test_a_name_that_is_not_there_raises_key_error(stars):
    with pytest.raises(KeyError, match="'nobody'; give identifiers, such as 's000'"):
        stars.sel(star="nobody")
    with pytest.raises(KeyError, match="'s01'; did you mean s001"):
        stars.sel(star="s01")
    with pytest.raises(KeyError, match="not all values found in index .star"):
        stars.sel(star=["s001", "nobody"])


@pytest.mark.parametrize(
    ("indexer", "expected"),
    [
        (slice(1, 4), ["s001", "s002", "s003"]),
        ([5, 0], ["s005", "s000"]),
        (np.array([9]), ["s009"]),
        (np.arange(10) > 7, ["s008", "s009"]),
        (slice(None, None, -4), ["s009", "s005", "s001"]),
    ],
    ids=["slice", "list", "array", "mask", "backwards"],
)
def test_selection_by_position_keeps_the_index(stars, indexer, expected):
    part = stars.isel(star=indexer)
    assert part["star"].values.tolist() == expected
    assert part.sel(star=expected[-1])["x"] == int(expected[-1][1:])


def test_one_star_by_position_has_no_index(stars):
    one = stars.isel(star=3)
    assert one["star"].item() == "s003"
    assert "star" not in one.xindexes


def test_overlapping_surveys_align_by_name(stars):
    other = lazy(10, 6)[0].isel(star=slice(None, None, -1))
    left, right = xr.align(stars, other, join="inner")
    assert sorted(left["star"].values.tolist()) == ["s006", "s007", "s008", "s009"]
    np.testing.assert_array_equal(left["x"], right["x"])  # x is the number of the star in both
    left, right = xr.align(stars, other, join="outer")
    assert left.sizes["star"] == 16
    assert np.isnan(left.sel(star="s012")["x"]) and right.sel(star="s012")["x"] == 12


def test_adding_different_surveys_is_refused_or_matched(stars):
    other = stars.isel(star=slice(4))
    assert (stars["x"] + other["x"]).values.tolist() == [0, 2, 4, 6]
    with pytest.raises(ValueError, match="star"):
        xr.align(stars, other, join="exact")


def test_surveys_join_end_to_end(stars):
    other = lazy(4, 10)[0]
    both = xr.concat([stars, other], "star")
    assert both.sizes["star"] == 14
    assert both.sel(star="s012")["x"] == 12
    assert both["star"].values.tolist() == names(14).tolist()


def test_joining_unread_surveys_reads_nothing():
    (first, reads), (second, more) = lazy(3), lazy(4, 3)
    both = xr.concat([first, second], "star")
    assert not reads + more
    assert both.sel(star="s005")["x"] == 5


def test_equal_without_reading_when_identical_or_of_other_length():
    survey, reads = lazy()
    index = survey.xindexes["star"]
    assert index.equals(index)
    assert index.equals(StarIndex(index._variable))
    assert not index.equals(survey.isel(star=slice(3)).xindexes["star"])
    assert xr.align(survey, survey[["x"]], join="exact")
    assert not reads


def test_equality_compares_names(stars):
    index, other = stars.xindexes["star"], lazy()[0].xindexes["star"]
    assert index.equals(other)
    assert not index.equals(lazy(10, 1)[0].xindexes["star"])
    assert index.equals(xr.indexes.PandasIndex(names(10), "star"))
    assert not index.equals(xr.indexes.PandasIndex(names(10, 1), "star"))
    assert not index.equals(xr.indexes.PandasIndex(names(9), "star"))


def test_arithmetic_within_a_survey_reads_nothing():
    survey, reads = lazy()
    assert (survey["x"] + survey["x"]).values.tolist() == list(range(0, 20, 2))
    assert not reads


def test_rolling_shifts_names_with_values(stars):
    rolled = stars.roll(star=3, roll_coords=True)
    assert rolled["star"].values[:4].tolist() == ["s007", "s008", "s009", "s000"]
    assert rolled.sel(star="s008")["x"] == 8


def test_it_turns_into_a_pandas_index(stars):
    assert stars.indexes["star"].tolist() == names(10).tolist()
    assert stars["x"].to_series()["s003"] == 3


def test_integer_names():
    dataset = xr.Dataset(
        {"x": ("star", np.arange(3.0))}, {"star": ("star", np.array([10, 30, 20]))}
    )
    dataset = dataset.drop_indexes("star").set_xindex("star", StarIndex)
    assert dataset.sel(star=20)["x"] == 2
    with pytest.raises(KeyError):
        dataset.sel(star=2)


@pytest.fixture
def ages():
    """A Dataset of the user's own, with an ordinary index: stars s011 down to s004."""
    return xr.Dataset({"age": ("star", np.arange(11.0, 3, -1))}, {"star": names(8, 4)[::-1]})


@pytest.mark.parametrize("how", ["inner", "left", "right", "outer"])
@pytest.mark.parametrize("ours_first", [True, False])
def test_it_joins_with_an_ordinary_index(stars, ages, how, ours_first):
    pair = (stars, ages) if ours_first else (ages, stars)
    plain = [part.drop_indexes("star").set_xindex("star") for part in pair]
    merged = xr.merge(pair, join=how, compat="no_conflicts")
    expected = xr.merge(plain, join=how, compat="no_conflicts")
    np.testing.assert_array_equal(merged["star"], expected["star"])
    for name in ("x", "age"):
        np.testing.assert_array_equal(merged[name], expected[name])
    for ours, theirs in zip(xr.align(*pair, join=how), xr.align(*plain, join=how), strict=True):
        np.testing.assert_array_equal(ours["star"], theirs["star"])


@pytest.mark.parametrize("how", ["inner", "outer"])
def test_three_join(stars, ages, how):
    more = xr.Dataset({"mass": ("star", np.arange(5.0, 9))}, {"star": names(4, 5)})
    parts = [stars, ages, more.drop_indexes("star").set_xindex("star", StarIndex)]
    plain = [part.drop_indexes("star").set_xindex("star") for part in parts]
    xr.testing.assert_equal(xr.merge(parts, join=how), xr.merge(plain, join=how))


def test_the_type_of_joined_identifiers_is_of_numpy(stars, ages):
    joined = stars.xindexes["star"].join(ages.xindexes["star"], "inner")
    assert isinstance(stars.xindexes["star"]._build().coord_dtype, np.dtype)
    assert isinstance(joined.coord_dtype, np.dtype)


def test_arithmetic_and_assignment_match_stars_of_an_ordinary_index(stars, ages):
    assert (stars["x"] - ages["age"]).values.tolist() == [0.0] * 6
    assert (ages["age"] - stars["x"]).values.tolist() == [0.0] * 6
    assigned = stars.assign(age=ages["age"])
    assert np.isnan(assigned["age"][:4]).all() and (assigned["age"][4:] == assigned["x"][4:]).all()
    assert stars.reindex(star=["s007", "s099"])["x"].fillna(-1).values.tolist() == [7, -1]
    assert stars.reindex_like(ages).sizes["star"] == ages.reindex_like(stars).sizes["star"] - 2


def test_end_to_end_with_an_ordinary_index(stars, ages):
    more = ages.rename(age="x").isel(star=slice(2))
    assert xr.concat([stars, more], "star").sel(star="s011")["x"] == 11
    assert xr.concat([more, stars], "star").sel(star="s009")["x"] == 9


def test_renamed_copied_and_pickled_it_still_finds_stars(stars):
    assert stars.rename(star="id").sel(id="s003")["x"] == 3
    assert stars.copy(deep=True).sel(star="s003")["x"] == 3
    assert pickle.loads(pickle.dumps(stars)).sel(star="s003")["x"] == 3


def test_aligning_with_as_many_other_stars_reads_them_once():
    survey, reads = lazy()
    other = xr.Dataset({"y": ("star", np.arange(3))}, {"star": names(3, 2)})
    assert xr.merge([survey, other], join="inner")["x"].values.tolist() == [2, 3, 4]
    assert len(reads) <= 2
