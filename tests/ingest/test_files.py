"""Files are found once, however their folders are linked."""

import re

import pytest

from luxscale.errors import InputError
from luxscale.ingest.files import find_files
from luxscale.readers import get_format


def test_folders_that_lead_back_to_themselves_are_read_once(tmp_path):
    folder = tmp_path / "night"
    folder.mkdir()
    (folder / "apStar-dr17-2M00000000+0000000.fits").touch()
    (folder / "again").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path)
    found = find_files([folder], get_format("apstar"))
    assert found == (str(folder / "apStar-dr17-2M00000000+0000000.fits"),)


def test_capitals_of_endings_do_not_matter(tmp_path):
    (tmp_path / "SPECTRA.FITS").touch()
    (tmp_path / "apSTAR-dr17-2M00000000+0000000.FITS.GZ").touch()
    both = (
        str(tmp_path / "SPECTRA.FITS"),
        str(tmp_path / "apSTAR-dr17-2M00000000+0000000.FITS.GZ"),
    )
    assert find_files([tmp_path], get_format("arrays")) == both
    assert find_files([tmp_path], get_format("apstar")) == both[1:]


def test_a_pattern_that_needs_its_brackets_escaped_says_how_it_is_written(tmp_path):
    folder = tmp_path / "night [1]"
    folder.mkdir()
    path = folder / "apStar-0.fits"
    path.touch()
    with pytest.raises(InputError, match="brackets are part of the pattern; write '(.*)'") as told:
        find_files([f"{folder}/*.fits"], get_format("apstar"))
    (pattern,) = re.findall("'(.*)'", str(told.value))
    assert find_files([pattern], get_format("apstar")) == (str(path),)
