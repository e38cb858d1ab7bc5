"""The rules that labels are read by, on small tables in which all is known."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from luxscale.errors import InputError
from luxscale.labels import LabelSettings, parse_settings, read_labels

MAP = LabelSettings(key="id", snr="sn", columns={"teff": "T", "mg_h": "MG", "fe_h": "FE"})


def table(path, **columns):
    n = len(next(iter(columns.values())))
    base = {
        "id": [f"s{i}" for i in range(n)],
        "sn": np.full(n, 50.0),
        "T": np.full(n, 5000.0),
        "e_T": np.full(n, 30.0),
        "MG": np.full(n, 0.1),
        "MG_err": np.full(n, 0.03),
        "FE": np.full(n, -0.2),
        "FE_error": np.full(n, 0.04),
    }
    Table({**base, **columns}).write(path)
    return path


ONLY_TEFF = LabelSettings(key="id", columns={"teff": "T"})


def with_(**changes):
    return dataclasses.replace(MAP, **changes)


def test_errors_are_found_by_their_usual_names_or_given(tmp_path):
    path = table(tmp_path / "t.fits", id=["a"], other=[7.0])
    read = read_labels(path, settings=MAP)
    assert read.err.tolist() == [[30.0, 0.03, 0.04]] and read.units == ("K", "dex", "dex")
    read = read_labels(path, settings=with_(errors={"teff": "other"}, units={"mg_h": "mag"}))
    assert read.err[0, 0] == 7 and read.units[1] == "mag"


@pytest.mark.parametrize("sentinel", [-9999.0, np.float32(-9999.99), -999.0, 9999.0])
def test_sentinels_are_missing_and_near_numbers_are_not(sentinel, tmp_path):
    path = table(
        tmp_path / "t.fits",
        T=np.float32([sentinel, np.nextafter(np.float32(sentinel), 0), np.nan, np.inf]),
    )
    read = read_labels(path, settings=MAP)
    assert np.isnan(read.value[:, 0]).tolist() == [True, False, True, True]
    assert (read.counts["teff: sentinel"], read.counts["teff: not given"]) == (1, 2)
    assert np.isfinite(read_labels(path, settings=with_(sentinels=())).value[:, 0]).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_what_a_survey_would_be_refused_for_is_missing(tmp_path):
    """99.99 is a temperature where others are alike, and stands for none where they are not."""
    path = table(tmp_path / "t.fits", T=np.array([0.1, 99.99, -0.5, 0.3]))
    read = read_labels(path, settings=MAP)
    assert np.isnan(read.value[:, 0]).tolist() == [False, True, False, False]
    assert read.counts["teff: sentinel"] == 1
    path = table(tmp_path / "u.fits", T=np.array([80.0, 99.99, 120, 0.3]))
    assert np.isfinite(read_labels(path, settings=MAP).value[:, 0]).all()


def test_values_that_are_not_kept_do_not_vouch_for_a_placeholder(tmp_path):
    """150 has no error, so that 99.99 lies beyond all that are kept, unless it gets a floor."""
    values, errors = np.array([0.1, 99.99, -0.5, 150.0]), np.array([1, 1, 1, np.nan])
    path = table(tmp_path / "t.fits", T=values, e_T=errors)
    read = read_labels(path, settings=MAP)
    np.testing.assert_array_equal(read.value[:, 0], [0.1, np.nan, -0.5, np.nan])
    assert (read.counts["teff: sentinel"], read.counts["teff: no error"]) == (1, 1)
    read = read_labels(path, settings=with_(floors={"teff": 1.0}))
    assert np.isfinite(read.value[:, 0]).all()


def test_a_column_of_arrays_of_one_is_one_of_numbers(tmp_path):
    path = table(tmp_path / "t.fits", T=np.array([[4500.0], [4600]]), e_T=np.array([[30.0], [40]]))
    read = read_labels(path, settings=ONLY_TEFF)
    assert (read.value.tolist(), read.err.tolist()) == ([[4500], [4600]], [[30], [40]])
    path = table(tmp_path / "u.fits", T=np.ones((2, 2)))
    with pytest.raises(InputError, match=r"of \(2,\); a label is one number per row"):
        read_labels(path, settings=ONLY_TEFF)


@pytest.mark.parametrize("none", ["NA", "null", "None", "--", "N/A", "<NA>", "nan", ""])
def test_words_for_no_number_are_missing(none, tmp_path):
    """As R, SQL, TOPCAT and pandas write them in text."""
    path = tmp_path / "t.csv"
    path.write_text(f"id,T,e_T\na,4500.5,{none}\nb,{none},40\nc,4600,50\n")
    read = read_labels(path, settings=ONLY_TEFF)
    np.testing.assert_array_equal(read.value[:, 0], [np.nan, np.nan, 4600])
    np.testing.assert_array_equal(read.err[:, 0], [np.nan, np.nan, 50])


@pytest.mark.parametrize(
    "row", ["b,K,K", ",kK,kK", "b,52_1,40"], ids=["of a star", "of units", "of Python"]
)
def test_words_that_are_no_number_are_named(row, tmp_path):
    (tmp_path / "t.csv").write_text(f"id,T,e_T\n{row}\na,4500.5,40\n")
    with pytest.raises(InputError, match=r"column '(e_)?T' holds '(k?K|52_1)'; a label is one"):
        read_labels(tmp_path / "t.csv", settings=ONLY_TEFF)


def test_masked_values_are_missing(tmp_path):
    made = Table(
        {"id": ["a", "b", ""], "sn": [1.0, 2, 3], "T": np.ma.array([5000, 1, 2], mask=[0, 1, 0])}
    )
    made["e_T"], made["z"] = [1.0, 1, 1], np.ma.array([0.1, 0.2, 0.3], mask=[1, 0, 0])
    made.write(tmp_path / "t.ecsv")
    read = read_labels(tmp_path / "t.ecsv", settings=LabelSettings(key="id", columns={"teff": "T"}))
    assert read.key.tolist() == ["a", "b"] and np.isnan(read.value[:, 0]).tolist() == [False, True]
    assert read.counts["rows without identifier"] == 1


def test_errors_that_are_none(tmp_path):
    bad = [0.0, -1.0, -9999.0, np.nan, np.inf, 20.0]
    path = table(tmp_path / "t.fits", e_T=bad)
    read = read_labels(path, settings=MAP)
    assert (
        np.isnan(read.value[:, 0]).tolist()
        == np.isnan(read.err[:, 0]).tolist()
        == [True] * 5 + [False]
    )
    assert read.counts["teff: no error"] == 5
    read = read_labels(path, settings=with_(floors={"teff": 15.0}))
    assert read.err[:, 0].tolist() == [15.0] * 5 + [25.0] and np.isfinite(read.value[:, 0]).all()


def test_a_floor_is_added_in_quadrature_after_conversion(tmp_path):
    path = table(tmp_path / "t.fits", id=["a"])
    read = read_labels(
        path, settings=with_(labels=("mg_fe",), scale="x_fe", floors={"mg_fe": 0.12})
    )
    np.testing.assert_allclose((read.value[0, 0], read.err[0, 0]), (0.3, 0.13))


@pytest.mark.parametrize("order", [("mg_fe", "mg_h"), ("mg_h", "mg_fe")])
def test_what_is_published_on_a_scale_is_not_converted_to_it(order, tmp_path):
    columns = {"mg_fe": "MGFE", "mg_h": "MG", "fe_h": "FE"}
    path = table(tmp_path / "t.fits", id=["a"], MGFE=[0.9], e_MGFE=[0.01])
    read = read_labels(
        path, settings=with_(columns={n: columns[n] for n in (*order, "fe_h")}, scale="x_fe")
    )
    assert (
        sorted(read.label) == ["fe_h", "mg_fe"] and read.value[0, read.label.index("mg_fe")] == 0.9
    )


def test_an_abundance_without_iron_is_missing(tmp_path):
    path = table(tmp_path / "t.fits", FE=[-9999.0, 0.1], MG=[0.2, 0.2])
    read = read_labels(path, settings=with_(scale="x_fe", labels=("mg_fe", "teff")))
    assert (
        np.isnan(read.value[:, 0]).tolist() == [True, False]
        and read.counts["mg_fe: no [Fe/H]"] == 1
    )


def test_of_a_star_the_row_of_highest_sn_counts_and_of_equal_ones_the_first(tmp_path):
    path = table(
        tmp_path / "t.fits",
        id=["a", " b", "a ", "b", "a", "c"],
        sn=[10.0, np.nan, 30.0, -9999.0, 30.0, np.nan],
        T=[1.0, 2, 3, 4, 5, 6],
    )
    read = read_labels(path, settings=MAP)
    assert read.key.tolist() == ["b", "a", "c"] and read.value[:, 0].tolist() == [2, 3, 6]
    assert read.counts["duplicates"] == 3
    np.testing.assert_array_equal(read.columns["snr"], [np.nan, 30, np.nan])


def test_a_flagged_row_does_not_stand_in_the_way_of_a_good_one(tmp_path):
    path = table(tmp_path / "t.fits", id=["a", "a"], sn=[90.0, 10.0], T=[1.0, 2.0], bad=[4, 3])
    read = read_labels(path, settings=with_(row_flags={"bad": ("2",)}))
    assert read.value[:, 0].tolist() == [2.0] and read.counts["rows flagged by bad"] == 1


def test_rows_of_low_sn(tmp_path):
    path = table(tmp_path / "t.fits", id=["a", "b", "c"], sn=[29.9, 30.0, np.nan])
    assert read_labels(path, settings=with_(min_snr=30.0)).key.tolist() == ["b"]


ROW = st.tuples(
    st.sampled_from(["", "a", "b", "c", "d"]),
    st.floats(1, 99),
    st.sampled_from([5000.0, -9999.0, np.nan, 4000.0]),
    st.sampled_from([10.0, 0.0, -9999.0, 20.0]),
    st.booleans(),
)


@settings(max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=12))
def test_every_row_and_every_value_is_accounted_for(rows, tmp_path_factory):
    name, sn, t, err, flag = (list(c) for c in zip(*rows, strict=True))
    path = tmp_path_factory.mktemp("rows") / "t.csv"
    Table(
        {
            "id": [f"x{n}" if n else "" for n in name],
            "sn": sn,
            "T": t,
            "e_T": err,
            "bad": np.int32(flag),
        }
    ).write(path)
    asked = LabelSettings(key="id", snr="sn", columns={"teff": "T"}, row_flags={"bad": ("any",)})
    good = [r for r in rows if r[0] and not r[4]]
    best = {}
    for row in good:
        if row[0] not in best or row[1] > best[row[0]][1]:
            best[row[0]] = row
    known = [r for r in best.values() if r[2] > 0 and r[3] > 0]
    if not known:
        with pytest.raises(InputError, match="no row is left|no label of any row"):
            read_labels(path, settings=asked)
        return
    read = read_labels(path, settings=asked)
    assert {k: v for k, v in zip(read.key, read.value[:, 0], strict=True) if v > 0} == {
        f"x{r[0]}": r[2] for r in known
    }
    dropped = ("rows without identifier", "rows flagged by bad", "duplicates", "rows kept")
    assert read.counts["rows"] == sum(read.counts[c] for c in dropped) == len(rows)
    missing = sum(n for c, n in read.counts.items() if c.startswith("teff: "))
    assert read.counts["rows kept"] == missing + np.isfinite(read.value).sum()
    assert ((read.err > 0) == np.isfinite(read.value)).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"columns": {"teff": "TT"}}, r"no column 'TT' \(2 rows of 8 columns\); similar: T"),
        (
            {"columns": {"teff": "TEMPERATURE"}},
            "no column 'TEMPERATURE'.*there are: id, sn, T, e_T",
        ),
        (
            {"columns": {"teff": "id"}, "errors": {"teff": "e_T"}},
            "column 'id' holds '.*'; a label is one number per row",
        ),
        (
            {"columns": {"sn": "sn"}},
            "no column has errors of 'sn'.*--labels-setting error.sn=COLUMN",
        ),
        (
            {"key": "MG"},
            "identifiers of type float64; they must be text or integers: floats lose digits",
        ),
        ({"key": None}, "a table needs key='ID_COLUMN'"),
        ({"snr": "id"}, "S/N of type"),
        ({"labels": ("tef",)}, "no label 'tef' in table; similar: teff"),
        ({"labels": ("mg_fe",)}, "no label 'mg_fe' in table; scale='x_fe' makes it"),
        ({"floors": {"logg": 0.1}}, "error floor of 'logg', which is not taken"),
        ({"errors": {"logg": "e_T"}}, "errors name 'logg'"),
        (
            {"row_flags": {"FLAG": ("any",)}},
            "no column 'FLAG' of flags of rows; give row_flags without it",
        ),
        (
            {"row_flags": {"sn": ("2", "HOT")}},
            "flags of sn: no bit 'HOT'; give a number, 'any' or a name; there are none",
        ),
        ({"row_flags": {"id": ("any",)}}, "flags of type .* are no bits"),
        ({"row_flags": {"sn": ("any",)}}, "no row is left: 2 rows, 2 rows flagged by sn"),
        (
            {"columns": {"mg_h": "MG"}, "scale": "x_fe"},
            "mg_fe of mg_h needs fe_h, which is not among the columns",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_what_to_do(changes, said, tmp_path):
    path = table(tmp_path / "t.fits", id=["a", "b"])
    with pytest.raises(InputError, match=said) as caught:
        read_labels(path, settings=with_(**changes))
    assert str(path) in str(caught.value)


def test_repeated_identifiers_need_a_sn(tmp_path):
    path = table(tmp_path / "t.fits", id=["a", "a"])
    with pytest.raises(
        InputError,
        match="identifier 'a' is in several rows; say which by snr='COLUMN' or --labels-setting",
    ):
        read_labels(path, settings=with_(snr=None))


def test_a_table_of_no_known_catalogue_says_what_was_tried(tmp_path):
    path = table(tmp_path / "t.fits", id=["a"])
    with pytest.raises(
        InputError,
        match="allstar-dr17 lacks APOGEE_ID.*galah-dr4 lacks sobject_id.*which columns to use",
    ):
        read_labels(path)
    with pytest.raises(InputError, match="no catalogue 'dr17'; there are: allstar-dr17"):
        read_labels(path, "dr17")
    with pytest.raises(InputError, match=r"columns= is for catalog='table'; galah-dr3 has its own"):
        read_labels(path, "galah-dr3", settings=MAP)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": "x_y"},
        {"floors": {"teff": 0.0}},
        {"floors": {"teff": float("nan")}},
        {"labels": ()},
        {"labels": ("teff", "teff")},
        {"min_snr": float("nan")},
    ],
)
def test_settings_that_mean_nothing(changes):
    with pytest.raises(InputError):
        LabelSettings(**changes)


def test_settings_go_through_json():
    kept = json.loads(
        json.dumps(dataclasses.asdict(with_(floors={"teff": 1.0}, row_flags={"a": ("b",)})))
    )
    kept |= {k: tuple(kept[k]) for k in ("sentinels",)}
    kept["row_flags"] = {k: tuple(v) for k, v in kept["row_flags"].items()}
    assert LabelSettings(**kept) == with_(floors={"teff": 1.0}, row_flags={"a": ("b",)})


def test_settings_as_words():
    words = {
        "scale": "x_fe",
        "min_snr": "30",
        "key": "id",
        "value_flags": "none",
        "floor.teff": "50",
        "row_flags.F": "A, 3",
        "column.teff": "T",
        "error.teff": "e",
        "unit.teff": "K",
    }
    assert parse_settings(["teff"], words) == LabelSettings(
        labels=("teff",),
        scale="x_fe",
        min_snr=30.0,
        key="id",
        value_flags=(),
        floors={"teff": 50.0},
        row_flags={"F": ("A", "3")},
        columns={"teff": "T"},
        errors={"teff": "e"},
        units={"teff": "K"},
    )
    assert parse_settings() == LabelSettings()
    assert parse_settings(words={"row_flags": "none"}).row_flags == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"floors.teff": "1"}, "no setting 'floors.teff' of labels; similar: floor.NAME"),
        ({"floor.teff": "much"}, "floor.teff=much: it must be a number"),
        ({"row_flags": "STAR_BAD"}, "no setting 'row_flags'"),
        ({"row_flags": "none", "row_flags.F": "any"}, "no setting 'row_flags'"),
        ({"scale.x": "x_fe"}, "no setting 'scale.x'"),
    ],
)
def test_words_that_are_no_settings(words, said):
    with pytest.raises(InputError, match=said):
        parse_settings(words=words)
