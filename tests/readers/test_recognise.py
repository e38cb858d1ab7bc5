"""Files are recognised by what they hold, whatever they are called."""

import shutil

import pytest
from fitsfiles import APSTAR, READABLE, SEEDS, write_mwm

from luxscale.errors import InputError
from luxscale.readers import FORMATS
from luxscale.readers.recognise import find_named, recognise_format


def make_files(name, folder):
    """Return sound files of a format, and of no other."""
    if name == "mwmvisit-boss":
        return [write_mwm(folder / "v.fits", "mwmVisit", {"BOSS/APO": 3})]
    return SEEDS[name](folder)


@pytest.mark.parametrize("name", [name for name in READABLE if name != "gaia-xp-coefficients"])
def test_every_format_is_recognised(name, tmp_path):
    for path in make_files(name, tmp_path):
        assert recognise_format(str(path)).name == name


def test_the_name_does_not_matter(tmp_path):
    path = shutil.copy(APSTAR, tmp_path / "mine.dat")
    assert recognise_format(str(path)).name == "apstar"


def test_a_file_of_two_formats_has_to_be_told(tmp_path):
    path = write_mwm(tmp_path / "mwmStar.fits", "mwmStar", {"APOGEE/APO": 1, "BOSS/LCO": 1})
    with pytest.raises(InputError, match=r"mwmstar-apogee, mwmstar-boss; name one by format="):
        recognise_format(str(path))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("apStar-x.fits", APSTAR.read_bytes()[:30_000], "apStar-x.fits: truncated: HDU"),
        ("spec-x.fits", b"", "spec-x.fits: empty file. "),
        ("notes.txt", b"hello", "notes.txt: not recognised as a file of any format. "),
        ("x.csv", b"source_id,bp_coefficients\n1,2\n", "x.csv: as gaia-xp, continuous spectra, as"),
    ],
)
def test_what_is_not_recognised_is_told_by_the_formats_of_its_name(
    name, content, expected, tmp_path
):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        recognise_format(str(path))
    message = str(caught.value)
    assert message.removeprefix(f"{tmp_path}/").startswith(expected)
    assert message.endswith(f"name that by format= (--format): {', '.join(FORMATS)}")


def test_a_file_that_is_not_there_is_of_no_format(tmp_path):
    with pytest.raises(InputError, match="none.fits: no such file$"):
        recognise_format(str(tmp_path / "none.fits"))


def test_names_that_only_share_an_ending_count_where_there_are_no_others():
    assert [fmt.name for fmt in find_named("a/spec-1-2-3.fits")] == ["spec", "lamost-lrs"]
    assert [fmt.name for fmt in find_named("a/b.fits")] == [
        "gaia-xp",
        "gaia-xp-continuous",
        "gaia-xp-coefficients",
        "arrays",
    ]
    assert find_named("a/b.txt") == []
