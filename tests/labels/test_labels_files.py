"""What files say of their columns counts: units, marks, separators, nulls, signs."""

from decimal import Decimal

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from luxscale.errors import InputError
from luxscale.labels import LabelSettings, parse_settings, read_labels

MAPPING = {"key": "ID", "column.teff": "TEFF", "error.teff": "E_TEFF"}


def read(path, **words):
    return read_labels(path, settings=parse_settings((), {**MAPPING, **words}))


def write_table(path, **columns):
    two = {"ID": ["a", "b"], "TEFF": [4500.0, 4600.0] * u.K, "E_TEFF": [30.0, 40.0]}
    Table({**two, **columns}).write(path)
    return path


def test_columns_are_converted_from_the_units_of_the_file(tmp_path):
    speed = u.m / u.s
    path = write_table(
        tmp_path / "t.fits",
        TEFF=[4.5, -9999.0] * u.kK,
        E_TEFF=[0.03, 0.04] * u.kK,
        VSINI=[5.0, 9.0] * u.km / u.s,
        E_VSINI=[1000.0, 2000.0] * speed,
    )
    table = read(path, **{"column.vsini": "VSINI"})
    assert table.units == ("K", "km s-1")
    np.testing.assert_allclose(table.value, [[4500, 5], [np.nan, 9]])
    np.testing.assert_allclose(table.err, [[30, 1], [np.nan, 2]])
    asked = read(path, **{"column.vsini": "VSINI", "unit.vsini": "m/s"})
    assert asked.value[:, 1].tolist() == [5000, 9000]
    assert asked.err[:, 1].tolist() == [1000, 2000]


def test_logarithms_of_another_unit_move(tmp_path):
    from_si = [0.4, 2.0] * u.dex(u.m / u.s**2)
    path = write_table(tmp_path / "t.ecsv", LOGG=from_si, E_LOGG=[0.1, 0.1])
    table = read(path, **{"column.logg": "LOGG"})
    np.testing.assert_allclose(table.value[:, 1], [2.4, 4.0])
    np.testing.assert_allclose(table.err[:, 1], 0.1)


def test_a_unit_of_another_kind_is_refused(tmp_path):
    path = write_table(tmp_path / "t.fits", TEFF=[12.0, 13.0] * u.mag)
    with pytest.raises(InputError, match="column 'TEFF' is in 'mag', which is no 'K'"):
        read(path)


def test_units_of_a_known_catalogue_are_converted(tmp_path):
    table = Table({"APOGEE_ID": ["a"], "SNR": [100.0], "TEFF": [4.5] * u.kK, "TEFF_ERR": [0.02]})
    for name in ("ASPCAPFLAG", "STARFLAG", "EXTRATARG"):
        table[name] = [0]
    for name in ("FE_H", "MG_FE"):
        table[name], table[f"{name}_ERR"], table[f"{name}_FLAG"] = [0.1], [0.01], [0]
    table["TEFF_ERR"].unit = u.kK
    table.write(tmp_path / "t.fits")
    found = read_labels(tmp_path / "t.fits")
    assert (found.value[0, 0], found.err[0, 0]) == (4500, 20)
    del table["FE_H_FLAG"]
    table.write(tmp_path / "cut.fits")
    with pytest.raises(InputError, match=r"no column 'FE_H_FLAG' of flags; value_flags=\(\)"):
        read_labels(tmp_path / "cut.fits")
    del table["MG_FE_ERR"]
    table.write(tmp_path / "less.fits")
    with pytest.raises(InputError, match="no column 'MG_FE_ERR' of errors of 'mg_fe'"):
        read_labels(tmp_path / "less.fits", settings=parse_settings((), {"value_flags": "none"}))


@pytest.mark.parametrize(
    ("name", "encoding", "separator", "before"),
    [
        ("excel.csv", "utf-8-sig", ",", ""),
        ("utf16.csv", "utf-16", ",", ""),
        ("semicolons.csv", "utf-8", ";", ""),
        ("tabs.csv", "utf-8", "\t", ""),
        ("tabs.tsv", "utf-8", "\t", ""),
        ("bars.csv", "utf-8", "|", ""),
        ("comments.csv", "utf-8", ",", "# made by hand\n#\n\n"),
    ],
)
def test_text_of_other_programs(name, encoding, separator, before, tmp_path):
    lines = [["ID", "TEFF", "E_TEFF"], ["a", "4500", "30"], ["b", "4600", "30"]]
    text = before + "".join(separator.join(line) + "\r\n" for line in lines)
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert read(tmp_path / name).value.tolist() == [[4500], [4600]]


def test_parquet_with_nulls_categories_and_lists(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table(
        {
            "ID": pa.array(["a", "b", None]).dictionary_encode(),
            "TEFF": pa.array([4500.0, None, 4700.0]),
            "E_TEFF": pa.array([30, 30, 30]),
            "NAME": pa.array(["x", None, None]),
            "LIST": pa.array([[1], [2], None]),
        }
    )
    folder = tmp_path / "t.parquet"
    folder.mkdir()
    parquet.write_table(table, folder / "part.parquet")
    for path in (folder, folder / "part.parquet"):
        found = read(path)
        assert found.key.tolist() == ["a", "b"]
        np.testing.assert_array_equal(found.value, [[4500], [np.nan]])
    with pytest.raises(InputError, match="column 'LIST' holds list"):
        read(folder, **{"column.teff": "LIST"})


def test_parquet_of_databases(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    decimals = [Decimal("4500.25"), None, Decimal("4600.5")]
    made = {"TEFF": pa.array(decimals), "E_TEFF": pa.array([30, 30, 30])}
    long = [Decimal(12345678901234567890), Decimal(2), Decimal(3)]
    for names, expected in (
        (pa.array([b"a", b"b", "é".encode()]), ["a", "b", "é"]),
        (pa.array(["a", "b", "é"], pa.string_view()), ["a", "b", "é"]),
        (pa.array(long), ["12345678901234567890", "2", "3"]),
        (pa.array([1.0, None, 3.0]), [1, 3]),
    ):
        parquet.write_table(pa.table({"ID": names, **made}), tmp_path / "t.parquet")
        found = read(tmp_path / "t.parquet")
        assert found.key.tolist() == expected
        assert found.value[[0, -1], 0].tolist() == [4500.25, 4600.5]


def test_signs_and_large_numbers(tmp_path):
    flags = np.array([-(2**31), 0], np.int32)
    path = write_table(tmp_path / "t.fits", ID=np.array([5, 2**63 + 5], np.uint64), FLAG=flags)
    for bit, kept in (("36", ["5", str(2**63 + 5)]), ("31", [str(2**63 + 5)])):
        assert read(path, **{"row_flags.FLAG": bit}).key.tolist() == kept


def test_further_sentinels(tmp_path):
    path = write_table(tmp_path / "t.fits", TEFF=[-9.99, 4600.0])
    found = read(path, sentinels="-9.99,-7").value[:, 0]
    np.testing.assert_array_equal(found, [np.nan, 4600])


@pytest.mark.parametrize("err_unit", ["dex", "", "dex(K)"])
def test_errors_of_logarithms_become_those_of_values(err_unit, tmp_path):
    path = tmp_path / "a.ecsv"
    table = Table({"id": ["a", "b"], "lt": [3.7, 3.6], "e_lt": [0.01, 0.02]})
    table["lt"].unit = "dex(K)"
    table["e_lt"].unit = err_unit or None
    table.write(path)
    found = read_labels(path, settings=LabelSettings(key="id", columns={"teff": "lt"}))
    expected = np.log(10) * 10 ** np.array([3.7, 3.6]) * [0.01, 0.02]
    np.testing.assert_allclose(found.err[:, 0], expected, rtol=1e-3)


def test_errors_of_values_become_those_of_logarithms(tmp_path):
    path = tmp_path / "a.ecsv"
    table = Table({"id": ["a", "b"], "g": [100.0, 1000.0], "e_g": [1.0, 20.0]})
    for name in ("g", "e_g"):
        table[name].unit = "cm s-2"
    table.write(path)
    found = read_labels(path, settings=LabelSettings(key="id", columns={"logg": "g"}))
    np.testing.assert_allclose(found.value[:, 0], [2, 3])
    np.testing.assert_allclose(found.err[:, 0], np.array([0.01, 0.02]) / np.log(10), rtol=1e-3)


def write_units(path, units, **columns):
    table = Table({"id": ["a", "b"], **columns})
    for name, unit in units.items():
        table[name].unit = unit
    table.write(path)
    return path


@pytest.mark.parametrize("err_unit", ["dex", "dex(K)"])
def test_errors_in_dex_beside_linear_values_become_linear(err_unit, tmp_path):
    columns = {"t": [5000.0, 4000.0], "e_t": [0.01, 0.02]}
    path = write_units(tmp_path / "a.ecsv", {"e_t": err_unit}, **columns)
    found = read_labels(path, settings=LabelSettings(key="id", columns={"teff": "t"}))
    expected = np.log(10) * np.array([5000, 4000]) * [0.01, 0.02]
    np.testing.assert_allclose(found.err[:, 0], expected, rtol=1e-3)
    assert found.counts["teff: error in dex, made one in K"] == 2


def test_linear_errors_beside_logarithms_are_refused(tmp_path):
    columns = {"g": [2.5, 2.0], "e_g": [0.1, 0.1]}
    path = write_units(tmp_path / "a.ecsv", {"g": "dex(cm s-2)", "e_g": "cm s-2"}, **columns)
    with pytest.raises(InputError, match=r"'e_g' is in 'cm / s2', .* write the errors in dex"):
        read_labels(path, settings=LabelSettings(key="id", columns={"logg": "g"}))


def test_errors_of_degrees_are_kelvin(tmp_path):
    columns = {"t": [4000.0, 5000.0], "e_t": [20.0, 30.0]}
    path = write_units(tmp_path / "a.ecsv", {"t": "deg_C", "e_t": "K"}, **columns)
    found = read_labels(path, settings=LabelSettings(key="id", columns={"teff": "t"}))
    np.testing.assert_allclose(found.err[:, 0], [20, 30])


@pytest.mark.parametrize(("column", "error"), [("logTeff", "e_t"), ("t", "e_log_t")])
def test_columns_of_logarithms_by_name_are_refused_for_linear_labels(column, error, tmp_path):
    path = write_units(tmp_path / "a.ecsv", {}, **{column: [3.7, 3.6], error: [0.1, 0.1]})
    given = {"key": "id", "columns": {"teff": column}, "errors": {"teff": error}}
    with pytest.raises(InputError, match=r"is a logarithm by its name, and 'teff' is in K; state"):
        read_labels(path, settings=LabelSettings(**given))
    said = read_labels(path, settings=LabelSettings(**given, units={"teff": "K"}))
    assert said.value[0, 0] == 3.7


@pytest.mark.parametrize("before", ["# ID,", "#ID,", "# by hand\n# ID,", "# one, two, three\nID,"])
def test_a_comment_that_names_the_columns_is_their_first_line(before, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(f"{before}TEFF,E_TEFF\na,4500,30\nb,4600,40\n")
    assert read(path).value.tolist() == [[4500.0], [4600.0]]


def test_text_in_another_encoding_is_said(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("ID,TEFF,NOTE\na,4500,\xe9toile\n".encode("latin1"))
    with pytest.raises(
        InputError, match=r"labels\.csv: no table in it: byte 20 is no UTF-8.*iconv"
    ):
        read(path)
