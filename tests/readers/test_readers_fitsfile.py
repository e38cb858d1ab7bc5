"""What is read of a FITS file is what astropy reads; no header is followed beyond the file."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import APSTAR, SHARED, SPEC, shared

from luxscale.readers.base import (
    BadFile,
    Header,
    Table,
    open_fits,
    read_column,
    read_image,
    read_table,
)

REAL = [APSTAR, SPEC, *sorted(SHARED.glob("*/*.fits"))]


def value_of(card: fits.Card) -> object:
    """Return what astropy reads; None where it is blank, or NAN without quotes."""
    try:
        value = card.value
    except fits.VerifyError:
        return None
    return None if isinstance(value, fits.card.Undefined) else value


def same_header(ours: Header, theirs: fits.Header) -> None:
    cards = [
        card for card in reversed(theirs.cards) if card.keyword not in ("", "COMMENT", "HISTORY")
    ]
    known = {card.keyword: value_of(card) for card in cards}
    assert set(known) == set(ours) - {"", "COMMENT", "HISTORY"}
    # As repr, since types are to be the same, and NaN to be NaN.
    assert {key: repr(ours[key]) for key in known} == {
        key: repr(value) for key, value in known.items()
    }


def same_table(ours: Table, theirs: fits.FITS_rec) -> None:
    assert len(ours) == len(theirs)
    assert ours.names == tuple(name.lower() for name in theirs.names)
    for name in theirs.names:
        mine, expected = read_column(ours, name), np.asarray(theirs[name])
        assert mine.dtype.isnative
        np.testing.assert_array_equal(read_column(ours, name.lower()), mine)
        if expected.dtype.kind == "U":
            assert mine.tolist() == np.strings.strip(expected).tolist()
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
                same_table(mine.read_rows(0, 1), expected.data[:1])
            elif expected.shape:
                np.testing.assert_array_equal(mine.data, expected.data)
                assert mine.data.dtype.isnative
            assert mine.is_image == expected.is_image


def test_real_files_beside_the_repository_are_among_those():
    shared("apogee")
    assert len(REAL) > 7


def test_numbers_that_are_written_otherwise_than_they_are_meant(tmp_path):
    rng = np.random.default_rng(0)
    wide, narrow, byte = (
        rng.integers(2**63, 2**64, 5, dtype="u8"),
        rng.integers(0, 2**16, (2, 5)).astype("u2"),
        [7, 255],
    )
    images = [fits.ImageHDU(narrow), fits.ImageHDU(wide), fits.ImageHDU(np.array(byte, "u1"))]
    values = rng.normal(size=6)
    scaled = fits.ImageHDU(values.copy())
    scaled.scale("int16", bscale=0.001, bzero=3)
    given = {
        "u": np.array([0, 7, 2**32 - 1], "u4"),
        "half": np.array([0, 3, 6], "i2"),
        "flag": np.array([True, False, True]),
        "text": np.array(["a", "it's", "x  y"]),
        "none": np.zeros((3, 0)),
        "pair": rng.normal(size=(3, 2)),
        "square": rng.normal(size=(3, 2, 2)),
        "last": np.array([1, -2, 2**62]),
    }
    forms = dict(zip(given, ("J", "I", "L", "5A", "0E", "2D", "4D", "K"), strict=True))
    options = {"u": {"bzero": 2**31}, "square": {"dim": "(2,2)"}}
    columns = [
        fits.Column(name, forms[name], array=given[name], **options.get(name, {})) for name in given
    ]
    columns.append(
        fits.Column("heap", "PE()", array=np.array([np.ones(2), np.ones(1), np.ones(3)], object))
    )
    columns.append(fits.Column("bits", "3X", array=np.ones((3, 3), bool)))
    hdus = fits.HDUList(
        [fits.PrimaryHDU(), *images, scaled, fits.BinTableHDU.from_columns(columns, name="T")]
    )
    hdus[0].header.update(TEXT="it's / one", EMPTY="", D=1.5e-300, BIG=2**62)
    hdus[0].header["LATER"] = None
    hdus["T"].header.update(TSCAL2=0.5, TZERO2=1)
    hdus.writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as ours:
        header = ours[0].header
        assert [header[key] for key in ("TEXT", "EMPTY", "D", "BIG", "LATER")] == [
            "it's / one",
            "",
            1.5e-300,
            2**62,
            None,
        ]
        for i, expected in enumerate((narrow, wide[None], [byte]), 1):
            np.testing.assert_array_equal(read_image(ours, i), expected)
        np.testing.assert_allclose(read_image(ours, 4), values[None], atol=0.0006)
        rows = read_table(ours, "T")
        given["half"] = given["half"] * 0.5 + 1
        for name, expected in given.items():
            np.testing.assert_array_equal(
                rows[name], expected.reshape(3, -1) if expected.ndim > 1 else expected
            )
            assert rows[name].dtype.isnative
        assert rows["u"].dtype == np.uint32
        with pytest.raises(BadFile, match="'heap' holds arrays of varying length, .* as CSV"):
            rows["heap"]
        with pytest.raises(BadFile, match="bits.* is of a kind"):
            rows["bits"]
        with pytest.raises(BadFile, match="without column 'nought'"):
            read_column(rows, "nought")
        with pytest.raises(BadFile, match="no image"):
            read_image(ours, "T")
        with pytest.raises(BadFile, match="no table"):
            read_table(ours, 1)
        with pytest.raises(BadFile, match="has no HDU 'X'"):
            ours["X"]


def test_what_stands_before_the_end_of_a_truncated_file_is_read(tmp_path):
    path = tmp_path / "cut.fits"
    path.write_bytes(APSTAR.read_bytes()[:200_000])
    with open_fits(path) as hdus:
        assert read_image(hdus, 1).shape == (2, 8575)
        with pytest.raises(BadFile, match="truncated: HDU '' should end at byte "):
            read_image(hdus, 2)


def test_a_compressed_image_is_taken_for_the_table_that_it_is_in(tmp_path):
    path = tmp_path / "packed.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.zeros((1000, 1000), "i4"))]).writeto(path)
    with open_fits(path) as hdus:
        with pytest.raises(BadFile, match="no image"):
            read_image(hdus, 1)
        with pytest.raises(BadFile, match="holds arrays of varying length"):
            read_table(hdus, 1)["COMPRESSED_DATA"]


def test_files_of_more_headers_than_a_star_has(tmp_path):
    block = fits.ImageHDU().header.tostring().encode()
    (tmp_path / "many.fits").write_bytes(
        fits.PrimaryHDU().header.tostring().encode() + 2000 * block
    )
    with (
        open_fits(tmp_path / "many.fits") as hdus,
        pytest.raises(BadFile, match="more than 1000 HDUs"),
    ):
        len(hdus)
    cards = b"".join(b"HIERARCH KEY %05d = 1".ljust(80) % i for i in range(36 * 1000))
    (tmp_path / "long.fits").write_bytes(fits.PrimaryHDU().header.tostring().encode()[:240] + cards)
    with (
        pytest.raises(BadFile, match="damaged FITS file"),
        open_fits(tmp_path / "long.fits") as hdus,
    ):
        hdus[0]


def test_whatever_astropy_makes_of_a_file_is_said_without_a_warning(tmp_path):
    raw = APSTAR.read_bytes()
    (tmp_path / "a.fits").write_bytes(
        raw.replace(b"BITPIX  =                  -64", b"BITPIX  =                  -63", 1)
    )
    with (
        pytest.raises(BadFile, match="damaged FITS file: "),
        open_fits(tmp_path / "a.fits") as hdus,
    ):
        read_image(hdus, 1)


def test_some_rows_are_those_of_all(tmp_path):
    with open_fits(SPEC) as hdus:
        for name in ("flux", "and_mask", "loglam"):
            np.testing.assert_array_equal(
                hdus[1].read_rows(30, 200)[name], hdus[1].data[name][30:200]
            )
        for start, stop in ((-1, 3), (3, 3), (0, 10**9)):
            with pytest.raises(BadFile, match=f"no rows {start} to {stop}"):
                hdus[1].read_rows(start, stop)
    cube = fits.PrimaryHDU(np.arange(24, dtype="u2").reshape(4, 3, 2))
    heap = fits.Column("heap", "PE()", array=np.array([np.ones(2), np.ones(1), np.ones(3)], object))
    table = fits.BinTableHDU.from_columns(
        [heap, fits.Column("x", "5A", array=np.array(["a", "b", "c"]))]
    )
    fits.HDUList([cube, table]).writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as hdus:
        np.testing.assert_array_equal(hdus[0].read_rows(1, 3), cube.data[1:3])
        assert hdus[0].read_rows(1, 3).dtype == np.uint16
        assert hdus[1].read_rows(1, 3)["x"].tolist() == ["b", "c"]
    (tmp_path / "cut.fits").write_bytes((tmp_path / "a.fits").read_bytes()[:2900])
    with open_fits(tmp_path / "cut.fits") as hdus:
        np.testing.assert_array_equal(hdus[0].read_rows(0, 1), cube.data[:1])
        with pytest.raises(BadFile, match="should have 4 rows"):
            hdus[0].read_rows(1, 4)
