"""Windows of wavelengths: which pixels of a grid lie in them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

#: Windows, each from least to greatest wavelength.
Spans = tuple[tuple[float, float], ...]


def find_within(grid: np.ndarray, spans: Iterable[tuple[float, float]]) -> np.ndarray:
    """Return which pixels lie in one of the spans, their ends included: (pixel,) bool."""
    found = np.zeros(len(grid), bool)
    for least, greatest in spans:
        found |= (least <= grid) & (grid <= greatest)
    return found
