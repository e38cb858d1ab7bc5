"""Robust statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Median absolute deviation to standard deviation, for a Gaussian.
MAD_TO_SIGMA = 1.4826


def robust_scatter(values: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation about the median.

    NaN of fewer than two values, of which 0 would say that they do not scatter.
    """
    if values.size < 2:
        return float("nan")
    deviations = np.abs(values - np.median(values))
    return MAD_TO_SIGMA * float(np.median(deviations))


def reduce_or_nan(function: Any, values: np.ndarray) -> float:
    """Return what a function makes of values, e.g. their mean; NaN of nothing."""
    if not values.size:
        return float("nan")
    return float(function(values))
