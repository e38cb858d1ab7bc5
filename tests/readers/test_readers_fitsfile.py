"""What is read of a FITS file is what astropy reads; no header is followed beyond the file."""

from __future__ import annotations

import os

import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import APSTAR, DATA, FILES, SHARED, SPEC, shared

from luxscale.readers import fitsfile
from luxscale.readers.base import (
    BadFile,
    Header,
    Table,
    open_fits,
    read_column,
    read_image,
    read_table,
)
from luxscale.readers.fitsfile import open_large_fits

BESIDE = [*SHARED.glob("*/*.fits"), *FILES.glob("*/*.fits*")]
REAL = [*sorted(DATA.glob("*.fits")), *sorted(p for p in BESIDE if not (DATA / p.name).exists())]


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
        if expected.dtype.kind == "O":  # arrays of varying length
            for row, found in zip(expected, mine, strict=True):
                np.testing.assert_array_equal(found[: len(row)], row, err_msg=name)
                assert np.isnan(found[len(row) :]).all()
            continue
        assert mine.dtype.isnative
        np.testing.assert_array_equal(read_column(ours, name.lower()), mine)
        if expected.dtype.kind == "U":
            assert mine.tolist() == np.strings.strip(expected).tolist()
        else:
            np.testing.assert_array_equal(mine, expected.reshape(mine.shape), err_msg=name)


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
@pytest.mark.parametrize("path", REAL, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_real_files_hold_what_astropy_finds(path):
    with (
        open_fits(path) as ours,
        fits.open(path, memmap=False) as theirs,
        fits.open(path, memmap=False, disable_image_compression=True) as stored,
    ):
        assert len(ours) == len(theirs)
        for mine, expected, as_stored in zip(ours, theirs, stored, strict=True):
            same_header(mine.header, as_stored.header)
            assert mine.name == ("" if expected.name == "PRIMARY" else expected.name)
            assert mine.is_image == expected.is_image
            if isinstance(expected, fits.BinTableHDU):
                same_table(mine.data, expected.data)
                same_table(mine.read_rows(0, 1), expected.data[:1])
                last = len(mine.data) - 1
                same_table(mine.read_rows(last, last + 1), expected.data[last:])
            elif expected.shape:
                np.testing.assert_array_equal(mine.data, expected.data)
                np.testing.assert_array_equal(mine.read_rows(0, 2), expected.data[:2])
                assert mine.shape == expected.shape
                assert mine.data.dtype == expected.data.dtype.newbyteorder("=")


def test_real_files_beside_the_repository_are_among_those():
    shared("apogee")
    assert len(REAL) > 14


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


@pytest.mark.parametrize("method", ["GZIP_1", "GZIP_2"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8"])
def test_images_compressed_by_gzip(method, dtype, tmp_path):
    image = np.random.default_rng(0).integers(0, 200, (7, 50)).astype(dtype)
    image[2:] += image[2:].dtype.type(0.5)
    path = tmp_path / "packed.fits"
    packed = fits.CompImageHDU(
        image, compression_type=method, tile_shape=(1, 50), quantize_level=0, name="A"
    )
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    with open_fits(path) as hdus:
        assert hdus["A"].is_image and hdus["A"].shape == (7, 50)
        np.testing.assert_array_equal(read_image(hdus, "A"), image)
        np.testing.assert_array_equal(hdus["A"].read_rows(2, 5), image[2:5])
        assert hdus["A"].data.dtype == image.dtype


def test_missing_numbers_of_a_compressed_image(tmp_path):
    image, path = np.array([[1, 2, -5], [3, -5, 4]], "i4"), tmp_path / "packed.fits"
    packed = fits.CompImageHDU(image, compression_type="GZIP_1", tile_shape=(1, 3), name="A")
    packed.header["BLANK"] = -5
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    with open_fits(path) as hdus, fits.open(path) as theirs:
        np.testing.assert_array_equal(read_image(hdus, "A"), theirs["A"].data)
        assert np.isnan(hdus["A"].data).sum() == 2


def test_a_compressed_row_that_is_cut_off(tmp_path):
    path = tmp_path / "packed.fits"
    packed = fits.CompImageHDU(np.zeros((1, 1000), "u1"), compression_type="GZIP_1")
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        start, stored = hdus[1]._data_offset, hdus[1].data["COMPRESSED_DATA"][0].size
    raw = path.read_bytes()
    count = np.array(stored, ">i4").tobytes()
    assert raw[start : start + 4] == count
    path.write_bytes(raw[:start] + np.array(stored - 4, ">i4").tobytes() + raw[start + 4 :])
    with open_fits(path) as hdus, pytest.raises(BadFile, match="ends before its checksum"):
        read_image(hdus, 1)


def test_what_is_too_large_is_not_read_whole(tmp_path, monkeypatch):
    path = tmp_path / "large.fits"
    small, large = np.zeros(10), np.zeros((50, 1000), "u1")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(small), fits.ImageHDU(large)]).writeto(path)
    monkeypatch.setattr(fitsfile, "MOST_BYTES", 20_000)
    with open_large_fits(path) as hdus:
        assert hdus[1].data.shape == (10,)
        assert hdus[2].read_rows(10, 20).shape == (10, 1000)
        with pytest.raises(BadFile, match="of 50,000 bytes is too large to be read whole"):
            _ = hdus[2].data


def test_no_more_is_read_than_is_asked_for(tmp_path, monkeypatch):
    path = tmp_path / "apStar.fits"
    more = fits.ImageHDU(np.ones(10**6))
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones(10)), more])
    hdus.writeto(path)
    n_read = []

    def count(descriptor, size, offset):
        n_read.append(size)
        return pread(descriptor, size, offset)

    pread = os.pread
    monkeypatch.setattr(os, "pread", count)
    with open_fits(path) as opened:
        np.testing.assert_array_equal(read_image(opened, 1), np.ones((1, 10)))
    assert 0 < sum(n_read) < path.stat().st_size / 10


def test_images_compressed_otherwise_are_to_be_unpacked(tmp_path):
    path, numbers = tmp_path / "packed.fits", np.arange(1000).reshape(20, 50)
    images = [
        fits.CompImageHDU(numbers.astype("i4"), compression_type="RICE_1"),
        fits.CompImageHDU(numbers.astype("f4"), compression_type="GZIP_1"),
        fits.CompImageHDU(numbers.astype("i4"), compression_type="GZIP_1", tile_shape=(4, 50)),
    ]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(path)
    with open_fits(path) as hdus:
        for i in (1, 2, 3):
            with pytest.raises(BadFile, match="not by gzip row by row; unpack it, by funpack"):
                read_image(hdus, i)


def test_an_image_that_unpacks_to_more_than_it_says(tmp_path):
    path = tmp_path / "packed.fits"
    packed = fits.CompImageHDU(np.zeros((4, 1000), "u1"), compression_type="GZIP_1")
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    raw = path.read_bytes()
    for size in (999, 10):
        less = raw.replace(b"=                 1000", b"= %20d" % size)
        path.write_bytes(less)
        with open_fits(path) as hdus, pytest.raises(BadFile, match=f"bytes, expected {size}$"):
            read_image(hdus, 1)


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
    raw = SPEC.read_bytes()
    assert b"TFORM1  = " in raw
    (tmp_path / "a.fits").write_bytes(raw.replace(b"TFORM1  = ", b"TFORX1  = ", 1))
    with (
        pytest.raises(BadFile, match="damaged FITS file: "),
        open_fits(tmp_path / "a.fits") as hdus,
    ):
        read_table(hdus, 1)["flux"]


def test_pixels_of_no_such_kind(tmp_path):
    raw = APSTAR.read_bytes()
    (tmp_path / "a.fits").write_bytes(
        raw.replace(b"BITPIX  =                  -64", b"BITPIX  =                  -63", 1)
    )
    with (
        pytest.raises(BadFile, match="damaged FITS header: BITPIX = -63"),
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
