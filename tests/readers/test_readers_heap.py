"""Arrays of varying length in tables of FITS are those that astropy reads, bounded by the file."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from luxscale.readers import heap
from luxscale.readers.arrays import read_arrays
from luxscale.readers.base import BadFile, open_fits, read_table
from luxscale.readers.fitsfile import open_large_fits

LENGTHS = (3, 0, 5)
TYPES = {"B": "u1", "I": "i2", "J": "i4", "K": "i8", "E": "f4", "D": "f8", "L": "?"}


def make_rows(dtype, lengths=LENGTHS):
    rows = np.empty(len(lengths), object)
    for row, n in enumerate(lengths):
        rows[row] = (np.arange(n) % (2 if dtype == "?" else 100) + row).astype(dtype)
    return rows


def write_table(path, columns):
    table = fits.BinTableHDU.from_columns(columns, name="T")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("pointer", ["P", "Q"])
@pytest.mark.parametrize("kind", TYPES)
def test_rows_of_varying_length_end_in_nan(kind, pointer, tmp_path):
    rows = make_rows(TYPES[kind])
    equal = make_rows(TYPES[kind], (4, 4, 4))
    columns = [
        fits.Column("a", f"{pointer}{kind}()", array=rows),
        fits.Column("b", f"1{pointer}{kind}(4)", array=equal),
        fits.Column("c", "K", array=np.arange(3)),
    ]
    path = write_table(tmp_path / "a.fits", columns)
    with open_fits(path) as hdus, open_large_fits(path) as large:
        table = read_table(hdus, "T")
        for found in (table, large["T"].read_rows(0, 3)):
            assert found["a"].shape == (3, 5)
            for row, expected in enumerate(rows):
                np.testing.assert_array_equal(found["a"][row, : len(expected)], expected)
                assert np.isnan(found["a"][row, len(expected) :]).all()
            np.testing.assert_array_equal(found["b"], np.stack(list(equal)))
            assert found["b"].dtype == TYPES[kind]
            assert found.get_identifiers("b").shape == (3, 4)
        np.testing.assert_array_equal(large["T"].read_rows(1, 3)["b"], np.stack(list(equal[1:])))
        assert table["c"].tolist() == [0, 1, 2]


def test_text_and_numbers_that_are_written_otherwise(tmp_path):
    columns = [
        fits.Column("text", "PA()", array=np.array(["a", "", "it's"], object)),
        fits.Column("wide", "PI()", array=make_rows("i2", (2, 2, 2))),
        fits.Column("null", "PJ()", null=1, array=make_rows("i4", (2, 2, 2))),
        fits.Column("scaled", "PI()", array=make_rows("i2", (2, 2, 2))),
    ]
    path = write_table(tmp_path / "a.fits", columns)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[1].header.update(TSCAL4=0.5, TZERO4=1, TZERO2=2**15)
    with open_fits(path) as hdus:
        table = read_table(hdus, "T")
        assert table["text"].tolist() == ["a", "", "it's"]
        np.testing.assert_array_equal(table["wide"] - 2**15, [[0, 1], [1, 2], [2, 3]])
        assert table["wide"].dtype == np.uint16
        assert table["null"].tolist()[1:] == [pytest.approx([np.nan, 2], nan_ok=True), [2, 3]]
        np.testing.assert_array_equal(table["scaled"], [[1, 1.5], [1.5, 2], [2, 2.5]])
        with pytest.raises(BadFile, match="without column 'none'"):
            table["none"]


@pytest.mark.parametrize(
    ("descriptor", "reason"),
    [
        ((6, 0), "row 1 should have 6 elements at byte 0 of a heap of 20 bytes"),
        ((2, 13), "row 1 should have 2 elements at byte 13"),
        ((2**31 - 1, 0), "row 1 should have 2,147,483,647 elements"),
        ((-1, 0), "row 1 should have -1 elements"),
        ((1, -4), "row 1 should have 1 elements at byte -4"),
        ((1, 2**31 - 1), "row 1 should have 1 elements at byte 2,147,483,647"),
    ],
)
def test_rows_that_the_heap_does_not_hold(descriptor, reason, tmp_path):
    path = write_table(
        tmp_path / "a.fits", [fits.Column("a", "PE()", array=make_rows("f4", (3, 2)))]
    )
    raw = bytearray(path.read_bytes())
    at = raw.index(b"END".ljust(80), 2880)
    at = -(-at // 2880) * 2880 + 8
    raw[at : at + 8] = np.array(descriptor, ">i4").tobytes()
    path.write_bytes(raw)
    with open_fits(path) as hdus, pytest.raises(BadFile, match=reason):
        read_table(hdus, "T")["a"]
    with open_large_fits(path) as hdus:
        assert hdus["T"].read_rows(0, 1)["a"].tolist() == [[0, 1, 2]]
        with pytest.raises(BadFile, match="column 'a': row 0 should have"):
            hdus["T"].read_rows(1, 2)["a"]


def test_wide_descriptors_do_not_overflow(tmp_path):
    columns = [fits.Column("a", "QD()", array=make_rows("f8", (1, 1)))]
    path = write_table(tmp_path / "a.fits", columns)
    raw = path.read_bytes()
    one = np.array([1, 0], ">i8").tobytes()
    for count, offset in ((2**62, 0), (2**60 + 1, 2**62), (1, 2**63 - 1), (2**63 - 1, 2**63 - 1)):
        path.write_bytes(raw.replace(one, np.array([count, offset], ">i8").tobytes()))
        with open_fits(path) as hdus, pytest.raises(BadFile, match="damaged FITS table"):
            read_table(hdus, "T")["a"]


def test_rows_that_share_a_heap_do_not_fill_the_memory(tmp_path, monkeypatch):
    """Many rows may point at the same bytes, and one long row would widen all."""
    columns = [fits.Column("a", "PE()", array=make_rows("f4", (1000, 1, 1, 1)))]
    path = write_table(tmp_path / "a.fits", columns)
    monkeypatch.setattr(heap, "MOST_JOINED", 10_000)
    with open_fits(path) as hdus, pytest.raises(BadFile, match="4 rows of up to 4,000 bytes"):
        read_table(hdus, "T")["a"]
    monkeypatch.setattr(heap, "MOST_JOINED", 1000)
    with open_fits(path) as hdus, pytest.raises(BadFile, match="more than 1,000 bytes of arrays"):
        read_table(hdus, "T")["a"]
    monkeypatch.setattr(heap, "_MOST_ROWS", 3)
    with open_fits(path) as hdus, pytest.raises(BadFile, match="4 rows of arrays"):
        read_table(hdus, "T")["a"]


def test_a_heap_that_is_cut_off(tmp_path):
    rows = make_rows("f4", (2000, 2000))
    path = write_table(tmp_path / "a.fits", [fits.Column("a", "PE()", array=rows)])
    path.write_bytes(path.read_bytes()[: 3 * 2880 + 8000])
    with open_fits(path) as hdus, pytest.raises(BadFile, match="truncated: HDU 'T'"):
        read_table(hdus, "T")
    with open_large_fits(path) as hdus:
        assert hdus["T"].read_rows(0, 1)["a"].shape == (1, 2000)
        with pytest.raises(BadFile, match="the file ends before its heap does"):
            hdus["T"].read_rows(1, 2)["a"]


def test_spectra_of_varying_arrays_are_arrays_like_others(tmp_path):
    grid = fits.ImageHDU(5000.0 + np.arange(4), name="wavelength")
    rows = make_rows("f8", (4, 4, 4))
    columns = [fits.Column(name, "QD(4)", array=rows + 1) for name in ("flux", "ivar")]
    table = fits.BinTableHDU.from_columns(columns)
    fits.HDUList([fits.PrimaryHDU(), table, grid]).writeto(tmp_path / "a.fits")
    (spectra,) = read_arrays(tmp_path / "a.fits")
    np.testing.assert_array_equal(spectra.flux, np.stack(list(rows)) + 1)
