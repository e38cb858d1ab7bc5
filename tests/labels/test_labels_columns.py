"""Tables in files of every format, whole and damaged."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma
import sys
from decimal import Decimal

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from luxscale.errors import InputError
from luxscale.labels import columns as reading
from luxscale.labels.columns import Columns

N = 50


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    made = [
        fits.Column("Name", "6A", array=[f"s{i} " for i in range(N)]),
        fits.Column("f4", "E", array=rng.normal(size=N)),
        fits.Column("f8", "D", array=rng.normal(size=N)),
        fits.Column("i2", "I", array=np.arange(N)),
        fits.Column("i8", "K", null=-1, array=np.arange(N) - 1),
        fits.Column("scaled", "J", array=np.arange(N)),
        fits.Column("flag", "L", array=np.arange(N) % 3 == 0),
        fits.Column("cov", "9E", dim="(3,3)", array=rng.normal(size=(N, 3, 3))),
        fits.Column("vary", "PJ()", array=np.array([np.arange(i % 3) for i in range(N)], object)),
    ]
    whole = Table({"u4": np.arange(N, dtype="u4") + 2**31, "u8": np.arange(N, dtype="u8") + 2**63})
    made += list(fits.table_to_hdu(whole).columns)
    hdu = fits.BinTableHDU.from_columns(made)
    hdu.writeto(tmp_path / "t.fits")
    number = hdu.columns.names.index("scaled") + 1
    fits.setval(tmp_path / "t.fits", f"TSCAL{number}", value=0.5, ext=1)
    fits.setval(tmp_path / "t.fits", f"TZERO{number}", value=10.0, ext=1)
    return tmp_path / "t.fits"


@pytest.mark.parametrize("block", [1, 900, 2**26])
@pytest.mark.parametrize("packed", [False, True])
def test_fits_columns_are_those_astropy_reads(block, packed, path, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    wanted = Table.read(path)
    if packed:
        path.with_name("t.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_name("t.fits.gz")
    table = Columns(path)
    assert table.n_rows == N
    for name, data in table.read([n for n in table.names if n != "vary"]).items():
        if data.dtype.kind == "S":
            assert [d.decode().strip() for d in data] == [w.strip() for w in wanted[name].tolist()]
        else:
            assert data.dtype.isnative
            np.testing.assert_array_equal(np.ma.getdata(data), np.ma.getdata(wanted[name]))
            np.testing.assert_array_equal(
                np.ma.getmaskarray(data), np.ma.getmaskarray(wanted[name])
            )


def test_names_in_any_case(path):
    assert Columns(path).find("NAME") == "Name" and Columns(path).find("nam") is None
    assert Columns(path).read(["NAME"])["NAME"].shape == (N,)


def test_arrays_of_varying_length_are_refused(path):
    with pytest.raises(InputError, match=r"t.fits: column 'vary' holds arrays of varying length"):
        Columns(path).read(["vary"])


@pytest.mark.parametrize("ending", ["csv", "ecsv", "vot", "parquet"])
def test_other_formats(ending, tmp_path):
    if ending == "parquet" and not importlib.util.find_spec("pyarrow"):
        pytest.skip("needs pyarrow")
    wanted = Table({"name": ["a", "b"], "x": [1.5, 2.5], "n": [2**60, 3]})
    file = tmp_path / f"t.{ending}"
    wanted.write(file, format="votable" if ending == "vot" else None)
    table = Columns(file)
    assert table.names == ["name", "x", "n"] and table.n_rows == 2
    read = table.read(["n", "x"])
    assert read["n"].tolist() == [2**60, 3] and read["x"].tolist() == [1.5, 2.5]


def test_parquet_without_its_library_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    with pytest.raises(InputError, match=r"pip install 'luxscale\[export\]'"):
        Columns(tmp_path / "t.parquet")


def test_what_is_no_table(tmp_path):
    fits.PrimaryHDU(np.ones(3)).writeto(tmp_path / "image.fits")
    fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[])]).writeto(
        tmp_path / "empty.fits"
    )
    (tmp_path / "words.doc").write_text("a b")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00,,\n1")
    (tmp_path / "bad.ecsv").write_text("a b")
    (tmp_path / "bad.fits.gz").write_bytes(b"\x1f\x8b\x08\x00junk")
    (tmp_path / "none.csv").write_text("a,b\n")
    for name, said in (
        ("image.fits", "no binary table"),
        ("empty.fits", "no rows"),
        ("words.doc", "its ending is none of .csv"),
        ("bad.csv", "no table in it"),
        ("bad.ecsv", "no table in it"),
        ("bad.fits.gz", "damaged compressed file"),
        ("none.csv", "no rows"),
        ("gone.fits", "no such file"),
    ):
        with pytest.raises(InputError, match=said):
            Columns(tmp_path / name)


def test_headers_that_lie_about_sizes(path):
    raw = path.read_bytes()
    for old, new, said in (
        (b"NAXIS2  =                   50", b"NAXIS2  =            999999999", "truncated"),
        (b"NAXIS2  =                   50", b"NAXIS2  =                  -50", "no rows|damaged"),
        (b"9E      ", b"9999999E", "bytes per row"),
    ):
        assert old in raw
        path.write_bytes(raw.replace(old, new))
        with pytest.raises(InputError, match=said):
            Columns(path).read(["f4"])


def test_mutated_files_are_read_or_refused(path):
    raw, rng = path.read_bytes(), np.random.default_rng(1)
    outcomes = set()
    for i in range(300):
        data = bytearray(raw[: rng.integers(1, len(raw))] if i % 3 == 0 else raw)
        for at in rng.integers(0, min(len(data), 8000), 6):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            Columns(path).read(["f4", "i8", "Name"])
            outcomes.add("read")
        except InputError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_damaged_gzip_file_is_refused(path):
    packed = gzip.compress(path.read_bytes())
    for data in (packed[:-200], packed[:300] + b"\xff" * 50 + packed[350:]):
        path.with_name("t.fits.gz").write_bytes(data)
        with pytest.raises(InputError, match="damaged|truncated"):
            Columns(path.with_name("t.fits.gz")).read(["Name", "cov"])


@pytest.mark.parametrize("ending", ["fits", "csv", "ecsv", "vot"])
@pytest.mark.parametrize(("packer", "suffix"), [(gzip, ".gz"), (bz2, ".bz2"), (lzma, ".xz")])
def test_compressed_tables_are_read_as_what_they_hold(ending, packer, suffix, tmp_path):
    plain = tmp_path / f"t.{ending}"
    Table({"a": [1.5, 2.5], "b": [3, 4]}).write(
        plain, **({"format": "votable"} if ending == "vot" else {})
    )
    packed = tmp_path / f"t.{ending}{suffix}"
    packed.write_bytes(packer.compress(plain.read_bytes()))
    assert Columns(packed).read(["a"])["a"].tolist() == [1.5, 2.5]


@pytest.mark.parametrize("ending", ["txt", "dat", "csv"])
@pytest.mark.parametrize("head", ["id  T   e_T", "# id T e_T", "#  made by hand\n#id  T e_T"])
def test_columns_apart_by_blanks(ending, head, tmp_path):
    path = tmp_path / f"t.{ending}"
    path.write_text(f"{head}\n 7  4500.5   30\n12  4600.0 30\n")
    found = Columns(path).read(["id", "T", "e_T"])
    assert [values.tolist() for values in found.values()] == [[7, 12], [4500.5, 4600], [30, 30]]
    path.write_text(f"{head}\n 7  4500.5   30\n12  30\n")
    with pytest.raises(InputError, match="no table in it: InconsistentTableError"):
        Columns(path)


def test_a_column_of_another_table_of_the_file_is_told(tmp_path):
    tables = [Table({"TARGETID": [7, 8]}), Table({"TARGETID": [7, 8], "TEFF": [4500.0, 4600]})]
    hdus = [fits.BinTableHDU(t, name=name) for t, name in zip(tables, ("MAP", "FIT"), strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "t.fits")
    for name, said in ("teff", r"HDU 2 \(FIT\) has it, .* hdu=2\)"), ("LOGG", "there are: TARG"):
        with pytest.raises(InputError, match=rf"no column '{name}' .*; {said}"):
            Columns(tmp_path / "t.fits").require(name)


def test_named_arrays_are_a_table(tmp_path):
    made = {
        "id": np.array([b"a", b"b", b"c"]),
        "labels": np.array([[5000.0, 2.0], [4000.0, 1.0], [4500.0, np.nan]]),
        "names": np.array(["teff", "logg"]),
        "flux": np.ones((3, 1500)),
        "errors": np.full((3, 3), 0.1),
        "wavelength": np.arange(1500.0),
    }
    np.savez(tmp_path / "t.npz", **made, pickled=np.array([{}, {}, {}], object))
    with h5py.File(tmp_path / "t.h5", "w") as file:
        for name, values in made.items():
            file[name] = values.astype("S") if values.dtype.kind == "U" else values
    for path in (tmp_path / "t.npz", tmp_path / "t.h5"):
        table = Columns(path)
        assert table.n_rows == 3
        assert {"id", "teff", "logg", "errors[2]"} <= set(table.names)
        found = table.read(["teff", "ID", "errors[2]"])
        assert found["teff"].tolist() == [5000, 4000, 4500]
        assert found["ID"].tolist() == [b"a", b"b", b"c"]
        assert found["errors[2]"].tolist() == [0.1] * 3
    with pytest.raises(InputError, match=r"t.npz: array 'pickled' holds object, neither numbers"):
        Columns(tmp_path / "t.npz").read(["pickled"])


def test_a_table_in_hdf5_and_units_of_its_arrays(tmp_path):
    made = np.array([(1, 4.5), (2, 4.6)], [("id", "i8"), ("teff", "f8")])
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["data"] = made
        file["logg"] = np.array([2.0, 3.0])
        file["logg"].attrs["units"] = "dex"
    table = Columns(tmp_path / "t.h5")
    assert table.read(["id", "data/teff"])["data/teff"].tolist() == [4.5, 4.6]
    assert (table.get_unit("logg"), table.get_unit("teff")) == ("dex", "")
    np.savez(tmp_path / "t.npz", data=made)
    with pytest.raises(InputError, match="array 'data' holds .*id.*, neither numbers nor text"):
        Columns(tmp_path / "t.npz")


def test_a_scale_that_is_text_is_told(path):
    fits.setval(path, "TSCAL4", value="1.0D1", ext=1)
    with pytest.raises(InputError, match="TSCAL or TZERO of column 'i2' is text"):
        Columns(path).read(["i2"])


def test_files_of_no_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK no zip")
    for name, said in (("none.npz", "no rows"), ("bad.npz", "damaged file")):
        with pytest.raises(InputError, match=said):
            Columns(tmp_path / name)


@pytest.mark.parametrize("separator", [",", " "])
def test_a_name_of_several_columns_is_refused_where_it_is_asked_for(tmp_path, separator):
    (tmp_path / "t.csv").write_text("ID,T,T\n1,2,3\n".replace(",", separator))
    table = Columns(tmp_path / "t.csv")
    assert table.read(["ID"])["ID"].tolist() == [1]
    with pytest.raises(InputError, match="several columns are called 'T'"):
        table.read(["T"])


def test_decimals_of_parquet_are_numbers(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    column = pa.array([Decimal("4500.25"), None], pa.decimal128(8, 2))
    parquet.write_table(pa.table({"T": column}), tmp_path / "t.parquet")
    found = Columns(tmp_path / "t.parquet").read(["T"])["T"]
    assert found.filled(-1).tolist() == [4500.25, -1]
