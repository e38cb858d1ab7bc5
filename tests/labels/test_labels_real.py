"""Real allStar rows of APOGEE DR12, compared with a direct reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from luxscale.labels import LabelSettings, join, read_labels

DATA = Path(__file__).parents[3] / "shared" / "data"
FILES = (
    "catalogs/apogee_dr12_allStar_subset_773.fits",
    "fixtures/apogee/allStar-v603-subset60.fits",
)
ALL = LabelSettings(row_flags={}, value_flags=())
STAR_BAD, NO_RESULT, BAD_STAR, DUPLICATE = 1 << 23, 1 << 31, 0b11001, 1 << 4


@pytest.fixture(params=FILES, ids=("773", "60"))
def real(request):
    path = DATA / request.param
    if not path.exists():
        pytest.skip(f"needs the real catalogue {path}")
    with fits.open(path) as hdus:
        yield path, {n: np.array(hdus[1].data[n]) for n in hdus[1].columns.names}


def rows_by_hand(rows, bad):
    """Identifier -> row, of those not flagged, of highest S/N."""
    chosen = {}
    for i, name in enumerate(n.strip() for n in rows["APOGEE_ID"]):
        if not bad[i] and (name not in chosen or rows["SNR"][i] > rows["SNR"][chosen[name]]):
            chosen[name] = i
    return chosen


def test_every_value_and_error_is_that_of_the_file(real):
    path, rows = real
    table = read_labels(path, settings=ALL)
    assert table.label[:4] == ("teff", "logg", "fe_h", "c_h") and len(table.label) == 12
    assert table.units == ("K", "dex(cm s-2)", *["dex"] * 10)
    chosen = rows_by_hand(rows, np.zeros(len(rows["SNR"]), bool))
    assert sorted(table.key) == sorted(chosen)
    order = [chosen[k] for k in table.key]
    assert order == sorted(order)
    for j, name in enumerate(table.label):
        value, err = (rows[c][order].astype(float) for c in (name.upper(), f"{name.upper()}_ERR"))
        known = (value != -9999) & (err > 0)
        np.testing.assert_array_equal(table.value[:, j], np.where(known, value, np.nan))
        np.testing.assert_array_equal(table.err[:, j], np.where(known, err, np.nan))
        assert table.counts.get(f"{name}: sentinel", 0) == (value == -9999).sum()
    np.testing.assert_array_equal(table.columns["snr"], rows["SNR"][order])
    np.testing.assert_array_equal(table.columns["ra"], rows["RA"][order])
    assert table.columns["telescope"].tolist() == [t.strip() for t in rows["TELESCOPE"][order]]


def test_flags_are_honoured_as_by_hand(real):
    path, rows = real
    table = read_labels(path)
    bad = (rows["ASPCAPFLAG"].astype(np.int64) & 0xFFFFFFFF & (STAR_BAD | NO_RESULT)) != 0
    bad |= (rows["STARFLAG"] & BAD_STAR) != 0
    bad |= (rows["EXTRATARG"] & DUPLICATE) != 0
    chosen = rows_by_hand(rows, bad)
    assert set(table.key) == set(chosen)
    order = [chosen[k] for k in table.key]
    for name in ("mg_h", "n_h"):
        value = rows[name.upper()][order].astype(float)
        known = (value != -9999) & ((rows[f"{name.upper()}_FLAG"][order] & 0b11111) == 0)
        np.testing.assert_array_equal(
            table.value[:, table.label.index(name)], np.where(known, value, np.nan)
        )
    dropped = {c: n for c, n in table.counts.items() if c.startswith(("rows ", "duplicates"))}
    assert table.counts["rows"] == sum(dropped.values()) == len(bad)


def test_parameter_arrays_and_their_covariances(real):
    path, rows = real
    names = ("raw_teff", "log_vmicro", "c_m", "raw_alpha_m")
    table = read_labels(path, settings=LabelSettings(labels=names, row_flags={}, value_flags=()))
    chosen = rows_by_hand(rows, np.zeros(len(rows["SNR"]), bool))
    order = [chosen[k] for k in table.key]
    for j, (column, i) in enumerate((("FPARAM", 0), ("PARAM", 2), ("PARAM", 4), ("FPARAM", 6))):
        value = rows[column][order, i].astype(float)
        variance = rows[f"{column}_COV"][order].reshape(-1, 7, 7)[:, i, i].astype(float)
        known = (value != -9999) & (variance > 0)
        np.testing.assert_array_equal(table.value[:, j], np.where(known, value, np.nan))
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(
                table.err[:, j], np.where(known, np.sqrt(variance), np.nan)
            )


def test_calibrated_parameters_are_those_of_the_array(real):
    path, _ = real
    table = read_labels(
        path, "allstar-dr12", settings=LabelSettings(labels=("teff", "m_h"), row_flags={})
    )
    with fits.open(path) as hdus:
        param = {
            k.strip(): v
            for k, v in zip(hdus[1].data["APOGEE_ID"], hdus[1].data["PARAM"], strict=True)
        }
    known = np.isfinite(table.value[:, 0])
    assert known.sum() > 30
    assert all(
        param[k][0] == np.float32(v)
        for k, v in zip(table.key[known], table.value[known, 0], strict=True)
    )


def test_abundances_on_the_scale_of_iron(real):
    path, _ = real
    published, relative = (
        read_labels(path, settings=LabelSettings(scale=s)) for s in ("as published", "x_fe")
    )
    i, j, k = (
        published.label.index("fe_h"),
        published.label.index("mg_h"),
        relative.label.index("mg_fe"),
    )
    np.testing.assert_array_equal(
        relative.value[:, k], published.value[:, j] - published.value[:, i]
    )
    quadrature = np.hypot(published.err[:, j], published.err[:, i])
    np.testing.assert_array_equal(relative.err[:, k], quadrature)


def test_labels_come_in_the_order_of_the_stars(real):
    path, _ = real
    table = read_labels(path)
    stars = np.array([*table.key[::-1], "2M99999999+9999999", table.key[0]], object)
    value, err, columns = join(table, stars)
    np.testing.assert_array_equal(value[: len(table.key)], table.value[::-1])
    np.testing.assert_array_equal(err[-1], table.err[0])
    assert np.isnan(value[-2]).all() and columns["matched"].sum() == len(stars) - 1


def test_the_direct_reading_has_something_to_find(real):
    """The cases the tests above are about are in the files."""
    _, rows = real
    sentinels = sum((rows[c] == -9999).sum() for c in ("MG_H", "MN_H"))
    flagged = (rows["EXTRATARG"] & DUPLICATE).any() or (rows["ASPCAPFLAG"] & STAR_BAD).any()
    assert sentinels > 10 and flagged
