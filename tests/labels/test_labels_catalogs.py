"""Catalogues without a real file: built from their official descriptions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from luxscale.errors import InputError
from luxscale.labels import CATALOGS, LabelSettings, read_labels
from luxscale.labels.rows import make_flag_mask

DESCRIPTIONS = Path(__file__).parents[3] / "shared" / "data" / "fixtures" / "datamodel"
TEXT = ("APOGEE_ID", "TELESCOPE", "FIELD", "telescope", "sdss4_apogee_id", "tmass_id", "star_id")
N = 12

PAPER = (
    "teff",
    "logg",
    "fe_h",
    "c_fe",
    "n_fe",
    "o_fe",
    "mg_fe",
    "al_fe",
    "si_fe",
    "ca_fe",
    "mn_fe",
    "ni_fe",
)
TRANSFER = (
    "teff",
    "logg",
    "fe_h",
    "li_fe",
    "na_fe",
    "o_fe",
    "mg_fe",
    "y_fe",
    "ce_fe",
    "ba_fe",
    "eu_fe",
)
FLAT = [c for c in CATALOGS.values() if c.name != "allstar-dr12"]


def columns_of(catalog, seed=3):
    """All columns that a catalogue is read by: no flag set, S/N descending, positive errors."""
    rng = np.random.default_rng(seed)
    flags = {
        *catalog.row_bits,
        *catalog.row_bad,
        *(k.flag for k in catalog.labels.values() if k.flag),
    }
    columns = {}
    for label in catalog.labels.values():
        columns[label.column] = rng.normal(0, 1, N).astype("f4")
        if label.err:
            columns[label.err] = rng.uniform(0.1, 1, N).astype("f4")
    for name in catalog.extra.values():
        columns[name] = (
            np.array([f"{name}{i}" for i in range(N)]) if name in TEXT else np.arange(N, dtype="f8")
        )
    columns |= {f: np.zeros(N, bool if f == "flag_bad" else "i8") for f in flags}
    columns[catalog.snr] = np.linspace(200, 50, N).astype("f4")
    text = np.array([f"  2M{i:06d}" for i in range(N)])
    columns[catalog.key] = text if catalog.key == "APOGEE_ID" else 10**15 + np.arange(N)
    return columns


def write(path, columns, empty_first=False):
    formats = {"f4": "E", "f8": "D", "i8": "K", "i4": "J", "b1": "L"}
    made = []
    for name, a in columns.items():
        kind = f"{a.dtype.itemsize // 4}A" if a.dtype.kind == "U" else formats[a.dtype.str[1:]]
        made.append(fits.Column(name, kind, array=a))
    table = fits.BinTableHDU.from_columns(made)
    before = (
        [fits.BinTableHDU.from_columns([c.copy() for c in table.columns], nrows=0)]
        if empty_first
        else []
    )
    if before:
        before[0].data = before[0].data[:0]
    fits.HDUList([fits.PrimaryHDU(), *before, table]).writeto(path)
    return path


@pytest.fixture(params=FLAT, ids=lambda c: c.name)
def made(request, tmp_path):
    columns = columns_of(request.param)
    return (
        request.param,
        columns,
        write(tmp_path / "all.fits", columns, empty_first="astra" in request.param.name),
    )


def test_it_is_told_by_its_columns_and_read(made):
    catalog, columns, path = made
    table = read_labels(path)
    wanted = TRANSFER if "galah" in catalog.name else PAPER
    names = [
        n.replace("_fe", "_h") if "astra" in catalog.name and n != "fe_h" else n for n in wanted
    ]
    assert list(table.label) == names
    for j, name in enumerate(table.label):
        label = catalog.labels[name]
        np.testing.assert_array_equal(table.value[:, j], columns[label.column])
        np.testing.assert_array_equal(table.err[:, j], columns[label.err])
    assert table.units[:2] == ("K", "dex(cm s-2)")
    key = columns[catalog.key]
    assert table.key.tolist() == (
        [k.strip() for k in key] if key.dtype.kind == "U" else key.tolist()
    )
    np.testing.assert_array_equal(table.columns["snr"], columns[catalog.snr])
    assert table.counts["rows kept"] == N and set(catalog.extra) < set(table.columns)


def test_each_usual_flag_of_a_row_disqualifies_it_and_no_other_bit(made, tmp_path):
    catalog, columns, _ = made
    for column, bits in catalog.row_bad.items():
        mask = make_flag_mask(bits, catalog.row_bits.get(column, {}), column) % 2**63
        flags = np.zeros_like(columns[column])
        flags[3] = mask & -mask  # the lowest of the bits, alone
        other = np.flatnonzero([not mask >> b & 1 for b in range(30)])
        if flags.dtype != bool and other.size:
            flags[4] = 1 << int(other[0])
        table = read_labels(write(tmp_path / f"{column}.fits", {**columns, column: flags}))
        assert table.counts[f"rows flagged by {column}"] == 1 and len(table.key) == N - 1
        free = LabelSettings(row_flags={})
        assert len(read_labels(tmp_path / f"{column}.fits", settings=free).key) == N


def test_each_usual_flag_of_a_value_takes_that_value_alone(made, tmp_path):
    catalog, columns, _ = made
    name = next(n for n in catalog.usual if n.startswith("mg_"))
    flags = np.zeros(N, "i8")
    flags[[1, 5]] = make_flag_mask(catalog.value_bad, catalog.value_bits, "") & 0xFF, 1 << 40
    path = write(tmp_path / "flags.fits", {**columns, catalog.labels[name].flag: flags})
    table = read_labels(path)
    lost = [1, 5] if "galah" in catalog.name else [1]
    assert np.flatnonzero(np.isnan(table.value).any(axis=1)).tolist() == lost
    assert np.isnan(table.err).sum() == len(lost) == table.counts[f"{name}: flagged"]
    assert np.isfinite(read_labels(path, settings=LabelSettings(value_flags=())).value).all()


def test_flags_are_named(made, tmp_path):
    catalog, columns, path = made
    column, bits = next(
        iter(catalog.row_bits.items()), ("flag_sp", {"3": 3})
    )  # GALAH's bits have no names
    name, bit = list(bits.items())[-1]
    flags = np.zeros(N, "i8")
    flags[7] = 1 << bit
    path = write(tmp_path / "named.fits", {**columns, column: flags})
    for word in (name, str(bit), "any"):
        assert (
            read_labels(path, settings=LabelSettings(row_flags={column: (word,)})).counts[
                "rows kept"
            ]
            == N - 1
        )
    with pytest.raises(InputError, match=rf"flags of {column}: no bit 'NONESUCH'"):
        read_labels(path, settings=LabelSettings(row_flags={column: ("NONESUCH",)}))


def test_other_labels_by_name(made):
    catalog, columns, path = made
    given = {n: k for n, k in catalog.labels.items() if k.err}
    table = read_labels(path, settings=LabelSettings(labels=tuple(given)))
    for j, label in enumerate(given.values()):
        np.testing.assert_array_equal(table.value[:, j], columns[label.column])


def test_another_identifier(tmp_path):
    columns = columns_of(CATALOGS["astra-allstar-aspcap"])
    columns["sdss4_apogee_id"][4] = ""
    table = read_labels(
        write(tmp_path / "a.fits", columns), settings=LabelSettings(key="sdss4_apogee_id")
    )
    assert table.key.tolist() == [f"sdss4_apogee_id{i}" for i in range(N) if i != 4]
    assert table.counts["rows without identifier"] == 1


def test_identifiers_below_zero_are_none(tmp_path):
    columns = columns_of(CATALOGS["galah-dr3"])
    columns["sobject_id"][2] = -1
    assert len(read_labels(write(tmp_path / "a.fits", columns)).key) == N - 1


def test_mutated_catalogues_are_read_or_refused(made, tmp_path):
    _, _, path = made
    raw, rng, read = path.read_bytes(), np.random.default_rng(5), 0
    for _ in range(60):
        data = bytearray(raw)
        for at in rng.integers(0, len(raw), 3):
            data[at] = rng.integers(256)
        (tmp_path / "mutated.fits").write_bytes(data)
        try:
            table = read_labels(tmp_path / "mutated.fits")
        except InputError:
            continue
        read += 1
        assert (np.isfinite(table.value) == (table.err > 0)).all() and np.isfinite(
            table.err[table.err > 0]
        ).all()
    assert read


def test_both_scales_of_abundances(made):
    catalog, columns, path = made
    iron = columns[catalog.labels["fe_h"].column].astype(float)
    ours = read_labels(path, settings=LabelSettings(labels=("mg_h",), scale="x_h")).value[:, 0]
    other = read_labels(path, settings=LabelSettings(labels=("mg_fe",), scale="x_fe")).value[:, 0]
    np.testing.assert_allclose(ours - other, iron, atol=1e-14)


@pytest.mark.parametrize("name", ["vmicro", "vsini"])
def test_velocities_of_dr17_have_no_errors_and_need_a_floor(name, tmp_path):
    columns = columns_of(CATALOGS["allstar-dr17"])
    path = write(tmp_path / "dr17.fits", columns)
    with pytest.raises(
        InputError,
        match=f"no column has errors of '{name}'.*floors=.'{name}': 0.1. or --labels-setting "
        f"floor.{name}=0.1",
    ):
        read_labels(path, settings=LabelSettings(labels=("teff", name)))
    table = read_labels(path, settings=LabelSettings(labels=("teff", name), floors={name: 0.3}))
    np.testing.assert_array_equal(table.err[:, 1], 0.3)
    np.testing.assert_array_equal(table.value[:, 1], columns[name.upper()])
    assert table.units[1] == "km s-1"


@pytest.mark.parametrize(
    ("catalog", "file", "release", "hdu"),
    [
        ("allstar-dr17", "allStar.json", "DR17", "hdu1"),
        ("astra-allstar-aspcap", "astraAllStarASPCAP.json", "DR19", "hdu2"),
    ],
)
def test_its_columns_are_those_of_the_official_description(catalog, file, release, hdu):
    if not (DESCRIPTIONS / file).exists():
        pytest.skip(f"needs the official description {file}")
    described = json.loads((DESCRIPTIONS / file).read_text())["releases"][release]["hdus"][hdu][
        "columns"
    ]
    official = {n.lower() for n in described}
    c = CATALOGS[catalog]
    used = {x for k in c.labels.values() for x in k.needs} | {
        c.key,
        c.snr,
        *c.row_bad,
        *c.extra.values(),
    }
    missing = sorted(x for x in used | {*c.signature} if x.lower() not in official)
    assert not missing


def test_a_whole_row_of_dr17_by_its_official_description(tmp_path):
    """Wide columns, arrays and text that no label needs do not disturb."""
    if not (DESCRIPTIONS / "allStar.json").exists():
        pytest.skip("needs the official description allStar.json")
    described = json.loads((DESCRIPTIONS / "allStar.json").read_text())["releases"]["DR17"]["hdus"][
        "hdu1"
    ]["columns"]
    codes = {"char": "A", "int32": "J", "int64": "K", "float32": "E", "float64": "D"}
    given = columns_of(CATALOGS["allstar-dr17"])
    made = []
    for name, facts in described.items():
        kind, _, size = facts["type"].rstrip("]").partition("[")
        made.append(fits.Column(name, f"{size}{codes[kind]}", array=given.get(name)))
    fits.BinTableHDU.from_columns(made, nrows=N).writeto(tmp_path / "wide.fits")
    table = read_labels(tmp_path / "wide.fits")
    np.testing.assert_array_equal(table.value[:, 0], given["TEFF"])
    assert table.label == PAPER and table.key[0] == "2M000000"
