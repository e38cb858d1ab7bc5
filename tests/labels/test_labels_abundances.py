"""[X/H] to [X/Fe] and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luxscale.labels.abundances import (
    convert_to_x_fe,
    convert_to_x_h,
    get_iron_label,
    rename_on_scale,
    split_abundance,
)

DEX = st.floats(-5, 5)
ERR = st.floats(1e-3, 1)


def test_closed_form():
    value, err = convert_to_x_fe([0.1, -1.0], [0.03, 0.04], [-0.2, -1.2], [0.04, 0.03])
    np.testing.assert_allclose(value, [0.3, 0.2])
    np.testing.assert_allclose(err, 0.05)
    value, err = convert_to_x_h([0.3], [0.06], [-0.2], [0.08])
    np.testing.assert_allclose((value[0], err[0]), (0.1, 0.1))
    assert value.dtype == err.dtype == np.float64


def test_float32_is_reckoned_in_float64():
    value, _ = convert_to_x_fe(
        np.float32([0.1]), np.float32([0.1]), np.float32([0.3]), np.float32([0.1])
    )
    assert value[0] == np.float64(np.float32(0.1)) - np.float64(np.float32(0.3))


@given(x=DEX, fe=DEX, x_err=ERR, fe_err=ERR)
def test_there_and_back_the_value_is_the_same_and_the_error_larger(x, fe, x_err, fe_err):
    there = convert_to_x_fe(x, x_err, fe, fe_err)
    back, err = convert_to_x_h(*there, fe, fe_err)
    np.testing.assert_allclose(back, x, atol=1e-14)
    np.testing.assert_allclose(err, np.sqrt(x_err**2 + 2 * fe_err**2), rtol=1e-14)
    assert err > there[1] > max(x_err, fe_err)


@pytest.mark.parametrize("gap", range(4))
def test_what_is_missing_stays_missing(gap):
    given_ = [np.array([0.1]), np.array([0.1]), np.array([0.1]), np.array([0.1])]
    given_[gap] = np.array([np.nan])
    for change in (convert_to_x_fe, convert_to_x_h):
        value, err = change(*given_)
        assert np.isnan(value[0]) == (gap in (0, 2)) and np.isnan(err[0]) == (gap in (1, 3))


def test_names():
    assert [
        rename_on_scale(n, "x_fe")
        for n in ("mg_h", "mg_fe", "fe_h", "m_h", "teff", "raw_mg_h", "alpha_m")
    ] == [
        "mg_fe",
        "mg_fe",
        "fe_h",
        "m_h",
        "teff",
        "raw_mg_fe",
        "alpha_m",
    ]
    assert rename_on_scale("tiii_fe", "x_h") == "tiii_h"
    assert rename_on_scale("mg_h", "as published") == "mg_h"
    assert split_abundance("raw_fe_h") is None and split_abundance("raw_m_h") is None
    assert (get_iron_label("mg_h"), get_iron_label("raw_mg_h")) == ("fe_h", "raw_fe_h")
