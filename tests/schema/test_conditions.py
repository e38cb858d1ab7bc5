"""Conditions on stars: what they name, what missing values do, and what is not allowed."""

import numpy as np
import pytest
import xarray as xr

from luxscale.errors import InputError
from luxscale.schema import flags
from luxscale.schema.conditions import find_satisfying

NAN = np.nan


@pytest.fixture
def catalog():
    """Six stars; the last is not done, the one before lacks a label."""
    return xr.Dataset(
        {
            "label_value": (
                ("star", "label"),
                [[4500.0, -2.0], [5000, -1], [5500, 0], [6000, 0.5], [6500, NAN], [4000, -3]],
            ),
            "label_err": (("star", "label"), np.full((6, 2), 0.1)),
            "chi2": ("star", np.array([1, 2, 3, NAN, 5, 6], "f4")),
            "flags": ("star", np.array([0, 8, 0, 4, 12, 0], "u2"), flags.ATTRS),
            "status": ("star", np.array([1, 1, 1, 1, 1, 0], "u1")),
        },
        {"star": ["a", "b", "c", "d", "e", "f"], "label": ["Teff", "[Fe/H]"]},
    )


@pytest.fixture
def survey():
    return xr.Dataset(
        {
            "snr": ("star", [30, 60, 90, 120]),
            "ra": ("star", [0.5, 359.5, 10, NAN]),
            "label_value": (("star", "label"), [[1.0], [2], [3], [4]]),
            "label_ivar": (("star", "label"), [[4.0], [0], [1], [1]]),
            "label_value_ivar": (("star", "label"), [[4.0], [0], [1], [1]]),
        },
        {"star": [3, 1, 2**60 + 1, 2**60], "label": ["teff"]},
    )


@pytest.mark.parametrize(
    ("condition", "stars"),
    [
        ("teff < 5500", "ab"),
        ("5000 <= teff < 6500", "bcd"),
        ("fe_h < 0 or teff > 6000", "abe"),
        ("fe_h == fe_h", "abcd"),
        ("fe_h != 0", "abd"),
        ("not fe_h < 0", "cd"),  # a value that is missing is neither
        ("not (fe_h < 0 and teff > 6000)", "abcd"),
        ("not (fe_h < 0 or teff > 6000)", "cd"),
        ("isfinite(fe_h)", "abcd"),
        ("not isfinite(chi2) and isfinite(teff)", "d"),
        ("flags == 0", "ac"),  # what is not done has no flags either
        ("bad_fit", "be"),
        ("not bad_fit and not few_pixels", "ac"),
        ("done", "abcde"),
        ("not_done", "f"),
        ("status == 0", "f"),
        ("star in ['f', 'a', 'x']", "af"),
        ("star not in ('a', 'b')", "cdef"),
        ("star == 'c' or star == \"d\"", "cd"),
        ("abs(fe_h + 1) <= 1", "abc"),
        ("-fe_h * 2 > teff / 5000 ** 1", "ab"),
        ("teff_err > 0.05 and chi2 - 1 == 1", "b"),
        ("label_value.teff > 6000", "e"),
        ("-flags < -5", "be"),
        ("fe_h in [0, -1]", "bc"),
        ("star in []", ""),
        ("teff / 0 > 1e308", "abcde"),
        ("chi2 > 9" + "9" * 400, ""),
    ],
)
@pytest.mark.parametrize("lazy", [False, True], ids=["memory", "dask"])
def test_stars_that_satisfy(catalog, condition, stars, lazy):
    opened = catalog.chunk(star=4) if lazy else catalog
    if lazy:
        opened["status"].attrs = {"flag_values": [0, 1], "flag_meanings": "not_done done"}
    catalog["status"].attrs = {"flag_values": [0, 1], "flag_meanings": "not_done done"}
    found = find_satisfying(opened, condition, "catalogue")
    assert "".join(catalog["star"].values[found]) == stars


def test_identifiers_that_are_numbers_keep_their_digits(survey):
    for condition in (f"star == {2**60}", f"star == '{2**60}'", f"star in ['{2**60}', 7]"):
        assert find_satisfying(survey, condition, "s").tolist() == [False, False, False, True]


def test_errors_of_inverse_variances(survey):
    found = find_satisfying(survey, "teff_err <= 1", "s")
    assert found.tolist() == [True, False, True, True]


def test_a_survey_has_what_a_catalogue_lacks(catalog):
    survey = xr.Dataset({"snr": ("star", [10, 20, 30])}, {"star": ["c", "a", "x"]})
    found = find_satisfying(catalog, "snr > 5 and teff > 0", "catalogue", survey)
    assert "".join(catalog["star"].values[found]) == "ac"
    with pytest.raises(InputError, match="nothing is called 'snr'; there are: "):
        find_satisfying(catalog, "snr > 5", "catalogue")


def test_all_is_read_in_one_computation(catalog):
    import dask

    computed = []
    opened = catalog.chunk(star=3)
    with dask.config.set(scheduler=lambda *a, **k: computed.append(1) or dask.get(*a, **k)):
        find_satisfying(opened, "teff > 1 and fe_h < 1 and flags == 0 and bad_fit", "c")
    assert len(computed) == 1


def test_labels_of_two_outputs_are_named_with_them(survey):
    both = survey.assign(
        label_other=survey["label_value"] * 10, label_other_err=survey["label_value"]
    )
    assert find_satisfying(both, "label_other.teff > 25", "s").tolist() == [
        False,
        False,
        True,
        True,
    ]
    with pytest.raises(InputError, match=r"'teff' may be any .* label_other.teff or label_value"):
        find_satisfying(both, "teff > 1", "s")
    by_name = survey.assign(teff=("star", [9, 9, 9, 9]))
    assert find_satisfying(by_name, "teff == 9", "s").all()
    assert not find_satisfying(by_name, "label_value.teff == 9", "s").any()


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("tef > 1", "catalogue: condition 'tef > 1': nothing is called 'tef'; similar: teff"),
        ("label_value > 1", r"'label_value' \('star', 'label'\) is not one value for each star"),
        ("teff == 'x'", "'x' is text, and teff a number"),
        ("star == 5", "star is text, and 5 a number"),
        ("star < 'c'", "star is text, which is compared by == or in alone"),
        ("star + 'c' == 'x'", "star is text"),
        ("teff", "teff is neither true nor false; compare it, as teff > 0"),
        ("bad_fit > 1", "bad_fit is true or false"),
        ("teff = 5", "write '==' in place of '=', as 'fe_h < -1"),
        ("teff > 5 AND bad_fit", "write 'and' in place of 'AND', as"),
        ("teff > 5 && bad_fit", "write 'and' in place of '&&'"),
        ("teff > 5 || bad_fit", r"write 'or' in place of '\|\|'"),
        ("!bad_fit", "write 'not' in place of '!'"),
        ("star != 'A AND B' and teff <> 5", "write '!=' in place of '<>'"),
        ("teff =< 5", "write '<=' in place of '=<'"),
        ("teff >", "write it as 'fe_h < -1"),
        ("", "write it as"),
        ("1 < 2", "names nothing of a star"),
        ("(teff > 1) & (fe_h < 0)", "write 'and'"),
        ("teff > 1 | 2", "write 'or'"),
        ("~bad_fit", "write 'not'"),
        ("star in 'abc'", "give a list after 'in'"),
        ("teff is 5", "'is' compares no values"),
        ("teff % 2 == 0", "cannot be part of one"),
        ("teff == True", "cannot be part of one"),
        ("__import__('os').system('true') and teff > 1", "cannot be part of one"),
        ("teff.__class__ == 1", "nothing is called 'teff.__class__'"),
        ("sum(teff) > 1", "cannot be part of one"),
        ("abs(teff, 1) > 1", "cannot be part of one"),
        ("[x for x in teff] == 1", "nothing is called 'x'"),
        ("(lambda: teff)() > 1", "cannot be part of one"),
        ("teff > 1 if teff else fe_h", "cannot be part of one"),
        ("teff[0] > 1", "cannot be part of one"),
        ("teff > " + "-" * 50_000 + "1", "nested too deeply|cannot be read|too"),
        ("teff > 1 and " + "not " * 20_000 + "bad_fit", "nested too deeply|cannot be read|too"),
        ("teff > 1" + " + 1" * 20_000, "nested too deeply|cannot be read|too"),
        ("teff" + ".a" * 20_000 + " > 1", "nested too deeply|cannot be read|too"),
        ("(" * 20_000 + "teff > 1" + ")" * 20_000, "nested|cannot be read|too"),
        ("teff > 1" + " " * 100_000 + "1", "letters, at most"),
        ("teff > 9 ** 9 ** 9 and teff > '", "string"),
        ("teff > 1\0", "null"),
    ],
)
def test_what_is_no_condition_is_said(catalog, condition, message):
    with pytest.raises(InputError, match=message):
        find_satisfying(catalog, condition, "catalogue")


def test_powers_of_numbers_take_no_time(catalog):
    assert not find_satisfying(catalog, "teff > 9 ** 9 ** 9 ** 9", "catalogue").any()


def test_whole_numbers_of_every_size_are_compared_exactly():
    stars = np.uint64(2**63) + np.arange(3, dtype="u8")
    survey = xr.Dataset({"snr": ("star", [1.0, 2.0, 3.0])}, {"star": stars})
    for condition in (f"star == {2**63 + 1}", f"star in [{2**63 + 1}]", f"star == '{2**63 + 1}'"):
        assert find_satisfying(survey, condition, "s").tolist() == [False, True, False]
    assert find_satisfying(survey, f"star < {10**400} and snr < {10**400}", "s").all()


def test_text_that_is_none_and_times():
    survey = xr.Dataset(
        {"name": ("star", [b"a", b"\xff"]), "seen": ("star", np.zeros(2, "M8[ns]"))},
        {"star": [1, 2]},
    )
    assert find_satisfying(survey, "name == 'a'", "s").tolist() == [True, False]
    with pytest.raises(InputError, match="'seen' is datetime64"):
        find_satisfying(survey, "seen > 1", "s")
