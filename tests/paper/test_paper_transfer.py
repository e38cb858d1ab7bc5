"""Label transfer: what is correlation with other labels, and what the spectrum knows."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from luxscale.paper.abundances import ABUNDANCES, ELEMENTS, ERROR, _join, read_ratios
from luxscale.paper.transfer import (
    FOLDS,
    KNOWN,
    assign_folds,
    find_residuals,
    measure_shares,
    predict_from_labels,
)


@pytest.fixture
def known():
    return np.random.default_rng(0).normal([4700, 2.4, -0.2, 0.1], [200, 0.6, 0.3, 0.08], (400, 4))


def test_a_quadratic_of_other_labels_is_predicted_exactly(known):
    x = (known - known.mean(0)) / known.std(0)
    values = 0.3 + 0.2 * x[:, 0] - 0.1 * x[:, 1] * x[:, 2] + 0.05 * x[:, 3] ** 2
    values[::7] = np.nan
    got = predict_from_labels(values, known)
    np.testing.assert_allclose(got[np.isfinite(values)], values[np.isfinite(values)], atol=1e-9)
    assert np.isnan(got[::7]).all()


def test_a_star_is_not_predicted_from_itself(known):
    values = np.random.default_rng(1).normal(size=400)
    changed = values.copy()
    changed[10] += 100
    moved = predict_from_labels(changed, known) != predict_from_labels(values, known)
    fold = np.arange(400) % FOLDS
    assert not moved[fold == fold[10]].any()
    assert moved[fold != fold[10]].all()


def pairs(known, inferred, true):
    both = {"inferred": np.column_stack([known, inferred]), "truth": np.column_stack([known, true])}
    return xr.Dataset(
        {k: (("star", "label"), v) for k, v in both.items()},
        {"star": np.arange(400), "label": [*KNOWN, *ABUNDANCES]},
    )


def test_correlation_alone_leaves_nothing_beyond_other_labels(known):
    rng = np.random.default_rng(2)
    own, n = rng.normal(size=(400, len(ABUNDANCES))), len(ABUNDANCES)
    follows = 2 * (known[:, 3:] - 0.1) / 0.08
    correlated = measure_shares(pairs(known, np.repeat(follows, n, 1), follows + 0.5 * own))
    np.testing.assert_allclose(correlated["labels"], 4 / 4.25, atol=0.05)
    np.testing.assert_allclose(correlated["spectrum"], 4 / 4.25, atol=0.05)
    assert (correlated["beyond"] < 0.03).all()
    seen = measure_shares(pairs(known, own, follows + own))
    np.testing.assert_allclose(seen["beyond"], 1, atol=0.02)
    np.testing.assert_allclose(seen["labels"], 0.8, atol=0.1)


def test_chance_is_exceeded_in_one_of_twenty(known):
    above, n = [], len(ABUNDANCES)
    for seed in range(25):
        inferred, true = np.random.default_rng(seed).normal(size=(2, 400, n))
        true[: 200 + seed, 0] = np.nan
        found = measure_shares(pairs(known, inferred, true))
        assert found["chance"][0] / found["chance"][1] == pytest.approx(400 / (200 - seed))
        above.append(found["beyond"] > found["chance"])
    assert 0.02 < np.mean(above) < 0.09  # 350 draws


def test_what_the_survey_lacks_is_left_out_on_both_sides(known):
    true = np.random.default_rng(3).normal(size=400)
    true[:50] = np.nan
    for left in find_residuals(np.ones(400), true, known):
        assert np.isnan(left[:50]).all() and np.isfinite(left[50:]).all()


def test_each_star_with_abundances_is_left_out_once():
    matched = np.arange(30) % 3 == 0
    fold = assign_folds(matched)
    assert (fold[~matched] == -1).all()
    assert np.unique(fold[matched], return_counts=True)[1].tolist() == [2] * FOLDS


@pytest.fixture
def table(tmp_path):
    columns = {f"{e.upper()}_H": [-0.3, 0.1, -0.4] for e in ELEMENTS} | {"V_H": [-2.3, 0.1, -0.4]}
    path = tmp_path / "table.csv.gz"
    pd.DataFrame({"APOGEE_ID": ["b", "a", "z"], "FE_H": [-0.2, 0.05, -0.5], **columns}).to_csv(
        path, index=False
    )
    return path


def test_ratios_are_to_iron_and_of_the_stars_asked_for(table):
    got = read_ratios(table, np.array(["a", "b", "c"], object))
    np.testing.assert_allclose(got[0], 0.05)
    np.testing.assert_allclose(np.delete(got[1], ELEMENTS.index("v")), -0.1)
    assert np.isnan(got[1, ELEMENTS.index("v")])  # -2.1 is a failed fit
    assert np.isnan(got[2]).all()


def test_stars_with_and_without_abundances_are_joined(table):
    names = ["teff", "logg", "fe_h", "alpha_m", "a_k"]
    value = np.tile([4700, 2.4, -0.2, 0.1, 0.1], (6, 1))
    value[5, 0] = 7000  # no giant
    xp = xr.Dataset(
        {
            "flux": (("star", "wavelength"), np.ones((6, 3), "f4")),
            "flux_ivar": (("star", "wavelength"), np.ones((6, 3), "f4")),
            "label_value": (("star", "label"), value),
            "label_err": (("star", "label"), np.ones((6, 5))),
            "snr": ("star", np.full(6, 100.0)),
        },
        {
            "star": np.array(list("abcdef"), object),
            "wavelength": [1.0, 2, 3],
            "label": np.array(names, object),
            "label_units": ("label", np.array(["K", *[""] * 4], object)),
        },
    )
    got = _join(xp, table, 2)
    assert got["star"].values[got["matched"].values].tolist() == ["a", "b"]
    assert got.sizes["star"] == 4 and "f" not in got["star"].values
    assert got["label"].values.tolist() == [*names, *ABUNDANCES]
    assert (got["label_err"].sel(star="a", label=list(ABUNDANCES)) == ERROR).all()
    assert np.isnan(got["label_value"].values[~got["matched"].values, 5:]).all()
    np.testing.assert_allclose(got["label_value"].sel(star="a", label="mg_fe"), 0.05)
