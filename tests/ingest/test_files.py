"""Files are found once, however their folders are linked."""

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
