"""Comparisons as text and records."""

import itertools
import json

import numpy as np
import pytest
import xarray as xr

from luxscale.analysis.tables import count_decimals, fold_rows, format_table, to_records


@pytest.fixture
def comparison():
    shape = (("label",), [2.0, -0.0004, np.nan])
    return xr.Dataset(
        {
            "n_stars": ("label", [1200, 5, 0]),
            "bias": shape,
            "rmse": ("label", [126.4, 0.03711, np.nan]),
            "robust_scatter": ("label", [98.6, 0.0351, np.nan]),
            "median_err": ("label", [101.2, 0.0333, np.nan]),
            "pull": ("label", [1.004, 0.95, np.nan]),
        },
        {"label": ["teff", "fe_h", "vsini"], "label_units": ("label", ["K", "dex", ""])},
    )


def test_table(comparison):
    assert format_table(comparison).splitlines() == [
        "label  unit     n     bias    RMSE  robust scatter  median err  pull",
        "teff   K     1200        2     126              99         101  1.00",
        "fe_h   dex      5  -0.0004  0.0371          0.0351      0.0333  0.95",
        "vsini  -        0        -       -               -           -     -",
    ]


def test_wide_tables_are_folded_between_groups_of_columns():
    pairs = [f"{what} of {k}" for k in range(9) for what in ("RMSE", "pull")]
    rows = [["*", "P", *pairs, "s"], ["", "48", *["1"] * 18, "2"]]
    tables = fold_rows(rows, [2] * 9 + [1], repeated=2).split("\n\n")
    assert [len(table.splitlines()) for table in tables] == [2] * len(tables)
    assert max(len(line) for table in tables for line in table.splitlines()) <= 100
    assert [table.split()[:2] for table in tables] == [["*", "P"]] * len(tables)
    heads = [table.splitlines()[0].split("  ")[2:] for table in tables]
    assert list(itertools.chain(*heads)) == [*pairs, "s"]
    assert all(head[0].startswith("RMSE") for head in heads)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((126.4, 99.0), 0),
        ((0.351,), 3),
        ((0.0371, 0.002), 4),
        ((0.0371, 0.0002), 5),
        ((99.998,), 0),
        ((1e-9,), 6),
        ((0.0, None, np.nan), 0),
    ],
)
def test_decimals(values, expected):
    assert count_decimals(*values) == expected


def test_records_are_json(comparison):
    records = json.loads(json.dumps(to_records(comparison), allow_nan=False))
    assert records[0] == {
        "label": "teff",
        "unit": "K",
        "n_stars": 1200,
        "bias": 2.0,
        "rmse": 126.4,
        "robust_scatter": 98.6,
        "median_err": 101.2,
        "pull": 1.004,
    }
    assert records[2]["rmse"] is None
    assert records[2]["n_stars"] == 0
