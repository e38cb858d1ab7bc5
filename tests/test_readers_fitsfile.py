"""What is read of a FITS file is what astropy reads there."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import APSTAR, SHARED, SPEC, shared

from luxscale.readers.base import BadFile, Header, Table, field, image, open_fits, table

REAL = [APSTAR, SPEC, *sorted(SHARED.glob("*/*.fits"))]


def value_of(card: fits.Card) -> object:
    """Return what astropy reads, as the readers have it; NAN without quotes, as some real files have, it does not."""
    try:
        value = card.value
    except fits.VerifyError:
        return float("nan")
    return None if isinstance(value, fits.card.Undefined) else value.rstrip() if isinstance(value, str) else value


def same_header(ours: Header, theirs: fits.Header) -> None:
    cards = [card for card in reversed(theirs.cards) if card.keyword not in ("", "COMMENT", "HISTORY")]
    known = {card.keyword: value_of(card) for card in cards}
    # As repr, since types are to be the same, and NaN to be NaN.
    assert {key: repr(value) for key, value in ours.items()} == {key: repr(value) for key, value in known.items()}


def same_table(ours: Table, theirs: fits.FITS_rec) -> None:
    assert len(ours) == len(theirs)
    assert ours.names == tuple(dict.fromkeys(name.lower() for name in theirs.names))
    for name in theirs.names:
        mine, expected = field(ours, name), np.asarray(theirs[name])
        assert mine.dtype.isnative
        if expected.dtype.kind in "SU":  # of an array of texts, one text
            text = ["".join(row).strip() for row in expected.reshape(len(expected), -1).tolist()]
            assert [value.replace(" ", "") for value in mine.tolist()] == [value.replace(" ", "") for value in text]
        else:
            np.testing.assert_array_equal(mine, expected.reshape(mine.shape), err_msg=name)


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
@pytest.mark.parametrize("path", REAL, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_real_files_hold_what_astropy_finds(path):
    with open_fits(path) as ours, fits.open(path, memmap=False) as theirs:
        assert len(ours) == len(theirs)
        for mine, expected in zip(ours, theirs, strict=True):
            same_header(mine.header, expected.header)
            assert mine.name == ("" if expected.name == "PRIMARY" else expected.name)
            if isinstance(expected, fits.BinTableHDU):
                same_table(mine.data, expected.data)
            elif expected.shape:
                np.testing.assert_array_equal(mine.data, expected.data)
                assert mine.data.dtype.isnative


def test_real_files_beside_the_repository_are_among_those():
    shared("apogee")
    assert len(REAL) > 7


def test_numbers_that_are_written_otherwise_than_they_are_meant(tmp_path):
    rng = np.random.default_rng(0)
    images = [
        fits.ImageHDU(rng.integers(0, 2**16, (2, 5)).astype("u2")),
        fits.ImageHDU(rng.integers(0, 2**63, 5, dtype="u8") * np.uint64(2)),
        fits.ImageHDU(rng.integers(0, 256, 4).astype("u1")),
    ]
    scaled = fits.ImageHDU(rng.normal(size=6))
    scaled.scale("int16", bscale=0.001, bzero=3)
    columns = [
        fits.Column("u", "J", bzero=2**31, array=np.array([0, 7, 2**32 - 1], "u4")),
        fits.Column("half", "I", array=np.array([0, 3, 6], "i2")),
        fits.Column("flag", "L", array=np.array([True, False, True])),
        fits.Column("text", "5A", array=np.array(["a", "it's", "x  y"])),
        fits.Column("skip", "3X", array=np.ones((3, 3), bool)),
        fits.Column("none", "0E", array=np.zeros((3, 0))),
        fits.Column("pair", "2D", array=rng.normal(size=(3, 2))),
        fits.Column("heap", "PE()", array=np.array([np.ones(2), np.ones(1), np.ones(3)], object)),
        fits.Column("last", "K", array=np.array([1, -2, 2**62])),
    ]
    hdus = fits.HDUList([fits.PrimaryHDU(), *images, scaled, fits.BinTableHDU.from_columns(columns, name="T")])
    hdus[0].header.update(TEXT="it's / one", EMPTY="", D=1.5e-300, BIG=2**62)
    hdus[0].header["LATER"] = None
    hdus["T"].header.update(TSCAL2=0.5, TZERO2=1)
    hdus.writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as ours, fits.open(tmp_path / "a.fits", memmap=False) as theirs:
        same_header(ours[0].header, theirs[0].header)
        for i in range(1, 5):
            np.testing.assert_allclose(image(ours, i), np.atleast_2d(theirs[i].data), rtol=1e-6 * (i == 4))
        rows = table(ours, "T")
        for name in ("u", "half", "flag", "text", "pair", "last"):
            np.testing.assert_array_equal(rows[name], theirs["T"].data[name], err_msg=name)
        assert rows["none"].shape == (3, 0)
        for name in ("skip", "heap"):
            with pytest.raises(BadFile, match=name):
                rows[name]
        with pytest.raises(BadFile, match="without column 'nought'"):
            field(rows, "nought")
        with pytest.raises(BadFile, match="no image"):
            image(ours, "T")
        with pytest.raises(BadFile, match="no table"):
            table(ours, 1)
        with pytest.raises(BadFile, match="has no HDU 'X'"):
            ours["X"]


def test_what_stands_before_the_end_of_a_truncated_file_is_read(tmp_path):
    path = tmp_path / "cut.fits"
    path.write_bytes(APSTAR.read_bytes()[:200_000])
    with open_fits(path) as hdus:
        assert image(hdus, 1).shape == (2, 8575)
        with pytest.raises(BadFile, match="truncated: HDU '' should have 137,200 bytes"):
            image(hdus, 2)
