"""Spectra that were prepared in two ways are told apart, where that is known."""

import pytest

from luxscale.schema.preparation import Preparation, list_differences

RECIPE = {
    "bad": ["BADPIX"],
    "rest_frame": True,
    "continuum": "chebyshev",
    "order": 4,
    "length": 1400.0,
    "chips": [],
    "continuum_pixels": None,
    "most_error": 10.0,
}


def prepare(format_name="apstar", options=None, **changes):
    return str(Preparation(format_name, options or {}, RECIPE | changes))


def test_text_is_read_as_it_was_written():
    text = prepare(options={"rows": "coadd"})
    known = Preparation.parse(text)
    assert known == Preparation("apstar", {"rows": "coadd"}, RECIPE)
    assert str(known) == text
    assert known.describe() == "apstar, continuum chebyshev of order 4"
    assert Preparation.parse(prepare(continuum="none", order=None)).describe() == (
        "apstar, continuum none"
    )


@pytest.mark.parametrize("text", [None, "", "chebyshev", "[]", '{"format": "apstar"}', 3])
def test_what_says_nothing_is_compared_with_nothing(text):
    assert Preparation.parse(text) is None
    assert list_differences(text, prepare()) == list_differences(prepare(), text) == []


def test_what_changes_the_flux_is_a_difference():
    changed = prepare(continuum="sines", order=3, rest_frame=False)
    assert list_differences(changed, prepare()) == [
        "rest_frame is False, the model's True",
        "continuum is 'sines', the model's 'chebyshev'",
        "order is 3, the model's 4",
    ]


def test_bad_pixels_options_and_formats_with_one_continuum_are_none():
    other = prepare("mwmstar-apogee", {"rows": "visits"}, bad=[], most_error=None)
    assert list_differences(other, prepare()) == []


@pytest.mark.parametrize("continuum", ["none", "file"])
def test_flux_as_in_files_of_another_format_is_another(continuum):
    ours, theirs = (prepare(name, continuum=continuum, order=None) for name in ("a", "b"))
    assert list_differences(theirs, ours) == ["format is 'b', the model's 'a'"]
