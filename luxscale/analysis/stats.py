"""Robust statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Median absolute deviation to standard deviation, for a Gaussian.
MAD_TO_SIGMA = 1.4826


def robust_scatter(values: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation about the median; NaN of nothing."""
    center = reduce_or_nan(np.median, values)
    deviations = np.abs(values - center)
    return MAD_TO_SIGMA * reduce_or_nan(np.median, deviations)


def reduce_or_nan(function: Any, values: np.ndarray) -> float:
    """Return what a function makes of values, e.g. their mean; NaN of nothing."""
    if not values.size:
        return float("nan")
    return float(function(values))
