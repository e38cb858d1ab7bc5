"""Conditions first, then positions, draws, or what a model has not seen."""

import numpy as np
import pytest
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema import sampling
from luxscale.schema.sampling import StarSet, draw_stars, hash_stars
from luxscale.schema.selection import Selection, find_span, read_choice, take_rows


@pytest.fixture
def survey():
    return xr.Dataset({"snr": ("star", np.arange(20.0))}, {"star": [f"s{i}" for i in range(20)]})


def find(survey, condition=None, stars=None, **given):
    return Selection.read(condition, stars).find_rows(survey, "survey.zarr", **given).tolist()


def test_positions_are_among_those_that_satisfy_the_condition(survey):
    assert find(survey, "snr > 4", "0:3") == [5, 6, 7]
    assert find(survey, "snr > 4 and snr < 8", "1:") == [6, 7]
    assert find(survey, None, ":2") == [0, 1]
    assert find(survey, None, slice(-2, None)) == [18, 19]
    assert find(survey) == list(range(20))


def test_draws_depend_on_identifiers_alone(survey):
    drawn = find(survey, None, "random:8")
    assert drawn == sorted(drawn) and len(drawn) == 8
    names = set(survey["star"].values[drawn])
    shuffled = survey.isel(star=np.random.default_rng(0).permutation(20))
    assert set(shuffled["star"].values[find(shuffled, None, "random:8")]) == names
    assert set(find(survey, None, "random:5")) < set(drawn)
    assert find(survey, None, "random:8:1") != drawn
    chosen = find(survey, "snr >= 10", "random:8")
    assert len(chosen) == 8 and min(chosen) >= 10


def test_draws_of_many_stars_show_progress_and_are_the_same(monkeypatch, capsys):
    stars = np.arange(25)
    expected = hash_stars(stars)
    monkeypatch.setattr(sampling, "_PROMPT", 20)
    monkeypatch.setattr(sampling, "_BLOCK", 10)
    np.testing.assert_array_equal(hash_stars(stars), expected)
    assert "hashing: done in" in capsys.readouterr().err


def test_draws_are_the_same_for_ever():
    """Models are compared by what they were trained on: this may not change."""
    stars = np.array([f"s{i}" for i in range(10)], object)
    assert draw_stars(stars, 3).tolist() == [6, 8, 9]
    assert draw_stars(np.arange(10), 3, seed=7).tolist() == [0, 3, 5]


def test_draws_have_no_preference():
    counts = np.zeros(50)
    for seed in range(200):
        counts[draw_stars(np.arange(50), 10, seed)] += 1
    assert counts.min() > 20 and counts.max() < 62  # 40, +- 3.8 sigma


def test_a_set_knows_its_stars():
    names = np.array([f"2M{i:012d}" for i in range(3000)], object)
    kept = StarSet.of(names[::2])
    assert len(kept) == 1500 and len(kept.text) == 12_000
    np.testing.assert_array_equal(kept.find(names), np.arange(3000) % 2 == 0)
    assert len(kept | StarSet.of(names[:10])) == 1505
    assert not StarSet().find(names).any()
    assert StarSet.of(np.arange(5)).find(np.array(["3", "7"], object)).tolist() == [True, False]


def test_stars_that_a_model_was_not_trained_on(survey):
    trained = StarSet.of(survey["star"].values[::2])
    assert find(survey, "snr < 6", "untrained", trained=trained) == [1, 3, 5]
    with pytest.raises(InputError, match=r"name it \(--model\)"):
        find(survey, None, "untrained")
    with pytest.raises(InputError, match="does not say which stars it was trained on"):
        find(survey, None, "untrained", trained=StarSet())


@pytest.mark.parametrize(
    ("condition", "stars", "message"),
    [
        (None, "0:21", r"survey.zarr: asked for stars 0:21, but it holds stars 0:20"),
        ("snr > 15", "0:5", r"where snr > 15: asked for stars 0:5, but it holds stars 0:4"),
        (None, "20:", "holds stars 0:20"),
        (None, "random:21", "asked for stars random:21, but it holds 20"),
        (None, "random:0", "write START:STOP, random:NUMBER"),
        (None, "5", "write START:STOP"),
        (None, slice(0, 9, 2), "write START:STOP"),
        (None, "random:3:x", "write START:STOP"),
    ],
)
def test_what_cannot_be_chosen_is_said(survey, condition, stars, message):
    with pytest.raises(InputError, match=message):
        find(survey, condition, stars)


def test_a_choice_is_written_as_it_is_read():
    for text in ("3:8", "3:", ":8", "random:9", "random:9:4", "untrained"):
        assert read_choice(text).text == text
    assert Selection.read("snr > 1", "random:9").options == [
        ("--where", "snr > 1"),
        ("--stars", "random:9"),
    ]


def test_spans_keep_chunks_whole(survey):
    chunked = survey.chunk(star=5)
    assert take_rows(chunked, np.arange(20)) is chunked
    assert take_rows(chunked, np.arange(5, 15)).chunks["star"] == (5, 5)
    assert find_span(np.array([3, 5])) is None
    assert take_rows(chunked, np.array([], int)).sizes["star"] == 0


def test_slices_are_of_whole_numbers(survey):
    assert find(survey, None, slice(np.int64(2), 4)) == [2, 3]
    with pytest.raises(InputError, match="give whole numbers"):
        find(survey, None, slice(0, 2.5))
