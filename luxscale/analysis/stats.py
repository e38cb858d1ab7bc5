"""Robust statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Median absolute deviation to standard deviation, for a Gaussian.
MAD_TO_SIGMA = 1.4826


def robust_scatter(values: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation about the median; NaN of nothing."""
    return MAD_TO_SIGMA * _or_nan(np.median, np.abs(values - _or_nan(np.median, values)))


def _or_nan(function: Any, values: np.ndarray) -> float:
    return float(function(values)) if values.size else float("nan")
