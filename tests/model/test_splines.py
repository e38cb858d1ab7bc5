"""Splines through pixels, and where they end."""

import numpy as np
import pytest
from scipy.interpolate import BSpline

from luxscale.model.splines import evaluate_spline, fit_spline, list_segments


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_they_are_the_b_splines_of_scipy(order):
    x = np.linspace(-3.5, 3.5, 71)
    expected = BSpline.basis_element(np.arange(-3, 4), extrapolate=False)(x, order)
    np.testing.assert_allclose(evaluate_spline(x, order), np.nan_to_num(expected), atol=1e-5)


def test_they_go_through_all_pixels_and_bridge_those_that_are_missing():
    rng = np.random.default_rng(1)
    rows = np.cumsum(rng.normal(size=(60, 2)), 0)
    used = np.ones(60, bool)
    used[[20, 40, 41, 42, 43, 44]] = False
    parts = list_segments(np.arange(60.0) + 5000, used)
    assert parts == [slice(0, 40), slice(45, 60)]
    coefficients = np.pad(fit_spline(rows, used, parts), ((2, 2), (0, 0)))
    taps = np.array([1, 26, 66, 26, 1]) / 120
    through = sum(tap * coefficients[k : 60 + k] for k, tap in enumerate(taps))
    inside = [*range(3, 20), *range(21, 37), *range(48, 57)]
    np.testing.assert_allclose(through[inside], rows[inside], atol=1e-9)
    np.testing.assert_allclose(through[20], (rows[19] + rows[21]) / 2, atol=1e-9)


def test_gaps_of_a_grid_are_found():
    grid = np.concatenate([np.arange(10) * 0.5 + 4000, np.arange(8) * 0.7 + 5000, [6000.0]])
    assert list_segments(grid, np.ones(19, bool)) == [slice(0, 10), slice(10, 18), slice(18, 19)]
    smooth = 4000 * np.exp(np.arange(50) * 1e-4)
    assert list_segments(smooth, np.ones(50, bool)) == [slice(0, 50)]
    assert list_segments(np.array([5000.0]), np.ones(1, bool)) == [slice(0, 1)]
